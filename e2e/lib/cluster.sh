# The kind cluster itself. Sourced, never run.

CLUSTER_READY=$STATE/cluster-$CLUSTER

cluster_exists() { kind get clusters 2>/dev/null | grep -qx "$CLUSTER"; }

# Whole and answering; a cluster whose creation was cut short, or whose engine was restarted, is not.
cluster_ready() { [ -f "$CLUSTER_READY" ] && cluster_exists && timeout 20 kubectl get --raw /readyz >/dev/null 2>&1; }

cluster_up() {
  cluster_ready && return
  cluster_down
  local config; config=$(mktemp)
  cluster_config >"$config"
  say "creating the cluster $CLUSTER"
  quietly kind-create kind create cluster --name "$CLUSTER" --kubeconfig "$KUBECONFIG" --wait 180s --config "$config"
  rm -f "$config"
  touch "$CLUSTER_READY"
}

cluster_config() {
  printf 'kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n'
  [ -n "${OWN_NODE_IMAGE:-}" ] || return 0
  cat <<YAML
networking: {disableDefaultCNI: true, kubeProxyMode: iptables}
nodes:
- {role: control-plane, image: "$NODE_IMAGE"}
kubeadmConfigPatches:
- |
  kind: KubeletConfiguration
  failCgroupV1: false
YAML
}

cluster_down() {
  rm -f "$CLUSTER_READY"
  ! cluster_exists || quietly kind-delete kind delete cluster --name "$CLUSTER" --kubeconfig "$KUBECONFIG"
}
