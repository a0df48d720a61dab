//! How many connections there may be, in all and from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::settings::Options;

/// Counts connections; shared by all workers.
#[derive(Debug)]
pub(crate) struct ConnectionLimit {
    max: u32,
    max_per_client: u32,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    all: u32,
    /// Only those with any: no larger than `all`.
    by_client: HashMap<IpAddr, u32>,
}

/// A place among the connections; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    limit: Arc<ConnectionLimit>,
    client: IpAddr,
}

impl ConnectionLimit {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            max: options.max_connections,
            max_per_client: options.max_connections_per_client,
            counts: Mutex::default(),
        }
    }

    /// A place for one more, if there is one.
    pub(crate) fn enter(self: &Arc<Self>, client: IpAddr) -> Option<Place> {
        let mut counts = self.counts.lock();
        if counts.all >= self.max {
            return None;
        }
        let mine = counts.by_client.entry(client).or_default();
        if *mine >= self.max_per_client {
            return None;
        }
        *mine += 1;
        counts.all += 1;
        Some(Place { limit: Arc::clone(self), client })
    }

    /// Connections now.
    #[cfg(test)]
    fn count(&self) -> u32 {
        self.counts.lock().all
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.limit.counts.lock();
        counts.all = counts.all.saturating_sub(1);
        if let Some(mine) = counts.by_client.get_mut(&self.client) {
            *mine -= 1;
            if *mine == 0 {
                counts.by_client.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_run_out_and_come_back() {
        let options = Options { max_connections: 3, max_connections_per_client: 2, ..Options::default() };
        let limit = Arc::new(ConnectionLimit::new(&options));
        let [a, b, c] = [1, 2, 3].map(|n| IpAddr::from([10, 0, 0, n]));
        let first = limit.enter(a);
        let second = limit.enter(a);
        assert!(first.is_some() && second.is_some());
        assert!(limit.enter(a).is_none(), "its share");
        let third = limit.enter(b);
        assert!(third.is_some());
        assert!(limit.enter(c).is_none(), "all");
        drop(first);
        assert!(limit.enter(c).is_some());
        drop((second, third));
        assert_eq!(limit.count(), 0);
        assert!(limit.counts.lock().by_client.is_empty());
    }
}
