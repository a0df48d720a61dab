//! Names as pods ask for them: through the switch, at the address of the DNS service, of the server in the node's system pod.

use std::time::Duration;

use anyhow::{Context, Result};

use super::perf::{Asker, answers};
use super::{Options, SERVICES};
use crate::bed::limit;
use crate::host::{Running, check_stop, installed, progress, temporary_directory, wait_for};
use crate::load::{self, named};
use crate::metric::{Better, Metric, VPOD};
use crate::subject::services::{Services, name};
use crate::subject::{Pod, Subject, Vpod};

pub(in crate::workload) const NAME: &str = "dns-pod";

/// The DNS service, where the configuration says nothing else.
const ADDRESS: &str = "10.96.0.10";
/// For the system pod to start and to hear of all services.
const START_LIMIT: Duration = Duration::from_secs(30);
/// New services whose names are waited for in a round.
const CHANGES: u32 = 10;

pub(in crate::workload) fn run(options: &Options) -> Result<Vec<Metric>> {
    if let Err(missing) = installed(&["dnsperf"]) {
        return Ok(vec![Metric::not_measured(NAME, &missing)]);
    }
    if options.only_peers {
        return Ok(Vec::new());
    }
    let mut vpod = Vpod::with_names()?;
    vpod.add_pod()?;
    let services = Services::new(SERVICES, [vpod.client().ip; 2]);
    vpod.publish(&services)?;
    let client = vpod.client();
    let directory = temporary_directory()?;
    let asker = Asker::new(&client.netns, ADDRESS, directory.path(), SERVICES, full_name)?;
    let last = full_name(services.moving());
    wait_for(START_LIMIT, || answers(&client.netns, ADDRESS, &last)).context("names are not answered")?;
    let (mut rates, mut tails, mut changes) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=options.rounds {
        check_stop()?;
        let asked = asker.ask(options.seconds)?;
        let first = services.moving() + 1 + (round - 1) * CHANGES;
        let late = (first..first + CHANGES).map(|number| change(&vpod, client, &services, number));
        let late = late.collect::<Result<Vec<_>>>()?;
        let slowest = late.iter().copied().fold(0.0, f64::max);
        progress(&format!(
            "{NAME}, round {round}/{}: {:.0} queries/s, p99 {:.0} µs at half load; a new name after {slowest:.1} ms",
            options.rounds, asked.rate, asked.p99_us
        ));
        rates.push(asked.rate);
        tails.push(asked.p99_us);
        changes.push(slowest);
    }
    let metric =
        |name, unit, better, samples| Metric::new(NAME, name, unit, better, [(VPOD.to_owned(), samples)]);
    Ok(vec![
        metric("rate", "queries/s", Better::Higher, rates),
        metric("p99 at half load", "µs", Better::Lower, tails),
        metric("a new name, since its service was asked for", "ms", Better::Lower, changes),
    ])
}

fn full_name(service: u32) -> String {
    format!("{}.{}.svc.cluster.local", name(service), Vpod::NAMESPACE)
}

/// Milliseconds from asking for a new service until its name is answered. It is not before the datapath runs the service, but that is over
/// sooner than it can be asked about.
fn change(vpod: &Vpod, client: &Pod, services: &Services, number: u32) -> Result<f64> {
    let mut command = load::command(Some(client))?;
    command.args(["named", &format!("{ADDRESS}:53"), &full_name(number)]);
    let asking = Running::start_server(&mut command).context("asking")?;
    let began = named::now();
    vpod.write_service(services, number)?;
    let printed = asking.finish(limit(named::LONGEST.as_secs_f64())).context("asking")?;
    let answered: named::Answered = load::parse(printed.lines().last().unwrap_or_default())?;
    Ok(answered.at.saturating_sub(began).as_secs_f64() * 1e3)
}
