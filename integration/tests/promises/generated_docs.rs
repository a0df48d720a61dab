//! Documents that are generated from the code say what the code says.

use std::fmt::Write;
use std::path::Path;

use datapath::DropReason;
use integration::NodeOptions;

const HEAD: &str = "# Drop reasons

Every frame that is not forwarded is dropped for exactly one of these reasons, counted at the port it
came in by: `vpodctl get drops -o wide`, and `vswitch_dropped_frames_total{port,reason}` in the metrics.
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
    is_fresh("drops.md", &expected);
}

const METRICS_HEAD: &str = "# Metrics

OpenMetrics text, which Prometheus reads: always at `<run_dir>/metrics.sock` (HTTP over a Unix socket:
`curl --unix-socket /run/vswitchd/metrics.sock http://localhost/metrics`), over TCP if the key `metrics`
names an address, and over the read-only control socket. Counters are read from the datapath at each
scrape. They start at 0 again when the datapath does (`vswitch_datapath_restarts_total` tells).
`port` is `namespace/pod`, `gateway` or `tunnel`; reasons are listed in [drops.md](drops.md). `peer` is the
name of another node; those after the first 1000 have no series of their own.
Generated from a running daemon; a test keeps it true.

| Metric | Type | Labels | Meaning |
|-|-|-|-|
";

#[test]
fn metrics_md_lists_every_metric() {
    // A peer that nothing is sent to.
    let node = NodeOptions::default()
        .config("[tunnel]\naddress = \"127.0.0.1\"")
        .config("[[peer]]\nname = \"b\"\naddress = \"192.0.2.2\"\npod_cidrs = [\"10.244.1.0/24\"]")
        .config("keep_alive = false")
        .start();
    let pod = node.create_pod("a");
    // So that a drop is among them.
    let _ = pod.sh(&format!("ping -n -c 1 -W 1 -t 1 {}", node.address()));
    let text = crate::metrics::scrape(&node);
    let mut expected = METRICS_HEAD.to_owned();
    for line in text.lines() {
        let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) else {
            continue;
        };
        let kind = text.lines().find_map(|l| l.strip_prefix(&format!("# TYPE {name} "))).unwrap_or_default();
        let suffix = if kind == "counter" { "_total" } else { "" };
        let labels =
            text.lines().find_map(|l| l.strip_prefix(&format!("{name}{suffix}{{"))).unwrap_or_default();
        let labels: Vec<_> = labels.split('=').filter_map(|part| part.rsplit([',', '"']).next()).collect();
        let labels = labels.iter().filter(|l| l.bytes().all(|b| b.is_ascii_lowercase()) && !l.is_empty());
        let mut labels: Vec<_> = labels.map(|label| format!("`{label}`")).collect();
        if labels.is_empty() && name.starts_with("vswitch_peer_") {
            // Not known of that peer.
            labels.push("`peer`".to_owned());
        }
        writeln!(expected, "| `{name}{suffix}` | {kind} | {} | {help} |", labels.join(", "))
            .expect("a string takes everything");
    }
    is_fresh("metrics.md", &expected);
}

/// `docs/<name>` is `expected`; with UPDATE_DOCS it is made so.
#[track_caller]
fn is_fresh(name: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, expected).expect("the document can be written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "docs/{name} is stale: run `UPDATE_DOCS=1 cargo test -p integration generated_docs`\n{expected}"
    );
}
