//! Requests of one client that a rule lets be under way at a time.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

/// Counts requests; shared by all workers. No larger than the number of requests under way.
#[derive(Debug, Default)]
pub(crate) struct ConcurrencyLimit(Mutex<HashMap<(IpAddr, u64), u32>>);

/// A request under way; given back when dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    limit: Arc<ConcurrencyLimit>,
    key: (IpAddr, u64),
}

impl ConcurrencyLimit {
    /// A place for one more request to a rule, if there is one.
    pub(crate) fn enter(self: &Arc<Self>, client: IpAddr, rule: u64, max: u32) -> Option<Turn> {
        let key = (client, rule);
        let mut counts = self.0.lock();
        let count = counts.entry(key).or_default();
        if *count >= max {
            if *count == 0 {
                counts.remove(&key);
            }
            return None;
        }
        *count += 1;
        Some(Turn { limit: Arc::clone(self), key })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut counts = self.limit.0.lock();
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_the_rule_lets() {
        let limit = Arc::new(ConcurrencyLimit::default());
        let client = IpAddr::from([10, 0, 0, 1]);
        let first = limit.enter(client, 1, 2);
        let second = limit.enter(client, 1, 2);
        assert!(first.is_some() && second.is_some());
        assert!(limit.enter(client, 1, 2).is_none());
        assert!(limit.enter(client, 2, 2).is_some(), "another rule");
        assert!(limit.enter(client, 3, 0).is_none());
        drop((first, second));
        assert!(limit.0.lock().is_empty());
    }
}
