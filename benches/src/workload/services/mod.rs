//! What is measured through services: few and many of them, beside kube-proxy's rules.
//!
//! Loading tens of thousands of endpoints takes the peers minutes, so every number of services is loaded
//! once into subjects of its own, which all of these workloads then share. Within one round, all numbers
//! are measured one after the other, so that what grows with them can be told from what the machine does.

pub(super) mod crr;
pub(super) mod first_packet;
pub(super) mod program;
pub(super) mod rr;
pub(super) mod tcp;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::Options;
use crate::bed::{Bed, Damaged, Measured};
use crate::host::{Running, kernel_bytes, resident_bytes};
use crate::load::command;
use crate::metric::Metric;
use crate::subject::services::{SERVERS, Services, server_ports};
use crate::subject::{Place, Pod, Subject};

/// Subjects with services in them, smallest number first.
pub(crate) struct ServiceBeds(Vec<Sized>);

/// Subjects with so many services.
struct Sized {
    count: u32,
    bed: Bed,
    published: Measured<Published>,
}

/// What it took to give a subject its services.
struct Published {
    took: Duration,
    /// Bytes of its processes before and after: who decides, who forwards. Where the kernel does both: the
    /// kernel's.
    before: Vec<u64>,
    after: Vec<u64>,
    endpoints: usize,
}

impl ServiceBeds {
    pub(crate) fn set_up(options: &Options) -> Result<Self> {
        let mut counts = options.services.clone();
        counts.sort_unstable();
        counts.dedup();
        let sized = |count| Sized::set_up(options, count).with_context(|| format!("{count} services"));
        Ok(Self(counts.into_iter().map(sized).collect::<Result<_>>()?))
    }

    /// Measures each subject with each number of services, `rounds` times over.
    fn rounds<T>(
        &mut self,
        rounds: u32,
        what: &str,
        show: impl Fn(&T) -> String,
        mut measure: impl FnMut(&mut dyn Subject, &Services, u32) -> Result<T>,
    ) -> Result<Vec<(u32, Measured<T>)>> {
        let mut all: Vec<_> = self.0.iter().map(|sized| (sized.count, Measured::default())).collect();
        for round in 1..=rounds {
            for (Sized { bed, count, .. }, (_, measured)) in self.0.iter_mut().zip(&mut all) {
                let count = *count;
                let what = format!("{what}, {count} services, round {round}/{rounds}");
                let step = |subject: &mut dyn Subject| {
                    let services = services_of(subject, count)?;
                    measure(subject, &services, round)
                };
                bed.round(&what, &show, step, measured)?;
            }
        }
        Ok(all)
    }
}

impl Sized {
    fn set_up(options: &Options, count: u32) -> Result<Self> {
        let mut bed = Bed::set_up_in(Place::Services, options, 1 + SERVERS)?;
        let mut published = Measured::default();
        let show = |published: &Published| format!("{:.2} s", published.took.as_secs_f64());
        bed.round(&format!("publishing {count} services"), show, |s| publish(s, count), &mut published)?;
        Ok(Self { count, bed, published })
    }
}

fn publish(subject: &mut dyn Subject, count: u32) -> Result<Published> {
    let services = services_of(subject, count)?;
    let before = memory(subject)?;
    let started = Instant::now();
    subject.publish(&services)?;
    let took = started.elapsed();
    Ok(Published { took, before, after: memory(subject)?, endpoints: services.endpoint_count() })
}

/// Bytes: of each of its processes, or else of the kernel.
fn memory(subject: &dyn Subject) -> Result<Vec<u64>> {
    let pids = subject.processes()?;
    if pids.is_empty() {
        return Ok(vec![kernel_bytes()?]);
    }
    pids.into_iter().map(resident_bytes).collect()
}

fn services_of(subject: &dyn Subject, count: u32) -> Result<Services> {
    let [_, first, second, ..] = subject.pods() else { anyhow::bail!("too few pods") };
    Ok(Services::new(count, [first.ip, second.ip]))
}

/// The pods behind the services.
fn servers(subject: &dyn Subject) -> impl Iterator<Item = &Pod> {
    subject.pods().iter().skip(1).take(SERVERS)
}

/// Starts a server in each of them, at all ports of the live services.
fn start_servers(subject: &dyn Subject, program: &str, more: &[&str]) -> Result<Vec<Running>> {
    let start = |pod: &Pod| {
        let mut server = command(Some(pod))?;
        server.arg(program).args(server_ports().map(|port| format!("{}:{port}", pod.ip))).args(more);
        Running::start_server(&mut server).context("server")
    };
    servers(subject).map(start).collect()
}

fn finish(servers: Vec<Running>) -> Result<()> {
    servers.into_iter().try_for_each(|server| {
        server.finish(crate::bed::limit(0.0)).context("server")?;
        Ok(())
    })
}

/// Puts each number of services to its metrics.
fn with_counts<T>(all: &[(u32, Measured<T>)], describe: impl Fn(&Measured<T>) -> Vec<Metric>) -> Vec<Metric> {
    let of = |(count, measured): &(u32, Measured<T>)| {
        let count = *count;
        describe(measured).into_iter().map(move |metric| metric.with_param("services", count))
    };
    all.iter().flat_map(of).collect()
}

/// A connection to the moving service, which only the server it was moved to accepts.
fn check_moved(subject: &dyn Subject, services: &Services, server: usize) -> Result<()> {
    let pod = servers(subject).nth(server).context("too few pods")?;
    let listen = format!("{}:{}", pod.ip, crate::subject::services::MOVING_PORT);
    let mut serve = command(Some(pod))?;
    let serving = Running::start_server(serve.args(["serve", &listen, "--size", "1", "--close"]))?;
    let mut client = command(Some(subject.client()))?;
    client.args(["crr", &services.moving_address().to_string(), "--seconds", "0.01"]);
    let connected = Running::start(&mut client)?.finish(crate::bed::limit(0.0));
    connected.map_err(|error| {
        Damaged::by(subject, format!("a service does not lead to its new endpoint: {error:#}"))
    })?;
    serving.finish(crate::bed::limit(0.0)).context("server")?;
    Ok(())
}
