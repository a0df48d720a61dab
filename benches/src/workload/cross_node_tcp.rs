//! TCP streams between pods of two nodes, by iperf3: what the tunnel costs, where the underlay's NIC
//! segments what it is given, and where it does not.

use anyhow::Result;

use super::{Options, tcp_stream};
use crate::bed::Bed;
use crate::load::transfer;
use crate::metric::Metric;
use crate::subject::{Offloads, Place};

pub(super) const NAME: &str = "cross-node-tcp";

/// Bytes of the hashed transfer that precedes the measurement.
const VERIFIED_BYTES: u64 = 64 << 20;
const STREAMS: [u32; 2] = [1, 8];

pub(super) fn run(options: &Options) -> Result<Vec<Metric>> {
    let mut metrics = Vec::new();
    for offloads in [Offloads::On, Offloads::Off] {
        let of_run = |m: Metric| m.with_param("underlay offloads", offloads.name());
        metrics.extend(measure(options, offloads)?.into_iter().map(of_run));
    }
    Ok(metrics)
}

fn measure(options: &Options, offloads: Offloads) -> Result<Vec<Metric>> {
    let mut bed = Bed::set_up_in(Place::TwoNodes(offloads), options, 2)?;
    bed.each(&format!("hashed transfer of {} MiB", VERIFIED_BYTES >> 20), |subject| {
        transfer::verify(subject, VERIFIED_BYTES)
    })?;
    let mut metrics = Vec::new();
    for streams in STREAMS {
        let measured = bed.rounds(
            options.rounds,
            &format!("{NAME}, {streams} streams, underlay offloads {}", offloads.name()),
            |sample: &tcp_stream::Sample| format!("{:.2} Gbit/s", sample.gigabits_per_second),
            |subject| tcp_stream::measure(subject, streams, options.seconds),
        )?;
        metrics.extend(tcp_stream::metrics(NAME, &measured, streams));
    }
    Ok(metrics)
}
