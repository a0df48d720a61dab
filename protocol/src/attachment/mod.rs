//! Interfaces that container runtimes ask for through the CNI plugin: requests of the admin socket.
//!
//! An attachment is a pod whose network namespace is a runtime's. It is known by its [`AttachmentKey`] alone: the same key cannot be
//! attached twice, and detaching what is not there succeeds. The plugin checks what it is told before it asks; the daemon
//! checks what only it can know, and says so by [`ErrorCode`](crate::message::ErrorCode).

mod identity;

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::addr::Mac;
use crate::message::PodRef;
use crate::name::ObjectName;
use crate::object::{Bandwidth, ContainerPort};

pub use identity::{
    AttachmentKey, ContainerId, IdentityError, InterfaceName, MAX_ID_LEN, MAX_INTERFACE_LEN, MAX_NETNS_LEN,
    NetnsPath, NetworkName, PodUid,
};

/// Directory beside the admin socket in which a plugin that finds no daemon leaves what is to be detached: one file for each
/// [`AttachmentKey`], as JSON. A daemon takes them up when it starts and before it attaches anything.
pub const NOTES_DIRECTORY: &str = "detach";
/// Most bytes of such a note: a key at its longest takes six hundred.
pub const MAX_NOTE_BYTES: u64 = 4096;

/// What is asked about attachments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AttachmentRequest {
    /// Makes one; answered by [`Response::Attached`](crate::message::Response::Attached) once the pod can talk.
    Attach(Box<Attach>),
    /// Undoes that; answered by [`Response::Done`](crate::message::Response::Done) once nothing is left, or if there was nothing.
    Detach(AttachmentKey),
    /// What [`AttachmentRequest::Attach`] was answered; [`ErrorCode::NotFound`](crate::message::ErrorCode::NotFound) if there
    /// is none.
    Show(AttachmentKey),
    /// Those of one network; answered by [`Response::Attachments`](crate::message::Response::Attachments)… and
    /// [`Response::Done`](crate::message::Response::Done).
    List(NetworkName),
    /// Whether one more could be made; answered by [`Response::Readiness`](crate::message::Response::Readiness).
    Readiness,
}

/// What an attachment gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AttachmentRole {
    /// An interface with an address.
    Interface,
    /// An address alone; the interface is another plugin's.
    Address,
}

/// What an attachment is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attach {
    /// What it is known by.
    pub key: AttachmentKey,
    /// What it gives.
    pub role: AttachmentRole,
    /// The container's network namespace.
    pub netns: NetnsPath,
    /// Device and inode of the namespace, as the plugin found them at that path.
    pub netns_identity: (u64, u64),
    /// It may be the one in which plugin and daemon are themselves.
    pub netns_override: bool,
    /// The pod it becomes.
    pub pod: PodRef,
    /// Labels of the pod.
    pub labels: BTreeMap<String, String>,
    /// Addresses that it must get; the daemon's choice if empty.
    pub addresses: Vec<IpAddr>,
    /// Where its addresses are to come from, one from each set; the node's range if empty.
    pub ranges: Vec<Vec<AddressRange>>,
    /// A fixed MAC address; derived from the address without.
    pub mac: Option<Mac>,
    /// Bytes of an IP packet, at most what the node's pods have; that without.
    pub ip_mtu: Option<u16>,
    /// Ports of the node that lead to it.
    pub ports: Vec<ContainerPort>,
    /// What it may send and receive.
    pub bandwidth: Bandwidth,
    /// How its programs resolve names; as the cluster does if it says nothing.
    pub resolver: Resolver,
    /// Further names of the pod.
    pub aliases: Vec<ObjectName>,
}

/// Addresses of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressRange {
    /// The network.
    pub subnet: IpNet,
    /// The first that may be given.
    pub start: IpAddr,
    /// The last that may be given.
    pub end: IpAddr,
    /// The router that is expected there.
    pub gateway: Option<IpAddr>,
}

impl AddressRange {
    /// It may be given.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.start <= ip && ip <= self.end
    }
}

/// Lines of a `resolv.conf(5)`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Resolver {
    /// Whom to ask, the first first.
    pub nameservers: Vec<IpAddr>,
    /// The local domain.
    pub domain: Option<String>,
    /// Domains to search, the first first.
    pub searches: Vec<String>,
    /// `ndots:5` and the like.
    pub options: Vec<String>,
}

impl Resolver {
    /// Says nothing: names are resolved as the cluster does.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What an attachment is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    /// The interface's MAC address.
    pub mac: Mac,
    /// Bytes of an IP packet.
    pub ip_mtu: u16,
    /// Its addresses, each with the gateway of its family.
    pub addresses: Vec<(IpNet, IpAddr)>,
    /// How names are resolved.
    pub resolver: Resolver,
}

/// Whether the daemon could serve one more attachment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Readiness {
    /// It could.
    Ready,
    /// It takes none.
    Refusing {
        /// Why.
        why: String,
    },
    /// No address is free.
    Exhausted {
        /// The range that is full.
        pool: String,
        /// How many of its addresses are held or rest.
        held: u64,
    },
    /// Nothing is forwarded.
    NotForwarding {
        /// Why.
        why: String,
    },
}
