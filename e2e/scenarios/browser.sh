# A browser on the machine of a stand-alone sidecar. It needs no cluster. Sourced by e2e/run.

pages_of_others_reach_nothing() {
  packages chromium
  (cd "$REPO_DIR" && cargo test --quiet --package rockstar-tests --test runtime -- --ignored browser::)
}
