//! One iperf3 run through a subject.

use std::net::SocketAddrV4;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::bed::{Kind, Measured, limit};
use crate::host::{Running, drops, in_netns, machine_cpu_seconds};
use crate::metric::{Better, Metric};
use crate::subject::{IP_MTU, Pod, Subject};

/// Pinned: the machine's default may pace (bbr), and then pacing is what gets measured.
const CONGESTION_CONTROL: &str = "cubic";

/// iperf3's own.
const PORT: u16 = 5201;

pub(super) struct Sample {
    pub(super) gigabits_per_second: f64,
    retransmits: f64,
    drops: f64,
    pub(super) cpu_seconds_per_gigabyte: f64,
}

/// Where a server is, and where clients find it.
pub(super) struct Server<'a> {
    pub(super) pod: &'a Pod,
    pub(super) listen: u16,
    pub(super) address: SocketAddrV4,
}

impl<'a> Server<'a> {
    /// At the pod's own address.
    pub(super) const fn direct(pod: &'a Pod) -> Self {
        Self { pod, listen: PORT, address: SocketAddrV4::new(pod.ip, PORT) }
    }
}

pub(super) fn measure(subject: &dyn Subject, streams: u32, seconds: f64) -> Result<Sample> {
    measure_to(subject, &Server::direct(subject.server()), streams, seconds)
}

/// As [`measure`], with a server anywhere.
pub(super) fn measure_to(
    subject: &dyn Subject,
    to: &Server<'_>,
    streams: u32,
    seconds: f64,
) -> Result<Sample> {
    measure_between(subject.client(), to, streams, seconds)
}

/// As [`measure`], between any pods.
pub(super) fn measure_between(from: &Pod, to: &Server<'_>, streams: u32, seconds: f64) -> Result<Sample> {
    let mut server = in_netns(&to.pod.netns, "iperf3");
    let mut server = Running::start(server.args(["-s", "-1", "-p", &to.listen.to_string()]))?;
    // iperf3 says nothing when it listens; a client that is too early would just be refused.
    thread::sleep(Duration::from_millis(200));
    server.check_running().context("iperf3 -s")?;
    let dropped = || Ok::<_, anyhow::Error>(drops(&from.netns)? + drops(&to.pod.netns)?);
    let (drops_before, cpu_before) = (dropped()?, machine_cpu_seconds()?);
    let mut client = in_netns(&from.netns, "iperf3");
    client.args(["-c", &to.address.ip().to_string(), "-p", &to.address.port().to_string()]);
    client.args(["-C", CONGESTION_CONTROL, "-J"]);
    client.args(["-P", &streams.to_string(), "-t", &seconds.max(1.0).round().to_string()]);
    let printed = Running::start(&mut client)?.finish(limit(seconds)).context("iperf3 -c")?;
    let cpu = machine_cpu_seconds()? - cpu_before;
    let report: Report = serde_json::from_str(&printed).context("iperf3 printed no JSON")?;
    ensure!(report.error.is_none(), "{}", report.error.unwrap_or_default());
    let end = report.end.context("iperf3 reported no end")?;
    let received = end.sum_received;
    ensure!(received.bytes > 0.0, "iperf3 carried nothing");
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 frames")]
    let drops = dropped()?.saturating_sub(drops_before) as f64;
    Ok(Sample {
        gigabits_per_second: received.bits_per_second / 1e9,
        retransmits: end.sum_sent.retransmits.unwrap_or(0.0),
        drops,
        cpu_seconds_per_gigabyte: cpu / (received.bytes / 1e9),
    })
}

/// Throughput and what it cost.
pub(super) fn metrics(workload: &'static str, measured: &Measured<Sample>, streams: u32) -> Vec<Metric> {
    let metric = |name, unit, better, field: fn(&Sample) -> f64| {
        let kind = Kind { workload, name, unit, better };
        measured
            .metric(kind, field)
            .with_param("streams", streams)
            .with_param("mtu", IP_MTU)
            .with_param("cc", CONGESTION_CONTROL)
    };
    vec![
        metric("throughput", "Gbit/s", Better::Higher, |s| s.gigabits_per_second),
        metric("cpu", "CPU s/GB", Better::Lower, |s| s.cpu_seconds_per_gigabyte),
        metric("retransmits", "segments", Better::Lower, |s| s.retransmits),
        metric("drops", "frames", Better::Lower, |s| s.drops),
    ]
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
