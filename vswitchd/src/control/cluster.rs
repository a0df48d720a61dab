//! Membership in a cluster that has a store: this node's Pod CIDR and record, and the other nodes.
//!
//! At the start the node registers ([`join`]). Where the store is away, a node that has been a member before
//! goes on with the Pod CIDR and the peers it remembers, and is registered as soon as the store answers;
//! one that has never been waits. From then on nothing about the store disturbs the data plane: other nodes
//! are mirrored ([`follow`]) and become peers, and what the mirror does not believe (most nodes gone at
//! once) changes nothing until somebody confirms it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use ipnet::{IpNet, Ipv4Net};
use parking_lot::Mutex;
use protocol::message::{ApiError, ClusterStatus, ErrorCode};
use protocol::object::Timestamp;
use store::cluster::etcd::{EtcdFailure, EtcdUser};
use store::cluster::mirror::Change;
use store::cluster::registration::{NODES, node_key};
use store::cluster::{
    ClusterStore, Entry, Etcd, EtcdConfig, EtcdTls, Mirror, MirrorOptions, MirrorState, NodeRecord, NodeSpec,
    Registration, RegistrationError, RegistrationOptions, RegistrationState,
};
use store::peers::{PeerSpec, router_mac};
use store::record::MembershipRecord;
use store::{Key, Kind, Store, Transaction};

use super::error::chain;
use super::node::Control;
use super::{gateway, peers, underlay};
use crate::config::{self, Config};

/// Between two tries to register a node that cannot go on without.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// A cause that stays is said this often.
const REPEAT_AFTER: Duration = Duration::from_secs(60);
/// For the last word to the store.
const LEAVE_LIMIT: Duration = Duration::from_secs(1);
/// Changes that come together are applied together.
const SETTLE: Duration = Duration::from_millis(20);
/// Changes on their way from the mirror.
const QUEUE: usize = 1024;

/// This node's part in the cluster.
pub(crate) struct Cluster {
    store: Arc<dyn ClusterStore>,
    endpoints: Vec<String>,
    /// `None` once the daemon stops.
    registration: Mutex<Option<Registration>>,
    mirror: Mirror,
    /// The others, by name, as the mirror has told so far.
    nodes: Mutex<BTreeMap<String, NodeRecord>>,
    /// What is wrong with some of them.
    problems: Mutex<Vec<String>>,
    /// When the mirror was last seen to be up to date, or began to try.
    since: Mutex<(bool, Timestamp)>,
}

/// Registers the node. Returns the configuration with the Pod CIDR that the store gave; `remembered` are the
/// other nodes as they were last known. `interrupted` says whether to give up waiting.
pub(crate) fn join(
    config: Config,
    local: &Store,
    remembered: Vec<NodeRecord>,
    interrupted: &mut dyn FnMut() -> bool,
) -> anyhow::Result<(Config, Option<Cluster>)> {
    let Some(etcd) = config.etcd.clone() else { return Ok((config, None)) };
    let store: Arc<dyn ClusterStore> = Arc::new(client(&etcd)?);
    let membership = membership(&config, local)?;
    let spec = spec(&config, &membership)?;
    let options = options(&config, &etcd, &membership)?;
    let registration = register(&store, spec, &options, &membership, interrupted)?;
    let pod_cidr = IpNet::V4(registration.pod_cidr());
    remember(&config, local, &MembershipRecord { pod_cidr: Some(pod_cidr), ..membership })?;
    let nodes: BTreeMap<String, NodeRecord> =
        remembered.into_iter().map(|node| (node.spec.name.clone(), node)).collect();
    let mirror = Mirror::start(
        Arc::clone(&store),
        MirrorOptions { queue: QUEUE, known: (entries(&nodes), 0), ..MirrorOptions::new(NODES) },
    )
    .context("following the cluster's store")?;
    let cluster = Cluster {
        store,
        endpoints: etcd.endpoints,
        registration: Mutex::new(Some(registration)),
        mirror,
        nodes: Mutex::new(nodes),
        problems: Mutex::default(),
        since: Mutex::new((false, Timestamp::now())),
    };
    Ok((config.with_pod_cidr(pod_cidr)?, Some(cluster)))
}

/// The Pod CIDR that a node had when it was last a member.
pub(crate) fn last_pod_cidr(config: &Config, local: &Store) -> anyhow::Result<Option<IpNet>> {
    let known = local.get::<MembershipRecord>(&membership_key(config))?;
    Ok(known.and_then(|known| known.value.pod_cidr))
}

fn client(etcd: &config::Etcd) -> anyhow::Result<Etcd> {
    let mut options = EtcdConfig::new(etcd.endpoints.clone());
    if let Some(ca) = &etcd.ca {
        let identity = etcd.identity.as_ref().map(|own| (own.cert.as_path(), own.key.as_path()));
        options.tls = Some(EtcdTls::read(ca, identity)?);
    }
    if let Some(login) = &etcd.login {
        let path = &login.password_file;
        let password = std::fs::read_to_string(path)
            .map_err(|source| EtcdFailure::File { path: path.clone(), source })?;
        let password = password.trim_end_matches(['\r', '\n']).to_owned();
        options.user = Some(EtcdUser { name: login.user.clone(), password });
    }
    Ok(Etcd::new(options)?)
}

fn membership_key(config: &Config) -> Key {
    Key::node_wide(Kind::Membership, config.node.as_str())
}

fn membership(config: &Config, local: &Store) -> anyhow::Result<MembershipRecord> {
    if let Some(known) = local.get::<MembershipRecord>(&membership_key(config))? {
        return Ok(known.value);
    }
    let machine_id = super::pods::create::new_uid().context("an identity for this node")?;
    let new = MembershipRecord { machine_id, pod_cidr: None };
    remember(config, local, &new)?;
    Ok(new)
}

fn remember(config: &Config, local: &Store, membership: &MembershipRecord) -> anyhow::Result<()> {
    local.commit(Transaction::new().put(membership_key(config), membership, None))?;
    Ok(())
}

/// What this node says about itself before it has pods.
fn spec(config: &Config, membership: &MembershipRecord) -> anyhow::Result<NodeSpec> {
    let tunnel = config.tunnel.as_ref().context("a cluster needs a tunnel")?;
    let underlay = underlay::find(&tunnel.underlay)?.context(
        "this node has no address for the tunnel to be reached at; set tunnel.address or tunnel.device",
    )?;
    let mut spec = NodeSpec::new(&config.node, &membership.machine_id, underlay.address);
    spec.udp_port = tunnel.udp_port;
    spec.vni = tunnel.vni;
    spec.node_addresses = v4(gateway::node_addresses(config)?);
    spec.has_pods = false;
    spec.version = env!("CARGO_PKG_VERSION").to_owned();
    Ok(spec)
}

fn v4(addresses: Vec<IpAddr>) -> Vec<std::net::Ipv4Addr> {
    let v4 = |ip| if let IpAddr::V4(v4) = ip { Some(v4) } else { None };
    addresses.into_iter().filter_map(v4).collect()
}

fn options(
    config: &Config,
    etcd: &config::Etcd,
    membership: &MembershipRecord,
) -> anyhow::Result<RegistrationOptions> {
    let IpNet::V4(cluster_cidr) = config.cluster_cidr else {
        bail!("configuration key \"cluster_cidr\": {} is not an IPv4 range", config.cluster_cidr);
    };
    // A node that had one has pods in it.
    let requested = etcd.requested_cidr.or(membership.pod_cidr).and_then(|cidr| match cidr {
        IpNet::V4(cidr) => Some(cidr),
        IpNet::V6(_) => None,
    });
    Ok(RegistrationOptions {
        node_prefix_len: config.pod_cidr.prefix_len(),
        requested,
        ttl: Duration::from_secs(etcd.lease_seconds.into()),
        ..RegistrationOptions::new(cluster_cidr)
    })
}

/// Until it is done, or cannot be.
fn register(
    store: &Arc<dyn ClusterStore>,
    spec: NodeSpec,
    options: &RegistrationOptions,
    membership: &MembershipRecord,
    interrupted: &mut dyn FnMut() -> bool,
) -> anyhow::Result<Registration> {
    let mut said: Option<Instant> = None;
    loop {
        let problem = match Registration::start(Arc::clone(store), spec.clone(), options.clone()) {
            Ok(registration) => {
                tracing::info!(pod_cidr = %registration.pod_cidr(), "registered in the cluster's store");
                return Ok(registration);
            }
            Err(RegistrationError::Store(error)) if error.is_passing() => error,
            Err(error @ RegistrationError::CidrTaken { .. }) if membership.pod_cidr.is_some() => {
                return Err(error).context(
                    "this node was deleted from the cluster while it was away; remove its pods with vswitchd --purge",
                );
            }
            Err(error) => return Err(error).context("registering this node"),
        };
        if let Some(IpNet::V4(pod_cidr)) = membership.pod_cidr {
            tracing::warn!(%pod_cidr, "going on without the cluster's store: {}", chain(&problem));
            let record = NodeRecord { pod_cidr, spec };
            return Ok(Registration::resume(Arc::clone(store), record, options.clone())?);
        }
        if said.is_none_or(|said| said.elapsed() > REPEAT_AFTER) {
            said = Some(Instant::now());
            tracing::warn!(
                "waiting for the cluster's store, which gives this node its Pod CIDR: {}",
                chain(&problem)
            );
        }
        std::thread::sleep(RETRY_PAUSE);
        if interrupted() {
            bail!("stopped while waiting for the cluster's store: {}", chain(&problem));
        }
    }
}

/// As the mirror would have them; the revisions do not matter.
fn entries(nodes: &BTreeMap<String, NodeRecord>) -> Vec<Entry> {
    let entry = |(name, node): (&String, &NodeRecord)| {
        let value = serde_json::to_vec(node).ok()?;
        Some(Entry { key: node_key(name), value, revision: 0, lease: None })
    };
    nodes.iter().filter_map(entry).collect()
}

/// Turns what the store says of other nodes into peers, until the daemon ends.
pub(crate) fn follow(control: &Arc<Control>) -> std::io::Result<()> {
    if control.cluster.is_none() {
        return Ok(());
    }
    let control = Arc::clone(control);
    std::thread::Builder::new().name("cluster".to_owned()).spawn(move || {
        let Some(cluster) = &control.cluster else { return };
        while let Ok(first) = cluster.mirror.changes().recv() {
            std::thread::sleep(SETTLE);
            let changes = std::iter::once(first).chain(cluster.mirror.changes().try_iter());
            cluster.take(changes);
            apply(&control, cluster);
        }
    })?;
    Ok(())
}

/// Has the datapath know the nodes that are known.
fn apply(control: &Control, cluster: &Cluster) {
    let vni = control.tunnel.lock().configured.as_ref().map(|tunnel| tunnel.vni);
    let mut problems = Vec::new();
    let mut specs = Vec::new();
    for node in cluster.nodes.lock().values().filter(|node| node.spec.name != control.config.node) {
        if Some(node.spec.vni) == vni {
            specs.push(peer(node));
        } else {
            problems.push(format!("node {} is not a peer: its VNI is {}", node.spec.name, node.spec.vni));
        }
    }
    *cluster.problems.lock() = problems;
    peers::replace_cluster(control, specs);
}

fn peer(node: &NodeRecord) -> PeerSpec {
    let NodeRecord { pod_cidr, spec } = node;
    let pod_cidr = IpNet::V4(*pod_cidr);
    PeerSpec {
        name: spec.name.clone(),
        address: spec.address,
        udp_port: spec.udp_port,
        pod_cidrs: vec![pod_cidr],
        node_addresses: spec.node_addresses.iter().copied().map(IpAddr::V4).collect(),
        router_mac: spec.router_mac.unwrap_or_else(|| router_mac(pod_cidr)),
        keep_alive: spec.keep_alive,
        has_pods: spec.has_pods,
    }
}

/// A peer as its node's record, as far as it is remembered.
pub(crate) fn record_of(peer: &PeerSpec, vni: u32) -> Option<NodeRecord> {
    let pod_cidr: Ipv4Net = peer.pod_cidrs.iter().find_map(|cidr| match cidr {
        IpNet::V4(cidr) => Some(*cidr),
        IpNet::V6(_) => None,
    })?;
    let mut spec = NodeSpec::new(&peer.name, "", peer.address);
    spec.udp_port = peer.udp_port;
    spec.node_addresses = v4(peer.node_addresses.clone());
    spec.router_mac = Some(peer.router_mac);
    spec.vni = vni;
    spec.has_pods = peer.has_pods;
    spec.keep_alive = peer.keep_alive;
    Some(NodeRecord { pod_cidr, spec })
}

/// Tells the cluster what has changed about this node, if anything has.
pub(crate) fn publish(control: &Control) {
    let Some(cluster) = &control.cluster else { return };
    let Some(tunnel) = control.switch.tunnel() else { return };
    let has_pods = control.inventory.lock().len() > 0;
    let (addresses, ip_mtu) = (v4(control.switch.node_addresses()), control.pod_mtu());
    if let Some(registration) = &*cluster.registration.lock() {
        registration.update(|spec| {
            spec.address = tunnel.address;
            spec.udp_port = tunnel.udp_port;
            spec.vni = tunnel.vni;
            spec.node_addresses = addresses;
            spec.has_pods = has_pods;
            spec.ip_mtu = ip_mtu;
        });
    }
}

/// Frees the name and the Pod CIDR of a node that will not come back.
pub(crate) fn delete_node(control: &Control, name: &str) -> Result<(), ApiError> {
    let refuse = |code, text: String| Err(ApiError::new(code, text));
    let Some(cluster) = &control.cluster else {
        let text = format!(
            "node {name}: this node is in no cluster with a store; take a [[peer]] out of the configuration and send SIGHUP"
        );
        return refuse(ErrorCode::Invalid, text);
    };
    if name == control.config.node {
        return refuse(ErrorCode::Invalid, format!("node {name} is this node, and running"));
    }
    match store::cluster::delete_node(&*cluster.store, name) {
        Ok(()) => Ok(()),
        // Missing from the store, and held here for that: now it is said to be gone.
        Err(RegistrationError::NoSuchNode { .. }) if cluster.nodes.lock().contains_key(name) => {
            cluster.mirror.confirm();
            Ok(())
        }
        Err(error) => {
            let code = match &error {
                RegistrationError::NoSuchNode { .. } => ErrorCode::NotFound,
                RegistrationError::NodeAlive { .. } => ErrorCode::Conflict,
                RegistrationError::Name { .. } => ErrorCode::Invalid,
                _ => ErrorCode::Unavailable,
            };
            refuse(code, chain(&error))
        }
    }
}

impl Cluster {
    fn take(&self, changes: impl Iterator<Item = Change>) {
        let mut nodes = self.nodes.lock();
        for change in changes {
            match change {
                Change::Put(entry) => match serde_json::from_slice::<NodeRecord>(&entry.value) {
                    Ok(node) => _ = nodes.insert(node.spec.name.clone(), node),
                    Err(error) => tracing::warn!("{}: it stays as it was known: {error}", entry.key),
                },
                Change::Delete { key } => {
                    if let Some(name) = key.strip_prefix(NODES) {
                        nodes.remove(name);
                    }
                }
            }
        }
    }

    /// Where other kinds of objects are kept as well.
    pub(crate) fn store(&self) -> Arc<dyn ClusterStore> {
        Arc::clone(&self.store)
    }

    /// What is known of another node.
    pub(crate) fn node(&self, name: &str) -> Option<NodeRecord> {
        self.nodes.lock().get(name).cloned()
    }

    /// For `status`.
    pub(crate) fn status(&self) -> ClusterStatus {
        let stale = matches!(self.mirror.state(), MirrorState::Stale { .. });
        let registration = self.registration.lock().as_ref().map(Registration::state);
        let message = match registration {
            Some(
                RegistrationState::Unreachable { problem, .. } | RegistrationState::Refused { problem, .. },
            ) => Some(problem),
            Some(RegistrationState::Registered) | None => self.mirror.problem(),
        };
        let connected = !stale && message.is_none();
        let mut since = self.since.lock();
        if since.0 != connected {
            *since = (connected, Timestamp::now());
        }
        ClusterStatus { endpoints: self.endpoints.clone(), connected, since: since.1, message }
    }

    /// What is wrong, for `status`.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = self.problems.lock().clone();
        let status = self.status();
        if !status.connected {
            let why = status.message.unwrap_or_else(|| "it has not answered yet".to_owned());
            problems.push(format!("the cluster's store is away, what was known stays in force: {why}"));
        }
        if let MirrorState::Held { missing, known, .. } = self.mirror.state() {
            problems.push(format!(
                "{missing} of {known} nodes disappeared from the cluster's store at once; they stay peers until they come back, or until one of them is deleted (vpodctl delete node), which confirms it for all"
            ));
        }
        problems
    }

    /// Ends the lease, so that others see at once that this node is gone. A store that is away is not
    /// waited for: the lease ends by itself.
    pub(crate) fn leave(&self) {
        let Some(registration) = self.registration.lock().take() else { return };
        let (done, ended) = crossbeam_channel::bounded::<()>(0);
        let leaving = std::thread::Builder::new().name("leave".to_owned()).spawn(move || {
            registration.stop();
            drop(done);
        });
        if leaving.is_ok() {
            // Becomes disconnected when it is done.
            let _ = ended.recv_timeout(LEAVE_LIMIT);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, number: u8) -> NodeRecord {
        let address = std::net::Ipv4Addr::new(192, 0, 2, number);
        let spec = NodeSpec { node_addresses: vec![address], ..NodeSpec::new(name, "", address) };
        NodeRecord { pod_cidr: format!("10.244.{number}.0/24").parse().unwrap(), spec }
    }

    #[test]
    fn a_node_is_a_peer_with_the_router_that_follows_from_its_range() {
        let peer = peer(&node("b", 2));
        assert_eq!(peer.pod_cidrs, ["10.244.2.0/24".parse::<IpNet>().unwrap()]);
        assert_eq!(peer.router_mac.to_string(), "0a:58:0a:f4:02:01");
        assert_eq!(peer.node_addresses, ["192.0.2.2".parse::<IpAddr>().unwrap()]);
        let own_mac = NodeSpec { router_mac: Some(protocol::Mac([2, 0, 0, 0, 0, 9])), ..node("b", 2).spec };
        assert_eq!(
            super::peer(&NodeRecord { spec: own_mac, ..node("b", 2) }).router_mac.to_string(),
            "02:00:00:00:00:09"
        );
    }

    #[test]
    fn a_remembered_peer_is_the_same_peer_again() {
        let peer = PeerSpec { udp_port: 8472, has_pods: false, ..peer(&node("b", 2)) };
        assert_eq!(super::peer(&record_of(&peer, 1).unwrap()), peer);
    }

    #[test]
    fn what_the_mirror_is_told_to_know_is_what_it_would_read() {
        let nodes = BTreeMap::from([("b".to_owned(), node("b", 2)), ("c".to_owned(), node("c", 3))]);
        let entries = entries(&nodes);
        assert_eq!(entries[0].key, "/vpod/v1/nodes/b");
        assert_eq!(serde_json::from_slice::<NodeRecord>(&entries[1].value).unwrap(), nodes["c"]);
    }
}
