# The scenarios, in the order of their story: each begins where the one before ended. Sourced by e2e/run.

SCENARIOS=(
  chart_installs
  bad_objects_are_refused_with_a_reason
  nested_config_survives
  pods_get_their_sidecar
  plugins_run_and_the_app_answers_through_them
  good_version_rolls_out_under_load
  version_that_fails_in_initialize_is_rolled_back
  version_that_crashes_in_grace_is_rolled_back
  rb_1_one_pod_is_watched_then_the_next
  faulty_plugins_are_told_why_and_disturb_no_other
  changed_config_is_told_without_reload
  rotated_secret_is_told_once
  changed_label_does_nothing
  killed_plugin_process_is_restarted
  killed_operator_in_steady_load
  killed_operator_in_the_middle_of_a_rollout
  deleted_plugin_is_unloaded
  strict_namespace_takes_pods_with_their_sidecar
  required_sandbox_is_enforced_or_refused
  memory_that_does_not_fit_is_refused
  database_storage_and_cache_are_shared_by_pods
  event_reaches_each_plugin_once_in_some_pod
  exceeded_error_threshold_is_told_once
  plugins_stop_although_the_app_does_not
)

chart_installs() {
  helm upgrade --install rockstar "$REPO_DIR/charts/rockstar" --namespace "$SYSTEM" --create-namespace \
    --values "$E2E_DIR/manifests/values.yaml" --set "sidecar.insecureRegistries={$REGISTRY}" --wait --timeout 3m
  kubectl get crd "plugins.$API" "pluginhosts.$API" -o name
  within 60 2 kubectl -n "$SYSTEM" get deployment -l app.kubernetes.io/name=rockstar -o jsonpath='{.items[*].status.readyReplicas}'
}

# refused TEXT JQ: auth-plugin with that change is not admitted, and the message says why.
refused() {
  local answer
  answer=$(resource auth-plugin | jq ".spec.source = {path: \"/plugins/auth\"} | $2" | k apply --dry-run=server -f - 2>&1) && fail "admitted: $2"
  [[ $answer == *"$1"* ]] || fail "expected '$1', found: $answer"
}

bad_objects_are_refused_with_a_reason() {
  refused 'source' '.spec.source = {}'
  refused 'source' '.spec.source = {path: "/x", http: {url: "https://example.org/x", sha256: ("0" * 64)}}'
  refused "X.Y.Z" '.spec.manifest.version = "1.2"'
  refused 'digest' '.spec.source = {oci: {image: "registry.example/x", digest: "latest"}}'
  refused 'failurePolicy' '.spec.failurePolicy = "Sometimes"'
  refused 'unknown permission: foo' '.spec.manifest.permissions = {foo: true}'
  refused "permission mismatch: plugin requests 'exec' permission but manifest does not declare it" '.spec.permissions = {exec: true}'
  refused 'invalid dependency version constraint: =>1.0' '.spec.manifest.dependencies[0].version = "=>1.0"'
  refused 'circular dependency detected: auth-plugin -> auth-plugin' '.spec.manifest.dependencies[0].name = "auth-plugin"'
  refused 'token_ttl' '.spec.config.token_ttl = 5'
}

nested_config_survives() {
  local nested='{"a":{"b":[1,{"c":"d"},null],"e":1.5}}'
  same 'spec.config' "$nested" "$(resource auth-plugin | jq ".spec.source = {path: \"/plugins/auth\"} | .spec.config = $nested" |
    k apply --dry-run=server -o json -f - | jq -c .spec.config)"
}

pods_get_their_sidecar() {
  k apply -f "$E2E_DIR/manifests/host.yaml" -f "$E2E_DIR/manifests/app.yaml"
  k rollout status deployment/storefront --timeout=120s
  same 'native sidecars' 3 "$(k get pods -l app=storefront -o json |
    jq '[.items[] | select(any(.spec.initContainers[]; .name == "rockstar-sidecar" and .restartPolicy == "Always"))] | length')"
}

plugins_run_and_the_app_answers_through_them() {
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

good_version_rolls_out_under_load() {
  load_begin
  plugin auth-plugin "$(auth_version 1.3.0)"
  ready auth-plugin 1.3.0 120
  load_end
}

# auth_version VERSION [FAULT]: the change that makes auth-plugin that version, faulty or not.
auth_version() {
  printf '.spec.manifest.version = "%s"' "$1"
  [ -z "${2:-}" ] || printf ' | .spec.manifest.config.fault.default = "%s"' "$2"
}

# rolled_back VERSION FAULT CAUSE [BEFORE]: that version of auth-plugin is tried by the canary alone and goes back.
rolled_back() {
  local version=$1 fault=$2 cause=$3 before=${4:-1.3.0}
  load_begin
  plugin auth-plugin "$(auth_version "$version" "$fault")"
  within 90 "$cause" condition auth-plugin Ready
  within 30 True condition auth-plugin Stalled
  within 30 True condition auth-plugin RolledBack
  within 30 "$before" condition auth-plugin Available
  within 30 "$before 3/3" serves auth-plugin
  load_end
  same 'spec.manifest.version' "$version" "$(k get plugin auth-plugin -o jsonpath='{.spec.manifest.version}')"
  same 'pods that tried it' 1 "$(k get plugin auth-plugin -o json |
    jq '.status | .updatedRevision as $tried | [.failures[]? | select(.revision == $tried) | .pod] | unique | length')"
  within 10 "Plugin reload failed: auth-plugin v$version: $cause" sidecar_logs
  within 10 "Rolling back to previous version: auth-plugin v$before" sidecar_logs
  within 10 'Previous version restored successfully' sidecar_logs
  within 10 RolledBack events_of auth-plugin
  ! k wait --for=condition=Ready --timeout=2s plugin/auth-plugin || fail "kubectl wait says Ready"
}

version_that_fails_in_initialize_is_rolled_back() { rolled_back 1.4.0 initialize 'initialization error'; }
version_that_crashes_in_grace_is_rolled_back() { rolled_back 1.5.0 crash 'crashed within grace period'; }

# proven VERSION: when it had outlived its grace period in each pod, in milliseconds, the earliest first.
proven() {
  local pod
  for pod in $(app_pods); do
    k logs "$pod" -c rockstar-sidecar --tail=-1 --timestamps | grep -F "Plugin auth-plugin v$1 outlived its grace period" | cut -d' ' -f1 || true
  done | while read -r time; do date -d "$time" +%s%3N; done | sort -n
}

# changed BEFORE: in how many pods another process of auth-plugin runs than before.
changed() { comm -13 <(sort <<<"$1") <(processes auth-plugin | sort) | wc -l; }

rb_1_one_pod_is_watched_then_the_next() {
  local times before
  load_begin
  plugin auth-plugin "$(auth_version 1.6.0)"
  ready auth-plugin 1.6.0 120
  same 'condition RolledBack' '' "$(condition auth-plugin RolledBack | grep ^True || true)"
  load_end
  times=$(proven 1.6.0)
  echo "    proven at $(tr '\n' ' ' <<<"$times")ms"
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
  local before name; before=$(processes auth-plugin)
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

config_changes() { sidecar_logs | grep -c 'Configuration updated' || true; }

changed_config_is_told_without_reload() {
  local before changes; before=$(processes auth-plugin) changes=$(config_changes)
  k patch plugin auth-plugin --type=merge -p '{"spec": {"config": {"token_ttl": "6h"}}}'
  ready auth-plugin 1.6.0 60
  within 30 $((changes + 3)) config_changes
  same 'processes of auth-plugin' "$before" "$(processes auth-plugin)"
}

rotated_secret_is_told_once() {
  local before changes; before=$(processes auth-plugin) changes=$(config_changes)
  k patch secret auth --type=merge -p '{"stringData": {"jwt": "second-secret"}}'
  within 60 $((changes + 3)) config_changes
  throughout 10 $((changes + 3)) config_changes
  same 'processes of auth-plugin' "$before" "$(processes auth-plugin)"
}

changed_label_does_nothing() {
  local before changes; before=$(processes auth-plugin) changes=$(config_changes)
  k label plugin auth-plugin team=identity --overwrite
  throughout 10 "$changes" config_changes
  same 'processes of auth-plugin' "$before" "$(processes auth-plugin)"
}

process_differs() { [ "$(k exec "$1" -c rockstar-sidecar -- pidof "$2")" != "$3" ] && echo restarted; }

killed_plugin_process_is_restarted() {
  local pod pid; pod=$(app_pods | head -n 1)
  pid=$(k exec "$pod" -c rockstar-sidecar -- pidof logging-plugin)
  k exec "$pod" -c rockstar-sidecar -- sh -c "kill -9 $pid"
  within 30 restarted process_differs "$pod" logging-plugin "$pid"
  ready logging-plugin 1.0.0 60
}

leader_pod() {
  kubectl -n "$SYSTEM" get lease -o json | jq -r '[.items[] | select(.metadata.name | startswith("rockstar")) | .spec.holderIdentity][0] | split("_")[0]'
}

# followed POD: who leads now, if that is another one.
followed() { local now; now=$(leader_pod); [ "$now" = "$1" ] || echo "led by $now"; }

# kill_leader: what the one before wrote is no news: returns when another leads.
kill_leader() {
  local leader; leader=$(leader_pod)
  echo "    leader $leader"
  kubectl -n "$SYSTEM" delete pod "$leader" --grace-period=0 --force
  within 60 'led by' followed "$leader"
}

operator_whole() { kubectl -n "$SYSTEM" rollout status deployment -l app.kubernetes.io/name=rockstar --timeout=120s; }

killed_operator_in_steady_load() {
  local before; before=$(processes auth-plugin)
  load_begin
  kill_leader
  operator_whole
  within 60 3 k get pluginhost storefront -o jsonpath='{.status.instances.connected}'
  load_end
  same 'processes of auth-plugin' "$before" "$(processes auth-plugin)"
}

updated() { k get plugin auth-plugin -o jsonpath='{.status.instances.updated}'; }

killed_operator_in_the_middle_of_a_rollout() {
  load_begin
  plugin auth-plugin "$(auth_version 1.7.0)"
  within 60 1 updated
  kill_leader
  operator_whole
  within 150 '1.7.0 3/3 Running' serves auth-plugin
  ready auth-plugin 1.7.0 60
  load_end
}

# left PLUGIN: the pods in which a process of it runs.
left() { processes "$1" | awk 'NF > 1' | grep . || echo 'none left'; }

deleted_plugin_is_unloaded() {
  load_begin
  k delete plugin auth-plugin --timeout=60s
  same 'processes of auth-plugin' 'none left' "$(left auth-plugin)"
  within 10 200 request "$(app_url)/hello/ann"
  load_end
  within 10 True condition cache-plugin Ready
  within 10 True condition logging-plugin Ready
}

# --- From here on: namespace strict, host and application ledger, two pods. ---

in_strict() { NS=strict APP=ledger REPLICAS=2; }

# sidecars_change_nothing_outside_their_volumes: as their pods say, and as the kernel does.
sidecars_change_nothing_outside_their_volumes() {
  local pod
  same 'what sidecars may do' '[{"readOnly":true,"nonRoot":true,"escalation":false,"drop":["ALL"],"seccomp":"RuntimeDefault"}]' \
    "$(k get pods -l app=ledger -o json | jq -c '[.items[].spec.initContainers[] | select(.name == "rockstar-sidecar").securityContext
      | {readOnly: .readOnlyRootFilesystem, nonRoot: .runAsNonRoot, escalation: .allowPrivilegeEscalation,
        drop: .capabilities.drop, seccomp: .seccompProfile.type}] | unique')"
  for pod in $(app_pods); do
    within 10 'Read-only file system' k exec "$pod" -c rockstar-sidecar -- sh -c 'touch /x'
  done
}

strict_namespace_takes_pods_with_their_sidecar() {
  in_strict
  sed "s|BACKENDS_IMAGE|$BACKENDS_IMAGE|" "$E2E_DIR/manifests/backends.yaml" | k apply -f -
  k apply -f "$E2E_DIR/manifests/ledger.yaml"
  k rollout status deployment/backends --timeout=120s
  k rollout status deployment/ledger --timeout=120s
  same 'native sidecars' 2 "$(k get pods -l app=ledger -o json |
    jq '[.items[] | select(any(.spec.initContainers[]; .name == "rockstar-sidecar" and .restartPolicy == "Always"))] | length')"
  sidecars_change_nothing_outside_their_volumes
  within 30 'True Resolved' of_host ledger BackendsResolved
  within 30 'True ' of_host ledger StorageIsolated
}

# kernel POD: what its sidecar finds out about the kernel.
kernel() { k exec "$1" -c rockstar-sidecar -- rockstar-sidecar sandbox-probe; }

# tried OUTCOME ATTEMPT...: hostile-plugin tries these in each pod, with that outcome.
tried() {
  local outcome=$1 attempt round=$RANDOM; shift
  k patch plugin hostile-plugin --type=merge -p "$(jq -cn --argjson round $round '{spec: {config: {$round, attempts: $ARGS.positional}}}' --args "$@")"
  for attempt in "$@"; do
    within 30 "2" attempts "[hostile-plugin $round] $attempt -> $outcome |"
  done
}

attempts() { sidecar_logs | grep -cF "$1" || true; }

required_sandbox_is_enforced_or_refused() {
  in_strict
  local parts; parts=$(kernel "$(app_pods | head -n 1)")
  echo "    the kernel: $parts"
  test_plugin hostile-plugin hostile-plugin '{config: {attempts: {type: "array", default: []}, round: {type: "integer", default: 0}}}'
  if ! jq -e '.landlock >= 3 and .filter and .notifications' <<<"$parts" >/dev/null; then
    within 60 'Environment SandboxUnavailable: the sandbox is Required, but this kernel cannot enforce it' failures hostile-plugin
    within 30 'False Partial: partial: ' of_host ledger SandboxEnforced
    k delete plugin hostile-plugin --timeout=60s
    k patch pluginhost ledger --type=merge -p '{"spec": {"sandbox": "BestEffort"}}'
    return
  fi
  ready hostile-plugin 1.0.0
  jq -e '.landlock < 6' <<<"$parts" >/dev/null || within 30 'True Enforced' of_host ledger SandboxEnforced
  tried 'Operation not permitted (os error 1)' 'run /bin/true' memfd written udp 'tcp 10.96.0.1:443' 'socket 16' io_uring 'session setsid'
  tried 'Permission denied (os error 13)' 'read /etc/passwd' 'read /var/run/secrets/rockstar/token' 'write /var/lib/rockstar/x'
  tried done own 'socket 1'
  k delete plugin hostile-plugin --timeout=60s
}

memory_that_does_not_fit_is_refused() {
  in_strict
  test_plugin large user-plugin '{}' '.spec.resources.memory = "600Mi"'
  within 60 'Environment NeedsPodRestart: the memory limits of plugins sum up to 600 MiB' failures large
  k patch plugin large --type=merge -p '{"spec": {"resources": {"memory": "64Mi"}}}'
  ready large 1.0.0
  k delete plugin large --timeout=60s
}

# command POD JSON: has commanded-plugin in that pod do that; prints what came of it.
command_in() { in_pod "$1" /commanded-plugin --data "$2"; }

# shared_by PODS...: each thing that the first one writes is read by the second.
shared_by() {
  same created '[0,0]' "$(command_in "$1" '{"do": "exec", "sql": "CREATE TABLE notes (pod TEXT)"}')"
  same written '[1,0]' "$(command_in "$1" '{"do": "exec", "sql": "INSERT INTO notes VALUES (?)", "args": ["'"$1"'"]}')"
  same row "[[\"$1\"]]" "$(command_in "$2" '{"do": "query", "sql": "SELECT pod FROM notes"}')"
  same cached '"done"' "$(command_in "$1" '{"do": "cache set", "key": "from", "value": "'"$1"'", "ttl_ms": 60000}')"
  same 'cached value' "{\"found\":\"$1\"}" "$(command_in "$2" '{"do": "cache get", "key": "from"}')"
  same stored '"done"' "$(command_in "$1" '{"do": "storage set", "key": "from", "value": "'"$1"'"}')"
  same 'stored value' "\"$1\"" "$(command_in "$2" '{"do": "storage get", "key": "from"}')"
}

database_storage_and_cache_are_shared_by_pods() {
  in_strict
  test_plugin commanded-plugin commanded-plugin \
    '{permissions: {database: true, cache: true, config: true}, hooks: [{type: "pre_request", priority: 100}]}'
  ready commanded-plugin 1.0.0
  # shellcheck disable=SC2046
  shared_by $(app_pods)
  # What plugins store is not theirs to read by SQL.
  local answer; answer=$(command_in "$(app_pods | head -n 1)" '{"do": "exec", "sql": "SET ROLE keeper"}')
  [[ $answer == *error* ]] || fail "a plugin became the storage's role: $answer"
}

# heard PLUGIN: how many events it has noted, in all pods; the numbers of each pod follow.
heard() {
  local pod numbers=() sum=0 number
  for pod in $(app_pods); do
    number=$(k logs "$pod" -c rockstar-sidecar --tail=-1 | grep -c "note: $1 event pod.greeted" || true)
    numbers+=("$number") sum=$((sum + number))
  done
  echo "$sum in all: ${numbers[*]}"
}

event_reaches_each_plugin_once_in_some_pod() {
  in_strict
  local pod name; pod=$(app_pods | head -n 1)
  local config='config: {registers: {type: "object", default: {}}}'
  test_plugin speaker user-plugin '{events: {publishes: ["pod.greeted"]}, hooks: [{type: "pre_request", priority: 100}]}'
  for name in hearer-a hearer-b; do
    test_plugin $name user-plugin "{events: {subscribes: [\"pod.greeted\"]}, hooks: [{type: \"pre_request\", priority: 100}], $config}" \
      '.spec.config = {registers: {event: "pod.greeted"}}'
  done
  for name in speaker hearer-a hearer-b; do ready $name 1.0.0; done
  for _ in {1..20}; do same published true "$(in_pod "$pod" /speaker/publish/pod.greeted)"; done
  for name in hearer-a hearer-b; do
    within 30 '20 in all' heard $name
    throughout 5 '20 in all' heard $name
    heard $name
    [[ $(heard $name) != *' 0'* ]] || fail "only one pod heard: $(heard $name)"
  done
}

# told REASON: how many events of that reason commanded-plugin has.
told() { events_of commanded-plugin | grep -c "Warning $1: " || true; }

# spoil POD NUMBER: so many requests that commanded-plugin cannot read.
spoil() { local i; for ((i = 0; i < $2; i++)); do in_pod "$1" /commanded-plugin --data 'no command' >/dev/null; done; }

exceeded_error_threshold_is_told_once() {
  in_strict
  local pod; pod=$(app_pods | head -n 1)
  k patch plugin commanded-plugin --type=merge \
    -p '{"spec": {"errorThreshold": {"maxErrors": 3, "action": "alert", "resetOnSuccess": false}}}'
  ready commanded-plugin 1.0.0
  spoil "$pod" 5
  within 30 "Plugin commanded-plugin exceeded error threshold: 3/3 errors in 5m (in $pod)" condition commanded-plugin ErrorThresholdExceeded
  within 30 1 told ErrorThresholdExceeded
  k patch plugin commanded-plugin --type=merge -p '{"spec": {"errorThreshold": {"maxErrors": 9, "action": "disable"}}}'
  ready commanded-plugin 1.0.0
  spoil "$pod" 5
  within 30 'True DisabledByErrorThreshold: Plugin commanded-plugin automatically disabled' condition commanded-plugin ErrorThresholdExceeded
  within 30 1 told DisabledByErrorThreshold
  same 'events of the alert' 1 "$(told ErrorThresholdExceeded)"
  k annotate plugin commanded-plugin "$API/reload-at=now"
  within 60 'none' without_condition commanded-plugin ErrorThresholdExceeded
  ready commanded-plugin 1.0.0
}

without_condition() { condition "$1" "$2" | grep . || echo none; }

# A shell that ignores SIGTERM is the first process; the application itself is never told.
plugins_stop_although_the_app_does_not() {
  in_strict
  local log=$WORK/stubborn.log
  test_plugin hostile-plugin hostile-plugin '{config: {attempts: {type: "array", default: []}, round: {type: "integer", default: 0}}}'
  ready hostile-plugin 1.0.0
  k get deployment ledger -o json | jq '{apiVersion: "v1", kind: "Pod", spec: .spec.template.spec,
    metadata: {name: "stubborn", labels: (.spec.template.metadata.labels + {app: "stubborn"})}}
    | .spec.containers[0].command = ["sh", "-c", "trap \"\" TERM; /usr/local/bin/demo-app & while :; do sleep 1; done"]' | k apply -f -
  k wait pod/stubborn --for=condition=Ready --timeout=60s
  within 60 '1.0.0 3/3 Running' serves hostile-plugin
  k logs -f stubborn -c rockstar-sidecar >"$log" &
  within 10 'Serving the application' cat "$log"
  k delete pod stubborn --timeout=60s
  within 5 '[hostile-plugin] stopped' cat "$log"
  within 60 '1.0.0 2/2 Running' serves hostile-plugin
}
