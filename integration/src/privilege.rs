//! Tests on the real kernel need root; what happens without it.

use std::io::Write;

/// Returns as root. As a user it fails in CI, and elsewhere ends the whole test executable with a
/// message that cannot be overlooked: a test that did not run must not look like one that passed.
pub(crate) fn require_root() {
    if nix::unistd::geteuid().is_root() {
        return;
    }
    let message = "integration tests need root (namespaces, TAPs): run `make test`";
    assert!(std::env::var_os("CI").is_none(), "{message}");
    // Not `eprintln!`: the test harness would capture it.
    let _ = writeln!(std::io::stderr(), "\n*** NONE OF THE INTEGRATION TESTS RAN: {message} ***\n");
    std::process::exit(0);
}
