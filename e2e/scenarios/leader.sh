# The operator is killed, frozen, replaced, or away. Sourced by e2e/run.

# The canary crashes while there is no operator.
version_crashes_without_an_operator() {
  application storefront 3
  versioned a 1.0.0
  ready a 1.0.0
  versioned a 2.0.0 "$(faulty crash 20s)" "$(grace 40s)"
  within 60 'a 2.0.0 started' sidecar_logs
  trap 'operator_replicas 2; kill $(jobs -p) 2>/dev/null || true' EXIT
  operator_replicas 0
  within 60 'Rolling back to previous version: a v1.0.0' sidecar_logs
  within 30 '3 1.0.0' everywhere /a/version
  same 'operators at that time' none "$(operator_pods)"
  operator_replicas 2
  trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
  within 90 True condition a RolledBack
  returned a 1.0.0 'crashed within grace period'
  same 'tries of 2.0.0' 1 "$(tries a 2.0.0)"
}

# stored_revisions: how many bodies of plugins are kept in the namespace.
stored_revisions() { k get controllerrevisions -o name | wc -l; }

# A Plugin is deleted and applied again while there is no operator: another object with the same body, that runs on.
plugin_made_again_without_an_operator() {
  local before
  application storefront 2
  versioned a 1.0.0
  versioned b 1.0.0
  ready a 1.0.0
  ready b 1.0.0
  before=$(processes a)
  trap 'operator_replicas 2; kill $(jobs -p) 2>/dev/null || true' EXIT
  operator_replicas 0
  k delete plugin a --timeout=60s >/dev/null
  versioned a 1.0.0
  operator_replicas 2
  trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
  ready a 1.0.0
  same 'processes of a' "$before" "$(processes a)"
  # The body did not end with the object that it was stored for.
  scale 3
  within 60 '3 1.0.0' everywhere /a/version
  k delete plugin a --timeout=60s >/dev/null
  within 60 0 running_in a
  timed 'its revision is gone' within 120 1 stored_revisions
}

# proof: whether the first instance is through with a's version on trial.
proof() { rollout 'if .trials.a.proof then "proven" else "not yet" end'; }

# promoted_last: a was promoted after each pod had proven the version, by the record `stable`.
promoted_last() {
  local promoted last
  promoted=$(first_at stable "$(rollout .stable.a)\$")
  last=$(logged_at "Plugin a v$1 outlived its grace period" | tail -n 1)
  note "the last proof at $last, promoted at $promoted ms"
  [ "$promoted" -gt "$last" ] || fail "promoted $((last - promoted)) ms before the last proof"
}

# The leader is killed right after the canary's proof: the next one goes on with the window, and promotes nothing before.
leader_killed_after_the_canary() {
  application storefront 6
  versioned a 1.0.0
  ready a 1.0.0
  load_begin
  record stable pluginhost storefront '.status.rollout.stable.a'
  versioned a 2.0.0 . "$(grace 8s)"
  within 90 proven proof
  kill_leader
  ready a 2.0.0 240
  operator_whole
  load_end
  same 'starts of 2.0.0' 6 "$(tries a 2.0.0)"
  at_most 'pods in flight' 1 "$(most_in_flight a 2.0.0)"
  promoted_last 2.0.0
}

# The leader stands still in the middle of a rollout, another one leads, and the first one wakes up.
frozen_leader_in_the_middle_of_a_rollout() {
  local leader
  application storefront 6
  versioned a 1.0.0
  ready a 1.0.0
  load_begin
  record stable pluginhost storefront '.status.rollout.stable.a'
  record generations pluginhost storefront '.status.rollout.planGeneration'
  versioned a 2.0.0 . "$(grace 8s)"
  within 90 proven proof
  leader=$(leader_pod)
  process=$(process_of "$leader" rockstar-operat)
  note "freezes the leader $leader"
  node kill -STOP "$process"
  trap 'node kill -CONT "$process" || true; kill $(jobs -p) 2>/dev/null || true' EXIT
  within 90 'led by' followed "$leader"
  within 60 3 tries a 2.0.0
  node kill -CONT "$process"
  trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
  ready a 2.0.0 240
  load_end
  same 'starts of 2.0.0' 6 "$(tries a 2.0.0)"
  at_most 'pods in flight' 1 "$(most_in_flight a 2.0.0)"
  same 'times that the plan generation fell' 0 "$(awk '$2 < was { fell++ } { was = $2 } END { print fell + 0 }' "$WORK/$NS.generations")"
  promoted_last 2.0.0
}

# statuses: what a record of Plugins shows of their statuses, each once, but for the marker's.
STATUSES='"\(.metadata.name) \(.status | del(.observedGeneration) | tojson)"'
statuses() { cut -d' ' -f2- "$WORK/$NS.statuses" | grep -v '^marker ' | sort -u; }

# Both replicas are replaced: nothing about the plugins changes, in no status at no time; a rolled back one stays so.
restarted_operator_changes_no_status() {
  local before
  application storefront 3
  versioned a 1.0.0
  versioned b 1.0.0
  versioned c 1.0.0
  for name in a b c; do ready $name 1.0.0; done
  versioned b 2.0.0 "$(faulty initialize)"
  returned b 1.0.0 'cannot read the key store'
  k patch plugin c --type=merge -p '{"spec": {"enabled": false}}' >/dev/null
  within 60 0 running_in c
  load_begin
  # Reports of counts that are on their way.
  throughout 5 3/3 connected
  record statuses plugins '' "$STATUSES"
  before=$(k get plugins -o json | jq -r ".items[] | $STATUSES" | sort -u)
  system rollout restart deployment rockstar-operator >/dev/null
  operator_whole
  kill_leader
  operator_whole
  # The new leader has come so far that a new plugin runs everywhere.
  versioned marker 1.0.0
  ready marker 1.0.0
  same 'statuses at all times' "$before" "$(statuses)"
  load_end
  same 'starts' '3 3' "$(tries a 1.0.0) $(tries c 1.0.0)"
}

# reconnected BEFORE: all sidecars trust another authority than that one.
authority() { k get configmap rockstar-ca -o json | jq -r '.data | tojson' | cksum; }
authority_differs() { [ "$(authority)" = "$1" ] || echo another; }

# Another operator with another authority: all sidecars come back to it, and nothing is loaded anew.
operator_upgraded_with_a_new_authority() {
  local before trusted
  application storefront 3
  versioned a 1.0.0
  ready a 1.0.0
  before=$(processes a) trusted=$(authority)
  load_begin
  install_chart --set podAnnotations.upgraded=yes >/dev/null
  operator_whole
  within 90 3/3 connected
  system delete secret rockstar-operator-tls >/dev/null
  system rollout restart deployment rockstar-operator >/dev/null
  operator_whole
  within 120 another authority_differs "$trusted"
  # Only over a new stream is this heard.
  versioned marker 1.0.0
  ready marker 1.0.0 240
  load_end
  same 'processes of a' "$before" "$(processes a)"
  # The API server trusts the webhooks again: a pod gets its sidecar.
  scale 4
  within 60 '4 1.0.0' everywhere /a/version
  install_chart >/dev/null
}

# policies JQ: changes how the definition of Plugins checks failurePolicy.
failure_policies() {
  kubectl get crd "plugins.$API" -o json | jq ".spec.versions[0].schema.openAPIV3Schema.properties.spec.properties.failurePolicy.enum = $1" |
    kubectl replace -f - >/dev/null
}

# A Plugin that this operator cannot read, as after a downgrade: what runs is held, also by an operator that never read it.
unreadable_object_is_held() {
  local before
  application storefront 3
  versioned a 1.0.0
  versioned b 1.0.0
  ready a 1.0.0
  ready b 1.0.0
  before=$(processes a)
  local known; known=$(kubectl get crd "plugins.$API" -o json | jq -c '.spec.versions[0].schema.openAPIV3Schema.properties.spec.properties.failurePolicy.enum')
  trap 'install_chart --force-conflicts >/dev/null; kill $(jobs -p) 2>/dev/null || true' EXIT
  failure_policies "$known + [\"Degraded\"]"
  k label plugin a "$API/validate=false" >/dev/null
  within 30 patched patch_policy a Degraded
  within 30 'False Unreadable: ' condition a Ready
  kill_leader
  operator_whole
  within 60 3/3 connected
  versioned b 2.0.0
  ready b 2.0.0 180
  same 'processes of a' "$before" "$(processes a)"
  scale 4
  within 30 '4 1.0.0' everywhere /a/version
  k patch plugin a --type=merge -p '{"spec": {"failurePolicy": "Closed"}}' >/dev/null
  ready a 1.0.0
  same 'starts of a' 4 "$(tries a 1.0.0)"
}

patch_policy() { k patch plugin "$1" --type=merge -p "{\"spec\": {\"failurePolicy\": \"$2\"}}" && echo patched; }

# A PluginHost that cannot be used holds what runs; deleting and disabling act nevertheless.
invalid_host_holds_and_takes_away() {
  local before
  application storefront 2
  versioned a 1.0.0
  versioned b 1.0.0
  versioned c 1.0.0
  for name in a b c; do ready $name 1.0.0; done
  before=$(processes a)
  k label pluginhost storefront "$API/validate=false" >/dev/null
  k patch pluginhost storefront --type=merge -p '{"spec": {"rollout": {"progressDeadline": "0s"}}}' >/dev/null
  k patch plugin b --type=merge -p '{"spec": {"enabled": false}}' >/dev/null
  timed 'the disabled one is gone' within 60 0 running_in b
  k delete plugin c --timeout=60s >/dev/null
  timed 'the deleted one is gone' within 60 0 running_in c
  same 'processes of a' "$before" "$(processes a)"
  k patch pluginhost storefront --type=merge -p '{"spec": {"rollout": {"progressDeadline": "5m"}}}' >/dev/null
  versioned a 2.0.0
  ready a 2.0.0
}
