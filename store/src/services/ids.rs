//! Numbers of service ports in the datapath, which stay the same as long as the port exists.

use std::collections::{BTreeMap, BTreeSet};

use protocol::ServiceId;

use super::names::PortKey;

/// Numbers by name; the lowest free one is given first, which keeps the datapath's tables dense.
///
/// INVARIANT: no number is given twice; `freed` holds exactly the numbers below `next` that nobody has; `next` is at
/// most [`ServiceId::MAX_SERVICES`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServiceIds {
    ids: BTreeMap<PortKey, ServiceId>,
    freed: BTreeSet<ServiceId>,
    next: u32,
}

impl ServiceIds {
    /// The number of a port, a new one if it has none; `None` when all are taken.
    pub fn assign(&mut self, key: &PortKey) -> Option<ServiceId> {
        if let Some(id) = self.ids.get(key) {
            return Some(*id);
        }
        let id = match self.freed.pop_first() {
            Some(id) => id,
            None if self.next < ServiceId::MAX_SERVICES => {
                self.next += 1;
                ServiceId(self.next - 1)
            }
            None => return None,
        };
        self.ids.insert(key.clone(), id);
        Some(id)
    }

    /// Gives a port's number back, if it has one.
    pub fn release(&mut self, key: &PortKey) -> Option<ServiceId> {
        let id = self.ids.remove(key)?;
        self.freed.insert(id);
        Some(id)
    }

    /// The number of a port.
    #[must_use]
    pub fn get(&self, key: &PortKey) -> Option<ServiceId> {
        self.ids.get(key).copied()
    }
}
