#!/usr/bin/env bash
# Builds, and runs podman and containerd with our CNI plugin, as root: integration/tests/runtimes/. An argument limits the run to
# the tests whose name contains it; RUNTIMES_SECONDS bounds the whole run, building excepted.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh

readonly limit="${RUNTIMES_SECONDS:-600}"
readonly threads="${TEST_THREADS:-4}"

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

say "== build"
cargo build --workspace --bins --locked
tests=$(cargo test -p integration --test runtimes --locked --no-run --message-format=json-render-diagnostics |
    jq -r 'select(.target.name == "runtimes") | .executable // empty')
say "== container runtimes: $(podman --version), $(containerd --version | awk '{print $1, $3}')"
# Not through cargo, which would end before the tests do; in the foreground, so that ^C reaches them.
as_root timeout --foreground --kill-after=10 "$limit" "$tests" --test-threads "$threads" ${1:+"$1"}
