# A kindest/node image from package registries: Debian's packages, Go modules, and kind's own base files. Sourced, never run.

K8S_REGISTRY=registry.k8s.io
NODE_DEBIAN=(systemd dbus conntrack iptables nftables iproute2 ethtool kmod libseccomp2 pigz e2fsprogs ca-certificates
  curl jq procps runc containernetworking-plugins hostname)

# What the node image is made of; the slow part, hence worth starting early.
node_binaries() {
  packages jq
  go_kubernetes
  go_containerd
  go_etcd
  go_coredns
}

node_image_up() { image_cached "$NODE_IMAGE" "node-${NODE_IMAGE##*:}.tar.gz" build_node_image; }

build_node_image() {
  node_binaries
  packages debootstrap iptables catatonit
  local root=$CACHE/rootfs/node
  say "making the node's file system"
  debian_rootfs "$root" "${NODE_DEBIAN[@]}"
  node_kind_files "$root"
  node_programs "$root"
  node_services "$root"
  node_containerd_config "$root"
  node_network "$root"
  say "making the control plane's images"
  control_plane_images
  say "assembling $NODE_IMAGE"
  node_base_image "$root"
  node_preload
  rm -rf "$root"
}

node_kind_files() {
  local root=$1 base
  base=$(cd "$CACHE" && go mod download -json "sigs.k8s.io/kind@$KIND_VERSION" | jq -r .Dir)/images/base/files
  cp -r --no-preserve=mode "$base"/{usr,etc,kind} "$root/"
  chmod 755 "$root"/usr/local/bin/* "$root/kind" "$root/kind/bin" "$root"/kind/bin/*
  printf 'v%s' "$K8S_VERSION" >"$root/kind/version"
}

node_programs() {
  local root=$1 plugin
  install -m755 "$TOOLS"/{containerd,ctr,containerd-shim-runc-v2} "$root/usr/local/bin/"
  install -m755 "$TOOLS"/{kubeadm,kubelet,kubectl} "$root/usr/bin/"
  mkdir -p "$root/opt/cni/bin" "$root/etc/kubernetes/manifests"
  for plugin in host-local loopback ptp portmap; do cp "$root/usr/lib/cni/$plugin" "$root/opt/cni/bin/"; done
  ln -sf /usr/lib/systemd/systemd "$root/sbin/init"
}

# Only what a node needs is started: its container has no hardware, disks or consoles to care for.
node_services() {
  local root=$1 units=$1/lib/systemd/system
  rm -f "$units"/sysinit.target.wants/systemd-tmpfiles-setup.service "$units"/{multi-user,local-fs,basic}.target.wants/* \
    "$units"/sockets.target.wants/*{udev,initctl}* "$root"/etc/systemd/system/*.wants/*
  echo ReadKMsg=no >>"$root/etc/systemd/journald.conf"
  chroot "$root" systemctl -q enable kubelet.service containerd.service undo-mount-hacks.service
  chroot "$root" systemctl -q mask systemd-binfmt.service
}

node_containerd_config() {
  local root=$1
  chroot "$root" ctr oci spec |
    jq '.hooks.createContainer += [{path: "/kind/bin/mount-product-files.sh"}] | del(.process.rlimits)' \
      >"$root/etc/containerd/cri-base.json"
  sed -i "s|$K8S_REGISTRY/pause:[0-9.]*|$K8S_REGISTRY/pause:$PAUSE_VERSION|; s|restrict_oom_score_adj = false|restrict_oom_score_adj = true|" \
    "$root/etc/containerd/config.toml"
}

# kindnetd comes as an image only. One node needs no routes between nodes: point-to-point links and masquerading do.
node_network() {
  mkdir -p "$1/etc/cni/net.d"
  cat >"$1/etc/cni/net.d/10-pods.conflist" <<'CNI'
{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {"type": "ptp", "ipMasq": true, "mtu": 1400, "ipam": {
    "type": "host-local", "ranges": [[{"subnet": "10.244.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
CNI
}

CONTROL_PLANE_IMAGES=(
  "$K8S_REGISTRY/pause:$PAUSE_VERSION"
  "$K8S_REGISTRY"/kube-{apiserver,controller-manager,scheduler,proxy}":v$K8S_VERSION"
  "$K8S_REGISTRY/etcd:${ETCD_VERSION#v}-0"
  "$K8S_REGISTRY/coredns/coredns:$COREDNS_VERSION"
)

control_plane_images() {
  local part on_path='ENV PATH=/usr/local/bin:/usr/sbin'
  program_image "$K8S_REGISTRY/pause:$PAUSE_VERSION" /usr/bin/catatonit /pause 'ENTRYPOINT ["/pause", "-P"]' 'USER 65535:65535'
  for part in kube-apiserver kube-controller-manager kube-scheduler kube-proxy; do
    program_image "$K8S_REGISTRY/$part:v$K8S_VERSION" "$TOOLS/$part" "/usr/local/bin/$part" "$on_path"
  done
  program_image "$K8S_REGISTRY/etcd:${ETCD_VERSION#v}-0" "$TOOLS/etcd" /usr/local/bin/etcd "$on_path"
  program_image "$K8S_REGISTRY/coredns/coredns:$COREDNS_VERSION" "$TOOLS/coredns" /coredns 'ENTRYPOINT ["/coredns"]'
}

# program_image NAME FILE PATH CHANGE...: an image of one program (kube-proxy with the iptables that it calls).
program_image() {
  local name=$1 file=$2 path=$3 dir change changes=(); shift 3
  dir=$(mktemp -d)
  mkdir -p "$dir/etc/ssl/certs" "$dir"/{tmp,run,var}
  cp /etc/ssl/certs/ca-certificates.crt "$dir/etc/ssl/certs/"
  install -D -m755 "$file" "$dir$path"
  [[ $name != */kube-proxy:* ]] || with_iptables "$dir"
  for change in "$@"; do changes+=(--change "$change"); done
  tar -C "$dir" -c . | docker import "${changes[@]}" - "$name" >/dev/null
  rm -rf "$dir"
}

# Not nft: with Debian's version of it and recent kernels kube-proxy's nftables mode loses the addresses of services.
with_iptables() {
  local dir=$1 extensions name; extensions=$(dirname "$(find /usr/lib -name libxt_comment.so | head -n 1)")
  with_libraries "$dir" /usr/sbin/xtables-nft-multi "$extensions"/*.so
  for name in ip{,6}tables{,-save,-restore}; do ln -s xtables-nft-multi "$dir/usr/sbin/$name"; done
}

# with_libraries DIR FILE...: copies dynamically linked programs or libraries and all that they are linked to.
with_libraries() {
  local dir=$1 file; shift
  for file in "$@" $(ldd "$@" | grep -o '/[^ :]*' | sort -u); do install -D -m755 "$(realpath "$file")" "$dir$file"; done
}

node_base_image() {
  local dir; dir=$(mktemp -d)
  tar -C "$1" -cf "$dir/rootfs.tar" .
  cat >"$dir/Dockerfile" <<'DOCKERFILE'
FROM scratch
ADD rootfs.tar /
ENV container=docker
STOPSIGNAL SIGRTMIN+3
ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]
DOCKERFILE
  DOCKER_BUILDKIT=0 quietly node-base docker build -t rockstar-e2e/node-base "$dir"
  rm -rf "$dir"
}

# A node without image registries: its containerd holds the control plane's images from the start.
node_preload() {
  local name=$CLUSTER-node-build
  docker rm -f "$name" >/dev/null 2>&1 || true
  docker run -d --name "$name" --privileged --entrypoint containerd rockstar-e2e/node-base >/dev/null
  wait_until 30 docker exec "$name" ctr version || die "containerd did not start; see: docker logs $name"
  docker save "${CONTROL_PLANE_IMAGES[@]}" |
    docker exec -i "$name" ctr -n k8s.io images import --all-platforms --no-unpack --digests - >"$CACHE/log/node-preload.log" 2>&1 ||
    die "the control plane's images could not be loaded; see $CACHE/log/node-preload.log"
  docker kill --signal TERM "$name" >/dev/null
  timeout 30 docker wait "$name" >/dev/null
  docker commit --change 'ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]' "$name" "$NODE_IMAGE" >/dev/null
  docker rm -f "$name" >/dev/null
}
