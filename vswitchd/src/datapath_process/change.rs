//! A change of configuration on its way through all workers.
//!
//! ```text
//!   worker 0   prepare ─┐            ┌─ commit ─┐
//!   worker 1   prepare ─┼─ agreed? ──┼─ commit ─┼─▶ frames again
//!   worker 2   prepare ─┘            └─ commit ─┘
//! ```
//!
//! Nobody commits before everybody could, and nobody forwards a frame before everybody has: a change is
//! visible at once or not at all, to every pair of ports. The switches are the same and refuse the same;
//! should they not, the change is discarded by all. It costs each worker the wait for the slowest one,
//! which is at most a turn (some milliseconds), and as long as tables take to be built anew.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};

use protocol::PortId;
use protocol::link::{ConfigDelta, PortConfig};

use super::bearer::Bearer;

/// One delta with the devices it attaches, the same for all workers.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) delta: ConfigDelta,
    /// Ports of `delta.attach`. A device is shared, not duplicated: duplicates would be one open file in
    /// the kernel all the same, and fill the descriptor table.
    pub(super) devices: Vec<(PortId, Arc<Bearer>)>,
    all: Barrier,
    refused: AtomicBool,
}

impl Change {
    /// For `workers` workers.
    ///
    /// # Errors
    /// Says what does not fit when the descriptors do not.
    pub(super) fn new(delta: ConfigDelta, fds: Vec<OwnedFd>, workers: usize) -> Result<Self, String> {
        let wanted: usize = delta.attach.iter().map(|config| config.device.descriptors()).sum();
        if fds.len() != wanted {
            return Err(format!(
                "configuration {} attaches {} ports with {} descriptors, not {wanted}",
                delta.epoch,
                delta.attach.len(),
                fds.len()
            ));
        }
        let mut fds = fds.into_iter();
        let mut device = |config: &PortConfig| {
            let own = fds.by_ref().take(config.device.descriptors()).collect();
            Some((config.id, Arc::new(Bearer::from_fds(config, own)?)))
        };
        // As many as wanted, so none is refused.
        let devices = delta.attach.iter().filter_map(&mut device).collect();
        Ok(Self { delta, devices, all: Barrier::new(workers), refused: AtomicBool::new(false) })
    }

    /// Waits for all workers; true if each could prepare.
    pub(super) fn agree(&self, prepared: bool) -> bool {
        if !prepared {
            // The barrier orders this before every worker's look.
            self.refused.store(true, Ordering::Relaxed);
        }
        self.all.wait();
        !self.refused.load(Ordering::Relaxed)
    }

    /// Waits until all workers have committed.
    pub(super) fn complete(&self) {
        self.all.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_refusal_is_everybodys() {
        for refusing in [None, Some(0), Some(2)] {
            let change = Change::new(ConfigDelta::default(), Vec::new(), 3).unwrap();
            std::thread::scope(|scope| {
                for worker in 0..3 {
                    let change = &change;
                    scope.spawn(move || {
                        assert_eq!(change.agree(refusing != Some(worker)), refusing.is_none());
                    });
                }
            });
        }
    }

    #[test]
    fn every_port_needs_its_descriptor() {
        let fd = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let error = Change::new(ConfigDelta { epoch: 7, ..ConfigDelta::default() }, vec![fd], 1).unwrap_err();
        assert_eq!(error, "configuration 7 attaches 0 ports with 1 descriptors, not 0");
    }
}
