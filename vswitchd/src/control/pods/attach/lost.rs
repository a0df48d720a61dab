//! Attachments across restarts of the daemon, and those whose container has gone without a word.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use protocol::attachment::AttachmentKey;
use protocol::message::PodRef;
use store::record::{PodRecord, ReservationRecord};

use super::super::super::error::chain;
use super::super::super::inventory::Life;
use super::super::super::node::Control;
use super::super::{create, network, place};
use super::{detach, notes};

/// How often namespaces and notes are looked at.
const TICK: Duration = Duration::from_secs(1);

/// The namespace of a runtime's pod is gone, or another one is at its place. Never true of our own.
pub(crate) fn is_lost(record: &PodRecord) -> bool {
    place::is_foreign(record) && matches!(place::open(record), Ok(None))
}

/// The same of an address.
pub(super) fn is_released(record: &ReservationRecord) -> bool {
    place::identity_at(record.netns.as_str().as_ref()).ok() != Some(record.netns_identity)
}

/// Makes sure there is a descriptor of the pod's interface here. The datapath has been asked for its ports before.
pub(crate) fn restore(control: &Control, pod: &PodRef, record: &PodRecord) -> Result<(), String> {
    let device = place::device(record);
    let netns = place::open(record).map_err(|e| chain(&e))?.ok_or("its network namespace is gone")?;
    if !network::exists(&netns, device).map_err(|e| chain(&e))? {
        drop(control.switch.take_device(record.port));
        return Err(format!("its {device} is gone; remove the container and start it again"));
    }
    let known = control.switch.active_port(record.port);
    let same = known.is_some_and(|port| {
        port.name == record.metadata.key() && port.mac == record.spec.mac && port.device == record.device
    });
    if !same {
        drop(control.switch.take_device(record.port));
        let interface = create::interface(control, record).map_err(|e| e.to_string())?;
        let tap = network::rejoin(&netns, &interface, record.device).map_err(|e| chain(&e))?;
        control.switch.add_device(record.port, tap);
    }
    if let Some(entry) = control.inventory.lock().get_mut(pod) {
        entry.netns_identity = record.attachment.as_ref().map(|attachment| attachment.netns_identity);
    }
    Ok(())
}

/// Releases what has gone, from now on.
pub(crate) fn follow(control: &Arc<Control>) -> std::io::Result<()> {
    let control = Arc::clone(control);
    thread::Builder::new().name("attachments".to_owned()).spawn(move || {
        loop {
            thread::sleep(TICK);
            let Some(_inside) = control.gate.enter() else { return };
            notes::take_up(&control);
            for key in lost(&control) {
                match detach(&control, &key) {
                    Ok(()) => tracing::info!(%key, "released: its network namespace is gone"),
                    Err(error) => tracing::error!(%key, "its network namespace is gone: {error}"),
                }
            }
        }
    })?;
    Ok(())
}

fn lost(control: &Control) -> Vec<AttachmentKey> {
    // The inventory is not held while paths are looked at: a runtime's may hang.
    let (pods, reservations) = {
        let inventory = control.inventory.lock();
        let ready = inventory.iter().filter(|(_, entry)| entry.life == Life::Ready);
        let pods: Vec<PodRecord> = ready
            .filter(|(_, entry)| place::is_foreign(&entry.record))
            .map(|(_, entry)| entry.record.clone())
            .collect();
        let reservations: Vec<ReservationRecord> =
            inventory.reservations().values().map(|reservation| reservation.record.clone()).collect();
        (pods, reservations)
    };
    let pods = pods.into_iter().filter(is_lost).filter_map(|record| record.attachment.map(|a| a.key));
    let reservations = reservations.into_iter().filter(is_released).map(|record| record.key);
    pods.chain(reservations).collect()
}
