# What scenarios are written with: waiting, asserting, applying plugins, load. Sourced, never run.

# Where the scenario is, whose application, in how many pods.
NS=shop
APP=storefront
REPLICAS=3
SYSTEM=rockstar-system
API=plugins.rockstar-framework.dev

k() { kubectl --request-timeout=30s -n "$NS" "$@"; }

fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }

# within SECONDS TEXT COMMAND...: the command's output contains the text in time.
within() {
  local seconds=$1 text=$2 end=$((SECONDS + $1)) seen=; shift 2
  while :; do
    seen=$("$@" 2>&1) || true
    [[ $seen != *"$text"* ]] || return 0
    [ "$SECONDS" -lt "$end" ] || fail "expected '$text' from '$*' within $seconds s, found: $seen"
    sleep 0.5
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

# condition PLUGIN TYPE: "True Reason: message", for the current generation only.
condition() {
  k get plugin "$1" -o json | jq -r --arg type "$2" '.metadata.generation as $now
    | .status.conditions[]? | select(.type == $type)
    | if .observedGeneration == $now then "\(.status) \(.reason): \(.message)" else "(of an older generation) \(.status)" end'
}

# serves PLUGIN: "VERSION ready/desired PHASE".
serves() {
  k get plugin "$1" -o json | jq -r '.status | "\(.version) \(.instances.ready)/\(.instances.desired) \(.phase)"'
}

# ready PLUGIN VERSION [SECONDS]: that version runs, proven, everywhere.
ready() {
  within "${3:-90}" True condition "$1" Ready
  within 10 "$2 $REPLICAS/$REPLICAS Running" serves "$1"
}

app_pods() { k get pods -l app=$APP --field-selector=status.phase=Running -o jsonpath='{range .items[*]}{.metadata.name}{"\n"}{end}'; }

# in_sidecars COMMAND...: the command's output in each pod's sidecar, one line a pod.
in_sidecars() {
  local pod
  for pod in $(app_pods); do
    echo "$pod $(k exec "$pod" -c rockstar-sidecar -- "$@" 2>/dev/null | tr '\n' ' ')"
  done
}

# processes PLUGIN: the process ids in each pod; the same before and after means that nothing was reloaded.
processes() { in_sidecars pidof "$1"; }

sidecar_logs() { local pod; for pod in $(app_pods); do k logs "$pod" -c rockstar-sidecar --tail=-1; done; }
operator_logs() { kubectl -n "$SYSTEM" logs -l app.kubernetes.io/name=rockstar --tail="${1:--1}" --prefix; }
events_of() { k get events -o json | jq -r --arg name "$1" '.items[] | select(.involvedObject.name == $name) | "\(.type) \(.reason): \(.message // .note)"'; }

# of_host HOST TYPE: "True Reason: message" of its condition.
of_host() { k get pluginhost "$1" -o json | jq -r --arg type "$2" '.status.conditions[]? | select(.type == $type) | "\(.status) \(.reason): \(.message)"'; }

# failures PLUGIN: "CLASS REASON: message" of each.
failures() { k get plugin "$1" -o json | jq -r '.status.failures[]? | "\(.class) \(.reason): \(.message)"'; }

# in_pod POD PATH [CURL ARGUMENTS...]: one request to the application in that pod, by way of the node.
in_pod() {
  local pod=$1 path=$2; shift 2
  docker exec "$CLUSTER-control-plane" curl -sS -m 20 "$@" "http://$(k get pod "$pod" -o jsonpath='{.status.podIP}'):8000$path"
}

# request [CURL ARGUMENTS...]: status code and body of one request to the application.
request() { curl -sS -m 10 -w '\n%{http_code}\n' "$@"; }

app_url() { echo "http://$(docker inspect -f '{{.NetworkSettings.Networks.kind.IPAddress}}' "$CLUSTER-control-plane"):30080"; }

# --- Artifacts and Plugin resources ---

# artifact NAME VERSION MANIFEST [PROGRAM]: pushes the plugin's program with this manifest, prints the digest.
artifact() {
  local name=$1 version=$2 manifest=$3 program=${4:-$1} dir=$WORK/artifacts/$1-$2 reference
  rm -rf "$dir" && mkdir -p "$dir"
  strip -o "$dir/$name" "$BUILT/$program"
  printf '%s\n' "$manifest" >"$dir/plugin.yaml"
  reference=$("$BUILT/rockstar" push "$dir" "$REGISTRY/plugins/$name:$version" --insecure 2>"$WORK/push.log") ||
    fail "rockstar push $name $version: $(cat "$WORK/push.log")"
  echo "${reference##*@}"
}

# resource NAME: the Plugin of e2e/manifests with the manifest of examples/plugins, as JSON.
resource() {
  {
    cat "$E2E_DIR/manifests/$1.yaml"
    echo '  manifest:'
    sed 's/^/    /' "$REPO_DIR/examples/plugins/$1/plugin.yaml"
  } | kubectl create --dry-run=client -o json -f -
}

# plugin NAME [JQ]: applies that Plugin after a change to it, its artifact pushed first.
plugin() {
  local changed name version digest
  changed=$(resource "$1" | jq "${2:-.}")
  name=$(jq -r .spec.manifest.name <<<"$changed")
  version=$(jq -r .spec.manifest.version <<<"$changed")
  digest=$(artifact "$name" "$version" "$(jq .spec.manifest <<<"$changed")")
  jq --arg image "$REGISTRY/plugins/$name" --arg digest "$digest" '.spec.source = {oci: {image: $image, digest: $digest}}' <<<"$changed" |
    k apply -f - >/dev/null
}

# test_plugin NAME PROGRAM MANIFEST [JQ]: applies a Plugin of one of the tests' programs; MANIFEST has what is not the same
# for all, and all that it declares is granted.
test_plugin() {
  local name=$1 program=$2 manifest digest
  manifest=$(jq -cn --arg name "$name" '{name: $name, version: "1.0.0", description: "A test", author: "Me"} + '"$3")
  digest=$(artifact "$name" 1.0.0 "$manifest" "$program")
  jq -n --arg kind Plugin --arg name "$name" --arg host "$APP" --arg api "$API/v1alpha1" --arg digest "$digest" \
    --arg image "$REGISTRY/plugins/$name" --argjson manifest "$manifest" \
    '{apiVersion: $api, $kind, metadata: {$name}, spec: {$host, $manifest, permissions: ($manifest.permissions // {}),
      source: {oci: {$image, $digest}}, resources: {memory: "64Mi"}, reload: {gracePeriod: "1s"}}} | '"${4:-.}" |
    k apply -f - >/dev/null
}

# --- Load ---

# load_begin: requests with a token from four callers, 20 a second each, over new connections, to all pods.
# Each writes "STATUS EXIT-CODE ERROR" to a file of its own; to standard error, which curl does not hold back.
load_begin() {
  local caller
  rm -f "$WORK"/load.*
  load_pids=()
  for caller in 1 2 3 4; do
    curl -s -m 60 --rate 20/s -H 'connection: close' -H "authorization: Bearer $TOKEN" -o /dev/null \
      -w '%{stderr}%{http_code} %{exitcode} %{errormsg}\n' "$(app_url)/hello/[1-1000000]" 2>"$WORK/load.$caller" &
    load_pids+=($!)
  done
  within 10 '200 0' answers
}

# answers: one line each; one that was being written when its caller was ended does not count.
answers() { grep -hE '^[0-9]{3} [0-9]+ ' "$WORK"/load.*; }

# load_end: ends it; every request must have been answered with 200.
load_end() {
  local failed total
  kill "${load_pids[@]}" && wait "${load_pids[@]}" 2>/dev/null || true
  total=$(answers | wc -l)
  failed=$(answers | grep -vc '^200 0' || true)
  echo "    $total requests, $failed failed"
  [ "$failed" = 0 ] || fail "$failed of $total requests failed: $(answers | grep -v '^200 0' | sort | uniq -c | head -n 5)"
}

# --- Verdicts ---

passed=0 failed=()

# scenario FUNCTION: one line of verdict; what helps to understand a failure follows it.
scenario() {
  local name=$1 log=$WORK/$1.log start=$SECONDS verdict=PASS
  ( trap 'kill $(jobs -p) 2>/dev/null || true' EXIT; "$name" ) >"$log" 2>&1 &
  wait $! || verdict=FAIL
  printf '%s %s (%d s)\n' "$verdict" "${name//_/ }" $((SECONDS - start))
  if [ $verdict = PASS ]; then
    passed=$((passed + 1))
    cat "$log"
  else
    failed+=("$name")
    tail -n 20 "$log"
    evidence >"$WORK/$name.evidence" 2>&1 || true
    cut -c1-400 "$WORK/$name.evidence"
  fi
}

evidence() {
  echo '--- resources'
  kubectl get plugins,pluginhosts,pods -A -o wide
  kubectl get plugins -A -o json | jq -c '.items[] | {name: .metadata.name, generation: .metadata.generation, status}'
  kubectl get pluginhosts -A -o json | jq -c '.items[] | {name: .metadata.name, generation: .metadata.generation, status}'
  echo '--- events'
  kubectl get events -A --sort-by=.lastTimestamp | tail -n 25
  echo '--- operator'
  operator_logs 40
  echo '--- sidecars'
  k logs -l app=storefront -c rockstar-sidecar --tail=25 --prefix
  kubectl -n strict logs -l app=ledger -c rockstar-sidecar --tail=25 --prefix
}

verdict() {
  echo "${passed} passed, ${#failed[@]} failed${failed[0]+: ${failed[*]}}"
  [ ${#failed[@]} = 0 ]
}
