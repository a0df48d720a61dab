//! Requests per time: a token bucket per client and route, in tables of bounded size.
//!
//! How it works: a bucket holds up to `burst` tokens and gains `per_second`; a request takes one. A bucket that would be
//! full again is the same as none, so that is what is evicted first when a table is full. If none is, as in a flood from
//! very many addresses, one is evicted blindly: its client gets a new burst, which costs less than refusing strangers.

use std::collections::HashMap;
use std::net::IpAddr;

use parking_lot::Mutex;

use crate::upstream::balance::mix;

const SHARDS: usize = 16;
/// Buckets in one of the tables.
const BUCKETS_PER_SHARD: usize = 4096;
/// How many are looked at for one to evict.
const EVICTION_LOOKS: usize = 8;

/// How many requests a client may send.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rate {
    pub(crate) per_second: f64,
    pub(crate) burst: f64,
}

/// Whose bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    client: IpAddr,
    route: u64,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at_ms: u64,
    rate: Rate,
}

impl Bucket {
    fn tokens_at(&self, now_ms: u64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "half a second more or less after 285 000 years")]
        let seconds = now_ms.saturating_sub(self.at_ms) as f64 / 1000.0;
        (self.tokens + seconds * self.rate.per_second).min(self.rate.burst)
    }
}

/// The tables.
#[derive(Debug, Default)]
pub(crate) struct RateLimit {
    shards: [Mutex<HashMap<Key, Bucket>>; SHARDS],
}

impl RateLimit {
    /// Takes a token. `Err` is how many seconds to wait for one.
    pub(crate) fn take(&self, client: IpAddr, route: u64, rate: Rate, now_ms: u64) -> Result<(), u64> {
        let key = Key { client, route };
        let mut table = self.shard(key).lock();
        if table.len() >= BUCKETS_PER_SHARD && !table.contains_key(&key) {
            evict(&mut table, now_ms);
        }
        let bucket = table.entry(key).or_insert(Bucket { tokens: rate.burst, at_ms: now_ms, rate });
        bucket.rate = rate;
        let tokens = bucket.tokens_at(now_ms);
        bucket.at_ms = now_ms;
        if tokens >= 1.0 {
            bucket.tokens = tokens - 1.0;
            return Ok(());
        }
        bucket.tokens = tokens;
        Err(seconds_until_one(tokens, rate))
    }

    fn shard(&self, key: Key) -> &Mutex<HashMap<Key, Bucket>> {
        let address = match key.client {
            IpAddr::V4(ip) => u64::from(u32::from(ip)),
            IpAddr::V6(ip) => ip.segments().iter().fold(0, |hash, &s| mix(hash ^ u64::from(s))),
        };
        let [first, ..] = &self.shards;
        let at = usize::from(mix(address ^ key.route).to_be_bytes()[0]) % SHARDS;
        self.shards.get(at).unwrap_or(first)
    }
}

fn seconds_until_one(tokens: f64, rate: Rate) -> u64 {
    let seconds = ((1.0 - tokens) / rate.per_second).ceil().clamp(1.0, 3600.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 3600")]
    let seconds = seconds as u64;
    seconds
}

fn evict(table: &mut HashMap<Key, Bucket>, now_ms: u64) {
    let full = |b: &Bucket| b.tokens_at(now_ms) >= b.rate.burst;
    let victim =
        table.iter().take(EVICTION_LOOKS).max_by_key(|(_, bucket)| full(bucket)).map(|(key, _)| *key);
    if let Some(key) = victim {
        table.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RATE: Rate = Rate { per_second: 2.0, burst: 3.0 };

    fn client(n: u32) -> IpAddr {
        IpAddr::from(n.to_be_bytes())
    }

    #[test]
    fn a_burst_then_the_rate() {
        let limit = RateLimit::default();
        for _ in 0..3 {
            assert_eq!(limit.take(client(1), 1, RATE, 0), Ok(()));
        }
        assert_eq!(limit.take(client(1), 1, RATE, 0), Err(1));
        assert_eq!(limit.take(client(1), 2, RATE, 0), Ok(()), "another route");
        assert_eq!(limit.take(client(2), 1, RATE, 0), Ok(()), "another client");
        assert_eq!(limit.take(client(1), 1, RATE, 500), Ok(()));
        assert_eq!(limit.take(client(1), 1, RATE, 600), Err(1));
    }

    #[test]
    fn a_flood_of_addresses_does_not_grow_the_tables() {
        let limit = RateLimit::default();
        for n in 0..200_000 {
            assert_eq!(limit.take(client(n), 1, RATE, 0), Ok(()));
        }
        let all: usize = limit.shards.iter().map(|s| s.lock().len()).sum();
        assert!(all <= SHARDS * BUCKETS_PER_SHARD);
    }

    proptest! {
        /// No sequence of requests gets more than the burst and what time has given.
        #[test]
        fn never_more_than_rate_and_burst(steps in proptest::collection::vec(0u64..700, 1..200)) {
            let limit = RateLimit::default();
            let (mut now, mut passed) = (0u64, 0.0);
            for step in steps {
                now += step;
                if limit.take(client(1), 1, RATE, now).is_ok() {
                    passed += 1.0;
                }
                prop_assert!(passed <= RATE.burst + now as f64 / 1000.0 * RATE.per_second + 1e-6);
            }
        }
    }
}
