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
cargo test -p integration --test virtual_machines --locked --no-run
say "== image"
scripts/vm-image.sh "$programs" "$programs/vm"
say "== promises in virtual machines"
timeout --kill-after=10 "$limit" \
    cargo test -p integration --test virtual_machines --locked -- --test-threads 1 --nocapture
