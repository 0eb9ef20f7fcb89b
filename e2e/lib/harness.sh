# What scenarios are written with: waiting, asserting, applying plugins, load, the operator. Sourced, never run.

# Where the scenario is, whose application, in how many pods.
NS=default
APP=storefront
REPLICAS=3
SYSTEM=rockstar-system
API=plugins.rockstar-framework.dev

k() { kubectl --request-timeout=30s -n "$NS" "$@"; }
system() { kubectl --request-timeout=30s -n "$SYSTEM" "$@"; }

# node COMMAND...: runs it in the cluster's node.
node() { docker exec -i "$CLUSTER-control-plane" "$@"; }

fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }
note() { printf '    %s\n' "$*"; }

# within SECONDS TEXT COMMAND...: the command's output contains the text in time.
within() {
  local seconds=$1 text=$2 end=$((SECONDS + $1)) seen=; shift 2
  while :; do
    seen=$("$@" 2>&1) || true
    [[ $seen != *"$text"* ]] || return 0
    [ "$SECONDS" -lt "$end" ] || fail "expected '$text' from '$*' within $seconds s, found: $seen"
    sleep 0.3
  done
}

# throughout SECONDS TEXT COMMAND...: the command's output contains the text all the time.
throughout() {
  local seconds=$1 text=$2 end=$((SECONDS + $1)) seen; shift 2
  while [ "$SECONDS" -lt "$end" ]; do
    seen=$("$@" 2>&1) || true
    [[ $seen == *"$text"* ]] || fail "expected '$text' from '$*' for $seconds s, found: $seen"
    sleep 0.5
  done
}

same() { [ "$2" = "$3" ] || fail "$1: expected '$2', found '$3'"; }
at_most() { [ "$3" -le "$2" ] || fail "$1: expected at most $2, found $3"; }

# timed TEXT COMMAND...: prints how long it took, for readers; nothing is asserted of it.
timed() {
  local text=$1 begin=${EPOCHREALTIME/./}; shift
  "$@"
  note "$text after $(((${EPOCHREALTIME/./} - begin) / 1000)) ms"
}

# --- The application ---

# application NAME REPLICAS [JQ]: a PluginHost, changed by that, and an application that joins it.
application() {
  APP=$1 REPLICAS=$2
  sed "s/APP/$APP/" "$E2E_DIR/manifests/host.yaml" | k create --dry-run=client -o json -f - | jq "${3:-.}" | k apply -f - >/dev/null
  sed "s/APP/$APP/; s/REPLICAS/$REPLICAS/" "$E2E_DIR/manifests/app.yaml" | sed "s/APP/$APP/g" | k apply -f - >/dev/null
  k rollout status "deployment/$APP" --timeout=180s >/dev/null || fail "the application does not start"
}

# scale REPLICAS: as many pods, all ready.
scale() {
  REPLICAS=$1
  k scale "deployment/$APP" --replicas="$1" >/dev/null
  k rollout status "deployment/$APP" --timeout=180s >/dev/null || fail "the application does not scale to $1"
}

app_pods() {
  k get pods -l app=$APP --field-selector=status.phase=Running -o json |
    jq -r '.items[] | select(.metadata.deletionTimestamp == null) | .metadata.name'
}

# in_sidecars COMMAND...: the command's output in each pod's sidecar, one line a pod.
in_sidecars() {
  local pod
  for pod in $(app_pods); do
    echo "$pod $(k exec "$pod" -c rockstar-sidecar -- "$@" 2>/dev/null | tr '\n' ' ')"
  done
}

# processes PLUGIN: the process ids in each pod; the same before and after means that nothing was reloaded.
processes() { in_sidecars pidof "$1"; }

# running_in PLUGIN: in how many pods a process of it runs.
running_in() { processes "$1" | awk 'NF > 1 { pods++ } END { print pods + 0 }'; }

sidecar_logs() { local pod; for pod in $(app_pods); do k logs "$pod" -c rockstar-sidecar --tail=-1; done; }
# logged TEXT: how many lines of the sidecars' logs have it.
logged() { sidecar_logs | grep -cF "$1" || true; }
# pod_that_logged TEXT: the first pod whose sidecar did.
pod_that_logged() {
  local pod
  for pod in $(app_pods); do
    if k logs "$pod" -c rockstar-sidecar --tail=-1 | grep -F "$1" >/dev/null; then echo "$pod" && return; fi
  done
  fail "no sidecar logged '$1'"
}
# tries PLUGIN VERSION: how often that version of a versioned plugin was initialised, in all pods.
tries() { logged "$1 $2 initializes"; }

# in_pod POD PATH [CURL ARGUMENTS...]: one request to the application in that pod, by way of the node.
in_pod() {
  local pod=$1 path=$2; shift 2
  node curl -sS -m 20 "$@" "http://$(k get pod "$pod" -o jsonpath='{.status.podIP}'):8000$path"
}

# everywhere PATH [CURL ARGUMENTS...]: what the application answers in each pod, counted: "3 1.0.0".
everywhere() {
  local pod
  for pod in $(app_pods); do in_pod "$pod" "$@" 2>&1 || true; echo; done | grep . | sort | uniq -c | sed 's/^ *//'
}

# request [CURL ARGUMENTS...]: status code and body of one request to the application.
request() { curl -sS -m 10 -w '\n%{http_code}\n' "$@"; }

app_url() {
  echo "http://$(docker inspect -f '{{.NetworkSettings.Networks.kind.IPAddress}}' "$CLUSTER-control-plane"):$(k get service "$APP" -o jsonpath='{.spec.ports[0].nodePort}')"
}

# --- What the operator says ---

# condition PLUGIN TYPE: "True Reason: message", for the current generation only.
condition() {
  k get plugin "$1" -o json | jq -r --arg type "$2" '.metadata.generation as $now
    | .status.conditions[]? | select(.type == $type)
    | if .observedGeneration == $now then "\(.status) \(.reason): \(.message)" else "(of an older generation)" end'
}

without_condition() { condition "$1" "$2" | grep '^True' || echo none; }

# serves PLUGIN: "VERSION ready/desired PHASE".
serves() {
  k get plugin "$1" -o json | jq -r '.status | "\(.version) \(.instances.ready)/\(.instances.desired) \(.phase)"'
}

# ready PLUGIN VERSION [SECONDS]: that version runs, proven, everywhere.
ready() {
  within "${3:-120}" True condition "$1" Ready
  within 10 "$2 $REPLICAS/$REPLICAS Running" serves "$1"
}

# returned PLUGIN VERSION CAUSE: the newest version was given up for that cause, and this one serves everywhere.
returned() {
  within 120 "$3" condition "$1" Ready
  within 60 True condition "$1" Stalled
  within 60 True condition "$1" RolledBack
  within 60 "$2 0/$REPLICAS Running" serves "$1"
  within 30 "True Serving: " condition "$1" Available
}

# not_ready PLUGIN: as kubectl wait, Flux and Argo CD see it.
not_ready() { ! k wait --for=condition=Ready --timeout=2s "plugin/$1" >/dev/null 2>&1 || fail "kubectl wait says Ready of $1"; }

# of_host HOST TYPE: "True Reason: message" of its condition.
of_host() { k get pluginhost "$1" -o json | jq -r --arg type "$2" '.status.conditions[]? | select(.type == $type) | "\(.status) \(.reason): \(.message)"'; }

# rollout JQ: that of the host's rollout, as the operator remembers it.
rollout() { k get pluginhost "$APP" -o json | jq -r ".status.rollout | $1"; }

connected() { k get pluginhost "$APP" -o json | jq -r '.status.instances | "\(.connected)/\(.desired)"'; }

# failures PLUGIN: "CLASS REASON: message" of each.
failures() { k get plugin "$1" -o json | jq -r '.status.failures[]? | "\(.class) \(.reason): \(.message)"'; }

events_of() { k get events -o json | jq -r --arg name "$1" '.items[] | select(.involvedObject.name == $name) | "\(.type) \(.reason): \(.message // .note)"'; }

# --- What happened meanwhile ---

# record FILE KIND NAME JQ: each state of an object, or of all where NAME is empty, as it comes: "MILLISECONDS VALUE".
record() {
  kubectl -n "$NS" get "$2" ${3:+"$3"} -w -o json | jq --unbuffered -r "\"\\(now * 1000 | floor) \\($4)\"" >"$WORK/$NS.$1" &
  within 10 ' ' cat "$WORK/$NS.$1"
}

READINESS='"\(.metadata.name) \([.status.conditions[]? | select(.type == "Ready").status][0])"'

# lost_readiness FILE: how often a pod that was ready was no longer, in a record of READINESS.
lost_readiness() { awk 'was[$2] == "True" && $3 != "True" { lost++ } { was[$2] = $3 } END { print lost + 0 }' "$WORK/$NS.$1"; }

# quiet_for SECONDS FILE: whether a record had no news for so long.
quiet_for() { [ $(($(date +%s) - $(stat -c %Y "$WORK/$NS.$2"))) -lt "$1" ] || echo quiet; }

# most_in_flight PLUGIN VERSION: in how many pods at once a version was initialised and not proven yet.
most_in_flight() {
  local pod
  for pod in $(app_pods); do
    k logs "$pod" -c rockstar-sidecar --tail=-1 --timestamps | sed -n "s/ .*$1 $2 initializes.*/ 1/p
      s/ .*Plugin $1 v$2 outlived its grace period.*/ -1/p; s/ .*Plugin reload failed: $1 v$2.*/ -1/p"
  done | while read -r time change; do echo "$(date -d "$time" +%s%6N) $change"; done | sort -n |
    awk '{ now += $2 } now > most { most = now } END { print most + 0 }'
}

# first_at FILE PATTERN: when a record first had it, in milliseconds.
first_at() { grep -m 1 -E "$2" "$WORK/$NS.$1" | cut -d' ' -f1; }

# logged_at TEXT: when the sidecars logged it, in milliseconds, the earliest first.
logged_at() {
  local pod
  for pod in $(app_pods); do
    k logs "$pod" -c rockstar-sidecar --tail=-1 --timestamps | grep -F "$1" | cut -d' ' -f1 || true
  done | while read -r time; do date -d "$time" +%s%3N; done | sort -n
}

# --- The operator ---

operator_logs() { system logs -l app.kubernetes.io/name=rockstar --tail="${1:--1}" --prefix; }

leader_pod() { system get lease rockstar-operator -o json | jq -r '.spec.holderIdentity // "" | split("_")[0] // ""'; }

# followed POD: who leads now, if that is another one.
followed() { local now; now=$(leader_pod); [ -z "$now" ] || [ "$now" = "$1" ] || echo "led by $now"; }

# kill_leader: returns when another leads.
kill_leader() {
  local leader
  within 60 'led by' followed nobody
  leader=$(leader_pod)
  note "kills the leader $leader"
  system delete pod "$leader" --grace-period=0 --force >/dev/null 2>&1
  within 90 'led by' followed "$leader"
}

operator_whole() { system rollout status deployment rockstar-operator --timeout=120s >/dev/null || fail 'the operator does not start'; }

# operator_replicas NUMBER: exactly so many, at once.
operator_replicas() {
  system scale deployment rockstar-operator --replicas="$1" >/dev/null
  if [ "$1" = 0 ]; then
    system delete pod -l app.kubernetes.io/component=operator --grace-period=0 --force >/dev/null 2>&1
    within 30 none operator_pods
  else
    operator_whole
  fi
}

operator_pods() { system get pods -l app.kubernetes.io/component=operator -o name | grep . || echo none; }

# process_of POD COMMAND: its process id in the node; the command's name as the kernel keeps it, 15 characters.
process_of() {
  local found
  # shellcheck disable=SC2016
  found=$(node sh -c 'for p in /proc/[0-9]*; do
    if [ "$(cat "$p/comm" 2>/dev/null)" = "$2" ] && tr "\0" "\n" <"$p/environ" | grep -qx "POD_NAME=$1"; then echo "${p#/proc/}"; fi
  done' sh "$1" "$2" 2>/dev/null | sort -n | head -n 1)
  [ -n "$found" ] || fail "no process $2 of $1"
  echo "$found"
}

# kill_sidecar POD: without a word, and without its plugins' doing.
kill_sidecar() { node kill -9 "$(process_of "$1" rockstar-sideca)"; }

restarts() { k get pod "$1" -o json | jq '[.status.initContainerStatuses[] | select(.name == "rockstar-sidecar").restartCount][0]'; }

# --- Artifacts and Plugin resources ---

# stripped PROGRAM: the file of a program without its symbols.
stripped() {
  mkdir -p "$WORK/stripped"
  [ -f "$WORK/stripped/$1" ] || { strip -o "$WORK/stripped/$1.$NS" "$BUILT/$1" && mv "$WORK/stripped/$1.$NS" "$WORK/stripped/$1"; }
  echo "$WORK/stripped/$1"
}

# artifact NAME VERSION MANIFEST [PROGRAM]: pushes the plugin's program with this manifest, prints the digest.
artifact() {
  local name=$1 version=$2 manifest=$3 program=${4:-$1} dir=$WORK/artifacts/$NS/$1-$2 reference
  rm -rf "$dir" && mkdir -p "$dir"
  ln "$(stripped "$program")" "$dir/$name"
  printf '%s\n' "$manifest" >"$dir/plugin.yaml"
  reference=$("$BUILT/rockstar" push "$dir" "${TO_REGISTRY:-$REGISTRY}/$NS/$name:$version" --insecure 2>"$dir.log") ||
    fail "rockstar push $name $version: $(cat "$dir.log")"
  echo "${reference##*@}"
}

# resource NAME: the Plugin of e2e/manifests with the manifest of examples/plugins, as JSON.
resource() {
  {
    cat "$E2E_DIR/manifests/$1.yaml"
    echo '  manifest:'
    sed 's/^/    /' "$REPO_DIR/examples/plugins/$1/plugin.yaml"
  } | kubectl create --dry-run=client -o json -f - | jq "del(.metadata.namespace) | .spec.host = \"$APP\""
}

# plugin NAME [JQ]: applies that Plugin after a change to it, its artifact pushed first.
plugin() {
  local changed name version digest
  changed=$(resource "$1" | jq "${2:-.}")
  name=$(jq -r .spec.manifest.name <<<"$changed")
  version=$(jq -r .spec.manifest.version <<<"$changed")
  digest=$(artifact "$name" "$version" "$(jq .spec.manifest <<<"$changed")")
  jq --arg image "$REGISTRY/$NS/$name" --arg digest "$digest" '.spec.source = {oci: {image: $image, digest: $digest}}' <<<"$changed" |
    k apply -f - >/dev/null
}

# plugin_json NAME MANIFEST DIGEST [JQ]: a Plugin of that name with that manifest; all that it declares is granted.
plugin_json() {
  jq -n --arg name "$1" --arg host "$APP" --arg api "$API/v1alpha1" --arg digest "$3" --arg image "${TO_REGISTRY:-$REGISTRY}/$NS/$1" \
    --argjson manifest "$2" '{apiVersion: $api, kind: "Plugin", metadata: {$name}, spec: {$host, $manifest,
      permissions: ($manifest.permissions // {}), source: {oci: {$image, $digest}}, resources: {memory: "64Mi"},
      reload: {gracePeriod: "1s"}}} | '"${4:-.}"
}

# test_plugin NAME PROGRAM MANIFEST [JQ]: applies a Plugin of one of the tests' programs; MANIFEST has what is not the same for all.
test_plugin() {
  local manifest digest
  manifest=$(jq -cn --arg name "$1" '{name: $name, version: "1.0.0", description: "A test", author: "Me"} + '"$3")
  digest=$(artifact "$1" 1.0.0 "$manifest" "$2")
  plugin_json "$1" "$manifest" "$digest" "${4:-.}" | k apply -f - >/dev/null
}

# versioned NAME VERSION [MANIFEST JQ] [JQ]: applies that version of a Plugin of tests/src/bin/versioned.rs.
versioned() { versioned_json "$@" | k apply -f - >/dev/null; }

versioned_json() {
  local manifest digest
  manifest=$(jq -cn --arg name "$1" --arg version "$2" '{name: $name, version: $version, description: "A test", author: "Me",
    hooks: [{type: "pre_request", priority: 100}], config: {fault: {type: "string", default: "none"},
      after: {type: "duration", default: "5s"}, start_takes: {type: "duration", default: "0s"},
      guards: {type: "boolean", default: false}, refuses: {type: "boolean", default: false},
      provides: {type: "boolean", default: false}, asks: {type: "string"}, secret: {type: "string"}}} | '"${3:-.}")
  digest=$(artifact "$1" "$2" "$manifest" versioned-plugin)
  plugin_json "$1" "$manifest" "$digest" "${4:-.}"
}

# faulty FAULT [AFTER]: the change to a manifest that makes its version fail so.
faulty() { printf '.config.fault.default = "%s" | .config.after.default = "%s"' "$1" "${2:-5s}"; }
# grace DURATION: the change to a Plugin.
grace() { printf '.spec.reload.gracePeriod = "%s"' "$1"; }

# --- Load ---

# load_begin [PATH] [CURL ARGUMENTS...]: requests from four callers, 5 a second each, over new connections, to all pods.
# Each writes "STATUS EXIT-CODE SERVED ERROR" to a file of its own; to standard error, which curl does not hold back.
load_begin() {
  local caller path=${1:-/hello} url; shift || true
  [ $# -gt 0 ] || set -- -H "authorization: Bearer $TOKEN"
  url=$(app_url)
  LOAD=$WORK/$NS.load
  rm -f "$LOAD".*
  load_pids=()
  for caller in 1 2 3 4; do
    curl -s -m 60 --rate 5/s -H 'connection: close' "$@" -o /dev/null \
      -w '%{stderr}%{http_code} %{exitcode} served:%header{x-served} %{errormsg}\n' "$url$path/[1-1000000]" 2>"$LOAD.$caller" &
    load_pids+=($!)
  done
  within 20 'served' answers
}

# answers: one line each; one that was being written when its caller was ended does not count.
answers() { grep -hE '^[0-9]{3} [0-9]+ served' "$LOAD".*; }

load_stop() { kill "${load_pids[@]}" && wait "${load_pids[@]}" 2>/dev/null || true; }

# load_end: ends it; every request must have been answered with 200.
load_end() {
  local failed total
  load_stop
  total=$(answers | wc -l)
  failed=$(answers | grep -vc '^200 0' || true)
  note "$total requests, $failed failed"
  [ "$failed" = 0 ] || fail "$failed of $total requests failed: $(answers | grep -v '^200 0' | sort | uniq -c | head -n 5)"
}

# --- Verdicts ---

# namespace_of FUNCTION: the scenario's own.
namespace_of() { echo "${1//_/-}"; }

# scenario FUNCTION: one line of verdict; what helps to understand a failure follows it.
scenario() {
  local name=$1 log=$WORK/$1.log start=$SECONDS verdict=PASS
  NS=$(namespace_of "$name")
  ( trap 'kill $(jobs -p) 2>/dev/null || true' EXIT; "$name" ) >"$log" 2>&1 &
  wait $! || verdict=FAIL
  echo "$verdict $name" >>"$WORK/verdicts"
  {
    printf '%s %s (%d s)\n' "$verdict" "${name//_/ }" $((SECONDS - start))
    if [ $verdict = PASS ]; then
      cat "$log"
    else
      tail -n 20 "$log"
      evidence >"$WORK/$name.evidence" 2>&1 || true
      cut -c1-400 "$WORK/$name.evidence"
    fi
  } >"$WORK/$name.report"
  cat "$WORK/$name.report"
  [ $verdict-${KEEP:-} = FAIL-1 ] || k delete deployments,jobs,services,plugins,pluginhosts --all --wait=false >/dev/null 2>&1 || true
}

# scenarios FUNCTION...: so many at a time as JOBS says; those that touch what all share come last, one after another.
scenarios() {
  local name
  for name in "$@"; do
    [[ " ${ALONE[*]} " != *" $name "* ]] || continue
    while [ "$(jobs -rp | wc -l)" -ge "${JOBS:-1}" ]; do wait -n || true; done
    scenario "$name" &
  done
  wait
  for name in "$@"; do [[ " ${ALONE[*]} " != *" $name "* ]] || scenario "$name"; done
}

evidence() {
  local pod
  echo '--- resources'
  k get plugins,pluginhosts,pods -o wide
  k get plugins -o json | jq -c '.items[] | {name: .metadata.name, generation: .metadata.generation, status}'
  k get pluginhosts -o json | jq -c '.items[] | {name: .metadata.name, generation: .metadata.generation, status}'
  echo '--- events'
  k get events --sort-by=.lastTimestamp | tail -n 25
  echo '--- operator'
  system get pods -o wide
  operator_logs 40
  echo '--- sidecars'
  for pod in $(k get pods -o jsonpath='{.items[*].metadata.name}'); do
    echo "$pod"
    k logs "$pod" -c rockstar-sidecar --tail=25
  done
}

verdict() {
  local failed; failed=$(sed -n 's/^FAIL //p' "$WORK/verdicts" | tr '\n' ' ')
  echo "$(grep -c ^PASS "$WORK/verdicts" || true) passed, failed: ${failed:-none}; $((SECONDS / 60)) min $((SECONDS % 60)) s in all"
  [ -z "$failed" ]
}
