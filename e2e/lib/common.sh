# Shared by the scripts of e2e/: versions, places, and how to speak. Sourced, never run.

K8S_VERSION=${K8S_VERSION:-1.36.3}
KIND_VERSION=v0.33.0
HELM_VERSION=v4.3.1
CONTAINERD_VERSION=v2.4.2
# These three as `kubeadm config images list` of that Kubernetes names them.
ETCD_VERSION=v3.6.8
COREDNS_VERSION=v1.14.2
PAUSE_VERSION=3.10.2

CLUSTER=${CLUSTER:-rockstar-e2e}
E2E_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
REPO_DIR=$(dirname "$E2E_DIR")
CACHE=${ROCKSTAR_E2E_CACHE:-$HOME/.cache/rockstar-e2e}
VERSIONS=$K8S_VERSION-$(cksum <<<"$KIND_VERSION $HELM_VERSION $CONTAINERD_VERSION $ETCD_VERSION $COREDNS_VERSION $PAUSE_VERSION" | cut -d' ' -f1)
TOOLS=$CACHE/bin/$VERSIONS
STATE=$CACHE/state
NODE_IMAGE=rockstar-e2e/node:v$VERSIONS-$(cksum <"$E2E_DIR/lib/node-image.sh" | cut -d' ' -f1)
export KUBECONFIG=${ROCKSTAR_E2E_KUBECONFIG:-$STATE/kubeconfig}
ENGINE_PATH=$PATH:/usr/sbin:/sbin # a dockerd must not find the node's containerd programs
export PATH=$TOOLS:$ENGINE_PATH
mkdir -p "$TOOLS" "$STATE"

say() { printf '%s == %s\n' "$(date +%H:%M:%S)" "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# wait_until SECONDS COMMAND...: true as soon as the command is, false when the time is over.
wait_until() {
  local end=$((SECONDS + $1)); shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.5
  done
}

# quietly LOG COMMAND...: the output goes to a log that is shown only on failure.
quietly() {
  local log=$CACHE/log/$1.log; shift
  mkdir -p "$CACHE/log"
  "$@" >"$log" 2>&1 && return
  tail -n 30 "$log" >&2
  die "'$*' failed; the whole log is in $log"
}

# packages NAME...: Debian packages, installed when missing.
packages() {
  local p missing=()
  for p in "$@"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || missing+=("$p")
  done
  [ ${#missing[@]} -eq 0 ] && return
  have apt-get || die "please install: ${missing[*]}"
  say "installing ${missing[*]}"
  quietly apt-update apt-get update -qq
  DEBIAN_FRONTEND=noninteractive quietly apt-install apt-get install -y -qq --no-install-recommends "${missing[@]}"
}
