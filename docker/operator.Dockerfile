# The operator. The build context holds the binary: see docker/build.
ARG BASE=debian:bookworm-slim
FROM ${BASE}
RUN [ -e /etc/ssl/certs/ca-certificates.crt ] || \
    (apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*)
COPY rockstar-operator /usr/local/bin/
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/rockstar-operator"]
