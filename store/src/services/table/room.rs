//! How much the datapath holds in all, and who waits for room.

use std::collections::BTreeSet;

use super::super::change::ServiceState;
use super::super::names::{ObjectRef, PortKey};

/// The datapath takes 2^18 of each; a change sends what comes before what goes, so some room is left for what is on its way.
const MAX_FRONTENDS: usize = 7 << 15;
const MAX_BACKENDS: usize = 7 << 15;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Room {
    frontends: usize,
    backends: usize,
    /// Services of which something is left out for want of room.
    waiting: BTreeSet<ObjectRef>,
    /// The ports that are.
    left_out: BTreeSet<PortKey>,
    /// Something has gone since they were looked at.
    freed: bool,
}

impl Room {
    /// Takes room for `new` in place of `old`; `false` if there is not enough. What `old` had is free in either case.
    pub(super) fn take(&mut self, old: Option<&ServiceState>, new: &ServiceState) -> bool {
        let (frontends, backends) = size(new);
        if let Some((had_frontends, had_backends)) = old.map(size) {
            self.frontends -= had_frontends;
            self.backends -= had_backends;
            self.freed |= frontends < had_frontends || backends < had_backends;
        }
        let fits = self.frontends + frontends <= MAX_FRONTENDS && self.backends + backends <= MAX_BACKENDS;
        if fits {
            self.frontends += frontends;
            self.backends += backends;
        }
        self.freed |= !fits && old.is_some();
        fits
    }

    /// A service port is gone.
    pub(super) fn give_back(&mut self, old: &ServiceState) {
        let (frontends, backends) = size(old);
        self.frontends -= frontends;
        self.backends -= backends;
        self.freed = true;
    }

    /// A service port is to be looked at again when there is room. False if it has been waiting.
    pub(super) fn wait(&mut self, key: &PortKey) -> bool {
        self.waiting.insert(key.service.clone());
        self.left_out.insert(key.clone())
    }

    /// It has found room, or is gone.
    pub(super) fn is_served(&mut self, key: &PortKey) {
        self.left_out.remove(key);
    }

    /// Who may have room now.
    pub(super) fn retry(&mut self) -> BTreeSet<ObjectRef> {
        if std::mem::take(&mut self.freed) { std::mem::take(&mut self.waiting) } else { BTreeSet::new() }
    }
}

fn size(state: &ServiceState) -> (usize, usize) {
    (state.config.frontends.len(), state.backends.len())
}
