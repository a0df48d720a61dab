//! The pods' MTU, followed when the underlay's changes.
//!
//! A packet larger than its receiver's interface is answered with "frag needed", so the order matters
//! only for how many packets that costs: an MTU that falls is told to the pods first and the datapath
//! then, one that rises the other way round.

use std::sync::Arc;

use parking_lot::Mutex;
use protocol::message::PodRef;
use store::Transaction;

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
    let falling = others.iter().any(|pod| pod.ip_mtu > ip_mtu);
    if !falling {
        remember(control, &others, ip_mtu);
        control.sync();
    }
    for pod in &others {
        let _held = pod.operation.lock();
        set(control, pod, ip_mtu);
    }
    if falling {
        remember(control, &others, ip_mtu);
    }
    control.sync();
}

/// A pod whose MTU is another.
struct Other {
    pod: PodRef,
    netns: String,
    ip_mtu: u16,
    operation: Arc<Mutex<()>>,
}

fn others(control: &Control, ip_mtu: u16) -> Vec<Other> {
    let inventory = control.inventory.lock();
    let others = inventory.iter().filter(|(_, entry)| entry.record.ip_mtu != ip_mtu);
    others
        .map(|(pod, entry)| Other {
            pod: pod.clone(),
            netns: entry.record.netns.clone(),
            ip_mtu: entry.record.ip_mtu,
            operation: Arc::clone(&entry.operation),
        })
        .collect()
}

/// A pod that is on its way out keeps what it has.
fn set(control: &Control, pod: &Other, ip_mtu: u16) {
    let usable =
        control.inventory.lock().get(&pod.pod).is_some_and(|e| e.life == Life::Ready && e.failure.is_none());
    if usable && let Err(error) = network::set_mtu(&pod.netns, ip_mtu) {
        tracing::error!(pod = %pod.pod, "MTU of its eth0: {}", chain(&error));
    }
}

/// In memory at once, and in the store for the next start.
fn remember(control: &Control, others: &[Other], ip_mtu: u16) {
    for other in others {
        let _held = other.operation.lock();
        let record = {
            let mut inventory = control.inventory.lock();
            let Some(entry) = inventory.get_mut(&other.pod) else { continue };
            if entry.life != Life::Ready {
                continue;
            }
            entry.record.ip_mtu = ip_mtu;
            entry.record.clone()
        };
        if let Err(error) = control.commit(Transaction::new().put(record.key(), &record, None)) {
            tracing::error!(pod = %other.pod, "its new MTU is not remembered: {error}");
        }
    }
}
