//! TCP requests and answers between pods of two nodes, one at a time.

use anyhow::Result;

use super::{Options, same_node_rr};
use crate::bed::Bed;
use crate::metric::Metric;
use crate::subject::{Offloads, Place};

pub(super) const NAME: &str = "cross-node-rr";

/// Payload bytes of a request, and of its answer.
const SIZES: [usize; 1] = [1];

pub(super) fn run(options: &Options) -> Result<Vec<Metric>> {
    let bed = Bed::set_up_in(Place::TwoNodes(Offloads::On), options, 2)?;
    same_node_rr::measure_all(NAME, bed, options, &SIZES)
}
