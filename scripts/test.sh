#!/usr/bin/env bash
# Builds once, runs the unit and model tests, then the promises on the real kernel as root.
# An argument limits the run to the integration tests whose name contains it.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh

only="${1:-}"
threads="${TEST_THREADS:-4}"

# At most so many failures are looked at again; more are no accident.
readonly second_looks=5

# Prints "TARGET<tab>TEST" for each test that failed in the log of a `cargo test --no-fail-fast`.
failed_tests() {
    awk '
        /^failures:$/ { names = ""; listing = 1; next }
        listing && /^    [^ ]+$/ { names = names $1 "\n"; next }
        /^test result:/ { listing = 0 }
        /^error: test failed, to rerun pass `/ {
            split($0, parts, "`")
            count = split(names, each, "\n")
            for (i = 1; i < count; i++) print parts[2] "\t" each[i]
            if (count < 2) print parts[2] "\t"
            names = ""
        }' "$1"
}

# Runs cargo test. Programs, the kernel and whoever else uses the machine are part of these tests, so a failed one gets a second
# look, alone: failing again is a failure, passing is reported as unsteady, to be mended and not forgotten.
run_tests() {
    local log failed target name status=0
    log=$(mktemp)
    cargo test --locked --no-fail-fast "$@" 2>&1 | tee "$log" || status=$?
    failed=$(failed_tests "$log")
    rm -f "$log"
    if [ "$status" -eq 0 ] || [ -z "$failed" ] || [ "$(wc -l <<<"$failed")" -gt "$second_looks" ]; then
        return "$status"
    fi
    while IFS=$'\t' read -r target name; do
        say "== a second look at $name ($target)"
        # The target is several words; an abort names no test, so all of it is run again.
        # shellcheck disable=SC2086
        cargo test --locked $target -- --test-threads 1 ${name:+--exact "$name"} </dev/null || return
        warn "UNSTEADY: $name ($target) failed, and passed alone"
    done <<<"$failed"
}

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
    run_tests --workspace --exclude integration
fi
say "== promises on the real kernel"
run_tests -p integration --lib --test promises -- --test-threads "$threads" ${only:+"$only"}
