# Confined plugins, real engines, thresholds, and the end of pods. Sourced by e2e/run.

# ledger [JQ]: two pods whose plugins are confined, or do not run.
ledger() { application ledger 2 ".spec.sandbox = \"Required\" | ${1:-.}"; }

# backends: PostgreSQL, Redis and NATS of the namespace, and the change that has a host use them.
backends() {
  sed "s|BACKENDS_IMAGE|$BACKENDS_IMAGE|" "$E2E_DIR/manifests/backends.yaml" | k apply -f - >/dev/null
  k rollout status deployment/backends --timeout=120s >/dev/null
}
# shellcheck disable=SC2016
BACKENDS='def at($key): {urlFrom: {secretKeyRef: {name: "backends", $key}}};
  .spec.backends = {database: at("database"), storage: at("storage"), cache: at("cache"), events: (at("events") + {overflow: "DropOldest"})}'

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

# kernel POD: what its sidecar finds out about the kernel.
kernel() { k exec "$1" -c rockstar-sidecar -- rockstar-sidecar sandbox-probe; }

# tried OUTCOME ATTEMPT...: hostile-plugin tries these in each pod, with that outcome.
tried() {
  local outcome=$1 attempt round=$RANDOM; shift
  k patch plugin hostile-plugin --type=merge -p "$(jq -cn --argjson round $round '{spec: {config: {$round, attempts: $ARGS.positional}}}' --args "$@")"
  for attempt in "$@"; do
    within 30 "2" logged "[hostile-plugin $round] $attempt -> $outcome |"
  done
}

hostile() { test_plugin hostile-plugin hostile-plugin '{config: {attempts: {type: "array", default: []}, round: {type: "integer", default: 0}}}'; }

required_sandbox_is_enforced_or_refused() {
  local parts
  ledger
  sidecars_change_nothing_outside_their_volumes
  parts=$(kernel "$(app_pods | head -n 1)")
  note "the kernel: $parts"
  hostile
  if ! jq -e '.landlock >= 3 and .filter and .notifications' <<<"$parts" >/dev/null; then
    within 60 'Environment SandboxUnavailable: the sandbox is Required, but this kernel cannot enforce it' failures hostile-plugin
    within 30 'False Partial: partial: ' of_host ledger SandboxEnforced
    return
  fi
  ready hostile-plugin 1.0.0
  jq -e '.landlock < 6' <<<"$parts" >/dev/null || within 30 'True Enforced' of_host ledger SandboxEnforced
  tried 'Operation not permitted (os error 1)' 'run /bin/true' memfd written udp 'tcp 10.96.0.1:443' 'socket 16' io_uring 'session setsid'
  tried 'Permission denied (os error 13)' 'read /etc/passwd' 'read /var/run/secrets/rockstar/token' 'write /var/lib/rockstar/x'
  tried done own 'socket 1'
}

memory_that_does_not_fit_is_refused() {
  ledger '.spec.sandbox = "BestEffort"'
  test_plugin large user-plugin '{}' '.spec.resources.memory = "600Mi"'
  within 60 'Environment NeedsPodRestart: the memory limits of plugins sum up to 600 MiB' failures large
  k patch plugin large --type=merge -p '{"spec": {"resources": {"memory": "64Mi"}}}'
  ready large 1.0.0
}

# command_in POD JSON: has commanded-plugin in that pod do that; prints what came of it.
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

# heard PLUGIN: how many events it has noted, in all pods; the numbers of each pod follow.
heard() {
  local pod numbers=() sum=0 number
  for pod in $(app_pods); do
    number=$(k logs "$pod" -c rockstar-sidecar --tail=-1 | grep -c "note: $1 event pod.greeted" || true)
    numbers+=("$number") sum=$((sum + number))
  done
  echo "$sum in all: ${numbers[*]}"
}

# Database, cache and storage are the same in all pods; an event reaches each plugin once, in some pod.
engines_are_shared_by_pods() {
  local pod name answer config='config: {registers: {type: "object", default: {}}}'
  backends
  ledger ".spec.sandbox = \"BestEffort\" | $BACKENDS"
  within 30 'True Resolved' of_host ledger BackendsResolved
  within 30 'True ' of_host ledger StorageIsolated
  commanded
  test_plugin speaker user-plugin '{events: {publishes: ["pod.greeted"]}, hooks: [{type: "pre_request", priority: 100}]}'
  for name in hearer-a hearer-b; do
    test_plugin $name user-plugin "{events: {subscribes: [\"pod.greeted\"]}, hooks: [{type: \"pre_request\", priority: 100}], $config}" \
      '.spec.config = {registers: {event: "pod.greeted"}}'
  done
  for name in commanded-plugin speaker hearer-a hearer-b; do ready $name 1.0.0; done
  # shellcheck disable=SC2046
  shared_by $(app_pods)
  # What plugins store is not theirs to read by SQL.
  answer=$(command_in "$(app_pods | head -n 1)" '{"do": "exec", "sql": "SET ROLE keeper"}')
  [[ $answer == *error* ]] || fail "a plugin became the storage's role: $answer"
  pod=$(app_pods | head -n 1)
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
  local pod
  ledger '.spec.sandbox = "BestEffort"'
  commanded '.spec.errorThreshold = {maxErrors: 3, action: "alert", resetOnSuccess: false}'
  ready commanded-plugin 1.0.0
  pod=$(app_pods | head -n 1)
  spoil "$pod" 5
  within 30 "Plugin commanded-plugin exceeded error threshold: 3/3 errors in 5m (in $pod)" condition commanded-plugin ErrorThresholdExceeded
  within 30 1 told ErrorThresholdExceeded
  k patch plugin commanded-plugin --type=merge -p '{"spec": {"errorThreshold": {"maxErrors": 9, "action": "disable"}}}'
  within 30 True condition commanded-plugin Ready
  spoil "$pod" 5
  within 30 'True DisabledByErrorThreshold: Plugin commanded-plugin automatically disabled' condition commanded-plugin ErrorThresholdExceeded
  within 30 1 told DisabledByErrorThreshold
  within 30 False condition commanded-plugin Ready
  not_ready commanded-plugin
  same 'events of the alert' 1 "$(told ErrorThresholdExceeded)"
  k annotate plugin commanded-plugin "$API/reload-at=now"
  within 60 none without_condition commanded-plugin ErrorThresholdExceeded
  ready commanded-plugin 1.0.0
}

# A shell that ignores SIGTERM is the first process; the application itself is never told.
plugins_stop_although_the_app_does_not() {
  local log=$WORK/stubborn.log
  ledger '.spec.sandbox = "BestEffort"'
  hostile
  ready hostile-plugin 1.0.0
  k get deployment ledger -o json | jq '{apiVersion: "v1", kind: "Pod", spec: .spec.template.spec,
    metadata: {name: "stubborn", labels: (.spec.template.metadata.labels + {app: "stubborn"})}}
    | .spec.containers[0].command = ["sh", "-c", "trap \"\" TERM; /usr/local/bin/demo-app & while :; do sleep 1; done"]' | k apply -f -
  k wait pod/stubborn --for=condition=Ready --timeout=60s
  within 60 '1.0.0 3/3 Running' serves hostile-plugin
  kubectl -n "$NS" logs -f stubborn -c rockstar-sidecar >"$log" &
  within 10 'Serving the application' cat "$log"
  k delete pod stubborn --timeout=60s
  within 5 '[hostile-plugin] stopped' cat "$log"
  within 60 '1.0.0 2/2 Running' serves hostile-plugin
}
