//! Removing everything a pod is made of.
//!
//! Each step is done if there is nothing left to do for it, so the whole can be repeated after a
//! failure or a crash at any point. A step that fails does not keep the others from being tried.

use std::fs;
use std::io;

use store::record::PodRecord;

use super::super::cgroup::PodCgroup;
use super::super::device::Held;
use super::super::error::chain;
use super::super::node::Control;
use super::{containers, files, network, place};

/// Whose the namespace is, and so how much of what is in it is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Netns {
    /// We made it.
    Ours,
    /// A container runtime did, and our interface is in it.
    Foreign,
    /// Somebody did, and nothing in it is ours.
    NotOurs,
}

impl Netns {
    /// Of a pod that exists.
    pub(crate) const fn of(record: &PodRecord) -> Self {
        if place::is_foreign(record) { Self::Foreign } else { Self::Ours }
    }
}

/// Removes what exists of the pod on this machine; the record is the caller's. Returns what could
/// not be removed. The inventory must not say any more that its port is wanted.
pub(crate) fn teardown(control: &Control, record: &PodRecord, netns: Netns) -> Vec<String> {
    let mut errors = Vec::new();
    let mut note = |result: Result<(), String>| errors.extend(result.err());
    note(containers::stop_all(control, record));
    if netns == Netns::Ours {
        // Whatever `exec` started in it.
        note(PodCgroup::of(&record.netns).remove().map_err(|e| chain(&e)));
    }
    note(detach(control, record, netns));
    if netns == Netns::Ours {
        note(network::delete_netns(&record.netns).map_err(|e| chain(&e)));
        note(files::remove(&record.netns).map_err(|e| format!("files of {}: {e}", record.netns)));
    }
    let dir = control.pod_dir(record);
    note(match fs::remove_dir_all(&dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(format!("{}: {e}", dir.display())),
        Ok(()) | Err(_) => Ok(()),
    });
    errors
}

/// Takes the port from the datapath and removes the device.
fn detach(control: &Control, record: &PodRecord, netns: Netns) -> Result<(), String> {
    let device = control.switch.take_device(record.port);
    // A datapath that is away gets a configuration without the port when it comes back.
    if let Err(error) = control.switch.sync(&control.inventory) {
        tracing::warn!(port = %record.port, "detaching: {}", chain(&error));
    }
    let gone = device.as_ref().and_then(Held::tap).is_some_and(|tap| tap.set_persistent(false).is_ok());
    if netns == Netns::NotOurs || (gone && !place::path(record).exists()) {
        return Ok(());
    }
    // The last descriptor of a TAP that is not persistent takes the device along; this is for one
    // of which the datapath could not be told, or of which there was no descriptor.
    network::delete_device(record).map_err(|e| chain(&e))
}
