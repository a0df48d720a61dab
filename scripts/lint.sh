#!/usr/bin/env bash
# Everything that can be judged without running the program. Goes through all checks even when one
# fails, then says which did.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
. scripts/common.sh

failed=()
check() {
    local name=$1
    shift
    say "== $name"
    "$@" || failed+=("$name")
}

# Words that must not be in the tree: what is promised for later is not written into code.
forbidden_words() {
    local word='TO''DO|FIX''ME|XX''X'
    ! git grep -nIE "\\b($word)\\b|#\\[ign""ore|\\b(to""do|unimple""mented)!\\(" -- ':!Cargo.lock'
}

# Every promise names tests that exist; every generated document is tested to be fresh by its test.
# shellcheck disable=SC2016  # backquotes of markdown
promises_name_tests() {
    local missing=0 name
    while IFS= read -r name; do
        if ! git grep -qE "fn ${name##*::}\\b" -- '*.rs'; then
            say "docs/promises.md names the test $name, which does not exist"
            missing=1
        fi
    done < <(grep -oE '`[a-z0-9_]+(::[a-z0-9_]+)+`' docs/promises.md | tr -d '`')
    return "$missing"
}

# Links between items, private ones too: they are how the sources refer to each other.
documentation() {
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --locked
}

check "format" cargo fmt --all --check
check "clippy" cargo clippy --workspace --all-targets --locked -- -D warnings
check "documentation" documentation
check "dependencies and crate boundaries" python3 scripts/check_deps.py
check "forbidden words" forbidden_words
check "promises" promises_name_tests
if command -v cargo-deny >/dev/null; then
    check "cargo deny" cargo deny --offline check licenses bans sources
fi
if command -v shellcheck >/dev/null; then
    check "shellcheck" shellcheck -x -P scripts scripts/*.sh .ci/run
fi
check "shell syntax" bash -n scripts/*.sh .ci/run

if [ "${#failed[@]}" -gt 0 ]; then
    die "failed: $(printf '%s; ' "${failed[@]}")"
fi
say "lint: all clean"
