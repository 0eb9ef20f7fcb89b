# What is taken away, what dies, and what never comes. Sourced by e2e/run.

deleted_plugin_is_unloaded() {
  application storefront 3
  versioned a 1.0.0
  versioned b 1.0.0
  ready a 1.0.0
  ready b 1.0.0
  load_begin
  k delete plugin a --timeout=60s >/dev/null
  timed 'unloaded in all pods' within 30 0 running_in a
  load_end
  ready b 1.0.0
  same 'starts of the other plugin' 3 "$(tries b 1.0.0)"
}

# commanded [JQ]: a plugin that uses the cache and the database as requests tell it.
commanded() {
  test_plugin commanded-plugin commanded-plugin \
    '{permissions: {database: true, cache: true, config: true}, hooks: [{type: "pre_request", priority: 100}]}' "${1:-.}"
}

CACHES='{"do": "cache set", "key": "k", "value": "v", "ttl_ms": 60000}'
QUERIES='{"do": "query", "sql": "SELECT 1"}'
caches() { everywhere /commanded-plugin --data "$CACHES"; }
queries() { everywhere /commanded-plugin --data "$QUERIES"; }
denied() { "$1" | grep -c 'permission denied' || true; }
# all_denied USE: how many pods of all refuse it.
all_denied() { echo "$("$1" | awk '/permission/ { pods += $1 } END { print pods + 0 }') of $REPLICAS"; }

# A permission, the ceiling and a plugin are taken away while another one's rollout is paused halfway.
taken_away_while_paused() {
  application storefront 4
  commanded
  versioned a 1.0.0
  versioned z 1.0.0
  within 120 '4 "done"' caches
  for name in commanded-plugin a z; do ready $name 1.0.0; done
  k patch pluginhost storefront --type=merge -p '{"spec": {"rollout": {"partition": "50%"}}}' >/dev/null
  versioned a 2.0.0
  within 120 '2 2.0.0' everywhere /a/version
  k patch pluginhost storefront --type=merge -p '{"spec": {"rollout": {"paused": true}}}' >/dev/null
  k patch plugin commanded-plugin --type=merge -p '{"spec": {"permissions": {"cache": false}}}' >/dev/null
  timed 'the permission is gone everywhere' within 30 '4 of 4' all_denied caches
  k patch pluginhost storefront --type=merge -p '{"spec": {"permissionCeiling": ["cache", "router", "config"]}}' >/dev/null
  timed 'the ceiling is lowered everywhere' within 30 '4 of 4' all_denied queries
  k patch plugin z --type=merge -p '{"spec": {"enabled": false}}' >/dev/null
  timed 'the plugin is gone everywhere' within 30 0 running_in z
  within 10 '2 2.0.0' everywhere /a/version
  within 10 '2 1.0.0' everywhere /a/version
  # A rollback gives nothing back.
  k patch pluginhost storefront --type=merge -p '{"spec": {"rollout": {"paused": false, "partition": 0}}}' >/dev/null
  ready a 2.0.0
  versioned a 3.0.0 "$(faulty initialize)"
  returned a 2.0.0 'cannot read the key store'
  same 'refused uses after a rollback' '4 of 4 4 of 4' "$(all_denied caches) $(all_denied queries)"
  same 'processes of what is disabled' 0 "$(running_in z)"
}

# A permission and a plugin are taken away while another plugin's Start takes a minute.
taken_away_while_another_starts() {
  application storefront 2
  # Before the others in each request, so that it does not wait for the one that starts.
  commanded '.spec.priority = 500'
  versioned a 1.0.0
  versioned z 1.0.0
  for name in commanded-plugin a z; do ready $name 1.0.0; done
  versioned a 2.0.0 '.config.start_takes.default = "50s"'
  within 60 'a 2.0.0 initializes' sidecar_logs
  k patch plugin commanded-plugin --type=merge -p '{"spec": {"permissions": {"cache": false}}}' >/dev/null
  k patch plugin z --type=merge -p '{"spec": {"enabled": false}}' >/dev/null
  timed 'the permission is gone everywhere' within 100 '2 of 2' all_denied caches
  timed 'the plugin is gone everywhere' within 100 0 running_in z
  same 'starts that were over by then' 0 "$(logged 'a 2.0.0 started')"
  ready a 2.0.0 240
  same 'refused uses afterwards' '2 of 2' "$(all_denied caches)"
}

# A version that dies in all pods after it was proven, and does not start again: the plugin is not ready, with the reason, and
# the pods do not flap.
plugin_dead_after_its_grace() {
  k create configmap framework --from-literal=outage=false >/dev/null
  application storefront 4 '.spec.backends.config.configMapRef.name = "framework"'
  versioned other 1.0.0
  versioned a 1.0.0 ".permissions.config = true | $(faulty outage)" '.spec.crashBudget = {maxCrashes: 2, window: "5m"}'
  ready other 1.0.0
  ready a 1.0.0
  record pods pods '' "$READINESS"
  k patch configmap framework --type=merge -p '{"data": {"outage": "true"}}' >/dev/null
  within 180 'False' condition a Ready
  within 120 0 running_in a
  # Some pods leave service, until so many have the same failure that all are kept in it.
  within 120 'Stays ready' sidecar_logs
  within 120 CrashBudgetExhausted condition a Ready
  within 120 quiet quiet_for 20 pods
  note "$(condition a Ready)"
  local lost; lost=$(lost_readiness pods)
  throughout 30 False condition a Ready
  not_ready a
  same 'pods that lost their readiness meanwhile' "$lost" "$(lost_readiness pods)"
  at_most 'losses of readiness' 4 "$lost"
  within 10 True condition other Ready
  # Out of it: a version that does without.
  versioned a 2.0.0
  ready a 2.0.0
}

# No pod leaves service for a new plugin that cannot be had, whatever its policy; other rollouts go on; it leaves no trace.
new_plugin_from_an_absent_registry() {
  application storefront 3
  versioned a 1.0.0
  ready a 1.0.0
  record pods pods '' "$READINESS"
  load_begin
  versioned_json ghost 1.0.0 . '.spec.source.oci.image = "127.0.0.1:1/none/ghost"' | k apply -f - >/dev/null
  within 60 Environment failures ghost
  not_ready ghost
  versioned a 1.1.0
  timed 'another version runs everywhere' ready a 1.1.0 240
  throughout 20 False condition ghost Ready
  k delete plugin ghost --timeout=60s >/dev/null
  within 60 True of_host storefront Ready
  versioned a 1.2.0
  timed 'another version runs everywhere' ready a 1.2.0 240
  load_end
  same 'pods that lost their readiness' 0 "$(lost_readiness pods)"
  same 'stable plugins' a "$(rollout '.stable | keys | join(" ")')"
}

# A registry that wants credentials, which come later than the Plugin.
pull_secret_added_later() {
  local registry=$PRIVATE_REGISTRY
  application storefront 2
  versioned other 1.0.0
  ready other 1.0.0
  mkdir -p "$WORK/docker"
  jq -n --arg registry "$registry" '{auths: {($registry): {auth: ("plugins:plugins" | @base64)}}}' >"$WORK/docker/config.json"
  DOCKER_CONFIG=$WORK/docker TO_REGISTRY=$registry versioned a 1.0.0
  within 60 Environment failures a
  within 60 'check the credentials' failures a
  k create secret docker-registry regcred --docker-server="$registry" --docker-username=plugins --docker-password=plugins >/dev/null
  k patch plugin a --type=merge -p '{"spec": {"source": {"oci": {"pullSecret": "regcred"}}}}' >/dev/null
  timed 'it runs' ready a 1.0.0 180
  # New pods, too.
  scale 3
  ready a 1.0.0
}

# A version fails; then its Secret rotates: it is not tried again, and the one before hears of the rotation once.
rotated_secret_of_a_failed_version() {
  local from='.spec.configFrom = [{key: "secret", secretKeyRef: {name: "auth", key: "jwt"}}]'
  application storefront 3
  k apply -f "$E2E_DIR/manifests/secret.yaml" >/dev/null
  versioned a 1.0.0 . "$from"
  ready a 1.0.0
  versioned a 2.0.0 "$(faulty initialize)" "$from"
  returned a 1.0.0 'cannot read the key store'
  k patch secret auth --type=merge -p '{"stringData": {"jwt": "second-secret"}}' >/dev/null
  within 60 3 logged 'a 1.0.0 has another configuration'
  kill_leader
  operator_whole
  within 60 3/3 connected
  throughout 10 3 logged 'a 1.0.0 has another configuration'
  same 'tries of 2.0.0' 1 "$(tries a 2.0.0)"
  within 30 True condition a RolledBack
  within 30 '3 1.0.0' everywhere /a/version
}

# Two hosts of one namespace have the same plugin; one's next version is condemned; then another operator leads.
two_hosts_share_a_plugin() {
  local before
  application web 2
  versioned a 1.0.0 . '.metadata.name = "web-a"'
  ready web-a 1.0.0
  application api 2
  versioned a 1.0.0 . '.metadata.name = "api-a"'
  ready api-a 1.0.0
  versioned a 2.0.0 "$(faulty initialize)" '.metadata.name = "api-a"'
  returned api-a 1.0.0 'cannot read the key store'
  before="$(processes a) $(APP=web; processes a)"
  kill_leader
  operator_whole
  within 60 2/2 connected
  throughout 15 True condition web-a Ready
  within 60 '1.0.0 0/2 Running' serves api-a
  same 'processes' "$before" "$(processes a) $(APP=web; processes a)"
  scale 3
  within 30 '3 1.0.0' everywhere /a/version
  # What belongs to the other one goes, and takes nothing along.
  k delete plugin web-a --timeout=60s >/dev/null
  within 60 0 eval 'APP=web; running_in a'
  scale 4
  within 30 '4 1.0.0' everywhere /a/version
  versioned a 3.0.0 . '.metadata.name = "api-a"'
  ready api-a 3.0.0
}

# A pod's label changes to another host's name: what was the former's leaves it, what is the other's comes and can be taken away.
relabelled_pod_joins_another_host() {
  local pod
  application api 1
  versioned b 1.0.0 . '.metadata.name = "api-b"'
  ready api-b 1.0.0
  application web 2
  versioned a 1.0.0 . '.metadata.name = "web-a"'
  ready web-a 1.0.0
  pod=$(app_pods | head -n 1)
  k label pod "$pod" --overwrite "$API/host=api" >/dev/null
  within 60 1/1 connected
  within 60 2/2 eval 'APP=api; connected'
  within 60 1.0.0 in_pod "$pod" /b/version
  within 60 1 running_in a
  within 60 1 running_in b
  within 60 True condition api-b Ready
  within 60 True condition web-a Ready
  k patch plugin api-b --type=merge -p '{"spec": {"enabled": false}}' >/dev/null
  timed 'what is disabled is gone' within 60 0 running_in b
}
