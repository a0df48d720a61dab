//! What this node has, in memory: its pods, addresses and port numbers.
//!
//! One short lock guards all of it; nobody holds it while waiting for a disk, the kernel or the
//! datapath. What takes long on one pod is serialised by that pod's own `operation` lock, which is
//! taken before this one.
//!
//! INVARIANT: every pod's addresses are in `ipam`, its port in `ports` and its key in `attachments` from the moment it is
//! inserted until it is removed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use protocol::attachment::AttachmentKey;
use protocol::message::PodRef;
use protocol::{Mac, PortId};
use store::desired::{GATEWAY_PORT, UPLINK_PORT};
use store::ipam::Ipam;
use store::record::{PodRecord, ReservationRecord};

/// What may be done with a pod now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// Being made; not yet usable.
    Creating,
    /// Usable.
    Ready,
    /// Being removed, or a removal failed half-way and can be repeated.
    Deleting,
}

/// A pod.
#[derive(Debug, Clone)]
pub(crate) struct PodEntry {
    pub(crate) record: PodRecord,
    pub(crate) life: Life,
    /// Why it lost its network, if it did.
    pub(crate) failure: Option<String>,
    /// Device and inode of its netns, known once made.
    pub(crate) netns_identity: Option<(u64, u64)>,
    /// Ports of the node that are the pod's, bound.
    pub(crate) held: Arc<[OwnedFd]>,
    /// Held while it is created, changed or deleted.
    pub(crate) operation: Arc<Mutex<()>>,
}

/// Everything of this node.
#[derive(Debug)]
pub(crate) struct Inventory {
    pods: BTreeMap<PodRef, PodEntry>,
    pub(crate) ipam: Ipam,
    ports: BTreeSet<PortId>,
    attachments: BTreeMap<AttachmentKey, PodRef>,
    /// Addresses of other plugins' interfaces, which are in `ipam` too.
    reservations: BTreeMap<AttachmentKey, Reservation>,
}

/// An address of another plugin's interface.
#[derive(Debug, Clone)]
pub(crate) struct Reservation {
    pub(crate) ip: IpAddr,
    pub(crate) record: ReservationRecord,
}

impl Inventory {
    pub(crate) fn new(ipam: Ipam) -> Self {
        Self {
            pods: BTreeMap::new(),
            ipam,
            ports: BTreeSet::from([GATEWAY_PORT]),
            attachments: BTreeMap::new(),
            reservations: BTreeMap::new(),
        }
    }

    pub(crate) fn get(&self, pod: &PodRef) -> Option<&PodEntry> {
        self.pods.get(pod)
    }

    pub(crate) fn get_mut(&mut self, pod: &PodRef) -> Option<&mut PodEntry> {
        self.pods.get_mut(pod)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&PodRef, &PodEntry)> {
        self.pods.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.pods.len()
    }

    /// The lowest free port number, if there is one. The uplink's and the tunnel's are never given to pods.
    pub(crate) fn free_port(&self) -> Option<PortId> {
        (0..UPLINK_PORT.0).map(PortId).find(|id| !self.ports.contains(id))
    }

    /// The pod that has this MAC.
    pub(crate) fn owner_of_mac(&self, mac: Mac) -> Option<&PodRef> {
        self.pods.iter().find(|(_, entry)| entry.record.spec.mac == mac).map(|(pod, _)| pod)
    }

    /// The pod at this port.
    pub(crate) fn owner_of_port(&self, port: PortId) -> Option<&PodRef> {
        self.pods.iter().find(|(_, entry)| entry.record.port == port).map(|(pod, _)| pod)
    }

    /// The pod that a container runtime knows by `key`.
    pub(crate) fn attached(&self, key: &AttachmentKey) -> Option<&PodRef> {
        self.attachments.get(key)
    }

    /// What container runtimes know their pods by.
    pub(crate) fn attachments(&self) -> impl Iterator<Item = &AttachmentKey> {
        self.attachments.keys()
    }

    /// Addresses of other plugins' interfaces.
    pub(crate) fn reservations(&self) -> &BTreeMap<AttachmentKey, Reservation> {
        &self.reservations
    }

    /// Adds a reservation whose address is already taken in `ipam`.
    pub(crate) fn reserve(&mut self, reservation: Reservation) {
        self.reservations.insert(reservation.record.key.clone(), reservation);
    }

    /// Forgets a reservation; its address rests if any frame can have carried it.
    pub(crate) fn unreserve(&mut self, key: &AttachmentKey, rest: Rest, now: Duration) {
        if let Some(reservation) = self.reservations.remove(key) {
            self.give_back(reservation.ip, rest, now);
        }
    }

    /// Adds a pod whose addresses are already taken in `ipam`.
    pub(crate) fn insert(&mut self, pod: PodRef, entry: PodEntry) {
        self.ports.insert(entry.record.port);
        if let Some(attachment) = &entry.record.attachment {
            self.attachments.insert(attachment.key.clone(), pod.clone());
        }
        self.pods.insert(pod, entry);
    }

    /// Forgets a pod. Its addresses rest if any frame can have carried them.
    pub(crate) fn remove(&mut self, pod: &PodRef, rest: Rest, now: Duration) -> Vec<IpAddr> {
        let Some(entry) = self.pods.remove(pod) else { return Vec::new() };
        self.ports.remove(&entry.record.port);
        if let Some(attachment) = &entry.record.attachment {
            self.attachments.remove(&attachment.key);
        }
        let addresses = entry.record.spec.pod_ips;
        for ip in &addresses {
            self.give_back(*ip, rest, now);
        }
        addresses
    }

    fn give_back(&mut self, ip: IpAddr, rest: Rest, now: Duration) {
        match rest {
            Rest::CoolDown => self.ipam.release(ip, now),
            Rest::None => self.ipam.abandon(ip),
        }
    }
}

/// Whether an address may be given out again at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Peers may know it.
    CoolDown,
    /// Nobody has seen it.
    None,
}

/// Names a record's pod.
pub(crate) fn reference(record: &PodRecord) -> PodRef {
    PodRef { namespace: record.metadata.namespace.clone(), name: record.metadata.name.clone() }
}
