# One image with the engines behind spec.backends: PostgreSQL, Redis and NATS. Sourced, never run.

NATS_VERSION=v2.15.2
BACKENDS_IMAGE=rockstar-e2e/backends:$DEBIAN-$NATS_VERSION

backends_image_up() { image_cached "$BACKENDS_IMAGE" "backends-$NATS_VERSION.tar.gz" build_backends; }

build_backends() {
  go_tool nats-server "github.com/nats-io/nats-server/v2@$NATS_VERSION" github.com/nats-io/nats-server/v2
  say "making $BACKENDS_IMAGE"
  if docker_hub_answers; then backends_from_base; else backends_from_debootstrap; fi
}

backends_from_base() {
  local dir; dir=$(mktemp -d)
  cp "$TOOLS/nats-server" "$dir/"
  cat >"$dir/Dockerfile" <<DOCKERFILE
FROM $BASE_IMAGE
RUN apt-get update && apt-get install -y --no-install-recommends postgresql redis-server && rm -rf /var/lib/apt/lists/*
COPY nats-server /usr/local/bin/
RUN echo 'engine:x:65532:65532::/tmp:/bin/sh' >>/etc/passwd
DOCKERFILE
  quietly backends-image docker build -t "$BACKENDS_IMAGE" "$dir"
  rm -rf "$dir"
}

# PostgreSQL runs as nobody who has no name.
backends_from_debootstrap() {
  local dir=$CACHE/rootfs/backends
  debian_rootfs "$dir" ca-certificates postgresql redis-server
  install -m755 "$TOOLS/nats-server" "$dir/usr/local/bin/"
  echo 'engine:x:65532:65532::/tmp:/bin/sh' >>"$dir/etc/passwd"
  tar -C "$dir" -c . | docker import - "$BACKENDS_IMAGE" >/dev/null
  rm -rf "$dir"
}
