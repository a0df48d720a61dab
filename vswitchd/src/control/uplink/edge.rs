//! Keeps what the node's stack sees of the uplink, and what the switch's socket sees, in step with what the datapath serves.
//!
//! A frame must never be answered by both, and a connection that the switch is about to take must not be reset by the node. So
//! around each change of the datapath's configuration: first everything that the old or the new one serves is hidden from the
//! node and shown to the socket ([`Edge::prepare`]); then the datapath changes; then the rest is the node's again
//! ([`Edge::finish`]). The switch calls both with its lock held, so that changes come one after the other.

use std::sync::Arc;

use netdev::{PacketFilter, PacketSocket};
use parking_lot::Mutex;
use protocol::link::NodeConfig;
use store::services::Services;

use super::hidden::{self, Hidden, Interface};
use super::nft::{self, Nft, NftError, Program};
use crate::control::error::chain;

/// See the module.
pub(crate) struct Edge {
    nft: Box<dyn Nft + Sync>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Where the uplink is.
    device: Option<Interface>,
    table: Table,
    /// What the socket passes, if that is known.
    filter: Option<PacketFilter>,
    problem: Option<String>,
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
    Of(Hidden),
}

/// A configuration as far as it matters here.
struct Seen {
    device: Option<Interface>,
    node: Option<NodeConfig>,
    services: Arc<Services>,
}

impl Edge {
    pub(crate) fn new() -> Self {
        Self::with(Box::new(Program))
    }

    fn with(nft: Box<dyn Nft + Sync>) -> Self {
        Self { nft, state: Mutex::default() }
    }

    /// Where the uplink is from the next change on.
    pub(super) fn set_device(&self, device: Option<Interface>) {
        self.state.lock().device = device;
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

    /// The datapath is about to serve `services` on `node` as well as what it serves now. False if it must not serve an uplink.
    pub(crate) fn prepare(
        &self,
        node: Option<&NodeConfig>,
        services: Option<&Arc<Services>>,
        socket: Option<&PacketSocket>,
    ) -> bool {
        let state = &mut *self.state.lock();
        // After a take-over nobody knows what is served until the store has been read; it is hidden already.
        let Some(services) = services else { return true };
        if state.is_seen(node, services) {
            return true;
        }
        let Some(target) = state.target(node, services) else { return true };
        let result = self.hide(state, &target).and_then(|()| match socket {
            Some(socket) => state.widen(socket, target.filter()),
            None => Ok(()),
        });
        let may_serve = result.is_ok() || state.hides_like(&target);
        state.problem = result.err();
        may_serve
    }

    /// The datapath serves that and nothing else.
    pub(crate) fn finish(
        &self,
        node: Option<&NodeConfig>,
        services: Option<&Arc<Services>>,
        socket: Option<&PacketSocket>,
    ) {
        let state = &mut *self.state.lock();
        let Some(services) = services else { return };
        if state.is_seen(node, services) {
            state.last = state.last.take().map(|last| Seen { services: Arc::clone(services), ..last });
            return;
        }
        let target = state.target(node, services);
        let result = match &target {
            Some(target) => self.show(state, target).and_then(|()| match socket {
                Some(socket) => state.narrow(socket, target.filter()),
                None => Ok(()),
            }),
            None => self.remove(state),
        };
        match result {
            Ok(()) if state.problem.is_none() => state.last = Some(state.seen(node, services)),
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
    }

    /// Hides all that `target` says beside what is hidden already.
    fn hide(&self, state: &mut State, target: &Hidden) -> Result<(), String> {
        if let Table::Of(known) = &state.table
            && known.has_same_rules(target)
        {
            let both = target.union(known);
            let Some(script) = nft::changes(known, &both) else { return Ok(()) };
            // Somebody may have flushed the tables; then it is made anew.
            if self.nft.load(&script).is_ok() {
                state.table = Table::Of(both);
                return Ok(());
            }
            self.load(&nft::table(&both))?;
            state.table = Table::Of(both);
            return Ok(());
        }
        self.load(&nft::table(target))?;
        state.table = Table::Of(target.clone());
        Ok(())
    }

    /// Hides what `target` says only.
    fn show(&self, state: &mut State, target: &Hidden) -> Result<(), String> {
        let Table::Of(known) = &state.table else { return Ok(()) };
        let Some(script) = nft::changes(known, target) else { return Ok(()) };
        if self.nft.load(&script).is_err() {
            self.load(&nft::table(target))?;
        }
        state.table = Table::Of(target.clone());
        Ok(())
    }

    fn remove(&self, state: &mut State) -> Result<(), String> {
        if !matches!(state.table, Table::None) {
            match self.nft.load(nft::REMOVAL) {
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

    fn load(&self, script: &str) -> Result<(), String> {
        self.nft.load(script).map_err(|error| message(&error))
    }
}

fn message(error: &NftError) -> String {
    format!("no uplink: {}", chain(error))
}

impl State {
    fn target(&self, node: Option<&NodeConfig>, services: &Services) -> Option<Hidden> {
        Hidden::of(node?, services, self.device.as_ref()?)
    }

    fn seen(&self, node: Option<&NodeConfig>, services: &Arc<Services>) -> Seen {
        Seen { device: self.device.clone(), node: node.cloned(), services: Arc::clone(services) }
    }

    fn is_seen(&self, node: Option<&NodeConfig>, services: &Services) -> bool {
        self.last.as_ref().is_some_and(|last| {
            last.device == self.device
                && last.node.as_ref() == node
                && hidden::is_same_outside(&last.services, services)
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
