//! The records a node keeps, as they are written to the store.
//!
//! JSON with `serde` defaults for fields added later, so that a newer release reads an older file.

use ipnet::IpNet;
use protocol::attachment::{AttachmentKey, NetnsPath, Resolver};
use protocol::link::DeviceKind;
use protocol::object::PeerOrigin;
use protocol::object::{ObjectMeta, PodSpec, Timestamp};
use protocol::{ObjectName, Offloads, PeerId, PortId};
use serde::{Deserialize, Serialize};

use crate::key::{Key, Kind};
use crate::peers::PeerSpec;

/// How far a pod has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Provisioning {
    /// Written before the first change to the machine. Found at start, it names what an interrupted
    /// create or delete left behind; all of it is removed.
    Pending,
    /// Everything exists; it is kept across restarts.
    Ready,
}

/// A pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodRecord {
    /// Name, namespace, labels.
    pub metadata: ObjectMeta,
    /// What was asked for, with allocations filled in.
    pub spec: PodSpec,
    /// How far it has come.
    pub provisioning: Provisioning,
    /// Name of its netns under `/run/netns`.
    pub netns: String,
    /// Its attachment to the switch.
    pub port: PortId,
    /// MTU of its `eth0`.
    pub ip_mtu: u16,
    /// Which back-end its TAP was opened with; known once [`Provisioning::Ready`].
    pub device: DeviceKind,
    /// What its TAP does for us; known once [`Provisioning::Ready`].
    pub offloads: Offloads,
    /// What is different where a container runtime asked for it; `None` for pods of our own.
    #[serde(default)]
    pub attachment: Option<AttachmentRecord>,
}

/// A pod in a namespace that is a container runtime's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachmentRecord {
    /// What the runtime knows it by, with the name of its interface.
    pub key: AttachmentKey,
    /// Where its namespace is, instead of [`PodRecord::netns`], under which there is nothing.
    pub netns: NetnsPath,
    /// Device and inode of that namespace: another one at that path is another container's.
    pub netns_identity: (u64, u64),
    /// The MTU that was asked for, below the node's; it follows the node's without.
    pub ip_mtu: Option<u16>,
    /// What the runtime was told of names.
    pub resolver: Resolver,
    /// Further names.
    pub aliases: Vec<ObjectName>,
}

/// An address that was given to another plugin's interface. Its key's name is the address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservationRecord {
    /// What the runtime knows the interface by.
    pub key: AttachmentKey,
    /// Where its namespace is.
    pub netns: NetnsPath,
    /// Device and inode of that namespace.
    pub netns_identity: (u64, u64),
}

impl PodRecord {
    /// Where it is stored.
    #[must_use]
    pub fn key(&self) -> Key {
        Key::new(Kind::Pod, self.metadata.namespace.as_str(), self.metadata.name.as_str())
    }
}

/// An address nobody has any more, but that must rest before it is given out again. Its key's name
/// is the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoolingRecord {
    /// When it was released.
    pub released: Timestamp,
}

/// Another node, as it was last known: what a start without the cluster's store goes on with. Its key's
/// name is the node's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerRecord {
    /// Its number in this node's datapath, which may be running still.
    pub id: PeerId,
    /// What is known of it.
    pub spec: PeerSpec,
    /// Where from.
    pub origin: PeerOrigin,
}

impl PeerRecord {
    /// Where it is stored.
    #[must_use]
    pub fn key(&self) -> Key {
        Key::node_wide(Kind::Peer, self.spec.name.as_str())
    }
}

/// This node as a member of a cluster with a store. Its key's name is the node's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembershipRecord {
    /// Tells this node's state from that of another one of the same name.
    pub machine_id: String,
    /// The range of its pods, once the store has given it one.
    pub pod_cidr: Option<IpNet>,
}
