//! Which worker reads which port.
//!
//! By number, round and round: every worker and the link thread know it without asking, and it stays
//! the same when other ports come and go, so the frames of a port are never in the hands of two workers
//! and keep their order. Numbers are given out lowest first, which keeps the shares even. To balance
//! by load would mean to move ports while their frames are under way, for what a greedy pod could
//! make worthless a second later.

use protocol::PortId;

/// One worker's share of the ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share {
    worker: usize,
    workers: usize,
}

impl Share {
    /// The share of worker number `worker` of `workers`.
    pub(super) const fn new(worker: usize, workers: usize) -> Self {
        Self { worker, workers }
    }

    /// Whether this worker reads `port`.
    pub(super) fn owns(self, port: PortId) -> bool {
        owner(port, self.workers) == self.worker
    }

    /// The worker that reads `port`.
    pub(super) fn owner(self, port: PortId) -> usize {
        owner(port, self.workers)
    }
}

/// The worker, of `workers`, that reads `port`.
pub(super) fn owner(port: PortId, workers: usize) -> usize {
    port.index() % workers.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_has_exactly_one_owner_and_shares_are_even() {
        for workers in 1..=64 {
            let shares: Vec<_> = (0..workers).map(|worker| Share::new(worker, workers)).collect();
            let mut sizes = vec![0; workers];
            for port in (0..PortId::MAX_PORTS).map(PortId) {
                let owners: Vec<_> = (0..workers).filter(|worker| shares[*worker].owns(port)).collect();
                assert_eq!(owners, [owner(port, workers)]);
                sizes[owners[0]] += 1;
            }
            let (least, most) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
            assert!(most - least <= 1, "{sizes:?}");
        }
    }
}
