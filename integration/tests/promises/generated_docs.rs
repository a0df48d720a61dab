//! Documents that are generated from the code say what the code says.

use std::fmt::Write;
use std::path::Path;

use datapath::DropReason;

const HEAD: &str = "# Drop reasons

Every frame that is not forwarded is dropped for exactly one of these reasons, counted at the port it
came in by: `vpodctl get drops -o wide`, and `vswitch_port_drops_total{port,reason}` in the metrics.
Generated from `datapath/src/verdict.rs`; a test keeps it true.

| Reason | What it means and what to do |
|-|-|
";

#[test]
fn drops_md_lists_every_drop_reason() {
    let mut expected = HEAD.to_owned();
    for reason in DropReason::ALL {
        writeln!(expected, "| `{}` | {} |", reason.name(), reason.description())
            .expect("a string takes everything");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/drops.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &expected).expect("docs/drops.md can be written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "docs/drops.md is stale: run `UPDATE_DOCS=1 cargo test -p integration drops_md`"
    );
}
