//! Names: queries per second, and the latency at half of that, of servers that have the same names (dnsperf).
//!
//! Every server runs in a namespace of its own kind, reached over the same pair of devices, with two threads where it can have them, and has
//! the same services; what is asked is addresses of both families, of which there is one: half of the answers say that there is none, as
//! of clients that ask for both. Client and server share the machine.

mod cluster;
mod server;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use self::server::{Bed, SERVERS};
use super::Options;
use crate::bed::limit;
use crate::host::{Running, check_stop, in_netns, installed, progress};
use crate::metric::{Better, Metric, VPOD, quantile};

pub(super) const NAME: &str = "dns";

/// Services that have names.
const SERVICES: u32 = 1000;
/// Lines of the file that is asked from, again and again.
const QUERIES: u32 = 20_000;
/// Sockets that are asked from, and queries under way.
const CLIENTS: &str = "8";
const OUTSTANDING: &str = "200";
/// Seconds after which a query counts as lost, and so after which dnsperf ends at the latest.
const PATIENCE: f64 = 5.0;
/// What dnsperf printed last.
const PRINTED: &str = "dnsperf.out";

pub(super) fn run(options: &Options) -> Result<Vec<Metric>> {
    if let Err(missing) = installed(&["dnsperf"]) {
        return Ok(vec![Metric::not_measured(NAME, &missing)]);
    }
    let bed = Bed::set_up(SERVICES)?;
    let queries = bed.directory().join("queries");
    std::fs::write(&queries, asked())?;
    let mut skipped = BTreeMap::new();
    let mut rates: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let mut tails: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for round in 1..=options.rounds {
        for server in SERVERS.iter().filter(|server| !(options.only_peers && server.name == VPOD)) {
            check_stop()?;
            if skipped.contains_key(server.name) {
                continue;
            }
            if let Err(error) = installed(server.programs) {
                skipped.insert(server.name, error.to_string());
                continue;
            }
            let measured = measure(&bed, server, &queries, options.seconds).context(server.name)?;
            progress(&format!(
                "{NAME}, round {round}/{}, {}: {:.0} queries/s, p99 {:.0} µs at half load",
                options.rounds, server.name, measured.rate, measured.p99_us
            ));
            rates.entry(server.name).or_default().push(measured.rate);
            tails.entry(server.name).or_default().push(measured.p99_us);
        }
    }
    let owned = |samples: BTreeMap<&str, Vec<f64>>| -> Vec<(String, Vec<f64>)> {
        samples.into_iter().map(|(name, samples)| (name.to_owned(), samples)).collect()
    };
    let mut all = vec![
        Metric::new(NAME, "rate", "queries/s", Better::Higher, owned(rates)),
        Metric::new(NAME, "p99 at half load", "µs", Better::Lower, owned(tails)),
    ];
    for metric in &mut all {
        metric.skipped = skipped.iter().map(|(name, why)| ((*name).to_owned(), why.clone())).collect();
    }
    Ok(all)
}

/// Every other line asks for an IPv6 address. The order is a walk that meets all services.
fn asked() -> String {
    let mut text = String::new();
    for line in 0..QUERIES {
        let service = line.wrapping_mul(7919) % SERVICES;
        let kind = if line % 2 == 0 { "A" } else { "AAAA" };
        // Writing to a string does not fail.
        let _ = writeln!(text, "s{service}.default.svc.cluster.local {kind}");
    }
    text
}

struct Measured {
    rate: f64,
    p99_us: f64,
}

fn measure(bed: &Bed, server: &server::Server, queries: &Path, seconds: f64) -> Result<Measured> {
    let _running = bed.start(server)?;
    dnsperf(bed, queries, seconds, &[])?;
    let printed = std::fs::read_to_string(bed.directory().join(PRINTED))?;
    let is_right = printed.contains("NOERROR")
        && !["SERVFAIL", "NXDOMAIN", "REFUSED"].iter().any(|code| printed.contains(code));
    ensure!(is_right, "it does not answer as it should:\n{printed}");
    let rate = figure(&printed, "Queries per second:").context("no rate in what dnsperf says")?;
    let half = format!("{:.0}", rate / 2.0);
    dnsperf(bed, queries, seconds, &["-v", "-Q", &half])?;
    let printed = std::fs::read_to_string(bed.directory().join(PRINTED))?;
    // A line for each answer: `> NOERROR name type seconds`.
    let seconds = |line: &str| line.strip_prefix("> ")?.rsplit(' ').next()?.parse::<f64>().ok();
    let latencies: Vec<_> = printed.lines().filter_map(seconds).map(|seconds| seconds * 1e6).collect();
    Ok(Measured { rate, p99_us: quantile(&latencies, 0.99).context("no answers at half load")? })
}

/// Runs it. It prints to a file, so that nobody reads along and takes the processors from what is measured; the shell stays, for the
/// end of its own output is waited for.
fn dnsperf(bed: &Bed, queries: &Path, seconds: f64, more: &[&str]) -> Result<()> {
    let length = Duration::from_secs_f64(seconds).as_secs().max(1).to_string();
    let mut command = in_netns(bed.client(), "sh");
    command.current_dir(bed.directory()).args([
        "-c",
        "file=$1; shift; dnsperf \"$@\" > \"$file\"",
        "sh",
        PRINTED,
    ]);
    command.args(["-s", server::ADDRESS, "-l", &length, "-c", CLIENTS, "-q", OUTSTANDING, "-d"]).arg(queries);
    Running::start(command.args(more))?.finish(limit(seconds + PATIENCE)).context("dnsperf")?;
    Ok(())
}

/// The number behind `name`.
fn figure(printed: &str, name: &str) -> Option<f64> {
    let line = printed.lines().find_map(|line| line.trim().strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_in_what_dnsperf_says() {
        let printed = "Statistics:\n\n  Queries sent:         10\n  Queries per second:   12345.678901\n";
        assert_eq!(figure(printed, "Queries per second:"), Some(12_345.678_901));
        assert_eq!(figure(printed, "Queries lost:"), None);
    }

    #[test]
    fn every_service_is_asked_for() {
        let names: std::collections::BTreeSet<_> =
            asked().lines().filter_map(|line| line.split(' ').next().map(str::to_owned)).collect();
        assert_eq!(names.len(), SERVICES as usize);
    }
}
