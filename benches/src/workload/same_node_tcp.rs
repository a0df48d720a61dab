//! TCP streams between two pods of one node, by iperf3.

use anyhow::Result;

use super::{Options, tcp_stream};
use crate::bed::Bed;
use crate::load::transfer;
use crate::metric::Metric;

pub(super) const NAME: &str = "same-node-tcp";

/// Bytes of the hashed transfer that precedes the measurement. Hashing takes longer than carrying.
const VERIFIED_BYTES: u64 = 64 << 20;
const STREAMS: [u32; 3] = [1, 4, 16];

pub(super) fn run(options: &Options) -> Result<Vec<Metric>> {
    let mut bed = Bed::set_up(options, 2)?;
    bed.each(&format!("hashed transfer of {} MiB", VERIFIED_BYTES >> 20), |subject| {
        transfer::verify(subject, VERIFIED_BYTES)
    })?;
    let mut metrics = Vec::new();
    for streams in STREAMS {
        let measured = bed.rounds(
            options.rounds,
            &format!("{NAME}, {streams} streams"),
            |sample: &tcp_stream::Sample| format!("{:.2} Gbit/s", sample.gigabits_per_second),
            |subject| tcp_stream::measure(subject, streams, options.seconds),
        )?;
        metrics.extend(tcp_stream::metrics(NAME, &measured, streams));
    }
    Ok(metrics)
}
