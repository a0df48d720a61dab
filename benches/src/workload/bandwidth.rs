//! TCP to and from pods with a rate: what share of it they get, on one node and between two.
//!
//! The share is of payload, which is 96 % of what counts against the rate; less than 0.90 wastes what a pod may have, more than 1.05
//! is no limit. Nobody else is measured: what a peer calls a rate counts other bytes.

use anyhow::{Context, Result};
use protocol::object::Bandwidth;

use super::{Options, tcp_stream};
use crate::bed::{Bed, Kind};
use crate::metric::{Better, Metric, VPOD};
use crate::subject::{Offloads, Place};

pub(super) const NAME: &str = "bandwidth";

/// Megabits per second.
const RATES: [u32; 3] = [10, 100, 1000];
const BITS: u32 = 1_000_000;
/// The burst and slow start weigh little in a sample of this length.
const LEAST_SECONDS: f64 = 5.0;

#[derive(Clone, Copy)]
enum Direction {
    To,
    From,
}

pub(super) fn run(options: &Options) -> Result<Vec<Metric>> {
    let options =
        Options { peers: Vec::new(), seconds: options.seconds.max(LEAST_SECONDS), ..options.clone() };
    let mut metrics = Vec::new();
    for (nodes, place) in [(1, Place::OneNode), (2, Place::TwoNodes(Offloads::On))] {
        let shares = measure(&options, place)?;
        let of_place = |metric: Metric| metric.with_param("nodes", nodes);
        let summaries = [
            extreme("least share", Better::Higher, &shares, f64::min),
            extreme("most share", Better::Lower, &shares, f64::max),
        ];
        metrics.extend(shares.into_iter().chain(summaries).map(of_place));
    }
    Ok(metrics)
}

/// A run for each rate and direction, each between two pods of its own.
fn measure(options: &Options, place: Place) -> Result<Vec<Metric>> {
    let mut bed = Bed::set_up_in(place, options, 0)?;
    let mut metrics = Vec::new();
    let runs = RATES.into_iter().flat_map(|rate| [(rate, Direction::To), (rate, Direction::From)]);
    for (number, (megabits, direction)) in runs.enumerate() {
        let bits = u64::from(megabits) * u64::from(BITS);
        let (word, bandwidth) = match direction {
            Direction::To => ("to the pod", Bandwidth { ingress_rate: Some(bits), ..Bandwidth::default() }),
            Direction::From => {
                ("from the pod", Bandwidth { egress_rate: Some(bits), ..Bandwidth::default() })
            }
        };
        bed.each("a pod without and one with a limit", |subject| {
            subject.limit(Bandwidth::default())?;
            subject.add_pod()?;
            subject.limit(bandwidth)?;
            subject.add_pod()
        })?;
        let measured = bed.rounds(
            options.rounds,
            &format!("{NAME}, {megabits} Mbit/s {word}"),
            |share: &f64| format!("{share:.3} of the rate"),
            |subject| {
                let pods = subject.pods();
                let (free, limited) = (pods.get(2 * number), pods.get(2 * number + 1));
                let (free, limited) = free.zip(limited).context("no pods")?;
                let (from, to) = match direction {
                    Direction::To => (free, limited),
                    Direction::From => (limited, free),
                };
                let server = tcp_stream::Server::direct(to);
                let sample = tcp_stream::measure_between(from, &server, 1, options.seconds)?;
                Ok(sample.gigabits_per_second * 1e3 / f64::from(megabits))
            },
        )?;
        let kind = Kind { workload: NAME, name: "share of the rate", unit: "", better: Better::Higher };
        let metric = measured.metric(kind, |share| *share);
        metrics.push(metric.with_param("Mbit/s", megabits).with_param("direction", word));
    }
    Ok(metrics)
}

/// The worst of all runs, round by round.
fn extreme(name: &'static str, better: Better, shares: &[Metric], worse: fn(f64, f64) -> f64) -> Metric {
    let of_run = |metric: &Metric| metric.subjects.get(VPOD).map(|own| own.samples.clone());
    let worst = shares
        .iter()
        .filter_map(of_run)
        .reduce(|worst, run| worst.into_iter().zip(run).map(|(worst, share)| worse(worst, share)).collect());
    Metric::new(NAME, name, "", better, worst.into_iter().map(|samples| (VPOD.to_owned(), samples)))
}
