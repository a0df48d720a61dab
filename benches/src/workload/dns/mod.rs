//! Names: queries per second, and the latency at half of that, of servers that have the same names (dnsperf).
//!
//! Every server runs in a namespace of its own kind, reached over the same pair of devices, with two threads where it can have them, and has
//! the same services; what is asked is addresses of both families, of which there is one: half of the answers say that there is none, as
//! of clients that ask for both. Client and server share the machine.

mod cluster;
mod perf;
pub(super) mod pod;
mod server;

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use self::perf::{Asked, Asker};
use self::server::{Bed, SERVERS};
use super::Options;
use crate::host::{check_stop, installed, progress};
use crate::metric::{Better, Metric, VPOD};

pub(super) const NAME: &str = "dns";

/// Services that have names.
const SERVICES: u32 = 1000;
pub(super) fn run(options: &Options) -> Result<Vec<Metric>> {
    if let Err(missing) = installed(&["dnsperf"]) {
        return Ok(vec![Metric::not_measured(NAME, &missing)]);
    }
    let bed = Bed::set_up(SERVICES)?;
    let names = |service| format!("s{service}.default.svc.cluster.local");
    let asker = Asker::new(bed.client(), server::ADDRESS, bed.directory(), SERVICES, names)?;
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
            let measured = measure(&bed, server, &asker, options.seconds).context(server.name)?;
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

fn measure(bed: &Bed, server: &server::Server, asker: &Asker<'_>, seconds: f64) -> Result<Asked> {
    let _running = bed.start(server)?;
    asker.ask(seconds)
}
