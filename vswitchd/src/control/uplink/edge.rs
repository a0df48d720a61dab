//! Keeps what the node's stack sees of the uplink, and what the switch's socket sees, in step with what the datapath serves.
//!
//! A frame must never be answered by both, and a connection that the switch is about to take must not be reset by the node. So
//! around each change of the datapath's configuration: first everything that the old or the new one serves is hidden from the
//! node and shown to the socket ([`Edge::prepare`]); then the datapath changes; then the rest is the node's again
//! ([`Edge::finish`]). The switch calls both with its lock held, so that changes come one after the other.
//!
//! The same table leads the node's own packets for its node ports to the switch, and routes lead those for load balancers there. Without
//! these the node is worse off, but nobody else: they are left out where the kernel refuses them, and `status` says so.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use netdev::{PacketFilter, PacketSocket};
use parking_lot::Mutex;
use store::desired::Configuration;
use store::services::Services;

use super::hidden::{self, Hidden, Interface};
use super::kernel::{Host, Kernel};
use super::nft::{self, NftError};
use crate::control::error::chain;

/// See the module.
pub(crate) struct Edge {
    kernel: Box<dyn Kernel>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Where the uplink is.
    device: Option<Interface>,
    /// How the node reaches the switch.
    gateway: Option<Interface>,
    table: Table,
    /// Of all rules, when the table was last seen among them.
    generation: Option<u32>,
    /// Why the node does not reach its own node ports.
    no_own_way: Option<String>,
    /// Where the node's packets for services are routed, if that is known.
    routed: Option<Routed>,
    /// Why they are not.
    no_routes: Option<String>,
    /// The gateway device takes what is from and for 127.0.0.1.
    accepts_loopback: bool,
    /// What the socket passes, if that is known.
    filter: Option<PacketFilter>,
    problem: Option<String>,
    /// The datapath was told to serve no uplink.
    is_closed: bool,
    /// What was last made of it, so that a change elsewhere costs nothing.
    last: Option<Seen>,
}

/// What the kernel has.
#[derive(Default)]
enum Table {
    /// Whatever an earlier process left.
    #[default]
    Unknown,
    None,
    Of(Box<Hidden>),
}

/// Addresses that the node reaches by the switch.
#[derive(Debug, PartialEq)]
struct Routed {
    gateway: Interface,
    source: Ipv4Addr,
    addresses: BTreeSet<Ipv4Addr>,
}

/// A configuration as far as it matters here.
struct Seen {
    device: Option<Interface>,
    gateway: Option<Interface>,
    node: Option<protocol::link::NodeConfig>,
    /// How many; who they are matters only to services that claim an address of theirs.
    peers: usize,
    services: Arc<Services>,
}

impl Edge {
    pub(crate) fn new() -> Self {
        Self::with(Box::new(Host))
    }

    fn with(kernel: Box<dyn Kernel>) -> Self {
        Self { kernel, state: Mutex::default() }
    }

    /// Where the uplink is from the next change on.
    pub(super) fn set_device(&self, device: Option<Interface>) {
        self.state.lock().device = device;
    }

    /// The node reaches the switch by this device from the next change on; it may be a new one of the same name.
    pub(crate) fn set_gateway(&self, gateway: Interface) {
        let state = &mut *self.state.lock();
        if state.gateway.as_ref() != Some(&gateway) {
            state.gateway = Some(gateway);
            state.no_own_way = None;
            state.routed = None;
            state.accepts_loopback = false;
        }
    }

    /// The socket is another one.
    pub(crate) fn on_other_socket(&self) {
        let mut state = self.state.lock();
        state.filter = None;
        state.last = None;
    }

    /// What went wrong last.
    pub(crate) fn problem(&self) -> Option<String> {
        self.state.lock().problem.clone()
    }

    /// What the node itself cannot do for it, though everybody else can.
    pub(crate) fn shortcomings(&self) -> Vec<String> {
        let state = self.state.lock();
        let why = |what: &str, why: &Option<String>| why.as_ref().map(|why| format!("{what}: {why}"));
        let own = why("the node does not reach its own NodePorts", &state.no_own_way);
        let routes = why("the node does not reach all addresses of services", &state.no_routes);
        own.into_iter().chain(routes).collect()
    }

    /// Whether somebody took the table away, so that the next change makes it anew. Cheap as long as nobody changes any rules.
    pub(crate) fn has_lost_its_table(&self) -> bool {
        let state = &mut *self.state.lock();
        if !matches!(state.table, Table::Of(_)) {
            return false;
        }
        let Ok(generation) = self.kernel.generation() else { return false };
        if state.generation == Some(generation) {
            return false;
        }
        if self.kernel.has_table().unwrap_or(true) {
            state.generation = Some(generation);
            return false;
        }
        tracing::warn!("somebody removed nftables' table netdev vpod; making it again");
        state.table = Table::Unknown;
        state.last = None;
        true
    }

    /// The kernel could not be told, so the datapath serves no uplink.
    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().is_closed
    }

    /// The datapath is about to serve `wanted` as well as what it serves now. False if it must not serve an uplink.
    pub(crate) fn prepare(
        &self,
        wanted: &Configuration,
        services: Option<&Arc<Services>>,
        socket: Option<&PacketSocket>,
    ) -> bool {
        let state = &mut *self.state.lock();
        // After a take-over nobody knows what is served until the store has been read; it is hidden already.
        let Some(services) = services else { return true };
        if state.is_seen(wanted, services) {
            return true;
        }
        let Some(target) = state.target(wanted, services) else { return true };
        let result = self.hide(state, &target).and_then(|()| match socket {
            Some(socket) => state.widen(socket, target.filter()),
            None => Ok(()),
        });
        if result.is_ok() {
            let union = |known: &Routed| &known.addresses | &target.routed;
            let both = state.routed.as_ref().map_or_else(|| target.routed.clone(), union);
            self.route(state, wanted, both);
            self.accept_loopback(state, &target);
        }
        let may_serve = result.is_ok() || state.hides_like(&target);
        state.problem = result.err();
        state.is_closed = !may_serve;
        may_serve
    }

    /// The datapath serves `wanted` and nothing else.
    pub(crate) fn finish(
        &self,
        wanted: &Configuration,
        services: Option<&Arc<Services>>,
        socket: Option<&PacketSocket>,
    ) {
        let state = &mut *self.state.lock();
        let Some(services) = services else { return };
        if state.is_seen(wanted, services) {
            // The next change is compared with these.
            state.last = state.last.take().map(|last| Seen { services: Arc::clone(services), ..last });
            return;
        }
        let target = state.target(wanted, services);
        let result = match &target {
            Some(target) => self.show(state, target).and_then(|()| match socket {
                Some(socket) => state.narrow(socket, target.filter()),
                None => Ok(()),
            }),
            None => self.remove(state),
        };
        self.route(state, wanted, target.map(|target| target.routed).unwrap_or_default());
        match result {
            Ok(()) if state.problem.is_none() => state.last = Some(state.seen(wanted, services)),
            Ok(()) => {}
            Err(problem) => state.problem = Some(problem),
        }
    }

    /// Takes the table away: nothing of ours serves any more.
    pub(crate) fn clear(&self) {
        let state = &mut *self.state.lock();
        state.last = None;
        if let Err(problem) = self.remove(state) {
            tracing::error!("{problem}");
        }
        self.route(state, &Configuration::default(), BTreeSet::new());
    }

    /// Hides all that `target` says beside what is hidden already.
    fn hide(&self, state: &mut State, target: &Hidden) -> Result<(), String> {
        if let Table::Of(known) = &state.table
            && known.has_same_rules(target)
        {
            let both = target.union(known);
            let Some(script) = nft::changes(known, &both) else { return Ok(()) };
            return self.change(state, &script, both);
        }
        self.replace(state, target.clone())
    }

    /// Hides what `target` says only.
    fn show(&self, state: &mut State, target: &Hidden) -> Result<(), String> {
        let Table::Of(known) = &state.table else { return Ok(()) };
        let Some(script) = nft::changes(known, target) else { return Ok(()) };
        self.change(state, &script, target.clone())
    }

    /// Makes the table hide `hidden`, by `script` if it is still there.
    fn change(&self, state: &mut State, script: &str, hidden: Hidden) -> Result<(), String> {
        // Somebody may have flushed the tables; then it is made anew.
        if self.kernel.load(script).is_err() {
            return self.replace(state, hidden);
        }
        state.table = Table::Of(Box::new(hidden));
        Ok(())
    }

    /// Makes the table anew.
    fn replace(&self, state: &mut State, hidden: Hidden) -> Result<(), String> {
        let hidden = match self.kernel.load(&nft::table(&hidden)) {
            Ok(()) => hidden,
            // Kernels before 5.16 have no such hook.
            Err(error @ NftError::Refused(_)) if hidden.own.is_some() => {
                let without = Hidden { own: None, ..hidden };
                self.kernel.load(&nft::table(&without)).map_err(|error| message(&error))?;
                state.no_own_way = Some(chain(&error));
                without
            }
            Err(error) => return Err(message(&error)),
        };
        state.table = Table::Of(Box::new(hidden));
        state.generation = None;
        Ok(())
    }

    /// Lets answers from pods' ports at 127.0.0.1 in.
    fn accept_loopback(&self, state: &mut State, target: &Hidden) {
        let Some(gateway) = &state.gateway else { return };
        if target.local_ports.is_empty() || state.accepts_loopback {
            return;
        }
        match self.kernel.accept_loopback(gateway) {
            Ok(()) => state.accepts_loopback = true,
            Err(error) => state.no_routes = Some(chain(&error)),
        }
    }

    /// Leads the node's own packets for `addresses` to the switch, and no others.
    fn route(&self, state: &mut State, wanted: &Configuration, addresses: BTreeSet<Ipv4Addr>) {
        let Some(gateway) = state.gateway.clone() else { return };
        let uplink = wanted.node.as_ref().and_then(|node| node.uplink.as_ref());
        let source = uplink.map_or(Ipv4Addr::UNSPECIFIED, |uplink| uplink.address);
        let routed = Routed { gateway, source, addresses };
        if state.routed.as_ref() == Some(&routed) {
            return;
        }
        let result = self.kernel.route(&routed.gateway, routed.source, &routed.addresses);
        state.no_routes = result.as_ref().err().map(|error| chain(error));
        state.routed = result.is_ok().then_some(routed);
    }

    fn remove(&self, state: &mut State) -> Result<(), String> {
        if !matches!(state.table, Table::None) {
            match self.kernel.load(nft::REMOVAL) {
                Ok(()) => {}
                // Without the program there is no table of an earlier run.
                Err(NftError::Missing) if matches!(state.table, Table::Unknown) => {}
                Err(error) => return Err(message(&error)),
            }
        }
        state.table = Table::None;
        state.filter = None;
        state.problem = None;
        Ok(())
    }
}

fn message(error: &NftError) -> String {
    format!("no uplink: {}", chain(error))
}

impl State {
    fn target(&self, wanted: &Configuration, services: &Services) -> Option<Hidden> {
        let gateway = self.gateway.as_ref().filter(|_| self.no_own_way.is_none());
        Hidden::of(wanted, services, self.device.as_ref()?, gateway)
    }

    fn seen(&self, wanted: &Configuration, services: &Arc<Services>) -> Seen {
        Seen {
            device: self.device.clone(),
            gateway: self.gateway.clone(),
            node: wanted.node.clone(),
            peers: wanted.peers.len(),
            services: Arc::clone(services),
        }
    }

    /// Costs what differs of the services.
    fn is_seen(&self, wanted: &Configuration, services: &Arc<Services>) -> bool {
        // What the kernel did not take is tried again with each change.
        let is_whole = self.no_routes.is_none() && self.no_own_way.is_none();
        self.last.as_ref().is_some_and(|last| {
            last.device == self.device
                && last.gateway == self.gateway
                && last.node == wanted.node
                && last.peers == wanted.peers.len()
                && (Arc::ptr_eq(&last.services, services)
                    || is_whole && hidden::is_same_outside(&last.services, services))
        })
    }

    /// What is new would be answered by both, but nothing else.
    fn hides_like(&self, target: &Hidden) -> bool {
        matches!(&self.table, Table::Of(known) if known.has_same_rules(target)) && self.filter.is_some()
    }

    fn widen(&mut self, socket: &PacketSocket, filter: PacketFilter) -> Result<(), String> {
        let both = match &self.filter {
            Some(known) => filter.union(known),
            None => filter,
        };
        self.narrow(socket, both)
    }

    fn narrow(&mut self, socket: &PacketSocket, filter: PacketFilter) -> Result<(), String> {
        if self.filter.as_ref() != Some(&filter) {
            socket.set_filter(&filter).map_err(|error| format!("no uplink: {}", chain(&error)))?;
            self.filter = Some(filter);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
