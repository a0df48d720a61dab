//! Services, slices and namespaces in a cluster's store.
//!
//! A service is written together with what is allocated to it: one transaction makes the object and claims each
//! address and port by a key that must not exist yet. So no two services ever have the same one, however many nodes write at
//! the same time, and a writer that dies leaves nothing behind. An update keeps what the service has; a deletion frees it.
//!
//! | Key | Value |
//! |-|-|
//! | `/vpod/v1/services/<namespace>/<name>` | the Service as JSON |
//! | `/vpod/v1/endpointslices/<namespace>/<name>` | an EndpointSlice given by hand, as JSON |
//! | `/vpod/v1/namespaces/<name>` | the Namespace as JSON |
//! | `/vpod/v1/policies/networkpolicies/<namespace>/<name>` | the NetworkPolicy as JSON |
//! | `/vpod/v1/policies/clusternetworkpolicies/<name>` | the ClusterNetworkPolicy as JSON |
//! | `/vpod/v1/pods/<namespace>/<name>` | [`super::PodFacts`], under the lease of its node |
//! | `/vpod/v1/allocations/clusterip/<address>` | `"<namespace>/<name>"` of its service |
//! | `/vpod/v1/allocations/nodeport/<protocol>-<port>` | the same |
//! | `/vpod/v1/allocations/loadbalancer/<address>` | [`super::Tenants`]: the services that share it |

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use protocol::link::{TrafficPolicy, Transport};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::allocate::{Allocation, CLUSTER_IPS, ClusterIps, NODE_PORTS, NodePorts};
use super::defaults::{carry_over, drop_former, fill_in};
use super::load_balancer::{AddressPools, Applicant, Assignment, Refusal, addresses_of};
use super::names::{ObjectRef, object_ref};
use super::spec::{Reach, Spec};
use crate::cluster::{ClusterError, ClusterStore, Entry, Expect, Txn};
use protocol::problem::{Invalid, Problem};

/// Where services are.
pub const SERVICES: &str = "/vpod/v1/services/";
/// Where slices given by hand are.
pub const SLICES: &str = "/vpod/v1/endpointslices/";
/// Where namespaces are.
pub const NAMESPACES: &str = "/vpod/v1/namespaces/";
/// Where policies are: `<plural>/<namespace>/<name>` or `<plural>/<name>` follows.
pub const POLICIES: &str = "/vpod/v1/policies/";
/// Where nodes publish their pods.
pub const PODS: &str = "/vpod/v1/pods/";

/// Tries against others who write the same object, or take the addresses we try.
const TRIES: usize = 64;
/// Addresses tried blindly; then what is taken is read first.
const BLIND_TRIES: usize = 6;

/// Why an object was not written or deleted.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// It is wrong, or asks for what it cannot have.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// Nothing is left of what it needs.
    #[error("service {object}: {what} are exhausted: all {size} are taken")]
    Exhausted {
        /// Who wanted one.
        object: ObjectRef,
        /// "cluster addresses" or "NodePorts".
        what: &'static str,
        /// How many there are.
        size: usize,
    },
    /// It was changed since the caller read it.
    #[error(
        "{kind} {name}: the object has been modified; please apply your changes to the latest version and try again (it is at {found}, not {expected})"
    )]
    Outdated {
        /// Of the object.
        kind: &'static str,
        /// Of the object.
        name: String,
        /// `metadata.resourceVersion` of the manifest.
        expected: String,
        /// That of the object.
        found: u64,
    },
    /// There is none.
    #[error("{kind} \"{name}\" not found")]
    NotFound {
        /// `services`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// Others were faster, time and again.
    #[error("{kind} {name} is being changed by others all the time; try again")]
    Contended {
        /// Of the object.
        kind: &'static str,
        /// Of the object.
        name: String,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] ClusterError),
}

/// What became of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It is new.
    Created,
    /// It has changed.
    Configured,
    /// It was so already.
    Unchanged,
}

/// What new objects get.
#[derive(Debug, Clone)]
pub struct Stamp {
    /// Unique in time.
    pub uid: String,
    /// Seconds since 1970.
    pub now: u64,
    /// Chooses addresses.
    pub seed: u64,
}

/// What there is to allocate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pools {
    /// Cluster addresses.
    pub cluster_ips: ClusterIps,
    /// NodePorts.
    pub node_ports: NodePorts,
    /// Addresses of load balancers.
    pub load_balancer: AddressPools,
}

/// What a service has to get along with, apart from other services.
pub trait Surroundings {
    /// What is wrong with a service beyond what it says itself.
    fn check(&self, spec: &Spec) -> Vec<Problem>;
    /// Whose an address is, if not a service's, as in "the address of node a".
    fn owner(&self, ip: Ipv4Addr) -> Option<String>;
}

/// Nothing.
impl Surroundings for () {
    fn check(&self, _: &Spec) -> Vec<Problem> {
        Vec::new()
    }

    fn owner(&self, _: Ipv4Addr) -> Option<String> {
        None
    }
}

/// Whether a change is made or only tried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// Make it.
    Real,
    /// Say what would become of it.
    Dry,
}

/// An object with the revision of its entry.
fn read<T: DeserializeOwned>(
    store: &dyn ClusterStore,
    key: &str,
) -> Result<Option<(T, Entry)>, ClusterError> {
    let Some(entry) = store.get(key)? else { return Ok(None) };
    let object = serde_json::from_slice(&entry.value)
        .map_err(|source| ClusterError::Object { key: key.to_owned(), source })?;
    Ok(Some((object, entry)))
}

fn to_json<T: Serialize>(key: &str, value: &T) -> Result<Vec<u8>, ClusterError> {
    serde_json::to_vec(value).map_err(|source| ClusterError::Object { key: key.to_owned(), source })
}

fn time(seconds: u64) -> Option<Time> {
    Timestamp::from_second(i64::try_from(seconds).ok()?).ok().map(Time)
}

/// What a manifest says of what is not its to say is dropped. Returns the version it expects.
fn own_metadata(metadata: &mut ObjectMeta, stamp: &Stamp) -> Option<String> {
    metadata.uid = Some(stamp.uid.clone());
    metadata.creation_timestamp = time(stamp.now);
    metadata.managed_fields = None;
    metadata.self_link = None;
    metadata.generation = None;
    metadata.deletion_timestamp = None;
    metadata.resource_version.take().filter(|version| !version.is_empty())
}

fn name_of(kind: &'static str, metadata: &ObjectMeta) -> Result<ObjectRef, Invalid> {
    let mut problems = Vec::new();
    let name = metadata.name.clone().unwrap_or_default();
    object_ref(metadata, &mut problems).ok_or(Invalid { kind, name, problems })
}

fn expect_version(
    kind: &'static str,
    name: &str,
    expected: Option<&String>,
    found: Option<&Entry>,
) -> Result<(), WriteError> {
    match (expected, found) {
        (Some(expected), Some(entry)) if *expected != entry.revision.to_string() => {
            Err(WriteError::Outdated {
                kind,
                name: name.to_owned(),
                expected: expected.clone(),
                found: entry.revision,
            })
        }
        _ => Ok(()),
    }
}

/// Writes a service, as `apply` does.
///
/// # Errors
/// See [`WriteError`]; nothing was changed, unless the store does not know.
pub fn put_service(
    store: &dyn ClusterStore,
    pools: &Pools,
    wanted: &Service,
    stamp: &Stamp,
    around: &dyn Surroundings,
    run: Run,
) -> Result<(Written, Service), WriteError> {
    let mut avoid = Avoid::default();
    let mut object = None;
    for attempt in 0..TRIES {
        let mut new = wanted.clone();
        new.status = None;
        let expected = own_metadata(&mut new.metadata, stamp);
        fill_in(&mut new);
        let name = name_of("Service", &new.metadata)?;
        let key = format!("{SERVICES}{name}");
        let old = read::<Service>(store, &key)?;
        expect_version(
            "service",
            &name.to_string(),
            expected.as_ref(),
            old.as_ref().map(|(_, entry)| entry),
        )?;
        let held = match &old {
            Some((old, _)) => {
                drop_former(old, &mut new);
                refuse_move(old, &new, &name)?;
                carry_over(old, &mut new);
                fill_in(&mut new);
                held(old)
            }
            None => BTreeSet::new(),
        };
        let spec = Spec::check(&new)?;
        refuse(&spec, around.check(&spec))?;
        let plan = Plan::new(&mut new, &spec, &held, pools, stamp.seed ^ attempt as u64, &avoid)?;
        let former = old.as_ref().map(|(old, _)| addresses_of(old)).unwrap_or_default();
        let assignment = assign(store, pools, &spec, &new, &former, around)?;
        assignment.show(&mut new, time(stamp.now));
        let written = match &old {
            Some((old, _)) if *old == new => return Ok((Written::Unchanged, new)),
            Some(_) => Written::Configured,
            None => Written::Created,
        };
        let owner = to_json(&key, &name.to_string())?;
        let mut txn = Txn::new().when(&key, Expect::unchanged(old.as_ref().map(|(_, entry)| entry)));
        for taken in plan.take.keys() {
            txn = txn.when(&taken.key(), Expect::Absent).put(&taken.key(), &owner);
        }
        for freed in held.difference(&plan.keep) {
            txn = txn.delete(&freed.key());
        }
        txn = assignment.add_to(txn.put(&key, &to_json(&key, &new)?))?;
        let conflict = match run {
            Run::Real => store.commit(&txn).map(drop),
            Run::Dry => try_out(store, &plan),
        };
        match conflict {
            Ok(()) => return Ok((written, new)),
            Err(ClusterError::Conflict { key: at, .. }) => avoid.on_conflict(store, &at, &plan, &spec)?,
            Err(error) => return Err(error.into()),
        }
        object = Some(name);
    }
    let name = object.map(|name| name.to_string()).unwrap_or_default();
    Err(WriteError::Contended { kind: "service", name })
}

fn assign(
    store: &dyn ClusterStore,
    pools: &Pools,
    spec: &Spec,
    service: &Service,
    former: &[Ipv4Addr],
    around: &dyn Surroundings,
) -> Result<Assignment, WriteError> {
    let applicant = Applicant { spec, labels: service.metadata.labels.as_ref() };
    let owner = |ip| around.owner(ip);
    match Assignment::decide(store, &pools.load_balancer, applicant, former, &owner) {
        Ok(assignment) => Ok(assignment),
        Err(Refusal::Store(error)) => Err(error.into()),
        Err(Refusal::Invalid(problem)) => {
            let name = spec.object.name.to_string();
            Err(Invalid { kind: "Service", name, problems: vec![problem] }.into())
        }
    }
}

/// Conflicts that a transaction would find.
fn try_out(store: &dyn ClusterStore, plan: &Plan) -> Result<(), ClusterError> {
    for key in plan.take.keys().map(|taken| taken.key()) {
        if let Some(entry) = store.get(&key)? {
            return Err(ClusterError::Conflict {
                key,
                expected: Expect::Absent,
                found: Some(entry.revision),
            });
        }
    }
    Ok(())
}

fn refuse(spec: &Spec, problems: Vec<Problem>) -> Result<(), WriteError> {
    if problems.is_empty() {
        return Ok(());
    }
    Err(Invalid { kind: "Service", name: spec.object.name.to_string(), problems }.into())
}

/// A cluster address stays with its service, unless it becomes another sort of service.
fn refuse_move(old: &Service, new: &Service, name: &ObjectRef) -> Result<(), WriteError> {
    let address = |service: &Service| {
        let spec = service.spec.as_ref()?;
        let named = spec.type_.as_deref() == Some("ExternalName");
        spec.cluster_ip.clone().filter(|ip| !ip.is_empty() && !named)
    };
    match (address(old), address(new)) {
        (Some(old), Some(new)) if old != new => {
            let problem = Problem::invalid("spec.clusterIPs[0]", new, "may not change once set");
            Err(Invalid { kind: "Service", name: name.name.to_string(), problems: vec![problem] }.into())
        }
        _ => Ok(()),
    }
}

/// What a service that was written has.
fn held(service: &Service) -> BTreeSet<Allocation> {
    let Ok(spec) = Spec::check(service) else { return BTreeSet::new() };
    let mut held = BTreeSet::new();
    held.extend(spec.cluster_ip.filter(|_| spec.reach.is_virtual()).map(Allocation::ClusterIp));
    let ports = spec.ports.iter().filter_map(|port| Some((port.transport, port.node_port?)));
    held.extend(ports.map(|(transport, port)| Allocation::NodePort(transport, port)));
    let health = spec.health_check_node_port;
    held.extend(health.map(|port| Allocation::NodePort(Transport::Tcp, port)));
    held
}

/// What others turned out to have.
#[derive(Debug, Default)]
struct Avoid {
    taken: BTreeSet<String>,
    conflicts: usize,
}

impl Avoid {
    /// Another choice may do; what was asked for by name is somebody else's.
    fn on_conflict(
        &mut self,
        store: &dyn ClusterStore,
        at: &str,
        plan: &Plan,
        spec: &Spec,
    ) -> Result<(), WriteError> {
        let Some((taken, origin)) = plan.take.iter().find(|(taken, _)| taken.key() == at) else {
            // The service itself: it is read again.
            return Ok(());
        };
        if let Origin::Requested { path } = origin {
            let Some(entry) = store.get(at)? else { return Ok(()) };
            let owner: String = serde_json::from_slice(&entry.value).unwrap_or_default();
            let why = format!("provided value is already allocated to service {owner}");
            let problem = Problem::invalid(path, taken.describe(), why);
            return refuse(spec, vec![problem]);
        }
        self.taken.insert(at.to_owned());
        self.conflicts += 1;
        if self.conflicts == BLIND_TRIES {
            for prefix in [CLUSTER_IPS, NODE_PORTS] {
                self.taken.extend(store.list(prefix)?.entries.into_iter().map(|entry| entry.key));
            }
        }
        Ok(())
    }
}

/// Why something is to be taken.
#[derive(Debug)]
enum Origin {
    /// The manifest says so, there.
    Requested { path: String },
    /// It was free, as far as we know.
    Chosen,
}

/// What a service will have.
#[derive(Debug, Default)]
struct Plan {
    keep: BTreeSet<Allocation>,
    take: BTreeMap<Allocation, Origin>,
}

impl Plan {
    /// Chooses what `service` lacks, and writes it there.
    fn new(
        service: &mut Service,
        spec: &Spec,
        held: &BTreeSet<Allocation>,
        pools: &Pools,
        seed: u64,
        avoid: &Avoid,
    ) -> Result<Self, WriteError> {
        let mut plan = Self::default();
        let Some(written) = service.spec.as_mut() else { return Ok(plan) };
        if spec.reach.is_virtual() {
            let ip = plan.cluster_ip(spec, held, pools, seed, avoid)?;
            written.cluster_ip = Some(ip.to_string());
            written.cluster_ips = Some(vec![ip.to_string()]);
        }
        let local = spec.external_policy == TrafficPolicy::Local;
        let wants = match spec.reach {
            Reach::NodePort => true,
            Reach::LoadBalancer => spec.wants_node_ports,
            Reach::ClusterIp | Reach::Headless | Reach::ExternalName(_) => false,
        };
        // What is asked for goes first: it leaves no choice.
        let mut numbers = BTreeMap::new();
        for (index, port) in spec.ports.iter().enumerate() {
            let Some(number) = port.node_port else { continue };
            let path = format!("spec.ports[{index}].nodePort");
            plan.request(spec, Allocation::NodePort(port.transport, number), path, held, pools)?;
            numbers.insert(port.number, number);
        }
        for (port, out) in spec.ports.iter().zip(written.ports.iter_mut().flatten()) {
            if !wants || port.node_port.is_some() {
                continue;
            }
            // TCP and UDP on one number get one NodePort, if they can.
            let sibling = numbers.get(&port.number).copied();
            let number = plan.node_port(spec, port.transport, sibling, held, pools, seed, avoid)?;
            numbers.insert(port.number, number);
            out.node_port = Some(number.into());
        }
        if spec.reach == Reach::LoadBalancer && local {
            let number = match spec.health_check_node_port {
                Some(number) => {
                    let path = "spec.healthCheckNodePort".to_owned();
                    plan.request(spec, Allocation::NodePort(Transport::Tcp, number), path, held, pools)?;
                    number
                }
                None => plan.node_port(spec, Transport::Tcp, None, held, pools, seed, avoid)?,
            };
            written.health_check_node_port = Some(number.into());
        }
        Ok(plan)
    }

    fn request(
        &mut self,
        spec: &Spec,
        wanted: Allocation,
        path: String,
        held: &BTreeSet<Allocation>,
        pools: &Pools,
    ) -> Result<(), WriteError> {
        if self.keep.contains(&wanted) || self.take.contains_key(&wanted) {
            let problem = Problem::invalid(path, wanted.describe(), "this service has it already");
            return refuse(spec, vec![problem]);
        }
        if held.contains(&wanted) {
            self.keep.insert(wanted);
            return Ok(());
        }
        let why = match wanted {
            Allocation::ClusterIp(ip) => pools.cluster_ips.refuse(ip, &spec.object),
            Allocation::NodePort(_, port) => pools.node_ports.refuse(port),
        };
        refuse(spec, why.map(|why| Problem::invalid(&path, wanted.describe(), why)).into_iter().collect())?;
        self.take.insert(wanted, Origin::Requested { path });
        Ok(())
    }

    fn cluster_ip(
        &mut self,
        spec: &Spec,
        held: &BTreeSet<Allocation>,
        pools: &Pools,
        seed: u64,
        avoid: &Avoid,
    ) -> Result<Ipv4Addr, WriteError> {
        if let Some(ip) = spec.cluster_ip {
            self.request(spec, Allocation::ClusterIp(ip), "spec.clusterIP".to_owned(), held, pools)?;
            return Ok(ip);
        }
        let mut all = pools.cluster_ips.candidates(seed);
        let free = all.find(|ip| !avoid.taken.contains(&Allocation::ClusterIp(*ip).key()));
        let ip = free.ok_or_else(|| WriteError::Exhausted {
            object: spec.object.clone(),
            what: "cluster addresses",
            size: pools.cluster_ips.len() as usize,
        })?;
        self.take.insert(Allocation::ClusterIp(ip), Origin::Chosen);
        Ok(ip)
    }

    #[expect(clippy::too_many_arguments, reason = "all of them decide")]
    fn node_port(
        &mut self,
        spec: &Spec,
        transport: Transport,
        sibling: Option<u16>,
        held: &BTreeSet<Allocation>,
        pools: &Pools,
        seed: u64,
        avoid: &Avoid,
    ) -> Result<u16, WriteError> {
        let mut all = sibling.into_iter().chain(pools.node_ports.candidates(seed));
        let is_free = |number: &u16| {
            let allocation = Allocation::NodePort(transport, *number);
            !self.keep.contains(&allocation)
                && !self.take.contains_key(&allocation)
                && !avoid.taken.contains(&allocation.key())
        };
        let number = all.find(is_free).ok_or_else(|| WriteError::Exhausted {
            object: spec.object.clone(),
            what: "NodePorts",
            size: pools.node_ports.0.len(),
        })?;
        let allocation = Allocation::NodePort(transport, number);
        if held.contains(&allocation) {
            self.keep.insert(allocation);
        } else {
            self.take.insert(allocation, Origin::Chosen);
        }
        Ok(number)
    }
}

/// Deletes a service and frees what it has.
///
/// # Errors
/// See [`WriteError`].
pub fn delete_service(store: &dyn ClusterStore, name: &ObjectRef, run: Run) -> Result<(), WriteError> {
    let key = format!("{SERVICES}{name}");
    for _ in 0..TRIES {
        let Some((old, entry)) = read::<Service>(store, &key)? else {
            return Err(WriteError::NotFound { kind: "services", name: name.name.to_string() });
        };
        let txn = Txn::new().when(&key, Expect::Revision(entry.revision)).delete(&key);
        let txn = held(&old).into_iter().fold(txn, |txn, freed| txn.delete(&freed.key()));
        let txn = Assignment::release(store, name, &addresses_of(&old))?.add_to(txn)?;
        if run == Run::Dry {
            return Ok(());
        }
        match store.commit(&txn) {
            Err(error) if error.is_conflict() => {}
            other => return Ok(other.map(drop)?),
        }
    }
    Err(WriteError::Contended { kind: "service", name: name.to_string() })
}

/// Any other object with metadata.
pub trait HasMetadata: Serialize + DeserializeOwned + PartialEq + Clone {
    /// For messages.
    const KIND: &'static str;
    /// Its metadata.
    fn metadata(&mut self) -> &mut ObjectMeta;
}

/// An object of any kind, whose content somebody else has checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnyObject {
    /// Its metadata.
    pub metadata: ObjectMeta,
    /// All the rest.
    #[serde(flatten)]
    pub rest: serde_json::Map<String, serde_json::Value>,
}

impl HasMetadata for AnyObject {
    const KIND: &'static str = "object";
    fn metadata(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl HasMetadata for k8s_openapi::api::discovery::v1::EndpointSlice {
    const KIND: &'static str = "endpointslices";
    fn metadata(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl HasMetadata for k8s_openapi::api::core::v1::Namespace {
    const KIND: &'static str = "namespaces";
    fn metadata(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// Writes an object that was checked, as `apply` does.
///
/// # Errors
/// See [`WriteError`].
pub fn put<T: HasMetadata>(
    store: &dyn ClusterStore,
    key: &str,
    wanted: &T,
    stamp: &Stamp,
    run: Run,
) -> Result<(Written, T), WriteError> {
    for _ in 0..TRIES {
        let mut new = wanted.clone();
        let expected = own_metadata(new.metadata(), stamp);
        let mut old = read::<T>(store, key)?;
        expect_version(T::KIND, key, expected.as_ref(), old.as_ref().map(|(_, entry)| entry))?;
        if let Some((old, _)) = &mut old {
            let (old, new) = (old.metadata(), new.metadata());
            new.uid.clone_from(&old.uid);
            new.creation_timestamp.clone_from(&old.creation_timestamp);
        }
        let written = match &old {
            Some((old, _)) if *old == new => return Ok((Written::Unchanged, new)),
            Some(_) => Written::Configured,
            None => Written::Created,
        };
        if run == Run::Dry {
            return Ok((written, new));
        }
        let expect = Expect::unchanged(old.as_ref().map(|(_, entry)| entry));
        match store.put(key, &to_json(key, &new)?, expect) {
            Ok(_) => return Ok((written, new)),
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(WriteError::Contended { kind: T::KIND, name: key.to_owned() })
}

/// Deletes such an object.
///
/// # Errors
/// See [`WriteError`].
pub fn delete(store: &dyn ClusterStore, kind: &'static str, key: &str, run: Run) -> Result<(), WriteError> {
    let missing = || {
        let name = key.rsplit('/').next().unwrap_or(key).to_owned();
        Err(WriteError::NotFound { kind, name })
    };
    if run == Run::Dry {
        return if store.get(key)?.is_some() { Ok(()) } else { missing() };
    }
    match store.delete(key, Expect::Present) {
        Ok(_) => Ok(()),
        Err(error) if error.is_conflict() => missing(),
        Err(error) => Err(error.into()),
    }
}
