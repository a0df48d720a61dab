//! What the datapath runs, as far as this process knows, and its own copy of every descriptor.
//!
//! [`Switch::sync`] is the only way to change the datapath: it derives the wanted configuration from
//! the inventory, compares it with the active one and sends the difference. So it does not matter
//! which of two concurrent requests comes first, and after a crash of the datapath the same call
//! brings everything back.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use netdev::Tap;
use parking_lot::{Condvar, Mutex, MutexGuard};
use protocol::PortId;
use protocol::link::{ConfigDelta, Epoch, FromDatapath, PortConfig, ToDatapath};
use store::desired::{Configuration, NodeFacts, desired, diff};
use store::record::PodRecord;

use super::datapath_link::{DatapathLink, LinkError};
use super::inventory::{Inventory, Life};
use super::quarantine::Quarantine;

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
    active: Mutex<Active>,
    reconnected: Condvar,
}

#[derive(Default)]
struct Active {
    connected: bool,
    epoch: Epoch,
    configuration: Configuration,
    devices: BTreeMap<PortId, Tap>,
    /// Ports whose descriptor here is not the one the datapath has.
    replaced: BTreeSet<PortId>,
    facts: Option<NodeFacts>,
    quarantine: Quarantine,
    taken_over: bool,
    /// It is unknown what became of the last delta, so the datapath has to be asked.
    interrupted: bool,
}

impl Switch {
    pub(crate) fn new(link: DatapathLink) -> Self {
        Self { link, active: Mutex::default(), reconnected: Condvar::new() }
    }

    pub(crate) const fn link(&self) -> &DatapathLink {
        &self.link
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

    /// Keeps a descriptor for `port`.
    pub(crate) fn add_device(&self, port: PortId, tap: Tap) {
        let mut active = self.active.lock();
        if active.configuration.ports.contains_key(&port) {
            active.replaced.insert(port);
        }
        active.devices.insert(port, tap);
    }

    /// Gives up the descriptor of `port`; the caller closes it, and syncs first if the datapath is
    /// to let go of it too.
    pub(crate) fn take_device(&self, port: PortId) -> Option<Tap> {
        let mut active = self.active.lock();
        active.quarantine.forget(port);
        active.devices.remove(&port)
    }

    pub(crate) fn has_device(&self, port: PortId) -> bool {
        self.active.lock().devices.contains_key(&port)
    }

    /// Calls `with` on the descriptor of `port`, if there is one.
    pub(crate) fn with_device<R>(&self, port: PortId, with: impl FnOnce(&Tap) -> R) -> Option<R> {
        self.active.lock().devices.get(&port).map(with)
    }

    /// Ports that are not read because their frames crash the datapath.
    pub(crate) fn quarantined(&self) -> BTreeSet<PortId> {
        self.active.lock().quarantine.ports().clone()
    }

    /// The datapath can be talked to, but runs nothing yet.
    pub(crate) fn on_fresh(&self, epoch: Epoch) {
        let mut active = self.active.lock();
        active.epoch = epoch;
        active.configuration = Configuration::default();
        active.replaced.clear();
        active.interrupted = false;
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
        let mut ports = Vec::new();
        let mut after = None;
        loop {
            let (answer, fds) = self.link.request(ToDatapath::ExportPorts { after }, &[])?;
            let FromDatapath::Ports(page) = answer else { return Err(unexpected(answer)) };
            if page.len() != fds.len() {
                return Err(SwitchError::Answer(format!(
                    "{} ports with {} descriptors",
                    page.len(),
                    fds.len()
                )));
            }
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            ports.extend(page.into_iter().zip(fds));
        }
        active.epoch = summary.epoch;
        // Its node settings are not told, so they are sent again.
        active.configuration = Configuration::default();
        for (config, fd) in ports {
            let device = || Tap::from_fd(config.device, fd, config.offloads);
            active.devices.entry(config.id).or_insert_with(device);
            active.configuration.ports.insert(config.id, config);
        }
        active.interrupted = false;
        Ok(())
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
        for delta in diff(active.epoch, &active.configuration, &wanted, &active.replaced) {
            active.interrupted = true;
            self.send(active, delta)?;
            active.interrupted = false;
        }
        active.configuration = wanted;
        active.replaced.clear();
        Ok(())
    }

    fn send(&self, active: &mut Active, delta: ConfigDelta) -> Result<(), SwitchError> {
        let commit = delta.commit;
        let fds: Vec<BorrowedFd<'_>> =
            delta.attach.iter().filter_map(|port| active.devices.get(&port.id)).map(AsFd::as_fd).collect();
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

pub(crate) fn unexpected(answer: FromDatapath) -> SwitchError {
    match answer {
        FromDatapath::Refused { message } => SwitchError::Refused(message),
        other => SwitchError::Answer(format!("{other:?}").chars().take(200).collect()),
    }
}
