# Binaries from Go modules, each built once into $TOOLS. Needs Go and a Go module proxy. Sourced, never run.

# one_at_a_time NAME COMMAND...: two runs never build the same thing at once.
one_at_a_time() {
  local name=$1; shift
  mkdir -p "$CACHE/lock"
  ( flock 9; "$@" ) 9>"$CACHE/lock/$name"
}

# tools_present NAME...: whether each binary is built.
tools_present() {
  local t
  for t in "$@"; do [ -x "$TOOLS/$t" ] || return 1; done
}

# keep_built DIR: moves freshly built binaries to $TOOLS, so that a killed build leaves none half written.
keep_built() { mv -f "$1"/* "$TOOLS"/ && rmdir "$1"; }

go_build() { GOWORK=off CGO_ENABLED=0 GOFLAGS=-buildvcs=false go build "$@"; }

# go_tool NAME MODULE@VERSION PACKAGE...: builds the packages in a module of their own.
go_tool() { one_at_a_time "$1" build_go_tool "$@"; }

build_go_tool() {
  local name=$1 module=$2 dir=$CACHE/src/$1 package; shift 2
  if [ $# -eq 1 ]; then tools_present "$name" && return; else tools_present "${@##*/}" && return; fi
  have go || die "Go is needed to build $name; install it from https://go.dev/dl"
  say "building $name from $module"
  rm -rf "$dir" && mkdir -p "$dir/out" && cd "$dir"
  printf 'module tool\n\ngo 1.25.0\n' >go.mod
  for package in "$@"; do quietly "go-$name-get" go get -tool "$package@${module#*@}"; done
  quietly "go-$name" go_build -tags 'no_btrfs no_devmapper no_zfs no_aufs' -ldflags '-s -w' -o out/ "$@"
  [ $# -gt 1 ] || [ -x "out/$name" ] || mv out/* "out/$name"
  keep_built "$dir/out"
}

KUBERNETES=(kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet kubeadm kubectl)

go_kubernetes() { one_at_a_time kubernetes build_kubernetes; }

# k8s.io/kubernetes requires its own staging modules at v0.0.0, to be found beside it. A module that uses it from outside
# names their published versions instead; the other k8s.io modules carry real versions and stay.
kubernetes_module() {
  local source staging=() path
  source=$(go mod download -json "k8s.io/kubernetes@v$K8S_VERSION" | jq -r .Dir)
  for path in $(go mod edit -json "$source/go.mod" | jq -r '.Require[] | select(.Version == "v0.0.0") | .Path'); do
    staging+=("-replace=$path=$path@v0${K8S_VERSION#1}")
  done
  printf 'module tool\n\ngo 1.26.0\n' >go.mod
  go mod edit "-require=k8s.io/kubernetes@v$K8S_VERSION" "${staging[@]}" "${KUBERNETES[@]/#/-tool=k8s.io/kubernetes/cmd/}"
  go mod tidy
}

build_kubernetes() {
  tools_present "${KUBERNETES[@]}" && return
  local dir=$CACHE/src/kubernetes version=k8s.io/component-base/version
  say "building Kubernetes $K8S_VERSION (about 15 minutes of two cores, once)"
  rm -rf "$dir" && mkdir -p "$dir/out" && cd "$dir"
  quietly go-kubernetes-module kubernetes_module
  quietly go-kubernetes go_build -o out/ -ldflags \
    "-s -w -X $version.gitVersion=v$K8S_VERSION -X $version.gitMajor=1 -X $version.gitMinor=$(cut -d. -f2 <<<"$K8S_VERSION")" tool
  keep_built "$dir/out"
}

go_containerd() {
  local m=github.com/containerd/containerd/v2
  go_tool containerd "$m@$CONTAINERD_VERSION" $m/cmd/containerd $m/cmd/ctr $m/cmd/containerd-shim-runc-v2
}
go_etcd() { go_tool etcd "go.etcd.io/etcd/server/v3@$ETCD_VERSION" go.etcd.io/etcd/server/v3; }
go_coredns() { go_tool coredns "github.com/coredns/coredns@$COREDNS_VERSION" github.com/coredns/coredns; }
go_kind() { go_tool kind "sigs.k8s.io/kind@$KIND_VERSION" sigs.k8s.io/kind; }
go_helm() { go_tool helm "helm.sh/helm/v4@$HELM_VERSION" helm.sh/helm/v4/cmd/helm; }
