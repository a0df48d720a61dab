//! Small datagrams between pods of two nodes: the price of a packet with encapsulation and all.

use anyhow::Result;

use super::{Options, same_node_udp};
use crate::bed::Bed;
use crate::metric::Metric;
use crate::subject::{Offloads, Place};

pub(super) const NAME: &str = "cross-node-udp";

/// Payload bytes.
const SIZES: [usize; 1] = [64];

pub(super) fn run(options: &Options) -> Result<Vec<Metric>> {
    let bed = Bed::set_up_in(Place::TwoNodes(Offloads::On), options, 2)?;
    same_node_udp::measure_all(NAME, bed, options, &SIZES)
}
