//! Names and Pod CIDRs, on both stores.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use ipnet::Ipv4Net;
use store::cluster::etcd::EtcdFailure;
use store::cluster::registration::{ALIVE, CIDRS, NODES, alive_key, node_key};
use store::cluster::{
    ClusterError, ClusterStore, Entry, LeaseId, Listing, NodeRecord, NodeSpec, Registration,
    RegistrationError, RegistrationOptions, RegistrationState, Revision, Txn, Watch, delete_node,
};

use crate::bed::{Bed, eventually};

crate::on_both_stores! {
    sixty_four_nodes_at_once_get_different_cidrs_and_the_same_ones_back
    a_node_gets_the_lowest_free_cidr_and_nobody_elses_until_it_is_deleted
    a_cidr_that_is_asked_for_is_given_or_refused_by_name
    a_second_machine_of_the_same_name_is_refused_until_the_first_is_gone
    what_a_node_says_about_itself_is_published_and_its_cidr_stays
    a_lost_lease_is_granted_anew_with_the_same_cidr
    a_node_that_starts_without_its_store_goes_on_and_registers_later
    a_store_that_fails_between_two_steps_costs_no_lease
    nodes_with_another_cluster_cidr_are_refused
    two_hundred_crashes_leave_no_duplicate_and_no_leaked_cidr
}

const SOON: Duration = Duration::from_secs(10);

pub(crate) fn spec(name: &str) -> NodeSpec {
    NodeSpec::new(name, &format!("machine-of-{name}"), Ipv4Addr::new(192, 0, 2, 1))
}

pub(crate) fn options(cluster: &str) -> RegistrationOptions {
    RegistrationOptions::new(cluster.parse().unwrap())
}

pub(crate) fn start(store: &Arc<dyn ClusterStore>, name: &str) -> Result<Registration, RegistrationError> {
    Registration::start(Arc::clone(store), spec(name), options("10.244.0.0/16"))
}

fn cidr(text: &str) -> Ipv4Net {
    text.parse().unwrap()
}

pub(crate) fn record_of(store: &dyn ClusterStore, name: &str) -> NodeRecord {
    serde_json::from_slice(&store.get(&node_key(name)).unwrap().expect("a record").value).unwrap()
}

/// That every node has exactly one CIDR, that it says so itself, and that no CIDR has no node. Returns them.
fn check_books(store: &dyn ClusterStore) -> BTreeMap<String, Ipv4Net> {
    let mut owners = BTreeMap::new();
    for entry in store.list(CIDRS).unwrap().entries {
        let cidr: Ipv4Net = entry.key.strip_prefix(CIDRS).unwrap().replace('-', "/").parse().unwrap();
        let owner: String = serde_json::from_slice(&entry.value).unwrap();
        assert_eq!(owners.insert(owner.clone(), cidr), None, "{owner} has two");
    }
    let nodes: BTreeMap<String, Ipv4Net> = store
        .list(NODES)
        .unwrap()
        .entries
        .iter()
        .map(|entry| serde_json::from_slice::<NodeRecord>(&entry.value).unwrap())
        .map(|record| (record.spec.name, record.pod_cidr))
        .collect();
    assert_eq!(nodes, owners, "what nodes say, and what is given out");
    assert_eq!(nodes.values().collect::<BTreeSet<_>>().len(), nodes.len(), "a CIDR has two owners");
    nodes
}

fn sixty_four_nodes_at_once_get_different_cidrs_and_the_same_ones_back(bed: &dyn Bed) {
    let store = bed.store();
    let register_all = || -> Vec<Registration> {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..64)
                .map(|n| {
                    let store = &store;
                    scope.spawn(move || start(store, &format!("node-{n}")).unwrap())
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    };
    let registered = register_all();
    let first = check_books(&*store);
    assert_eq!(first.len(), 64);
    let lowest: BTreeSet<Ipv4Net> = (0..64).map(|n| cidr(&format!("10.244.{n}.0/24"))).collect();
    assert_eq!(first.values().copied().collect::<BTreeSet<_>>(), lowest);
    for registration in &registered {
        assert_eq!(first[&registration.record().spec.name], registration.pod_cidr());
        assert_eq!(registration.state(), RegistrationState::Registered);
    }
    drop(registered);
    drop(register_all());
    assert_eq!(check_books(&*store), first);
}

fn a_node_gets_the_lowest_free_cidr_and_nobody_elses_until_it_is_deleted(bed: &dyn Bed) {
    let store = bed.store();
    let begin = |name: &str| Registration::start(Arc::clone(&store), spec(name), options("10.244.0.0/22"));
    let [a, b] = ["a", "b"].map(|name| begin(name).unwrap());
    assert_eq!((a.pod_cidr(), b.pod_cidr()), (cidr("10.244.0.0/24"), cidr("10.244.1.0/24")));
    let error = delete_node(&*store, "a").unwrap_err();
    assert_eq!(error.to_string(), "node a is running at 192.0.2.1: stop its daemon first");
    a.stop();
    assert!(store.get(&alive_key("a")).unwrap().is_none());
    let [c, d] = ["c", "d"].map(|name| begin(name).unwrap());
    assert_eq!((c.pod_cidr(), d.pod_cidr()), (cidr("10.244.2.0/24"), cidr("10.244.3.0/24")));
    let error = begin("e").unwrap_err();
    assert!(error.to_string().starts_with("all 4 ranges of the size /24"), "{error}");
    assert!(store.get(&alive_key("e")).unwrap().is_none());
    delete_node(&*store, "a").unwrap();
    assert!(matches!(delete_node(&*store, "a"), Err(RegistrationError::NoSuchNode { .. })));
    assert_eq!(begin("e").unwrap().pod_cidr(), cidr("10.244.0.0/24"));
    assert_eq!(check_books(&*store).len(), 4);
}

fn a_cidr_that_is_asked_for_is_given_or_refused_by_name(bed: &dyn Bed) {
    let store = bed.store();
    let ask = |name: &str, text: &str| {
        let options = RegistrationOptions { requested: Some(cidr(text)), ..options("10.244.0.0/16") };
        Registration::start(Arc::clone(&store), spec(name), options)
    };
    assert_eq!(ask("a", "10.244.7.0/24").unwrap().pod_cidr(), cidr("10.244.7.0/24"));
    assert_eq!(ask("a", "10.244.7.0/24").unwrap().pod_cidr(), cidr("10.244.7.0/24"));
    assert_eq!(start(&store, "a").unwrap().pod_cidr(), cidr("10.244.7.0/24"));
    let error = ask("b", "10.244.7.0/24").unwrap_err().to_string();
    assert_eq!(error, "Pod CIDR 10.244.7.0/24 belongs to node a");
    let error = ask("a", "10.244.8.0/24").unwrap_err().to_string();
    assert!(error.starts_with("node a has the Pod CIDR 10.244.7.0/24, not 10.244.8.0/24"), "{error}");
    let error = ask("b", "10.9.0.0/24").unwrap_err().to_string();
    assert_eq!(error, "Pod CIDR 10.9.0.0/24 is not a /24 of the cluster's 10.244.0.0/16");
    assert!(Registration::start(Arc::clone(&store), spec("a/b"), options("10.244.0.0/16")).is_err());
    assert_eq!(check_books(&*store).len(), 1);
}

fn a_second_machine_of_the_same_name_is_refused_until_the_first_is_gone(bed: &dyn Bed) {
    let store = bed.store();
    let first = start(&store, "a").unwrap();
    let other = NodeSpec { machine_id: "other".to_owned(), ..spec("a") };
    let begin = || Registration::start(Arc::clone(&store), other.clone(), options("10.244.0.0/16"));
    let error = begin().unwrap_err().to_string();
    assert!(
        error.starts_with("node a is running on another machine (192.0.2.1, machine id machine-of-a)"),
        "{error}"
    );
    let cidr = first.pod_cidr();
    // A crash of the first one: its lease lives on until it ends.
    drop(first);
    assert!(matches!(begin(), Err(RegistrationError::NameInUse { .. })));
    start(&store, "a").unwrap().stop();
    let second = begin().unwrap();
    assert_eq!(second.pod_cidr(), cidr);
    assert_eq!(record_of(&*store, "a").spec.machine_id, "other");
}

fn what_a_node_says_about_itself_is_published_and_its_cidr_stays(bed: &dyn Bed) {
    let store = bed.store();
    let registration = start(&store, "a").unwrap();
    let revision = store.list(NODES).unwrap().revision;
    registration.update(|_| {});
    registration.update(|spec| {
        spec.address = Ipv4Addr::new(192, 0, 2, 77);
        spec.name = "not-changed".to_owned();
        spec.has_pods = false;
    });
    eventually("the new address is published", SOON, || {
        let record = record_of(&*store, "a");
        assert_eq!(record.pod_cidr, registration.pod_cidr());
        record.spec.address == Ipv4Addr::new(192, 0, 2, 77) && !record.spec.has_pods
    });
    assert_eq!(store.list(NODES).unwrap().revision, revision + 1, "one change, one revision");
    assert_eq!(registration.record(), record_of(&*store, "a"));
    assert_eq!(registration.regranted(), 0);
}

fn quick_lease() -> RegistrationOptions {
    RegistrationOptions { ttl: Duration::from_secs(3), ..options("10.244.0.0/16") }
}

fn a_lost_lease_is_granted_anew_with_the_same_cidr(bed: &dyn Bed) {
    let store = bed.store();
    let registration = Registration::start(Arc::clone(&store), spec("a"), quick_lease()).unwrap();
    let before = record_of(&*store, "a");
    let lease = store.get(&alive_key("a")).unwrap().unwrap().lease.unwrap();
    store.revoke(lease).unwrap();
    assert!(store.get(&alive_key("a")).unwrap().is_none());
    eventually("the lease is granted anew", Duration::from_secs(3), || {
        store.get(&alive_key("a")).unwrap().is_some()
    });
    assert_eq!(record_of(&*store, "a"), before);
    eventually("it is said to be", SOON, || registration.regranted() == 1);
    assert_eq!(registration.state(), RegistrationState::Registered);
    // It is renewed, too: longer than it would live.
    std::thread::sleep(Duration::from_secs(5));
    assert!(store.get(&alive_key("a")).unwrap().is_some());
    assert_eq!(registration.regranted(), 1);
}

fn a_node_that_starts_without_its_store_goes_on_and_registers_later(bed: &dyn Bed) {
    let store = Arc::new(Mortal::new(bed.store()));
    store.lives_for(0);
    let shared = Arc::clone(&store) as Arc<dyn ClusterStore>;
    let record = NodeRecord { pod_cidr: cidr("10.244.9.0/24"), spec: spec("a") };
    let registration = Registration::resume(shared, record.clone(), quick_lease()).unwrap();
    registration.update(|spec| spec.version = "2".to_owned());
    eventually(
        "it is said that the store is away",
        SOON,
        || matches!(registration.state(), RegistrationState::Unreachable { problem, .. } if problem.contains("no leader")),
    );
    assert_eq!(registration.pod_cidr(), record.pod_cidr);
    store.lives_for(i64::MAX);
    eventually("it is registered", SOON, || registration.state() == RegistrationState::Registered);
    let published = record_of(&*bed.store(), "a");
    assert_eq!((published.pod_cidr, published.spec.version.as_str()), (record.pod_cidr, "2"));
}

fn a_store_that_fails_between_two_steps_costs_no_lease(bed: &dyn Bed) {
    let store = Arc::new(Mortal::new(bed.store()));
    let shared = Arc::clone(&store) as Arc<dyn ClusterStore>;
    let registration = Registration::start(shared, spec("a"), quick_lease()).unwrap();
    let lease_of = || bed.store().get(&alive_key("a")).unwrap().expect("a live daemon").lease;
    let lease = lease_of();
    for calls in 0..6 {
        store.lives_for(calls);
        registration.update(|spec| spec.version = calls.to_string());
        eventually("it is said that the store is away", SOON, || {
            matches!(registration.state(), RegistrationState::Unreachable { .. })
        });
        assert_eq!(lease_of(), lease);
        store.lives_for(i64::MAX);
        eventually("it is registered", SOON, || registration.state() == RegistrationState::Registered);
        assert_eq!(record_of(&*bed.store(), "a").spec.version, calls.to_string());
    }
    assert_eq!((lease_of(), registration.regranted()), (lease, 0));
}

fn nodes_with_another_cluster_cidr_are_refused(bed: &dyn Bed) {
    let store = bed.store();
    let first = start(&store, "a").unwrap();
    let begin = |name: &str, options| Registration::start(Arc::clone(&store), spec(name), options);
    let error = begin("b", options("10.245.0.0/16")).unwrap_err().to_string();
    assert!(
        error.contains(
            "configured for /24 ranges of 10.245.0.0/16, the cluster for /24 ranges of 10.244.0.0/16"
        ),
        "{error}"
    );
    let finer = RegistrationOptions { node_prefix_len: 25, ..options("10.244.0.0/16") };
    assert!(matches!(begin("b", finer), Err(RegistrationError::PlanDiffers { .. })));
    let none = RegistrationOptions { node_prefix_len: 8, ..options("10.244.0.0/16") };
    assert!(matches!(begin("b", none), Err(RegistrationError::Plan { .. })));
    first.stop();
    delete_node(&*store, "a").unwrap();
    assert_eq!(begin("b", options("10.245.0.0/16")).unwrap().pod_cidr(), cidr("10.245.0.0/24"));
}

fn two_hundred_crashes_leave_no_duplicate_and_no_leaked_cidr(bed: &dyn Bed) {
    let store = bed.store();
    let mut random = Random(0x5eed);
    let mut expected: BTreeMap<String, Ipv4Net> = BTreeMap::new();
    let (mut crashed, mut finished) = (0, 0);
    while crashed < 200 {
        let name = format!("n{}", random.below(12));
        let mortal = Arc::new(Mortal::new(bed.store()));
        mortal.lives_for(i64::try_from(random.below(12)).unwrap());
        mortal.last_word_is_heard.store(i64::try_from(random.below(2)).unwrap(), Ordering::Relaxed);
        let delete = random.below(4) == 0;
        if delete {
            // Its lease has ended.
            store.delete(&alive_key(&name), store::cluster::Expect::Any).unwrap();
            match delete_node(&*mortal, &name) {
                Ok(()) => finished += 1,
                Err(RegistrationError::NoSuchNode { .. }) => assert!(!expected.contains_key(&name)),
                Err(error) => crashed += dead(&error),
            }
        } else {
            let client = Arc::clone(&mortal) as Arc<dyn ClusterStore>;
            match Registration::start(client, spec(&name), options("10.244.0.0/20")) {
                Ok(_) => finished += 1,
                Err(error) => crashed += dead(&error),
            }
        }
        let books = check_books(&*store);
        for (node, cidr) in &expected {
            assert!(books.get(node) == Some(cidr) || (delete && *node == name), "{node} lost {cidr}");
        }
        expected = books;
    }
    assert!(finished > 20, "only {finished} went through: the crashes come too early");
    for entry in store.list(ALIVE).unwrap().entries {
        assert!(entry.lease.is_some(), "{} would live forever", entry.key);
    }
}

/// Counts a crash; anything else is a failure.
fn dead(error: &RegistrationError) -> u32 {
    assert!(matches!(error, RegistrationError::Store(ClusterError::Unreachable { .. })), "{error}");
    1
}

/// A client that dies after a number of calls, the last of which may still reach the store. Its leases go with
/// nobody to renew them.
struct Mortal {
    inner: Arc<dyn ClusterStore>,
    calls_left: AtomicI64,
    /// 1: the call it dies in is made, and its answer lost.
    last_word_is_heard: AtomicI64,
}

impl Mortal {
    fn new(inner: Arc<dyn ClusterStore>) -> Self {
        Self { inner, calls_left: AtomicI64::new(i64::MAX), last_word_is_heard: AtomicI64::new(0) }
    }

    fn lives_for(&self, calls: i64) {
        self.calls_left.store(calls, Ordering::Relaxed);
    }

    fn call<R>(
        &self,
        call: impl FnOnce(&dyn ClusterStore) -> Result<R, ClusterError>,
    ) -> Result<R, ClusterError> {
        let left = self.calls_left.fetch_sub(1, Ordering::Relaxed);
        if left > 0 {
            return call(&*self.inner);
        }
        if left == 0 && self.last_word_is_heard.load(Ordering::Relaxed) == 1 {
            let _ = call(&*self.inner);
        }
        Err(ClusterError::Unreachable { endpoint: "nowhere".to_owned(), source: EtcdFailure::NoLeader })
    }
}

impl ClusterStore for Mortal {
    fn get(&self, key: &str) -> Result<Option<Entry>, ClusterError> {
        self.call(|store| store.get(key))
    }
    fn list(&self, prefix: &str) -> Result<Listing, ClusterError> {
        self.call(|store| store.list(prefix))
    }
    fn commit(&self, txn: &Txn) -> Result<Revision, ClusterError> {
        self.call(|store| store.commit(txn))
    }
    fn watch(&self, prefix: &str, from: Revision) -> Result<Box<dyn Watch>, ClusterError> {
        self.call(|store| store.watch(prefix, from))
    }
    fn grant(&self, ttl: Duration) -> Result<LeaseId, ClusterError> {
        self.call(|store| store.grant(ttl))
    }
    fn keep_alive(&self, lease: LeaseId) -> Result<Duration, ClusterError> {
        self.call(|store| store.keep_alive(lease))
    }
    fn revoke(&self, lease: LeaseId) -> Result<(), ClusterError> {
        self.call(|store| store.revoke(lease))
    }
}

/// xorshift64 (Marsaglia): the same crashes in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
