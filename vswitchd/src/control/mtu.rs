//! The pods' MTU, followed when the underlay's changes.
//!
//! A packet larger than its receiver's interface is answered with "frag needed", so the order matters
//! only for how many packets that costs: an MTU that falls is told to the pods first and the datapath
//! then, one that rises the other way round.

use std::sync::Arc;

use parking_lot::Mutex;
use protocol::message::PodRef;
use store::Transaction;
use store::record::PodRecord;

use super::error::chain;
use super::inventory::Life;
use super::node::Control;
use super::pods::network;
use super::{gateway, underlay};

/// Finds out what MTU pods should have now, and gives it to them and the gateway. Without an underlay it
/// stays as it is.
pub(crate) fn follow(control: &Control) {
    if control.config.pod_mtu.is_some() {
        return;
    }
    let underlay = match control.switch.tunnel() {
        Some(tunnel) => Some(u32::from(tunnel.underlay_mtu)),
        None => underlay::default_mtu().unwrap_or_else(|error| {
            tracing::error!("MTU of the underlay: {}", chain(&error));
            None
        }),
    };
    let Some(underlay) = underlay else { return };
    let wanted = control.config.effective_pod_mtu(Some(underlay));
    let before = control.set_pod_mtu(wanted);
    if before != wanted {
        tracing::info!(before, wanted, "the MTU of pods changes with the underlay's");
    }
    apply(control, wanted);
}

/// Gives `ip_mtu` to whatever has another.
fn apply(control: &Control, ip_mtu: u16) {
    if control.switch.set_gateway_mtu(ip_mtu)
        && let Err(error) = gateway::set_mtu(&control.config, ip_mtu)
    {
        tracing::error!("MTU of {}: {}", control.config.gateway_device, chain(&error));
    }
    let others = others(control, ip_mtu);
    if others.is_empty() {
        control.sync();
        return;
    }
    let falling = others.iter().any(|pod| pod.before > pod.wanted);
    if !falling {
        remember(control, &others);
        control.sync();
    }
    for pod in &others {
        let _held = pod.operation.lock();
        set(control, pod);
    }
    if falling {
        remember(control, &others);
    }
    control.sync();
}

/// A pod whose MTU is another.
struct Other {
    pod: PodRef,
    before: u16,
    wanted: u16,
    operation: Arc<Mutex<()>>,
}

fn others(control: &Control, ip_mtu: u16) -> Vec<Other> {
    let inventory = control.inventory.lock();
    let all = inventory.iter().map(|(pod, entry)| Other {
        pod: pod.clone(),
        before: entry.record.ip_mtu,
        wanted: wanted_by(&entry.record, ip_mtu),
        operation: Arc::clone(&entry.operation),
    });
    all.filter(|pod| pod.before != pod.wanted).collect()
}

/// What was asked for by a container runtime is kept as long as the node has as much.
fn wanted_by(record: &PodRecord, ip_mtu: u16) -> u16 {
    let asked = record.attachment.as_ref().and_then(|attachment| attachment.ip_mtu);
    asked.map_or(ip_mtu, |asked| asked.min(ip_mtu))
}

/// A pod that is on its way out keeps what it has.
fn set(control: &Control, pod: &Other) {
    let usable = {
        let inventory = control.inventory.lock();
        let entry = inventory.get(&pod.pod).filter(|e| e.life == Life::Ready && e.failure.is_none());
        entry.map(|entry| entry.record.clone())
    };
    if let Some(record) = usable
        && let Err(error) = network::set_mtu(&record, pod.wanted)
    {
        tracing::error!(pod = %pod.pod, "MTU of its eth0: {}", chain(&error));
    }
}

/// In memory at once, and in the store for the next start.
fn remember(control: &Control, others: &[Other]) {
    for other in others {
        let _held = other.operation.lock();
        let record = {
            let mut inventory = control.inventory.lock();
            let Some(entry) = inventory.get_mut(&other.pod) else { continue };
            if entry.life != Life::Ready {
                continue;
            }
            entry.record.ip_mtu = other.wanted;
            entry.record.clone()
        };
        if let Err(error) = control.commit(Transaction::new().put(record.key(), &record, None)) {
            tracing::error!(pod = %other.pod, "its new MTU is not remembered: {error}");
        }
    }
}
