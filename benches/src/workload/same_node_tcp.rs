//! One TCP stream between two pods of one node, by iperf3.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::Options;
use crate::host::{Background, check_stop, machine_cpu_seconds, progress};
use crate::integrity;
use crate::metric::{Better, Metric};
use crate::subject::{IP_MTU, Subject, in_netns, set_up};

/// Bytes of the hashed transfer that precedes the measurement.
const VERIFIED_BYTES: u64 = 256 << 20;
/// Pinned: the machine's default may pace (bbr), and then pacing is what gets measured.
const CONGESTION_CONTROL: &str = "cubic";

struct Sample {
    gigabits_per_second: f64,
    retransmits: f64,
    cpu_seconds_per_gigabyte: f64,
}

pub(super) fn run(options: &Options) -> Result<Vec<Metric>> {
    let subjects = set_up(&options.peers)?;
    for subject in &subjects {
        progress(&format!("{}: hashed transfer of {} MiB", subject.name(), VERIFIED_BYTES >> 20));
        integrity::verify(subject.as_ref(), VERIFIED_BYTES)?;
    }
    let mut samples: BTreeMap<&str, Vec<Sample>> = BTreeMap::new();
    for round in 1..=options.rounds {
        for subject in &subjects {
            check_stop()?;
            let sample = measure(subject.as_ref(), options.seconds)
                .with_context(|| format!("iperf3 through {}", subject.name()))?;
            progress(&format!(
                "round {round}/{}: {}: {:.2} Gbit/s",
                options.rounds,
                subject.name(),
                sample.gigabits_per_second
            ));
            samples.entry(subject.name()).or_default().push(sample);
        }
    }
    let metric = |name, unit, better, field: fn(&Sample) -> f64| {
        let per_subject = samples.iter().map(|(s, v)| ((*s).to_owned(), v.iter().map(field).collect()));
        Metric::new("same-node-tcp", name, unit, better, per_subject)
            .with_param("streams", 1)
            .with_param("mtu", IP_MTU)
            .with_param("cc", CONGESTION_CONTROL)
    };
    Ok(vec![
        metric("throughput", "Gbit/s", Better::Higher, |s| s.gigabits_per_second),
        metric("cpu", "CPU s/GB", Better::Lower, |s| s.cpu_seconds_per_gigabyte),
        metric("retransmits", "segments", Better::Lower, |s| s.retransmits),
    ])
}

fn measure(subject: &dyn Subject, seconds: u32) -> Result<Sample> {
    let mut server = in_netns(subject.server_netns(), "iperf3");
    server.args(["-s", "-1"]).stdin(Stdio::null()).stdout(Stdio::null());
    let mut server = Background::spawn(&mut server)?;
    // iperf3 says nothing when it listens; a client that is too early would just be refused.
    thread::sleep(Duration::from_millis(200));
    server.check_running()?;
    let before = machine_cpu_seconds()?;
    let output = in_netns(subject.client_netns(), "iperf3")
        .args(["-c", subject.server_ip(), "-C", CONGESTION_CONTROL, "-J", "-t"])
        .arg(seconds.to_string())
        .stdin(Stdio::null())
        .output()?;
    let cpu = machine_cpu_seconds()? - before;
    let report: Report = serde_json::from_slice(&output.stdout).context("iperf3 printed no JSON")?;
    ensure!(report.error.is_none(), "{}", report.error.unwrap_or_default());
    let end = report.end.context("iperf3 reported no end")?;
    let received = end.sum_received;
    Ok(Sample {
        gigabits_per_second: received.bits_per_second / 1e9,
        retransmits: end.sum_sent.retransmits.unwrap_or(0.0),
        cpu_seconds_per_gigabyte: cpu / (received.bytes / 1e9),
    })
}

/// What we read of iperf3's JSON.
#[derive(Deserialize)]
struct Report {
    error: Option<String>,
    end: Option<End>,
}

#[derive(Deserialize)]
struct End {
    sum_sent: Sum,
    sum_received: Sum,
}

#[derive(Deserialize)]
struct Sum {
    bytes: f64,
    bits_per_second: f64,
    retransmits: Option<f64>,
}
