# The base of the project's images: debian:bookworm-slim, or the same made by debootstrap. Sourced, never run.

DEBIAN=bookworm

# debian_mirror: where this machine's apt fetches that release from.
debian_mirror() {
  local found
  found=$(apt-get indextargets --format '$(CODENAME) $(REPO_URI)' 'Created-By: Packages' | awk -v d=$DEBIAN '$1 == d {print $2; exit}')
  echo "${found:-http://deb.debian.org/debian}"
}

# debian_rootfs DIR PACKAGE...: a minimal Debian with these packages.
debian_rootfs() {
  local dir=$1; shift
  packages debootstrap
  rm -rf "$dir" && mkdir -p "$dir"
  quietly debootstrap debootstrap --variant=minbase --include="$(IFS=,; echo "$*")" $DEBIAN "$dir" "$(debian_mirror)"
  rm -rf "$dir"/var/cache/apt/archives/*.deb "$dir"/var/lib/apt/lists/*
}

base_image_up() {
  if docker_hub_answers; then BASE_IMAGE=debian:$DEBIAN-slim; return; fi
  BASE_IMAGE=rockstar-e2e/debian:$DEBIAN
  image_cached "$BASE_IMAGE" base.tar.gz import_base
}

import_base() {
  local dir=$CACHE/rootfs/base
  say "making $BASE_IMAGE with debootstrap"
  debian_rootfs "$dir" ca-certificates
  tar -C "$dir" -c . | docker import - "$BASE_IMAGE" >/dev/null
  rm -rf "$dir"
}
