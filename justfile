# The project's everyday commands; `just` lists them.

export CARGO_TARGET_DIR := env("CARGO_TARGET_DIR", justfile_directory() / "target")

[private]
default:
    @just --list --unsorted

# Format the code
fmt:
    cargo fmt

# What a change must pass: formatting and lints
lint:
    cargo fmt --check
    cargo clippy --workspace --all-targets -- -D warnings

# All tests that need no cluster
test:
    tests/run

# Random histories of a fleet against the laws of the control plane; prints the seed, and shrinks what breaks a law
histories count="10000" seed=`date +%s`:
    @echo "seed {{ seed }}"
    HISTORIES={{ count }} HISTORIES_SEED={{ seed }} HISTORIES_STEPS=16 cargo test --profile simulation --package rockstar-operator --test histories random -- --nocapture

# Write the generated files anew: the wire's code, the CRDs' YAML and its copy in the chart
gen:
    cargo run --quiet --package rockstar-proto-codegen
    cargo run --quiet --package rockstar-crds --example crdgen

# Write the objects of tests/health anew, as the driver composes them in every state
health-states:
    UPDATE_HEALTH_STATES=1 cargo test --quiet --package rockstar-operator --lib driver::report::states

# Whether the generated files are current
gen-check:
    cargo test --quiet --package rockstar-proto-codegen --package rockstar-crds

# Licenses, sources and banned crates of the dependencies (needs cargo-deny)
deny:
    cargo deny check bans licenses sources

# Container images of operator, sidecar and demo application
images tag="dev" base="debian:bookworm-slim" profile="release":
    docker/build {{ tag }} {{ base }} {{ profile }}

# Everything that CI runs
ci:
    .ci/run
