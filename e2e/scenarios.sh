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
  next_good_version_rolls_out
  faulty_plugins_are_told_why_and_disturb_no_other
  changed_config_is_told_without_reload
  rotated_secret_is_told_once
  changed_label_does_nothing
  killed_plugin_process_is_restarted
  killed_operator_in_steady_load
  killed_operator_in_the_middle_of_a_rollout
  deleted_plugin_is_unloaded
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

# rolled_back VERSION FAULT CAUSE: that version of auth-plugin is tried by the canary alone and goes back to 1.3.0.
rolled_back() {
  local version=$1 fault=$2 cause=$3
  load_begin
  plugin auth-plugin "$(auth_version "$version" "$fault")"
  within 90 "$cause" condition auth-plugin Ready
  within 30 True condition auth-plugin Stalled
  within 30 True condition auth-plugin RolledBack
  within 30 1.3.0 condition auth-plugin Available
  within 30 '1.3.0 3/3' serves auth-plugin
  load_end
  same 'spec.manifest.version' "$version" "$(k get plugin auth-plugin -o jsonpath='{.spec.manifest.version}')"
  same 'pods that tried it' 1 "$(k get plugin auth-plugin -o json |
    jq '.status | .updatedRevision as $tried | [.failures[]? | select(.revision == $tried) | .pod] | unique | length')"
  within 10 "Plugin reload failed: auth-plugin v$version: $cause" sidecar_logs
  within 10 'Rolling back to previous version: auth-plugin v1.3.0' sidecar_logs
  within 10 'Previous version restored successfully' sidecar_logs
  within 10 RolledBack events_of auth-plugin
  ! k wait --for=condition=Ready --timeout=2s plugin/auth-plugin || fail "kubectl wait says Ready"
}

version_that_fails_in_initialize_is_rolled_back() { rolled_back 1.4.0 initialize 'initialization error'; }
version_that_crashes_in_grace_is_rolled_back() { rolled_back 1.5.0 crash 'crashed within grace period'; }

next_good_version_rolls_out() {
  load_begin
  plugin auth-plugin "$(auth_version 1.6.0)"
  ready auth-plugin 1.6.0 120
  same 'condition RolledBack' '' "$(condition auth-plugin RolledBack | grep ^True || true)"
  load_end
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
