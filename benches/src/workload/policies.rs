//! What network policies cost pods that they let pass: a TCP stream and connections, by two daemons at the same time, of which one has
//! many policies that select both pods. Measured in turn, so that what disturbs the machine disturbs both.

use anyhow::Result;

use super::same_node_rr::rate;
use super::{Options, same_node_crr, tcp_stream};
use crate::bed::{Bed, Kind, Measured};
use crate::load::rr::Answered;
use crate::metric::{Better, Metric};
use crate::subject::Subject;

pub(super) const NAME: &str = "policies";

/// How many the one daemon has, and the other.
const COUNTS: [u32; 2] = [0, 1_000];

/// The daemons, each with a bed of its own, and what was measured of each.
struct Beds([Bed; 2]);

pub(super) fn run(options: &Options) -> Result<Vec<Metric>> {
    if options.only_peers {
        return Ok(Vec::new());
    }
    let mut beds = Beds::set_up(&Options { peers: Vec::new(), ..options.clone() })?;
    let seconds = options.seconds;
    let streams = beds.rounds(
        options.rounds,
        "a TCP stream",
        |sample: &tcp_stream::Sample| format!("{:.2} Gbit/s", sample.gigabits_per_second),
        |subject| tcp_stream::measure(subject, 1, seconds),
    )?;
    let connections = beds.rounds(
        options.rounds,
        "connections",
        |answered: &Answered| format!("{:.0} connections/s", rate(answered)),
        |subject| same_node_crr::measure(subject, seconds),
    )?;
    let kind = |name, unit| Kind { workload: NAME, name, unit, better: Better::Higher };
    let mut metrics = with_counts(&streams, |of| {
        of.metric(kind("same-node-tcp", "Gbit/s"), |sample| sample.gigabits_per_second)
    });
    metrics.extend(with_counts(&connections, |of| of.metric(kind("same-node-crr", "connections/s"), rate)));
    Ok(metrics)
}

fn with_counts<T>(measured: &[Measured<T>; 2], metric: impl Fn(&Measured<T>) -> Metric) -> Vec<Metric> {
    COUNTS.iter().zip(measured).map(|(count, of)| metric(of).with_param("policies", count)).collect()
}

impl Beds {
    fn set_up(options: &Options) -> Result<Self> {
        let mut beds = Self([Bed::set_up(options, 2)?, Bed::set_up(options, 2)?]);
        for (bed, count) in beds.0.iter_mut().zip(COUNTS) {
            bed.each(&format!("{count} policies"), |subject| subject.restrict(count))?;
        }
        Ok(beds)
    }

    /// Each in turn; whoever is second may find a warmer or a busier machine, so they change places.
    fn rounds<T>(
        &mut self,
        rounds: u32,
        what: &str,
        show: impl Fn(&T) -> String,
        measure: impl Fn(&mut dyn Subject) -> Result<T>,
    ) -> Result<[Measured<T>; 2]> {
        let mut measured = [Measured::default(), Measured::default()];
        for round in 1..=rounds {
            let mut order = [0, 1];
            if round.is_multiple_of(2) {
                order.reverse();
            }
            for index in order {
                let (Some(bed), Some(measured)) = (self.0.get_mut(index), measured.get_mut(index)) else {
                    continue;
                };
                let count = COUNTS.get(index).copied().unwrap_or_default();
                let what = format!("{what}, {count} policies, round {round}/{rounds}");
                bed.round(&what, &show, &measure, measured)?;
            }
        }
        Ok(measured)
    }
}
