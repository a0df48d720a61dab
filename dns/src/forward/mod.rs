//! Names outside the zone: asked of other servers, kept in the [`Cache`].
//!
//! # How it works
//! The longest domain that a name ends with says which servers to ask (stub domains; the root's are the rest's). Questions that are
//! the same and come at the same time are one ([`Outside::resolve`]): the first asks, the others wait for its answer, whoever goes
//! away. A server that did not answer is checked every half second until it does, and is not asked once two checks have
//! failed; if that is so of all, the answer is SERVFAIL at once. An answer that is too old is better than none.
//!
//! Nothing here is waited for by questions for the cluster's own names. Servers of one domain that are slow do not take all places:
//! questions under way are shared among domains ([`Shares`]).

mod exchange;
mod probe;
mod upstream;
mod vet;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use parking_lot::Mutex;
use tokio::sync::{OnceCell, mpsc};
use tokio::time::timeout;

use upstream::Pool;
pub use upstream::{Policy, Upstream};

use crate::cache::{self, Cache, Entry, Key};
use crate::metrics::Plugin;
use crate::server::shares::Shares;
use crate::wire::name::{Name, QueryName};
use crate::wire::query::Query;
use crate::wire::record::{Rcode, kind};

/// For a question, with all its attempts.
const DEADLINE: Duration = Duration::from_secs(2);
/// For one attempt, so that a second server can be asked.
const ATTEMPT: Duration = Duration::from_millis(900);
/// Servers asked for one question.
const MAX_ATTEMPTS: usize = 3;
/// Times the free places that questions for one domain may hold, where there are several domains.
const SHARE_OF_ONE: usize = 8;
/// Questions waiting to be asked again before their answer is too old.
const PREFETCHES: usize = 256;

/// A question for another server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The name.
    pub name: Name,
    /// The type; the class is IN.
    pub kind: u16,
    /// Signatures are wanted.
    pub dnssec_ok: bool,
    /// Signatures are not to be checked.
    pub checking_disabled: bool,
}

impl Question {
    /// What a client asks.
    #[must_use]
    pub fn of(query: &Query<'_>) -> Self {
        Self {
            name: Name::from_query(&query.name),
            kind: query.kind,
            dnssec_ok: query.edns.is_some_and(|edns| edns.dnssec_ok),
            checking_disabled: query.header.checking_disabled,
        }
    }

    fn key(&self) -> Key {
        let mut key = self.name.as_wire().to_vec();
        key.extend_from_slice(&suffix(self.kind, self.dnssec_ok, self.checking_disabled));
        key.into()
    }
}

/// What follows the name in a key of the cache.
fn suffix(kind: u16, dnssec_ok: bool, checking_disabled: bool) -> [u8; 3] {
    let [high, low] = kind.to_be_bytes();
    [high, low, u8::from(dnssec_ok) | u8::from(checking_disabled) << 1]
}

/// An answer.
#[derive(Clone)]
pub struct Found {
    entry: Arc<Entry>,
    /// Where it is from.
    pub plugin: Plugin,
}

impl Found {
    /// Answers `query` with it.
    pub fn write(&self, query: &Query<'_>, limit: usize, out: &mut Vec<u8>) -> Rcode {
        self.entry.write(query, limit, Instant::now(), out)
    }
}

type Flight = Arc<OnceCell<Result<Found, Rcode>>>;

/// See the module's text.
pub struct Outside {
    pools: Vec<Pool>,
    cache: Cache,
    /// Networks that names outside do not lead to (DNS rebinding).
    cluster: Vec<IpNet>,
    flights: Mutex<HashMap<Key, Flight>>,
    /// Questions under way, by domain: its place among `pools`.
    under_way: Arc<Shares<usize>>,
    prefetch: mpsc::Sender<Question>,
    /// How often no server of a domain could be asked.
    pub all_down: AtomicU64,
    /// Answers that were not an answer to the question, or not to be believed.
    pub not_believed: AtomicU64,
}

/// What names outside are to be done with.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Who is asked, by domain.
    pub upstreams: Vec<(Name, Vec<SocketAddr>)>,
    /// In which order.
    pub policy: Policy,
    /// Answers that are kept.
    pub cache_entries: usize,
    /// Questions at one time.
    pub max_concurrent: usize,
    /// Networks that names outside do not lead to.
    pub cluster: Vec<IpNet>,
}

impl Outside {
    /// Nothing is asked yet. The questions that come by the channel have to be given to [`Outside::prefetch`].
    #[must_use]
    pub fn new(settings: Settings) -> (Arc<Self>, mpsc::Receiver<Question>) {
        let (prefetch, questions) = mpsc::channel(PREFETCHES);
        let mut pools: Vec<_> = settings
            .upstreams
            .iter()
            .filter_map(|(domain, servers)| Pool::new(domain, servers, settings.policy))
            .collect();
        // Longest first: the first that fits is the right one.
        pools.sort_by_key(|pool| std::cmp::Reverse(pool.domain().labels()));
        let factor = if pools.len() > 1 { SHARE_OF_ONE } else { usize::MAX };
        let outside = Self {
            pools,
            cache: Cache::new(settings.cache_entries),
            cluster: settings.cluster,
            flights: Mutex::default(),
            under_way: Shares::new(settings.max_concurrent, usize::MAX, factor),
            prefetch,
            all_down: AtomicU64::new(0),
            not_believed: AtomicU64::new(0),
        };
        (Arc::new(outside), questions)
    }

    /// Whether anybody can be asked anything.
    #[must_use]
    pub fn is_there(&self) -> bool {
        !self.pools.is_empty()
    }

    /// Whether anybody can be asked for `name`.
    #[must_use]
    pub fn serves(&self, name: &QueryName) -> bool {
        self.pool(name).is_some()
    }

    fn pool(&self, name: &QueryName) -> Option<usize> {
        self.pools.iter().position(|pool| name.labels_before(pool.domain()).is_some())
    }

    /// Questions refused because there are as many as may be.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.under_way.refused()
    }

    /// Questions under way.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.under_way.held()
    }

    /// What is known.
    #[must_use]
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// All servers.
    pub fn upstreams(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        self.pools.iter().flat_map(Pool::upstreams)
    }

    /// Answers `query` if its answer is known and good; says its code.
    pub fn cached(&self, query: &Query<'_>, limit: usize, out: &mut Vec<u8>) -> Option<Rcode> {
        let mut key = [0; crate::wire::name::MAX_NAME_BYTES + 3];
        let name = query.name.as_wire();
        let dnssec_ok = query.edns.is_some_and(|edns| edns.dnssec_ok);
        key.get_mut(..name.len())?.copy_from_slice(name);
        let suffix = suffix(query.kind, dnssec_ok, query.header.checking_disabled);
        key.get_mut(name.len()..name.len() + suffix.len())?.copy_from_slice(&suffix);
        let now = Instant::now();
        let Some(entry) = self.cache.fresh(key.get(..name.len() + suffix.len())?, now) else {
            self.cache.misses.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        cache::count(&self.cache.hits, &entry).fetch_add(1, Ordering::Relaxed);
        // A full queue means that it is asked for when it is too old.
        if entry.wants_prefetch(now) && self.prefetch.try_send(Question::of(query)).is_ok() {
            self.cache.prefetches.fetch_add(1, Ordering::Relaxed);
        }
        Some(entry.write(query, limit, now, out))
    }

    /// Finds an answer.
    ///
    /// # Errors
    /// REFUSED where there are too many questions or nobody to ask, SERVFAIL where nobody has an answer.
    pub async fn resolve(&self, question: &Question) -> Result<Found, Rcode> {
        let key = question.key();
        if let Some(entry) = self.cache.fresh(&key, Instant::now()) {
            return Ok(Found { entry, plugin: Plugin::Cache });
        }
        if self.is_own_probe(question) {
            return Err(Rcode::SERVER_FAILURE);
        }
        let Some(pool) = QueryName::of(&question.name).and_then(|name| self.pool(&name)) else {
            return Err(Rcode::SERVER_FAILURE);
        };
        let Some(_place) = self.under_way.take(pool) else { return Err(Rcode::REFUSED) };
        let flight = Arc::clone(self.flights.lock().entry(key.clone()).or_default());
        let found = flight.get_or_init(|| self.ask(pool, question, &key)).await.clone();
        let mut flights = self.flights.lock();
        if flights.get(&key).is_some_and(|known| Arc::ptr_eq(known, &flight)) {
            flights.remove(&key);
        }
        drop(flights);
        found
    }

    /// Asks for answers that are popular again before they are too old, until all who want that are gone.
    pub async fn prefetch(self: Arc<Self>, mut questions: mpsc::Receiver<Question>) {
        while let Some(question) = questions.recv().await {
            let Some(pool) = QueryName::of(&question.name).and_then(|name| self.pool(&name)) else {
                continue;
            };
            // One that finds no place is asked for when it is too old.
            let Some(place) = self.under_way.take(pool) else { continue };
            let outside = Arc::clone(&self);
            tokio::spawn(async move {
                let _ = outside.ask(pool, &question, &question.key()).await;
                drop(place);
            });
        }
    }

    async fn ask(&self, pool: usize, question: &Question, key: &Key) -> Result<Found, Rcode> {
        let entry = timeout(DEADLINE, self.ask_servers(pool, question)).await.ok().flatten();
        if let Some(entry) = entry {
            let entry = Arc::new(entry);
            let failed = !matches!(entry.rcode, Rcode::NO_ERROR | Rcode::NAME_ERROR);
            let stale = if failed { self.cache.stale(key, Instant::now()) } else { None };
            if let Some(entry) = stale {
                return Ok(Found { entry, plugin: Plugin::Cache });
            }
            self.cache.insert(key.clone(), Arc::clone(&entry));
            return Ok(Found { entry, plugin: Plugin::Forward });
        }
        match self.cache.stale(key, Instant::now()) {
            Some(entry) => Ok(Found { entry, plugin: Plugin::Cache }),
            None => Err(Rcode::SERVER_FAILURE),
        }
    }

    async fn ask_servers(&self, pool: usize, question: &Question) -> Option<Entry> {
        let candidates = self.pools.get(pool)?.candidates();
        if candidates.is_empty() {
            self.all_down.fetch_add(1, Ordering::Relaxed);
        }
        for upstream in candidates.into_iter().take(MAX_ATTEMPTS) {
            if let Some(entry) = self.ask_server(&upstream, question).await {
                return Some(entry);
            }
            upstream.failures.fetch_add(1, Ordering::Relaxed);
            probe::check_until_healthy(&upstream);
        }
        None
    }

    async fn ask_server(&self, upstream: &Upstream, question: &Question) -> Option<Entry> {
        upstream.requests.fetch_add(1, Ordering::Relaxed);
        let begun = Instant::now();
        let answer = timeout(ATTEMPT, exchange::ask(upstream.address(), question)).await.ok()?.ok()?;
        let Some(entry) = vet::vet(question, &answer, &self.cluster, Instant::now()) else {
            self.not_believed.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        upstream.answers.observe(entry.rcode, begun.elapsed());
        Some(entry)
    }

    /// Whether a question is one of ours that came back; then the server it was for is not asked any more.
    fn is_own_probe(&self, question: &Question) -> bool {
        question.kind == kind::HINFO && self.upstreams().any(|upstream| upstream.caught(&question.name))
    }

    /// Looks for loops from now on: asks each server something that only we can have asked.
    pub fn look_for_loops(&self) {
        for upstream in self.upstreams() {
            tokio::spawn(probe::look_for_loops(Arc::clone(upstream)));
        }
    }
}

#[cfg(test)]
mod tests;
