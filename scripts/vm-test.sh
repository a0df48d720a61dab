#!/usr/bin/env bash
# Builds, makes the image, and runs the promises that need several kernels in virtual machines. Needs no
# root; VM_TEST_SECONDS bounds the whole run, building excepted.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh

readonly limit="${VM_TEST_SECONDS:-240}"

cleanup() {
    local status=$?
    scripts/cleanup.sh --tests || status=1
    exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
scripts/cleanup.sh --tests

programs="${CARGO_TARGET_DIR:-target}/debug"
say "== build"
cargo build --workspace --bins --locked
tests=$(cargo test -p integration --test virtual_machines --locked --no-run --message-format=json-render-diagnostics |
    jq -r 'select(.target.name == "virtual_machines") | .executable // empty')
say "== image"
scripts/vm-image.sh "$programs" "$programs/vm"
say "== promises in virtual machines"
# Not through cargo, which would end before the tests do; in the foreground, so that ^C reaches them.
timeout --foreground --kill-after=10 "$limit" "$tests" --test-threads 1 --nocapture
