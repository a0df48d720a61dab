//! Other nodes, wherever they are known from.
//!
//! Two sources say what peers there are: the configuration file ([`replace_static`]) and the cluster's
//! store ([`replace_cluster`]). Both end in [`apply`]: what contradicts this node or another peer is left
//! out and shown by `status`, the rest gets its numbers, is remembered in the node's own store and told
//! to the datapath. The remembered ones are what a start goes on with while the cluster's store is away.

use std::collections::{BTreeMap, BTreeSet};

use protocol::PeerId;
use protocol::link::{FromDatapath, ToDatapath};
use protocol::object::{Peer, PeerHealth, PeerOrigin};
use store::cluster::NodeRecord;
use store::desired::VXLAN_OVERHEAD;
use store::peers::{Own, PeerIds, PeerSpec, sound};
use store::record::PeerRecord;
use store::{Key, Kind, Store, StoreError, Transaction};

use super::cluster::record_of;
use super::node::Control;
use super::services;
use super::switch::{SwitchError, unexpected};

/// Everything said about peers, and what came of it.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    of_file: Vec<PeerSpec>,
    of_cluster: Vec<PeerSpec>,
    ids: PeerIds,
    /// The accepted ones.
    known: BTreeMap<PeerId, PeerRecord>,
    problems: Vec<String>,
}

impl Peers {
    /// The file's peers, and, in a cluster with a store, its nodes as they were last known. Records that
    /// cannot be read cost their peers the number they had.
    pub(crate) fn load(store: &Store, of_file: Vec<PeerSpec>, in_cluster: bool) -> Result<Self, StoreError> {
        let mut peers = Self { of_file, ..Self::default() };
        for (key, record) in store.list::<PeerRecord>(Kind::Peer)? {
            match record {
                Ok(record) => _ = peers.known.insert(record.value.id, record.value),
                Err(error) => tracing::warn!("{key}: {error}"),
            }
        }
        peers.ids = PeerIds::restore(peers.known.values().map(|peer| (peer.spec.name.clone(), peer.id)));
        let is_clusters = |peer: &&PeerRecord| in_cluster && peer.origin == PeerOrigin::Cluster;
        let of_cluster = peers.known.values().filter(is_clusters);
        peers.of_cluster = of_cluster.map(|peer| peer.spec.clone()).collect();
        Ok(peers)
    }

    /// The cluster's nodes, as far as they are remembered.
    pub(crate) fn cluster_nodes(&self, vni: u32) -> Vec<NodeRecord> {
        self.of_cluster.iter().filter_map(|spec| record_of(spec, vni)).collect()
    }

    /// What is wrong with some of them.
    pub(crate) fn problems(&self) -> &[String] {
        &self.problems
    }

    pub(crate) fn known(&self) -> impl Iterator<Item = &PeerRecord> {
        self.known.values()
    }

    /// Decides anew which peers there are. Returns how the node's own store has to change.
    fn decide(&mut self, own: &Own) -> Option<Transaction> {
        // The file's come first: a person wrote them.
        let of_file: BTreeSet<String> = self.of_file.iter().map(|spec| spec.name.clone()).collect();
        let all = self.of_file.iter().chain(&self.of_cluster).cloned().collect();
        let (accepted, mut problems) = sound(own, all);
        let without = self.ids.assign(&accepted.iter().map(|spec| spec.name.as_str()).collect());
        if without > 0 {
            problems.push(format!("{without} nodes are not peers: the limit is {}", PeerId::MAX_PEERS));
        }
        self.problems = problems;
        let mut known = BTreeMap::new();
        for spec in accepted {
            let Some(id) = self.ids.get(&spec.name) else { continue };
            let origin = if of_file.contains(&spec.name) { PeerOrigin::Static } else { PeerOrigin::Cluster };
            known.insert(id, PeerRecord { id, spec, origin });
        }
        let change = difference(&self.known, &known);
        self.known = known;
        change
    }
}

fn difference(old: &BTreeMap<PeerId, PeerRecord>, new: &BTreeMap<PeerId, PeerRecord>) -> Option<Transaction> {
    let names: BTreeSet<&str> = new.values().map(|peer| peer.spec.name.as_str()).collect();
    let gone = old.values().filter(|peer| !names.contains(peer.spec.name.as_str()));
    let changed: Vec<_> = new.iter().filter(|(id, peer)| old.get(id) != Some(peer)).collect();
    let gone: Vec<Key> = gone.map(PeerRecord::key).collect();
    if gone.is_empty() && changed.is_empty() {
        return None;
    }
    let transaction = gone.into_iter().fold(Transaction::new(), Transaction::forget);
    Some(changed.into_iter().fold(transaction, |all, (_, peer)| all.put(peer.key(), peer, None)))
}

/// The file's peers are these from now on.
pub(crate) fn replace_static(control: &Control, specs: Vec<PeerSpec>) {
    control.peers.lock().of_file = specs;
    apply(control);
}

/// The cluster's nodes, without this one, are these from now on.
pub(crate) fn replace_cluster(control: &Control, specs: Vec<PeerSpec>) {
    control.peers.lock().of_cluster = specs;
    apply(control);
}

/// Decides which peers there are, and has the datapath know them at its next sync.
pub(crate) fn decide(control: &Control) {
    let own = control.own();
    let mut peers = control.peers.lock();
    let change = peers.decide(&own);
    let config = |peer: &PeerRecord| peer.spec.config(peer.id, peer.origin == PeerOrigin::Cluster);
    let configs = peers.known.iter().map(|(id, peer)| (*id, config(peer))).collect();
    control.switch.set_peers(configs);
    control.services.on_nodes_changed();
    if let Some(change) = change {
        tracing::info!(peers = peers.known.len(), "the peers changed");
        if let Err(error) = control.commit(change) {
            tracing::error!("peers are not remembered for the next start: {error}");
        }
    }
    for problem in &peers.problems {
        tracing::warn!("{problem}");
    }
}

/// [`decide`], and makes it so.
pub(crate) fn apply(control: &Control) {
    decide(control);
    services::on_nodes_changed(control);
    control.sync();
}

/// What the datapath has seen of each peer.
pub(crate) fn health(control: &Control) -> Result<BTreeMap<PeerId, PeerHealth>, SwitchError> {
    let mut all = BTreeMap::new();
    let mut after = None;
    loop {
        match control.switch.link().request(ToDatapath::Peers { after }, &[])?.0 {
            FromDatapath::Peers(page) => match page.last() {
                Some((last, _)) => {
                    after = Some(*last);
                    all.extend(page);
                }
                None => return Ok(all),
            },
            other => return Err(unexpected(other)),
        }
    }
}

/// The rows of `get peers`, by name.
pub(crate) fn rows(control: &Control) -> Result<Vec<Peer>, SwitchError> {
    let health = health(control)?;
    let underlay_mtu = control.switch.tunnel().map_or(0, |tunnel| tunnel.underlay_mtu);
    let peers = control.peers.lock();
    let mut rows: Vec<Peer> = peers
        .known()
        .map(|peer| {
            let health = health.get(&peer.id).copied().unwrap_or_default();
            let outer_mtu = health.path_mtu.map_or(underlay_mtu, |path| path.min(underlay_mtu));
            Peer {
                name: peer.spec.name.clone(),
                address: peer.spec.address.into(),
                udp_port: peer.spec.udp_port,
                pod_cidrs: peer.spec.pod_cidrs.clone(),
                origin: peer.origin,
                pod_mtu: outer_mtu.saturating_sub(VXLAN_OVERHEAD),
                health,
            }
        })
        .collect();
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const TWO: &str = r#"
        node = "a"
        [[peer]]
        name = "b"
        address = "192.0.2.2"
        pod_cidrs = ["10.244.1.0/24"]
        [[peer]]
        name = "c"
        address = "192.0.2.3"
        pod_cidrs = ["10.244.2.0/24"]
    "#;

    fn names(peers: &Peers) -> Vec<(&str, u32)> {
        peers.known().map(|peer| (peer.spec.name.as_str(), peer.id.0)).collect()
    }

    #[test]
    fn peers_keep_their_numbers_over_restarts() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("state.redb")).unwrap();
        let config = Config::of(TWO);
        let mut peers = Peers::load(&store, config.peers.clone(), true).unwrap();
        store.commit(peers.decide(&config.own()).unwrap()).unwrap();
        assert_eq!(names(&peers), [("b", 0), ("c", 1)]);
        assert!(peers.decide(&config.own()).is_none(), "nothing changed");

        let mut next = Peers::load(&store, config.peers[1..].to_vec(), true).unwrap();
        store.commit(next.decide(&config.own()).unwrap()).unwrap();
        assert_eq!(names(&next), [("c", 1)]);
        assert_eq!(names(&Peers::load(&store, Vec::new(), true).unwrap()), [("c", 1)]);
    }

    #[test]
    fn the_clusters_nodes_are_remembered_and_the_files_are_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("state.redb")).unwrap();
        let config = Config::of(TWO);
        let [b, c] = config.peers.clone().try_into().unwrap();
        let mut peers = Peers::load(&store, vec![b], true).unwrap();
        peers.of_cluster = vec![c];
        store.commit(peers.decide(&config.own()).unwrap()).unwrap();
        // The file no longer names b; the store of the cluster is away.
        let mut next = Peers::load(&store, Vec::new(), true).unwrap();
        next.decide(&config.own());
        assert_eq!(names(&next), [("c", 1)]);
    }

    #[test]
    fn of_a_node_that_both_name_the_files_word_counts() {
        let config = Config::of(TWO);
        let mut peers = Peers { of_file: config.peers.clone(), ..Peers::default() };
        let other = PeerSpec { udp_port: 8472, ..config.peers[0].clone() };
        peers.of_cluster = vec![other];
        peers.decide(&config.own());
        assert_eq!(names(&peers), [("b", 0), ("c", 1)]);
        assert!(peers.known().all(|peer| peer.spec.udp_port == 4789));
        assert_eq!(peers.problems().len(), 1);
    }
}
