# Everything ends: namespaces, hosts, the release, the operator's namespace; and can be made again. Sourced by e2e/run.

# namespace_ends NAMESPACE: it is gone, with all that was in it.
namespace_ends() {
  kubectl delete namespace "$1" --wait=false >/dev/null
  timed "the namespace $1 is gone" within 120 NotFound kubectl get namespace "$1"
}

# running_pair: two plugins, one of which requires the other one.
running_pair() {
  application storefront "$1"
  versioned b 1.0.0
  versioned a 1.0.0 '.dependencies = [{name: "b", version: ">=1.0.0"}]'
  ready a 1.0.0
  ready b 1.0.0
}

# ends_beside: the scenario's namespace ends while the operator looks after another one, which goes on; then it is made anew.
ends_beside() {
  local own=$NS before
  other=$NS-beside
  NS=$other
  make_namespace "$NS"
  NAMESPACES+=("$other")
  install_chart "$@" >/dev/null
  trap 'kubectl delete namespace "$other" --wait=false; kill $(jobs -p) 2>/dev/null || true' EXIT
  application beside 2
  versioned c 1.0.0
  ready c 1.0.0
  before=$(processes c)
  NS=$own
  running_pair 2
  namespace_ends "$own"
  # Another leader, too, does without the namespace.
  kill_leader
  operator_whole
  NS=$other APP=beside REPLICAS=2
  same 'processes beside' "$before" "$(processes c)"
  versioned c 2.0.0
  ready c 2.0.0
  NS=$own
  make_namespace "$NS"
  install_chart "$@" >/dev/null
  running_pair 2
}

namespace_deleted() { ends_beside; }

namespace_deleted_in_cluster_mode() {
  ends_beside --set watch.cluster=true
  # Back to what the other scenarios have.
  install_chart >/dev/null
}

host_deleted_and_made_again() {
  local before
  application storefront 2
  versioned a 1.0.0
  versioned b 1.0.0
  ready a 1.0.0
  ready b 1.0.0
  before=$(processes a)
  k delete pluginhost storefront --timeout=60s >/dev/null
  within 30 False condition a HostFound
  within 90 True condition a Stalled
  within 30 '1.0.0' serves a
  within 10 Running serves a
  same 'processes of a' "$before" "$(processes a)"
  k patch plugin b --type=merge -p '{"spec": {"enabled": false}}' >/dev/null
  timed 'what is disabled is gone' within 60 0 running_in b
  application storefront 2
  ready a 1.0.0
  same 'processes of a' "$before" "$(processes a)"
  # The other way round, and from other hands: a folder in the wrong order.
  k delete pluginhost storefront --timeout=60s >/dev/null
  k delete plugin a --timeout=60s >/dev/null
  within 60 0 running_in a
}

# leftovers NAMESPACE...: what of the operator is in the cluster and in these namespaces, but for definitions.
leftovers() {
  local namespace
  kubectl get clusterroles,clusterrolebindings,mutatingwebhookconfigurations,validatingwebhookconfigurations -o name | grep rockstar- || true
  for namespace in "$@"; do
    kubectl -n "$namespace" get deployments,jobs,pods,services,serviceaccounts,roles,rolebindings,pdb,secrets,configmaps,leases -o json |
      jq -r '.items[] | select(.metadata.name | contains("rockstar")) | "\(.kind) \(.metadata.name)"'
  done | sort -u
}

# goes_on_without_an_operator: what runs goes on, Plugins and a whole namespace can be deleted.
goes_on_without_an_operator() {
  local doomed=$NS-doomed
  same 'processes of a' "$1" "$(processes a)"
  within 10 '2 1.0.0' everywhere /a/version
  k delete plugin b --timeout=60s >/dev/null
  namespace_ends "$doomed"
}

# comes_back: the operator is installed again; it takes over what runs, and unloads what was deleted meanwhile. Its authority
# may be another one, which pods see once their kubelet has fetched the bundle anew.
comes_back() {
  install_chart >/dev/null
  timed 'what was deleted meanwhile is unloaded' within 240 0 running_in b
  within 60 2/2 connected
  ready a 1.0.0
  same 'processes of a' "$1" "$(processes a)"
  versioned a 2.0.0
  ready a 2.0.0 180
  scale 3
  within 30 '3 2.0.0' everywhere /a/version
}

# removed COMMAND...: an application with plugins outlives the operator's removal by that command, and its return.
removed() {
  local before doomed=$NS-doomed own=$NS
  NS=$doomed
  make_namespace "$NS"
  NAMESPACES+=("$doomed")
  install_chart >/dev/null
  application storefront 1
  versioned a 1.0.0
  ready a 1.0.0
  NS=$own
  application storefront 2
  versioned a 1.0.0
  versioned b 1.0.0
  ready a 1.0.0
  ready b 1.0.0
  before=$(processes a)
  "$@" >/dev/null
  within 60 none operator_pods
  local left; left=$(leftovers "$own" "$doomed" "$SYSTEM" | tr '\n' ';')
  note "left: $left"
  [ -z "${NOTHING_LEFT:-}" ] || same 'what is left' '' "$left"
  goes_on_without_an_operator "$before"
  comes_back "$before"
}

uninstall() { helm uninstall rockstar --namespace "$SYSTEM" --wait --timeout 2m "$@"; }

release_removed_and_made_again() { NOTHING_LEFT=yes removed uninstall; }
release_removed_without_hooks() { removed uninstall --no-hooks; }
operator_namespace_deleted() { removed namespace_ends "$SYSTEM"; }
