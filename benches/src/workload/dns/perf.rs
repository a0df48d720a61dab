//! dnsperf: how it asks, and what it says.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::bed::limit;
use crate::host::{Running, in_netns};
use crate::metric::quantile;

/// Lines of the file that is asked from, again and again.
const QUERIES: u32 = 20_000;
/// Sockets that are asked from, and queries under way.
const CLIENTS: &str = "8";
const OUTSTANDING: &str = "200";
/// Seconds after which a query counts as lost, and so after which dnsperf ends at the latest.
const PATIENCE: f64 = 5.0;
/// What it printed last, and what it asks.
const PRINTED: &str = "dnsperf.out";
const QUERY_FILE: &str = "queries";

/// Who asks whom.
pub(super) struct Asker<'a> {
    /// Where it runs.
    netns: &'a str,
    server: &'a str,
    /// For its files.
    directory: &'a Path,
}

/// What came of it.
pub(super) struct Asked {
    /// Queries per second.
    pub(super) rate: f64,
    /// At half of that.
    pub(super) p99_us: f64,
}

impl<'a> Asker<'a> {
    /// It asks for addresses of so many services, whose names are these.
    pub(super) fn new(
        netns: &'a str,
        server: &'a str,
        directory: &'a Path,
        services: u32,
        name: impl Fn(u32) -> String,
    ) -> Result<Self> {
        std::fs::write(directory.join(QUERY_FILE), queries(services, name))?;
        Ok(Self { netns, server, directory })
    }

    /// As fast as it can for so long, and then half as fast.
    pub(super) fn ask(&self, seconds: f64) -> Result<Asked> {
        let printed = self.run(seconds, &[])?;
        let is_right = printed.contains("NOERROR")
            && !["SERVFAIL", "NXDOMAIN", "REFUSED"].iter().any(|code| printed.contains(code));
        ensure!(is_right, "it does not answer as it should:\n{printed}");
        let rate = figure(&printed, "Queries per second:").context("no rate in what dnsperf says")?;
        let printed = self.run(seconds, &["-v", "-Q", &format!("{:.0}", rate / 2.0)])?;
        // A line for each answer: `> NOERROR name type seconds`.
        let seconds = |line: &str| line.strip_prefix("> ")?.rsplit(' ').next()?.parse::<f64>().ok();
        let latencies: Vec<_> = printed.lines().filter_map(seconds).map(|seconds| seconds * 1e6).collect();
        Ok(Asked { rate, p99_us: quantile(&latencies, 0.99).context("no answers at half load")? })
    }

    /// It prints to a file, so that nobody reads along and takes the processors from what is measured; the shell stays, for the end of its own
    /// output is waited for.
    fn run(&self, seconds: f64, more: &[&str]) -> Result<String> {
        let length = Duration::from_secs_f64(seconds).as_secs().max(1).to_string();
        let mut command = in_netns(self.netns, "sh");
        command.current_dir(self.directory).args([
            "-c",
            "file=$1; shift; dnsperf \"$@\" > \"$file\"",
            "sh",
            PRINTED,
        ]);
        command.args(["-s", self.server, "-l", &length, "-c", CLIENTS, "-q", OUTSTANDING, "-d", QUERY_FILE]);
        Running::start(command.args(more))?.finish(limit(seconds + PATIENCE)).context("dnsperf")?;
        Ok(std::fs::read_to_string(self.directory.join(PRINTED))?)
    }
}

/// Whether a server answers a question for the address of a name.
pub(super) fn answers(netns: &str, server: &str, name: &str) -> Result<bool> {
    let mut command = in_netns(netns, "dnsperf");
    let mut dnsperf = Running::start(command.args(["-s", server, "-n", "1", "-t", "1"]))?;
    dnsperf.write(&format!("{name} A\n"))?;
    Ok(dnsperf.finish(limit(1.0)).is_ok_and(|printed| printed.contains("NOERROR 1")))
}

/// Every other line asks for an IPv6 address. The order is a walk that meets all services.
fn queries(services: u32, name: impl Fn(u32) -> String) -> String {
    let mut text = String::new();
    for line in 0..QUERIES {
        let kind = if line % 2 == 0 { "A" } else { "AAAA" };
        // Writing to a string does not fail.
        let _ = writeln!(text, "{} {kind}", name(line.wrapping_mul(7919) % services));
    }
    text
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
        let names: std::collections::BTreeSet<_> = queries(1000, |service| service.to_string())
            .lines()
            .filter_map(|line| line.split(' ').next().map(str::to_owned))
            .collect();
        assert_eq!(names.len(), 1000);
    }
}
