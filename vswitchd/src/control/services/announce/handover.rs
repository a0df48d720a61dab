//! Leaving in order: nobody who asks for a load balancer's address is to notice.
//!
//! First this node no longer says that it has the addresses, then the store hears it, and another node takes them. Packets that still come
//! here are served meanwhile as if a router had led them, so the datapath is stopped only once others were seen to have them, and have had a
//! moment to tell the link.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use store::services::announce::Announcer;

use super::super::super::error::chain;
use super::super::super::node::Control;
use super::{note, seen};

/// For others to take over. Whoever is first in the order of an address does at once.
const TAKEN_WITHIN: Duration = Duration::from_millis(1000);
/// From an address's new owner in the store to the last station that knows.
const TOLD_WITHIN: Duration = Duration::from_millis(200);
/// How often the store's mirror is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// Hands over what this node has.
pub(super) fn leave(control: &Control, announcer: &mut Announcer) {
    let mine = announcer.stands_for(&seen(control).1);
    note(control, &seen(control).1, &BTreeSet::new());
    if let Err(error) = announcer.withdraw() {
        tracing::warn!("load-balancer addresses are handed over when the lease ends: {}", chain(&error));
        return;
    }
    let deadline = Instant::now() + TAKEN_WITHIN;
    while !are_taken(control, &mine) {
        if Instant::now() > deadline {
            return;
        }
        std::thread::sleep(LOOK);
    }
    if !mine.is_empty() {
        std::thread::sleep(TOLD_WITHIN);
    }
}

/// Each has another owner, or nobody can have it.
fn are_taken(control: &Control, addresses: &BTreeSet<Ipv4Addr>) -> bool {
    let node = &control.config.node;
    let (records, owners) = seen(control);
    let live = records.keys().filter(|other| *other != node).cloned().collect();
    let may = control.services.table.lock().announceable(&live);
    addresses.iter().all(|address| {
        let is_free = may.get(address).is_some_and(|nodes| !nodes.is_empty());
        !is_free || owners.get(address).is_some_and(|owner| owner.node != *node)
    })
}
