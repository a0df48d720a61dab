//! The harness must refuse what it measures when frames are damaged or doubled on the way, and say
//! what it did not measure. Needs root: it sets real networks up.

use std::process::{Command, Output};

/// Runs a workload through vpod and the pump, as short as can be.
fn run(workload: &str, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vpod-bench"))
        .args(["run", workload, "--rounds", "1", "--seconds", "0.2", "--json", "--peers"])
        .args(more)
        .output()
        .expect("the harness starts")
}

/// The run failed, for the reason that the pump was told to give.
#[track_caller]
fn refused(output: &Output, why: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "a sabotaged run passed:\n{said}");
    let error = said.lines().rfind(|line| line.starts_with("error: ")).unwrap_or_default();
    assert!(error.contains("pump does not deliver what is sent"), "{said}");
    assert!(error.contains(why), "{said}");
}

/// Everything that was measured, by metric.
#[track_caller]
fn passed(output: &Output) -> Vec<serde_json::Value> {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let lines = String::from_utf8_lossy(&output.stdout);
    let metrics: Vec<_> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(!metrics.is_empty(), "{said}");
    metrics
}

#[test]
fn an_honest_pump_is_measured() {
    for metric in passed(&run("same-node-udp", &["pump"])) {
        for subject in ["vpod", "pump"] {
            assert_eq!(metric["subjects"][subject]["samples"].as_array().map(Vec::len), Some(1), "{metric}");
        }
    }
}

#[test]
fn corrupted_datagrams_are_refused() {
    refused(&run("same-node-udp", &["pump", "--sabotage", "corrupt"]), "datagrams 0 arrived");
}

#[test]
fn duplicated_datagrams_are_refused() {
    refused(&run("same-node-udp", &["pump", "--sabotage", "duplicate"]), " 0 damaged, ");
}

#[test]
fn a_corrupted_stream_is_refused() {
    refused(&run("same-node-tcp", &["pump", "--sabotage", "corrupt"]), "another hash");
}

#[test]
fn corrupted_answers_are_refused() {
    refused(&run("same-node-rr", &["pump", "--sabotage", "corrupt"]), "answers differ from their request");
}

#[test]
fn a_peer_that_cannot_be_set_up_is_reported_and_the_others_are_measured() {
    for metric in passed(&run("same-node-crr", &["base,pump"])) {
        assert_eq!(metric["skipped"]["base"], "--base does not say which build", "{metric}");
        assert!(metric["ratios"]["pump"].as_f64().is_some_and(|ratio| ratio > 0.0), "{metric}");
    }
}
