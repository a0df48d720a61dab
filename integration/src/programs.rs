//! Where the programs under test are.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A program of this workspace, as built beside the running test.
///
/// # Panics
/// When the test was not built by cargo.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a process knows its executable");
    test.parent().and_then(Path::parent).expect("tests are built into target/<profile>/deps").join(name)
}

/// `cargo test -p integration` does not build other packages' programs, and testing yesterday's
/// daemon helps nobody.
///
/// # Panics
/// When it is missing or older than its sources.
pub fn assert_fresh(name: &str) {
    let path = binary(name);
    let advice = "build it with `cargo build --workspace --bins`";
    let Some(built) = modified(&path) else { panic!("{} is missing: {advice}", path.display()) };
    let sources = fs::read_to_string(path.with_extension("d")).unwrap_or_default();
    // "target: source source …", as make reads it.
    let newer = |source: &&str| modified(Path::new(source)).is_some_and(|time| time > built);
    if let Some(source) = sources.split_whitespace().skip(1).find(newer) {
        panic!("{} is older than {source}: {advice}", path.display());
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|m| m.modified()).ok()
}
