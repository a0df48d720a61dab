//! What happens without a request: the datapath dies, a device disappears, a namespace is deleted,
//! the node gets another address.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use netdev::netlink::ChangeMonitor;
use protocol::PortId;
use protocol::message::PodRef;
use store::desired::{FIRST_TUNNEL_PORT, GATEWAY_PORT, UPLINK_PORT};

use super::datapath_link::LinkEvent;
use super::error::chain;
use super::gateway;
use super::inventory::Life;
use super::node::Control;
use super::pods::{containers, create, place};
use super::{cluster, mtu, peers, tunnel, uplink};

/// How often namespaces are looked at. Their deletion is not reported by the TAP, whose descriptor
/// keeps the namespace itself alive.
const TICK: Duration = Duration::from_secs(1);
/// Changes of the node's network come in bursts; they are looked at together.
const SETTLE: Duration = Duration::from_millis(100);
/// Every so many ticks, containers are looked at.
const CONTAINER_TICKS: u32 = 5;

/// Follows the datapath process and, between its events, looks after the rest.
pub(crate) fn follow(control: &Control, events: &Receiver<LinkEvent>) {
    let mut ticks = 0u32;
    loop {
        match events.recv_timeout(TICK) {
            Ok(event) => on_link_event(control, event),
            Err(RecvTimeoutError::Timeout) => {
                ticks = ticks.wrapping_add(1);
                on_tick(control, ticks);
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn on_link_event(control: &Control, event: LinkEvent) {
    match event {
        LinkEvent::Connected { epoch, taken_over: false } => {
            control.switch.on_fresh(epoch);
            control.workers.store(control.config.workers, Ordering::Relaxed);
            control.tell_log_filter();
            tunnel::follow(control);
            uplink::refresh(control);
            control.sync();
            tracing::info!("datapath started; {} pods attached again", control.inventory.lock().len());
        }
        LinkEvent::Connected { taken_over: true, .. } => match control.switch.on_taken_over() {
            Ok(()) => {
                control.tell_log_filter();
                control.sync();
            }
            Err(error) => tracing::error!("taking over the datapath: {}", chain(&error)),
        },
        LinkEvent::Lost { cause, culprit } => {
            tracing::error!(?culprit, "datapath lost: {cause}");
            if control.switch.on_lost(culprit)
                && let Some(port) = culprit
            {
                tracing::error!(%port, "port quarantined: its frames crashed the datapath twice");
            }
        }
        LinkEvent::PortDetached { port: GATEWAY_PORT, cause } => on_gateway_lost(control, &cause),
        LinkEvent::PortDetached { port: UPLINK_PORT, cause } => {
            tracing::warn!("the uplink's interface is gone: {cause}");
            drop(control.switch.take_device(UPLINK_PORT));
            control.sync();
            uplink::refresh(control);
            control.sync();
        }
        LinkEvent::PortDetached { port, cause } if port >= FIRST_TUNNEL_PORT => {
            tracing::error!(%port, "the tunnel's sockets failed ({cause}); making them again");
            drop(control.switch.take_device(port));
            control.sync();
            tunnel::follow(control);
            control.sync();
        }
        LinkEvent::PortDetached { port, cause } => {
            let owner = control.inventory.lock().owner_of_port(port).cloned();
            if let Some(pod) = owner {
                fail(control, &pod, port, format!("its eth0 is gone: {cause}"));
            }
        }
    }
}

/// Somebody removed the gateway device; without it the node cannot reach any pod.
fn on_gateway_lost(control: &Control, cause: &str) {
    tracing::error!("gateway device {} is gone ({cause}); making it again", control.config.gateway_device);
    drop(control.switch.take_device(GATEWAY_PORT));
    control.sync();
    restore_gateway(control);
}

fn restore_gateway(control: &Control) {
    match gateway::open(&control.config, control.pod_mtu(), &control.switch) {
        Ok(_) => {
            control.sync();
            if let Some(Err(error)) = control.switch.with_tap(GATEWAY_PORT, |tap| tap.set_carrier(true)) {
                tracing::error!("gateway: {}", chain(&error));
            }
        }
        Err(error) => {
            drop(control.switch.take_device(GATEWAY_PORT));
            tracing::error!("gateway: {}", chain(&error));
        }
    }
}

/// The pod lost its network: it is shown as failed, and its port is given up.
fn fail(control: &Control, pod: &PodRef, port: PortId, cause: String) {
    {
        let mut inventory = control.inventory.lock();
        let Some(entry) = inventory.get_mut(pod) else { return };
        if entry.record.port != port || entry.life != Life::Ready || entry.failure.is_some() {
            return;
        }
        tracing::error!(%pod, %port, "pod failed: {cause}");
        entry.failure = Some(format!("{cause}; delete the pod and create it again"));
    }
    drop(control.switch.take_device(port));
    control.sync();
}

fn on_tick(control: &Control, ticks: u32) {
    containers::reap(control);
    for (pod, port, netns) in lost_namespaces(control) {
        fail(control, &pod, port, format!("its network namespace {netns} was deleted"));
    }
    create::forget_doomed(control);
    let edge = control.switch.edge();
    if control.switch_problem.lock().is_some() || edge.problem().is_some() || edge.has_lost_its_table() {
        control.sync();
    }
    if !control.switch.has_device(GATEWAY_PORT) {
        restore_gateway(control);
    }
    if control.tunnel.lock().problem.is_some() || control.uplink.lock().has_failed() {
        on_network_change(control);
    }
    cluster::publish(control);
    if ticks.is_multiple_of(CONTAINER_TICKS) {
        containers::mend(control);
    }
}

fn lost_namespaces(control: &Control) -> Vec<(PodRef, PortId, String)> {
    let inventory = control.inventory.lock();
    let lost = inventory.iter().filter(|(_, entry)| {
        let ours = !place::is_foreign(&entry.record);
        ours && entry.life == Life::Ready && entry.failure.is_none() && {
            let found = place::identity_at(&place::path(&entry.record)).ok();
            entry.netns_identity.is_some() && found != entry.netns_identity
        }
    });
    lost.map(|(pod, entry)| (pod.clone(), entry.record.port, entry.record.netns.clone())).collect()
}

/// Follows the node's addresses, interfaces and routes.
pub(crate) fn follow_network(control: &Arc<Control>) -> Result<(), netdev::netlink::NetlinkError> {
    let mut monitor = ChangeMonitor::open()?;
    let control = Arc::clone(control);
    let spawned = std::thread::Builder::new().name("network".to_owned()).spawn(move || {
        loop {
            let changes = monitor.wait().and_then(|()| {
                // What was missing is of use at once; what is there may be on its way from one state to another.
                if uplink::appears(&control) {
                    on_network_change(&control);
                }
                monitor.settle(SETTLE)
            });
            if let Err(error) = changes {
                tracing::error!("the node's network is not followed any more: {}", chain(&error));
                return;
            }
            on_network_change(&control);
        }
    });
    if let Err(error) = spawned {
        tracing::error!("the node's network is not followed: {error}");
    }
    Ok(())
}

/// Looks at all of it again: the kernel tells changes one by one, and may drop some.
fn on_network_change(control: &Control) {
    let mut changed = false;
    match gateway::node_addresses(&control.config) {
        Ok(addresses) => {
            if control.switch.set_node_addresses(addresses.clone()) {
                tracing::info!(?addresses, "node addresses changed");
                changed = true;
            }
        }
        Err(error) => tracing::error!("node addresses: {}", chain(&error)),
    }
    let before = control.switch.tunnel();
    tunnel::follow(control);
    changed |= control.switch.tunnel() != before;
    if changed {
        peers::apply(control);
        mtu::follow(control);
    } else if control.switch.tunnel().is_none() {
        mtu::follow(control);
    }
    // After the node's own addresses are known, which it must not appear as.
    if uplink::refresh(control) || changed {
        control.sync();
    }
}
