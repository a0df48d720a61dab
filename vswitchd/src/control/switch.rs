//! What the datapath runs, as far as this process knows, and its own copy of every descriptor.
//!
//! [`Switch::sync`] is the only way to change the datapath: it derives the wanted configuration from
//! the inventory, compares it with the active one and sends the difference. So it does not matter
//! which of two concurrent requests comes first, and after a crash of the datapath the same call
//! brings everything back.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use netdev::{PacketSocket, Tap, UdpTunnel};
use parking_lot::{Condvar, Mutex, MutexGuard};
use protocol::link::{ConfigDelta, Epoch, FromDatapath, PeerConfig, PortConfig, ToDatapath, TunnelConfig};
use protocol::{PeerId, PortId};
use store::desired::{
    Configuration, NodeFacts, TunnelFacts, UPLINK_PORT, UplinkFacts, desired, diff, diff_services,
    taken_on_link,
};
use store::record::PodRecord;
use store::services::Services;

use super::datapath_link::{DatapathLink, LinkError};
use super::device::Held;
use super::inventory::{Inventory, Life};
use super::policy::PolicyState;
use super::quarantine::Quarantine;
use super::uplink::Edge;

/// How long a change waits for a datapath that is being started again.
const RECONNECT_LIMIT: Duration = Duration::from_secs(4);

/// Why the datapath does not run what it should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SwitchError {
    /// It could not be asked.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// It refused.
    #[error("the datapath refused the configuration: {0}")]
    Refused(String),
    /// It answered something else.
    #[error("the datapath gave an answer that does not fit: {0}")]
    Answer(String),
}

/// The datapath, as the control process sees it.
pub(crate) struct Switch {
    link: DatapathLink,
    edge: Edge,
    /// Taken after `active`, and held for moments.
    policies: Mutex<PolicyState>,
    active: Mutex<Active>,
    reconnected: Condvar,
}

#[derive(Default)]
struct Active {
    connected: bool,
    epoch: Epoch,
    configuration: Configuration,
    devices: BTreeMap<PortId, Held>,
    /// Ports whose descriptor here is not the one the datapath has.
    replaced: BTreeSet<PortId>,
    facts: Option<NodeFacts>,
    quarantine: Quarantine,
    /// When the lease of announced addresses ends, on the machine's clock.
    announced_until: u64,
    /// The datapath has heard of it.
    is_hold_told: bool,
    taken_over: bool,
    /// It is unknown what became of the last delta, so the datapath has to be asked.
    interrupted: bool,
    /// It has the tables of the last [`PolicyState::change`].
    has_policies: bool,
}

impl Active {
    /// The datapath announces no address that it is not to announce, as far as is known.
    fn announces_wanted_only(&self) -> bool {
        let runs = self.configuration.node.as_ref().and_then(|node| node.uplink.as_ref());
        let wanted = self.facts.as_ref().map_or(&[][..], |facts| facts.announced.as_slice());
        runs.is_none_or(|uplink| uplink.announced.iter().all(|address| wanted.contains(address)))
    }
}

impl Switch {
    pub(crate) fn new(link: DatapathLink) -> Self {
        Self {
            link,
            edge: Edge::new(),
            policies: Mutex::default(),
            active: Mutex::default(),
            reconnected: Condvar::new(),
        }
    }

    pub(crate) const fn link(&self) -> &DatapathLink {
        &self.link
    }

    /// What the node's kernel has to know of the uplink.
    pub(crate) const fn edge(&self) -> &Edge {
        &self.edge
    }

    /// What policies are about. Whoever holds it asks for nothing else of the switch.
    pub(crate) fn policies(&self) -> MutexGuard<'_, PolicyState> {
        self.policies.lock()
    }

    /// What is known about the node; nothing is sent before that.
    pub(crate) fn set_facts(&self, facts: NodeFacts) {
        self.active.lock().facts = Some(facts);
    }

    /// Changes one part of what is known about the node; true if it differs from before.
    pub(crate) fn set_node_addresses(&self, addresses: Vec<std::net::IpAddr>) -> bool {
        let mut active = self.active.lock();
        let Some(facts) = active.facts.as_mut() else { return false };
        let changed = facts.node_addresses != addresses;
        facts.node_addresses = addresses;
        changed
    }

    pub(crate) fn node_addresses(&self) -> Vec<std::net::IpAddr> {
        self.active.lock().facts.as_ref().map(|facts| facts.node_addresses.clone()).unwrap_or_default()
    }

    /// What pods of this node may appear as outside, beside its own address.
    pub(crate) fn egress_addresses(&self) -> Vec<std::net::IpAddr> {
        let active = self.active.lock();
        let uplink = active.facts.as_ref().and_then(|facts| facts.uplink.as_ref());
        uplink
            .map(|uplink| uplink.egress.iter().map(|rule| rule.address.into()).collect())
            .unwrap_or_default()
    }

    /// Other nodes, from the next sync on.
    pub(crate) fn set_peers(&self, peers: BTreeMap<PeerId, PeerConfig>) {
        if let Some(facts) = self.active.lock().facts.as_mut() {
            facts.peers = peers;
        }
    }

    /// What this node balances, from the next sync on.
    pub(crate) fn set_services(&self, services: Arc<Services>) {
        if let Some(facts) = self.active.lock().facts.as_mut() {
            facts.services = Some(services);
        }
    }

    /// Whether it was ever said what this node balances.
    pub(crate) fn has_services(&self) -> bool {
        self.active.lock().facts.as_ref().is_some_and(|facts| facts.services.is_some())
    }

    /// The datapath can be talked to.
    pub(crate) fn is_connected(&self) -> bool {
        self.active.lock().connected
    }

    /// The datapath can be talked to, and runs these services.
    pub(crate) fn runs_services(&self, services: &Arc<Services>) -> bool {
        let active = self.active.lock();
        // Equal parts are the same ones, so that this costs a pointer a page.
        active.connected && active.configuration.services.as_ref() == Some(services)
    }

    /// The datapath can be talked to, and runs the services it should.
    pub(crate) fn runs_wanted_services(&self) -> bool {
        let active = self.active.lock();
        let wanted = active.facts.as_ref().and_then(|facts| facts.services.as_ref());
        let runs = active.configuration.services.as_ref();
        active.connected && matches!((wanted, runs), (Some(wanted), Some(runs)) if Arc::ptr_eq(wanted, runs))
    }

    /// The node's end of the tunnel, from the next sync on.
    pub(crate) fn set_tunnel(&self, tunnel: Option<TunnelFacts>) {
        if let Some(facts) = self.active.lock().facts.as_mut() {
            facts.tunnel = tunnel;
        }
    }

    /// Load balancers' addresses that this node stands for, from the next sync on.
    pub(crate) fn set_announced(&self, addresses: Vec<std::net::Ipv4Addr>) {
        if let Some(facts) = self.active.lock().facts.as_mut() {
            facts.announced = addresses;
        }
    }

    /// The lease of those addresses is this node's until then, in nanoseconds of `CLOCK_MONOTONIC`; 0 is never. A datapath that is not
    /// there is told when it is.
    pub(crate) fn hold_announced(&self, until_nanos: u64) -> Result<(), SwitchError> {
        let mut active = self.active.lock();
        active.announced_until = until_nanos;
        active.is_hold_told = false;
        if active.connected { self.tell_hold(&mut active) } else { Ok(()) }
    }

    fn tell_hold(&self, active: &mut Active) -> Result<(), SwitchError> {
        if active.is_hold_told {
            return Ok(());
        }
        // Addresses that it announces and should not, because a change failed, are not prolonged.
        let until_nanos = if active.announces_wanted_only() { active.announced_until } else { 0 };
        let request = ToDatapath::HoldAnnounced { until_nanos };
        match self.link.request(request, &[])?.0 {
            FromDatapath::Done => {
                active.is_hold_told = true;
                Ok(())
            }
            other => Err(unexpected(other)),
        }
    }

    /// The way out, from the next sync on; true if it differs from before.
    pub(crate) fn set_uplink(&self, uplink: Option<UplinkFacts>) -> bool {
        let mut active = self.active.lock();
        let is_replaced = active.replaced.contains(&UPLINK_PORT);
        let Some(facts) = active.facts.as_mut() else { return false };
        let changed = facts.uplink != uplink || is_replaced;
        facts.uplink = uplink;
        changed
    }

    /// Addresses of the uplink's network that nobody can have, and what they are.
    pub(crate) fn link_addresses(&self) -> BTreeMap<std::net::IpAddr, &'static str> {
        let active = self.active.lock();
        let Some(uplink) = active.facts.as_ref().and_then(|facts| facts.uplink.as_ref()) else {
            return BTreeMap::new();
        };
        let uplink = &uplink.config;
        let all = [Some(uplink.subnet.network()), Some(uplink.subnet.broadcast()), uplink.gateway];
        let named = |address| Some((std::net::IpAddr::V4(address), taken_on_link(uplink, address)?));
        all.into_iter().flatten().filter_map(named).collect()
    }

    /// The node's end of the tunnel.
    pub(crate) fn tunnel(&self) -> Option<TunnelConfig> {
        let active = self.active.lock();
        active.facts.as_ref()?.tunnel.as_ref().map(|tunnel| tunnel.config.clone())
    }

    /// The gateway TAP's MTU, from the next sync on; true if it differs from before.
    pub(crate) fn set_gateway_mtu(&self, ip_mtu: u16) -> bool {
        let mut active = self.active.lock();
        let Some(facts) = active.facts.as_mut() else { return false };
        std::mem::replace(&mut facts.gateway.ip_mtu, ip_mtu) != ip_mtu
    }

    /// Keeps the descriptors of `port`.
    pub(crate) fn add_device(&self, port: PortId, device: impl Into<Held>) {
        let mut active = self.active.lock();
        if active.configuration.ports.contains_key(&port) {
            active.replaced.insert(port);
        }
        active.devices.insert(port, device.into());
        if port == UPLINK_PORT {
            self.edge.on_other_socket();
        }
    }

    /// Gives up the descriptors of `port`; the caller closes it, and syncs first if the datapath is
    /// to let go of it too.
    pub(crate) fn take_device(&self, port: PortId) -> Option<Held> {
        let mut active = self.active.lock();
        active.quarantine.forget(port);
        active.devices.remove(&port)
    }

    pub(crate) fn has_device(&self, port: PortId) -> bool {
        self.active.lock().devices.contains_key(&port)
    }

    /// Calls `with` on the TAP of `port`, if it has one.
    pub(crate) fn with_tap<R>(&self, port: PortId, with: impl FnOnce(&Tap) -> R) -> Option<R> {
        self.active.lock().devices.get(&port).and_then(Held::tap).map(with)
    }

    /// Calls `with` on the sockets of `port`, if it has some.
    pub(crate) fn with_tunnel<R>(&self, port: PortId, with: impl FnOnce(&UdpTunnel) -> R) -> Option<R> {
        self.active.lock().devices.get(&port).and_then(Held::tunnel).map(with)
    }

    /// Calls `with` on the uplink's socket, if there is one.
    pub(crate) fn with_uplink<R>(&self, with: impl FnOnce(&PacketSocket) -> R) -> Option<R> {
        self.active.lock().devices.get(&UPLINK_PORT).and_then(Held::uplink).map(with)
    }

    /// Ports that are not read because their frames crash the datapath.
    pub(crate) fn quarantined(&self) -> BTreeSet<PortId> {
        self.active.lock().quarantine.ports().clone()
    }

    /// The datapath can be talked to, but runs nothing yet.
    pub(crate) fn on_fresh(&self, epoch: Epoch) {
        let mut active = self.active.lock();
        active.epoch = epoch;
        active.configuration = Configuration { services: Some(Arc::default()), ..Configuration::default() };
        active.replaced.clear();
        active.is_hold_told = false;
        active.interrupted = false;
        active.has_policies = false;
        active.connected = true;
        self.reconnected.notify_all();
    }

    /// The datapath can be talked to, and runs what an earlier control process (or this one) gave
    /// it, which is learned from it.
    pub(crate) fn on_taken_over(&self) -> Result<(), SwitchError> {
        let mut active = self.active.lock();
        self.learn(&mut active)?;
        active.connected = true;
        active.taken_over = true;
        self.reconnected.notify_all();
        Ok(())
    }

    /// Asks the datapath what it runs. Descriptors we lack are taken from it.
    fn learn(&self, active: &mut Active) -> Result<(), SwitchError> {
        self.discard_collected()?;
        let FromDatapath::Summary(summary) = self.link.request(ToDatapath::Summary, &[])?.0 else {
            return Err(SwitchError::Answer("no summary".to_owned()));
        };
        let ports = self.exported()?;
        let peers = self.peer_ids()?;
        active.epoch = summary.epoch;
        active.has_policies = false;
        // Its node settings, its services, and the settings of its peers are not told, so they are sent again.
        active.configuration = Configuration::default();
        active.configuration.peers = peers.into_iter().map(|id| (id, None)).collect();
        for (config, device) in ports {
            active.devices.entry(config.id).or_insert(device);
            active.configuration.ports.insert(config.id, config);
        }
        active.interrupted = false;
        Ok(())
    }

    /// The ports of the datapath with duplicates of their descriptors.
    fn exported(&self) -> Result<Vec<(PortConfig, Held)>, SwitchError> {
        let mut ports = Vec::new();
        let mut after = None;
        loop {
            let (answer, fds) = self.link.request(ToDatapath::ExportPorts { after }, &[])?;
            let FromDatapath::Ports(page) = answer else { return Err(unexpected(answer)) };
            let Some(last) = page.last() else { return Ok(ports) };
            after = Some(last.id);
            let mut fds = fds.into_iter();
            for config in page {
                let its = fds.by_ref().take(config.device.descriptors()).collect();
                let odd = || SwitchError::Answer(format!("port {} without its descriptors", config.id));
                let device = Held::from_fds(&config, its).ok_or_else(odd)?;
                ports.push((config, device));
            }
            if fds.next().is_some() {
                return Err(SwitchError::Answer("more descriptors than its ports have".to_owned()));
            }
        }
    }

    /// The numbers of the peers that the datapath has.
    fn peer_ids(&self) -> Result<Vec<PeerId>, SwitchError> {
        let mut ids = Vec::new();
        let mut after = None;
        loop {
            let (answer, _) = self.link.request(ToDatapath::Peers { after }, &[])?;
            let FromDatapath::Peers(page) = answer else { return Err(unexpected(answer)) };
            let Some((last, _)) = page.last() else { return Ok(ids) };
            after = Some(*last);
            ids.extend(page.into_iter().map(|(id, _)| id));
        }
    }

    /// Makes the datapath forget deltas that wait for a commit which never came, because their sender
    /// died. A refused delta takes them along, and no configuration has number 0.
    fn discard_collected(&self) -> Result<(), SwitchError> {
        match self.link.request(ToDatapath::Apply(ConfigDelta::default()), &[])?.0 {
            FromDatapath::Refused { .. } => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    /// The datapath ran before this process.
    pub(crate) fn was_taken_over(&self) -> bool {
        self.active.lock().taken_over
    }

    /// The datapath died. True if the port whose frame it was working on is quarantined now.
    pub(crate) fn on_lost(&self, culprit: Option<PortId>) -> bool {
        let mut active = self.active.lock();
        active.connected = false;
        active.configuration = Configuration::default();
        culprit.is_some_and(|port| active.quarantine.on_crash(port, Instant::now()))
    }

    /// What the datapath runs at `port`.
    pub(crate) fn active_port(&self, port: PortId) -> Option<PortConfig> {
        self.active.lock().configuration.ports.get(&port).cloned()
    }

    /// Makes the datapath run what `inventory` says. Waits a moment for one that is being started.
    pub(crate) fn sync(&self, inventory: &Mutex<Inventory>) -> Result<(), SwitchError> {
        let mut active = self.active.lock();
        let deadline = Instant::now() + RECONNECT_LIMIT;
        while !active.connected {
            if self.reconnected.wait_until(&mut active, deadline).timed_out() {
                return Err(LinkError::NotConnected.into());
            }
        }
        self.send_difference(&mut active, inventory)
    }

    /// As [`Switch::sync`] where only services have changed, at the cost of those.
    pub(crate) fn sync_services(&self, inventory: &Mutex<Inventory>) -> Result<(), SwitchError> {
        let mut active = self.active.lock();
        let is_known = active.connected && !active.interrupted && active.replaced.is_empty();
        match (is_known && self.edge.problem().is_none() && !self.edge.is_closed())
            .then(|| self.send_services(&mut active))
        {
            // Perhaps they go together with something else that has changed.
            Some(Err(SwitchError::Refused(why))) => {
                tracing::debug!("services alone were refused: {why}");
                // Nothing of it was taken, so what is active is known.
                active.interrupted = false;
            }
            Some(Ok(false)) | None => {}
            Some(result) => return result.map(drop),
        }
        drop(active);
        self.sync(inventory)
    }

    /// False if it takes more than that.
    fn send_services(&self, active: &mut MutexGuard<'_, Active>) -> Result<bool, SwitchError> {
        let wanted = active.facts.as_ref().and_then(|facts| facts.services.clone());
        let (Some(wanted), Some(runs)) = (wanted, active.configuration.services.clone()) else {
            return Ok(false);
        };
        let network = &active.configuration;
        let socket = active.devices.get(&UPLINK_PORT).and_then(Held::uplink);
        if network.node.is_none() || (socket.is_some() && !self.edge.prepare(network, Some(&wanted), socket))
        {
            return Ok(false);
        }
        for delta in diff_services(active.epoch, &runs, &wanted) {
            active.interrupted = true;
            self.send(active, delta)?;
            active.interrupted = false;
        }
        let socket = active.devices.get(&UPLINK_PORT).and_then(Held::uplink);
        self.edge.finish(&active.configuration, Some(&wanted), socket);
        active.configuration.services = Some(wanted);
        Ok(true)
    }

    fn send_difference(
        &self,
        active: &mut MutexGuard<'_, Active>,
        inventory: &Mutex<Inventory>,
    ) -> Result<(), SwitchError> {
        let Some(facts) = active.facts.clone() else { return Ok(()) };
        let records: Vec<PodRecord> = {
            let inventory = inventory.lock();
            let attached = inventory.iter().filter(|(_, entry)| {
                entry.life != Life::Deleting
                    && entry.failure.is_none()
                    && active.devices.contains_key(&entry.record.port)
            });
            attached.map(|(_, entry)| entry.record.clone()).collect()
        };
        let mut wanted = desired(&facts, &records, active.quarantine.ports());
        wanted.ports.retain(|id, _| active.devices.contains_key(id));
        if active.interrupted {
            self.learn(active)?;
        }
        // What nobody knows yet stays as it is.
        let services = wanted.services.clone().or_else(|| active.configuration.services.clone());
        let socket = active.devices.get(&UPLINK_PORT).and_then(Held::uplink);
        if socket.is_none() || !self.edge.prepare(&wanted, services.as_ref(), socket) {
            wanted.close_uplink();
        }
        let policies = self.policies.lock().change(&records, !active.has_policies);
        let is_known = policies.is_some();
        let changes = policies.map(|change| in_messages(change, !active.has_policies)).unwrap_or_default();
        // Until all of it was taken it is not known what the datapath has.
        let had_policies = std::mem::take(&mut active.has_policies);
        for delta in diff(active.epoch, &active.configuration, &wanted, &active.replaced, changes) {
            active.interrupted = true;
            self.send(active, delta).inspect_err(|_| self.policies.lock().set_untold())?;
            active.interrupted = false;
        }
        active.has_policies = had_policies || is_known;
        let socket = active.devices.get(&UPLINK_PORT).and_then(Held::uplink);
        self.edge.finish(&wanted, services.as_ref(), socket);
        wanted.services = services;
        active.configuration = wanted;
        active.replaced.clear();
        self.tell_hold(active)
    }

    fn send(&self, active: &mut Active, delta: ConfigDelta) -> Result<(), SwitchError> {
        let commit = delta.commit;
        let fds: Vec<BorrowedFd<'_>> =
            delta.attach.iter().filter_map(|port| active.devices.get(&port.id)).flat_map(Held::fds).collect();
        match self.link.request(ToDatapath::Apply(delta), &fds)?.0 {
            FromDatapath::Applied { epoch } => {
                if commit {
                    active.epoch = epoch;
                }
                Ok(())
            }
            FromDatapath::Refused { message } => Err(SwitchError::Refused(message)),
            other => Err(unexpected(other)),
        }
    }
}

/// What leads to other tables of policies. Whoever had none that is known is to forget them.
fn in_messages(change: policy::Change, is_new: bool) -> Vec<ConfigDelta> {
    let delta = |policies| ConfigDelta { policies, ..ConfigDelta::default() };
    let mut deltas: Vec<ConfigDelta> = change.pieces().into_iter().map(delta).collect();
    if is_new {
        deltas.insert(0, ConfigDelta { reset_policies: true, ..ConfigDelta::default() });
    }
    deltas
}

pub(crate) fn unexpected(answer: FromDatapath) -> SwitchError {
    match answer {
        FromDatapath::Refused { message } => SwitchError::Refused(message),
        other => SwitchError::Answer(format!("{other:?}").chars().take(200).collect()),
    }
}
