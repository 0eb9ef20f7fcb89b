# How versions reach the pods, and how they go back. Sourced by e2e/run.

# storefront: the application with its three plugins, each ready.
storefront() {
  application storefront 3
  k apply -f "$E2E_DIR/manifests/secret.yaml" >/dev/null
  plugin logging-plugin
  plugin cache-plugin
  plugin auth-plugin "${1:-.}"
  ready logging-plugin 1.0.0
  ready cache-plugin 2.1.0
}

plugins_run_and_the_app_answers_through_them() {
  application storefront 3
  same 'native sidecars' 3 "$(k get pods -l app=storefront -o json |
    jq '[.items[] | select(any(.spec.initContainers[]; .name == "rockstar-sidecar" and .restartPolicy == "Always"))] | length')"
  k apply -f "$E2E_DIR/manifests/secret.yaml"
  plugin auth-plugin
  within 30 "missing dependency: plugin 'auth-plugin' requires 'cache-plugin' version '>=2.0.0'" condition auth-plugin DependenciesResolved
  plugin logging-plugin
  plugin cache-plugin
  ready logging-plugin 1.0.0
  ready cache-plugin 2.1.0
  ready auth-plugin 1.2.0
  k get plugins
  within 10 401 request "$(app_url)/hello/ann"
  within 10 200 request -H "authorization: Bearer $TOKEN" "$(app_url)/hello/ann"
  within 10 /hello/ann sidecar_logs
}

# auth_version VERSION [FAULT]: the change that makes auth-plugin that version, faulty or not.
auth_version() {
  printf '.spec.manifest.version = "%s"' "$1"
  [ -z "${2:-}" ] || printf ' | .spec.manifest.config.fault.default = "%s"' "$2"
}

# rolled_back VERSION FAULT CAUSE BEFORE: that version of auth-plugin is tried by the canary alone and goes back.
rolled_back() {
  local version=$1 fault=$2 cause=$3 before=$4
  load_begin
  plugin auth-plugin "$(auth_version "$version" "$fault")"
  returned auth-plugin "$before" "$cause"
  load_end
  same 'spec.manifest.version' "$version" "$(k get plugin auth-plugin -o jsonpath='{.spec.manifest.version}')"
  same 'pods that tried it' 1 "$(k get plugin auth-plugin -o json |
    jq '.status | .updatedRevision as $tried | [.failures[]? | select(.revision == $tried) | .pod] | unique | length')"
  within 10 "Plugin reload failed: auth-plugin v$version: $cause" sidecar_logs
  within 10 "Rolling back to previous version: auth-plugin v$before" sidecar_logs
  within 10 'Previous version restored successfully' sidecar_logs
  within 10 RolledBack events_of auth-plugin
  not_ready auth-plugin
}

versions_roll_out_and_back_under_load() {
  storefront
  ready auth-plugin 1.2.0
  load_begin
  plugin auth-plugin "$(auth_version 1.3.0)"
  ready auth-plugin 1.3.0
  load_end
  rolled_back 1.4.0 initialize 'initialization error' 1.3.0
  rolled_back 1.5.0 crash 'crashed within grace period' 1.3.0
}

# changed BEFORE: in how many pods another process of auth-plugin runs than before.
changed() { comm -13 <(sort <<<"$1") <(processes auth-plugin | sort) | wc -l; }

rb_1_one_pod_is_watched_then_the_next() {
  local times before
  storefront
  ready auth-plugin 1.2.0
  load_begin
  plugin auth-plugin "$(auth_version 1.6.0)"
  ready auth-plugin 1.6.0
  same 'condition RolledBack' none "$(without_condition auth-plugin RolledBack)"
  load_end
  times=$(logged_at 'Plugin auth-plugin v1.6.0 outlived its grace period')
  note "proven at $(tr '\n' ' ' <<<"$times")ms"
  same 'pods that were watched for 8 s after the one before' 2 \
    "$(awk 'NR > 1 && $1 - last >= 8000 { pods++ } { last = $1 } END { print pods + 0 }' <<<"$times")"
  before=$(processes auth-plugin)
  rolled_back 1.6.1 initialize 'initialization error' 1.6.0
  same 'pods with another process' 1 "$(changed "$before")"
  before=$(processes auth-plugin)
  plugin auth-plugin "$(auth_version 1.6.0)"
  ready auth-plugin 1.6.0
  same 'pods with another process' 0 "$(changed "$before")"
}

faulty_plugins_are_told_why_and_disturb_no_other() {
  local before name
  storefront
  ready auth-plugin 1.2.0
  before=$(processes auth-plugin)
  k apply -f "$E2E_DIR/manifests/faulty-plugins.yaml"
  within 30 "missing dependency: plugin 'needs-missing' requires 'absent-plugin' version '>=1.0.0'" condition needs-missing DependenciesResolved
  within 30 "version mismatch: plugin 'needs-newer' requires 'cache-plugin' >=9.0.0, found 2.1.0" condition needs-newer DependenciesResolved
  for name in a b c; do
    within 30 'circular dependency detected: cycle-a -> cycle-b -> cycle-c -> cycle-a' condition "cycle-$name" DependenciesResolved
  done
  within 30 'framework version mismatch: plugin requires >=9.0.0, found 1.5.0' condition needs-framework DependenciesResolved
  within 30 "permission mismatch: plugin requests 'database' permission but manifest does not declare it" condition undeclared-permission PermissionsGranted
  for name in logging-plugin cache-plugin auth-plugin; do within 10 True condition "$name" Ready; done
  same 'processes of auth-plugin' "$before" "$(processes auth-plugin)"
  k delete -f "$E2E_DIR/manifests/faulty-plugins.yaml" --timeout=60s
}

config_changes() { logged 'Configuration updated'; }

configuration_reaches_plugins_without_reload() {
  local before
  storefront
  ready auth-plugin 1.2.0
  before=$(processes auth-plugin)
  k patch plugin auth-plugin --type=merge -p '{"spec": {"config": {"token_ttl": "6h"}}}'
  within 60 3 config_changes
  ready auth-plugin 1.2.0
  k patch secret auth --type=merge -p '{"stringData": {"jwt": "second-secret"}}'
  within 60 6 config_changes
  throughout 10 6 config_changes
  k label plugin auth-plugin team=identity --overwrite
  throughout 10 6 config_changes
  same 'processes of auth-plugin' "$before" "$(processes auth-plugin)"
}

process_differs() { [ "$(k exec "$1" -c rockstar-sidecar -- pidof "$2")" != "$3" ] && echo restarted; }

killed_plugin_process_is_restarted() {
  local pod pid
  application storefront 2
  versioned a 1.0.0
  ready a 1.0.0
  pod=$(app_pods | head -n 1)
  pid=$(k exec "$pod" -c rockstar-sidecar -- pidof a)
  k exec "$pod" -c rockstar-sidecar -- sh -c "kill -9 $pid"
  within 30 restarted process_differs "$pod" a "$pid"
  ready a 1.0.0
}

# pairs: which versions of a and b answered a request together, in the load.
pairs() { answers | sed -n 's/.*served:\([0-9.+]*\).*/\1/p' | sort -u | tr '\n' ' '; }

# needs CONSTRAINT: the change that makes a's manifest require b so.
needs() { printf '.dependencies = [{name: "b", version: "%s"}] | .config.asks.default = "b"' "$1"; }
PROVIDES='.exports = [{name: "Versions"}] | .config.provides.default = true'

# Two plugins that fit together only in pairs, under load; each pod moves once, whichever was applied first.
coupled_upgrade_in_any_order() {
  application storefront 3
  versioned b 1.0.0 "$PROVIDES"
  versioned c 1.0.0
  versioned a 1.0.0 "$(needs '<2.0.0')"
  for name in a b c; do ready $name 1.0.0; done
  load_begin /a/ask
  versioned a 2.0.0 "$(needs '>=2.0.0,<3.0.0')"
  within 30 '>=2.0.0' condition a DependenciesResolved
  versioned b 2.0.0 "$PROVIDES"
  ready a 2.0.0
  ready b 2.0.0
  same 'moves to 2.0.0' '3 3' "$(tries a 2.0.0) $(tries b 2.0.0)"
  versioned b 3.0.0 "$PROVIDES"
  within 30 "'a' requires" condition b Ready
  versioned a 3.0.0 "$(needs '>=3.0.0,<4.0.0')"
  ready a 3.0.0
  ready b 3.0.0
  same 'moves to 3.0.0' '3 3' "$(tries a 3.0.0) $(tries b 3.0.0)"
  versioned a 4.0.0 "$(needs '>=4.0.0') | $(faulty start)"
  versioned b 4.0.0 "$PROVIDES"
  versioned c 1.1.0
  returned a 3.0.0 'cannot reach the identity provider'
  within 60 "3.0.0 0/3 Running" serves b
  ready c 1.1.0
  load_end
  same 'versions that answered together' '1.0.0+1.0.0 2.0.0+2.0.0 3.0.0+3.0.0 ' "$(pairs)"
  same 'tries of the pair that fails' '1 1' "$(tries a 4.0.0) $(tries b 4.0.0)"
  same 'moves of c' '3 3' "$(tries c 1.0.0) $(tries c 1.1.0)"
}

breaking_upgrade_waits_for_its_dependent() {
  local before
  application storefront 2
  versioned b 1.0.0 "$PROVIDES"
  versioned a 1.0.0 "$(needs '<2.0.0')"
  ready a 1.0.0
  ready b 1.0.0
  before="$(processes a) $(processes b)"
  versioned b 2.0.0 "$PROVIDES"
  within 30 '<2.0.0' condition b Ready
  within 10 "'a'" condition b Ready
  not_ready b
  throughout 8 True condition a Ready
  same 'processes' "$before" "$(processes a) $(processes b)"
}

# A bad version is tried by one pod of those that start, and all serve the one before.
scaled_from_nothing_with_a_bad_version() {
  application storefront 2
  versioned a 1.0.0
  ready a 1.0.0
  scale 0
  versioned a 2.0.0 "$(faulty crash 4s)" "$(grace 8s)"
  scale 16
  within 180 '16 1.0.0' everywhere /a/version
  returned a 1.0.0 'crashed within grace period'
  at_most 'pods that tried it' 1 "$(tries a 2.0.0)"
  within 30 '16 1.0.0' everywhere /a/version
}

# job NAME PODS: a Job of so many pods at once that end in success soon, on the host of the scenario.
job() {
  jq -n --arg name "$1" --arg host "$APP" --argjson pods "$2" '{apiVersion: "batch/v1", kind: "Job", metadata: {$name},
    spec: {parallelism: $pods, completions: $pods, backoffLimit: 0, template: {
      metadata: {labels: {app: $host, "plugins.rockstar-framework.dev/host": $host}}, spec: {restartPolicy: "Never", containers: [{
        name: "app", image: "demo-app:e2e", imagePullPolicy: "Never", command: ["sleep", "4"],
        securityContext: {runAsNonRoot: true, allowPrivilegeEscalation: false, readOnlyRootFilesystem: true,
          capabilities: {drop: ["ALL"]}, seccompProfile: {type: "RuntimeDefault"}}}]}}}}' | k apply -f - >/dev/null
}

# Pods that end before the grace period is over prove a version by ending well.
jobs_prove_a_version() {
  local first
  application batch 0
  versioned a 1.0.0 . "$(grace 30s)"
  job first 4
  k wait --for=condition=Complete --timeout=120s job/first
  within 60 a- rollout '.stable.a'
  first=$(rollout .stable.a)
  versioned a 2.0.0 . "$(grace 30s)"
  within 30 "$first" rollout .stable.a
  for round in one two three; do
    job "second-$round" 4
    k wait --for=condition=Complete --timeout=120s "job/second-$round"
    [ "$(rollout .stable.a)" = "$first" ] || break
  done
  within 60 a- rollout '.stable.a'
  [ "$(rollout .stable.a)" != "$first" ] || fail "2.0.0 is not promoted: $(rollout .)"
  within 30 True condition a Ready
}

# serving CODE: how many answers of the load had that status.
answered() { answers | grep -c "^$1 " || true; }

# A dependency takes 1.0.0 out of all pods; a version that does without it gets in, and nobody is served unguarded meanwhile.
outage_is_ended_by_a_new_version() {
  local guard='.permissions.config = true | .config.guards.default = true'
  k create configmap framework --from-literal=outage=false >/dev/null
  application storefront 4 '.spec.backends.config.configMapRef.name = "framework"'
  versioned guard 1.0.0 "$guard | $(faulty outage)"
  versioned other 1.0.0
  ready guard 1.0.0
  ready other 1.0.0
  load_begin /hello -H 'x-nobody: 1'
  k patch configmap framework --type=merge -p '{"data": {"outage": "true"}}' >/dev/null
  within 60 0 running_in guard
  within 120 False condition guard Ready
  not_ready guard
  versioned guard 2.0.0 "$guard"
  ready guard 2.0.0 180
  load_stop
  note "unguarded requests: $(answers | cut -d' ' -f1 | sort | uniq -c | tr -s ' \n' ' ')"
  same 'requests that passed unguarded' 0 "$(answered 200)"
  within 30 '4 {"error":"unauthorized"}' everywhere /hello/ann
  ready other 1.0.0
  same 'starts of the other plugin' 4 "$(tries other 1.0.0)"
}

# The registry is cut off from one pod: all others move, the rollout stalls with its name and goes on by itself.
registry_out_of_reach_of_one_pod() {
  local pod address
  application storefront 6 '.spec.rollout += {maxUnavailable: 2, progressDeadline: "20s"}'
  versioned a 1.0.0
  ready a 1.0.0
  pod=$(app_pods | tail -n 1)
  address=$(k get pod "$pod" -o jsonpath='{.status.podIP}')
  cut=(FORWARD -s "$address" -d "${REGISTRY%:*}" -p tcp -j REJECT --reject-with tcp-reset)
  node iptables -I "${cut[@]}"
  trap 'node iptables -D "${cut[@]}" || true; kill $(jobs -p) 2>/dev/null || true' EXIT
  versioned a 2.0.0
  within 120 "$pod" condition a Stalled
  within 60 '5 2.0.0' everywhere /a/version
  same 'condition RolledBack' none "$(without_condition a RolledBack)"
  within 10 '1 1.0.0' everywhere /a/version
  not_ready a
  node iptables -D "${cut[@]}"
  trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
  ready a 2.0.0 180
  same 'starts of 2.0.0' 6 "$(tries a 2.0.0)"
}

# try_and_kill: the sidecar whose pod tries 2.0.0 is killed; it comes back with 1.0.0.
try_and_kill() {
  local pod before
  within 60 'a 2.0.0 started' sidecar_logs
  pod=$(pod_that_logged 'a 2.0.0 started')
  before=$(restarts "$pod")
  note "kills the sidecar of $pod"
  kill_sidecar "$pod"
  within 60 $((before + 1)) restarts "$pod"
  within 60 'a 1.0.0 started' k logs "$pod" -c rockstar-sidecar
  within 60 1.0.0 in_pod "$pod" /a/version
}

# A sidecar that is killed while a version is on trial boots the one before; at the second pod it is given up.
killed_sidecars_on_trial() {
  application storefront 4
  versioned a 1.0.0
  ready a 1.0.0
  versioned a 2.0.0 . "$(grace 20s)"
  try_and_kill
  if [ "$(without_condition a RolledBack)" = none ] && [ -n "$(k get plugin a -o json | jq -r '.status.conditions[] | select(.type == "Reconciling")')" ]; then
    note 'one killed sidecar does not give it up'
    try_and_kill
  fi
  returned a 1.0.0 2.0.0
  within 30 '4 1.0.0' everywhere /a/version
}

# evict POD: as a drained node does.
evict() {
  jq -n --arg name "$1" '{apiVersion: "policy/v1", kind: "Eviction", metadata: {$name}}' |
    kubectl create --raw "/api/v1/namespaces/$NS/pods/$1/eviction" -f - >/dev/null
}

evicted_pod_on_trial() {
  local pod
  application storefront 3
  versioned a 1.0.0
  ready a 1.0.0
  versioned a 2.0.0 . "$(grace 10s)"
  within 60 'a 2.0.0 started' sidecar_logs
  pod=$(pod_that_logged 'a 2.0.0 started')
  evict "$pod"
  within 60 NotFound k get pod "$pod"
  ready a 2.0.0 180
  same 'condition RolledBack' none "$(without_condition a RolledBack)"
  within 30 '3 2.0.0' everywhere /a/version
}
