//! HTTP through the ingress, beside nginx and haproxy as proxies of the same server, all in one run.
//!
//! What is compared is what a request costs: requests per second of the proxy's own CPU time, so that the client and
//! the server, which share the machine, do not count. Each proxy has one worker, keeps connections to the server, sets the same
//! forwarding fields and writes no access log.

mod feed;
mod idle;
mod proxies;

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use self::proxies::{DIRECT, HTTP, HTTPS, Proxy, Site};
use super::Options;
use crate::bed::limit;
use crate::host::{Running, check_stop, installed, process_cpu_seconds, progress};
use crate::metric::{Better, Metric, quantile};

pub(super) const NAME: &str = "ingress";

/// Connections of the client.
const CONNECTIONS: u32 = 64;
/// The least time that a proxy adds, for ratios.
const LEAST_ADDED_MS: f64 = 0.01;
/// Idle connections whose memory is measured: as many as haproxy takes where a process may have 20,000 descriptors.
const IDLE: usize = 9_500;

/// One way to ask.
#[derive(Debug, Clone, Copy)]
struct Case {
    bytes: u32,
    tls: bool,
    connections: Asked,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Kept,
    New,
    Http2,
}

const CASES: &[Case] = &[
    Case { bytes: 1 << 10, tls: false, connections: Asked::Kept },
    Case { bytes: 100 << 10, tls: false, connections: Asked::Kept },
    Case { bytes: 1 << 10, tls: false, connections: Asked::New },
    Case { bytes: 1 << 10, tls: true, connections: Asked::Kept },
    Case { bytes: 100 << 10, tls: true, connections: Asked::Kept },
    Case { bytes: 1 << 10, tls: true, connections: Asked::New },
    Case { bytes: 1 << 10, tls: true, connections: Asked::Http2 },
];

/// What one sample says.
#[derive(Debug, Clone, Copy)]
struct Sample {
    per_cpu_second: f64,
    p99_ms: Option<f64>,
}

pub(super) fn run(options: &Options) -> Result<Vec<Metric>> {
    // nginx is also the server behind all of them.
    if let Err(missing) = installed(&["nginx", "haproxy", "wrk", "h2load"]) {
        return Ok(vec![Metric::not_measured(NAME, &missing)]);
    }
    let site = Site::new()?;
    let mut proxies = proxies::start(&site, options.only_peers)?;
    let mut metrics = Vec::new();
    for case in CASES {
        metrics.extend(measure(case, options, &mut proxies)?);
    }
    for tls in [false, true] {
        // Anew: memory of connections that have ended would be used again, and cost nothing.
        drop(proxies);
        proxies = proxies::start(&site, options.only_peers)?;
        metrics.push(memory(&site, &proxies, tls)?);
    }
    Ok(metrics)
}

fn measure(case: &Case, options: &Options, proxies: &mut [Proxy]) -> Result<Vec<Metric>> {
    let mut rates: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let mut tails: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let mut direct = Vec::new();
    for round in 1..=options.rounds {
        direct.extend(direct_tail(case, options.seconds)?);
        for proxy in proxies.iter_mut() {
            check_stop()?;
            let sample = sample(case, proxy, options.seconds)
                .with_context(|| format!("{} as {case:?}", proxy.name))?;
            let rate = sample.per_cpu_second;
            progress(&format!(
                "{NAME} {case:?}, round {round}/{}, {}: {rate:.0} per CPU second",
                options.rounds, proxy.name
            ));
            rates.entry(proxy.name.to_owned()).or_default().push(rate);
            tails.entry(proxy.name.to_owned()).or_default().extend(sample.p99_ms);
        }
    }
    let with = |metric: Metric| {
        let connections = match case.connections {
            Asked::Kept => "kept",
            Asked::New => "new",
            Asked::Http2 => "HTTP/2",
        };
        let tls = if case.tls { "on" } else { "off" };
        metric.with_param("bytes", case.bytes).with_param("tls", tls).with_param("connections", connections)
    };
    let mut metrics = vec![with(Metric::new(NAME, "requests per CPU second", "1/s", Better::Higher, rates))];
    if let Some(direct) = quantile(&direct, 0.5) {
        // Below the server's own, nothing is added; a ratio wants more than zero.
        let added =
            |all: &Vec<f64>| all.iter().map(|p99| (p99 - direct).max(LEAST_ADDED_MS)).collect::<Vec<f64>>();
        let added = tails.iter().map(|(name, all)| (name.clone(), added(all)));
        metrics.push(with(Metric::new(NAME, "added p99", "ms", Better::Lower, added)));
    }
    metrics.push(with(Metric::new(NAME, "p99", "ms", Better::Lower, tails)));
    Ok(metrics)
}

/// The server's own p99, where wrk tells one, without TLS: that it has none is part of what a proxy adds.
fn direct_tail(case: &Case, seconds: f64) -> Result<Option<f64>> {
    if case.connections == Asked::Http2 {
        return Ok(None);
    }
    let case = Case { tls: false, ..*case };
    let printed = Running::start(&mut client(&case, DIRECT, seconds))?.finish(limit(seconds))?;
    Ok(wrk(&printed).1)
}

/// What asks in this way, at a port.
fn client(case: &Case, port: u16, seconds: f64) -> Command {
    let scheme = if case.tls { "https" } else { "http" };
    let url = format!("{scheme}://127.0.0.1:{port}/{}", case.bytes);
    if case.connections == Asked::Http2 {
        let mut h2load = Command::new("h2load");
        h2load.args(["-c16", "-m8", "-t1", "-D", &seconds.ceil().to_string(), &url]);
        return h2load;
    }
    let mut wrk = Command::new("wrk");
    wrk.args(["-t1", "-c", &CONNECTIONS.to_string(), "-d", &format!("{}s", seconds.ceil()), "--latency"]);
    if case.connections == Asked::New {
        wrk.args(["-H", "Connection: close"]);
    }
    wrk.arg(&url);
    wrk
}

fn sample(case: &Case, proxy: &mut Proxy, seconds: f64) -> Result<Sample> {
    proxy.check_running()?;
    let port = proxy.port + if case.tls { HTTPS } else { HTTP };
    let before = process_cpu_seconds(&[proxy.pid()])?;
    let printed = Running::start(&mut client(case, port, seconds))?.finish(limit(seconds))?;
    let cpu = process_cpu_seconds(&[proxy.pid()])? - before;
    ensure!(cpu > 0.0, "it used no CPU: {printed}");
    ensure!(!printed.contains("Non-2xx"), "requests failed: {printed}");
    let (requests, p99_ms) =
        if case.connections == Asked::Http2 { (h2load(&printed), None) } else { wrk(&printed) };
    let requests = requests.with_context(|| format!("not understood: {printed}"))?;
    Ok(Sample { per_cpu_second: requests / cpu, p99_ms })
}

/// `  123456 requests in 5.00s, 1.2GB read` and `     99%   12.34ms`.
fn wrk(printed: &str) -> (Option<f64>, Option<f64>) {
    let mut lines = printed.lines().map(str::trim);
    let requests = lines.clone().find_map(|line| line.split_once(" requests in")?.0.parse().ok());
    let tail = lines.find_map(|line| line.strip_prefix("99%")).map(str::trim);
    let p99 = tail.and_then(|text| {
        let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic())?);
        let factor = match unit {
            "us" => 0.001,
            "ms" => 1.0,
            "s" => 1000.0,
            _ => return None,
        };
        Some(number.parse::<f64>().ok()? * factor)
    });
    (requests, p99)
}

/// `status codes: 1234 2xx, 0 3xx, 0 4xx, 0 5xx`.
fn h2load(printed: &str) -> Option<f64> {
    let line = printed.lines().find_map(|line| line.strip_prefix("status codes: "))?;
    let ok = line.split_once(" 2xx")?.0.parse().ok()?;
    line.contains(" 0 4xx, 0 5xx").then_some(ok)
}

/// What an idle connection that has asked once costs.
fn memory(site: &Site, proxies: &[Proxy], tls: bool) -> Result<Metric> {
    let mut samples = BTreeMap::new();
    for proxy in proxies {
        check_stop()?;
        let bytes = idle::bytes(site, proxy, IDLE, tls).context(proxy.name)?;
        progress(&format!("{NAME}, {}: {bytes:.0} bytes for each idle connection, TLS {tls}", proxy.name));
        samples.insert(proxy.name.to_owned(), vec![bytes]);
    }
    let metric = Metric::new(NAME, "memory of an idle connection", "bytes", Better::Lower, samples);
    Ok(metric.with_param("tls", if tls { "on" } else { "off" }))
}

/// Longest wait for a proxy to answer.
const READY_WITHIN: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_clients_print_is_understood() {
        let printed = "  Thread Stats\n  Latency Distribution\n     50%    2.10ms\n     99%    1.25s \n  23020 requests in 3.00s, 30MB read\n";
        assert_eq!(wrk(printed), (Some(23_020.0), Some(1250.0)));
        assert_eq!(wrk("     99%  420.00us\n"), (None, Some(0.42)));
        let printed = "finished in 3s\nstatus codes: 812 2xx, 0 3xx, 0 4xx, 0 5xx\n";
        assert_eq!(h2load(printed), Some(812.0));
        assert_eq!(h2load("status codes: 812 2xx, 0 3xx, 0 4xx, 3 5xx\n"), None);
    }
}
