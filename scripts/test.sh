#!/usr/bin/env bash
# Builds once, runs the unit and model tests, then the promises on the real kernel as root.
# An argument limits the run to the integration tests whose name contains it.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh

only="${1:-}"
threads="${TEST_THREADS:-4}"

cleanup() {
    local status=$?
    scripts/cleanup.sh --tests || status=1
    exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# What a run that was killed left behind must not fail this one.
scripts/cleanup.sh --tests

# cargo builds as this user and never runs as root, so that nothing in target/ belongs to root.
triple=$(rustc -vV | awk '/^host:/{print toupper($2)}')
export "CARGO_TARGET_${triple//-/_}_RUNNER=$PWD/scripts/as-root.sh"

say "== build"
cargo build --workspace --bins --locked
if [ -z "$only" ]; then
    say "== unit and model tests"
    cargo test --workspace --exclude integration --locked
fi
say "== promises on the real kernel"
cargo test -p integration --lib --test promises --locked -- --test-threads "$threads" ${only:+"$only"}
