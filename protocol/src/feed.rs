//! Feeds: what the cluster's DNS and its ingress need to know, as it changes.
//!
//! A follower asks with [`FollowRequest`] for what has changed after the [`FeedPosition`] it has come to, and is answered as
//! soon as something has, or with nothing when its patience ends. Whatever it is told is *active*: the node's datapath already
//! does what the change says, so that a name never leads to an address that the switch would refuse. Where the daemon cannot say
//! what has changed since (it is another process, or it is too long ago), it tells everything from scratch.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::link::Transport;
use crate::message::{Kind, PodRef};
use crate::name::{Namespace, ObjectName};
use crate::object::Document;

/// Changes in one [`Response::Changes`](crate::message::Response::Changes); more come in several.
pub const CHANGES_PER_RESPONSE: usize = 256;
/// The longest time that an answer is held back, in milliseconds.
pub const MAX_PATIENCE_MS: u32 = 10_000;

/// How far a follower has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedPosition {
    /// Of which daemon process; a random number.
    pub instance: u64,
    /// Grows with each change of the feed.
    pub sequence: u64,
}

/// What can be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Feed {
    /// [`NameChange`]s, for DNS.
    Names,
    /// [`RouteChange`]s, for the ingress. They contain private keys: only root and the ingress's own user may follow them.
    Routes,
}

/// Asks for changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowRequest {
    /// Of what.
    pub feed: Feed,
    /// After which position; everything without.
    pub after: Option<FeedPosition>,
    /// How long to wait for a change, in milliseconds; [`MAX_PATIENCE_MS`] at most.
    pub patience_ms: u32,
}

/// Some changes, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// These and those that follow up to the position are everything there is: what is not among them is gone.
    pub from_scratch: bool,
    /// What has changed; of the feed that was asked for.
    pub changes: Vec<FeedChange>,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FeedChange {
    /// Of [`Feed::Names`].
    Name(NameChange),
    /// Of [`Feed::Routes`].
    Route(RouteChange),
    /// The daemon heard of what the next change is about so long ago, in milliseconds. Left out where it does not know, and from scratch.
    Heard(u32),
}

/// What DNS needs to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NameChange {
    /// There is a namespace.
    Namespace(Namespace),
    /// There is none any more.
    NamespaceGone(Namespace),
    /// A service is there, or is another.
    Service(NamedService),
    /// A service is gone.
    ServiceGone {
        /// Where it was.
        namespace: Namespace,
        /// Its name.
        name: ObjectName,
    },
    /// A pod has an address, or another one.
    Pod {
        /// Which.
        pod: PodRef,
        /// Its address.
        address: IpAddr,
    },
    /// A pod is gone.
    PodGone(PodRef),
}

/// A service as DNS sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedService {
    /// Where it lives.
    pub namespace: Namespace,
    /// Its name.
    pub name: ObjectName,
    /// What its name leads to.
    pub target: NameTarget,
}

/// See [`NamedService`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NameTarget {
    /// Addresses of its own.
    Cluster {
        /// One of each family at most.
        addresses: Vec<IpAddr>,
        /// Its ports.
        ports: Vec<NamedPort>,
    },
    /// Its endpoints.
    Headless {
        /// Those that may be named: ready ones, or all with `publishNotReadyAddresses`.
        endpoints: Vec<NamedEndpoint>,
    },
    /// Another name.
    External {
        /// Without the dot at the end.
        name: String,
    },
}

/// A port of a service or endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedPort {
    /// `None` or empty where it has no name.
    pub name: Option<String>,
    /// Its protocol.
    pub transport: Transport,
    /// Its number.
    pub number: u16,
}

/// An endpoint of a headless service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedEndpoint {
    /// Its address.
    pub address: IpAddr,
    /// Its host name, where it was given one.
    pub hostname: Option<String>,
    /// The pod behind it.
    pub pod: Option<PodRef>,
    /// Ports at this endpoint, by the service's names of them.
    pub ports: Vec<NamedPort>,
}

/// What the ingress needs to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RouteChange {
    /// An Ingress, IngressClass, Gateway, GatewayClass, HTTPRoute or TLS Secret is there, or is another.
    Object {
        /// Its kind.
        kind: Kind,
        /// The whole object.
        document: Document,
    },
    /// One is gone.
    ObjectGone {
        /// Its kind.
        kind: Kind,
        /// Where it was; `None` for kinds without namespaces.
        namespace: Option<Namespace>,
        /// Its name.
        name: ObjectName,
    },
    /// Where a service's requests can go.
    Backends(ServiceBackends),
    /// A service is gone.
    BackendsGone {
        /// Where it was.
        namespace: Namespace,
        /// Its name.
        name: ObjectName,
    },
}

/// The endpoints of a service, by port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceBackends {
    /// Where it lives.
    pub namespace: Namespace,
    /// Its name.
    pub name: ObjectName,
    /// Its TCP ports.
    pub ports: Vec<BackendPort>,
}

/// See [`ServiceBackends`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendPort {
    /// Empty where it has no name.
    pub name: String,
    /// The service's own port.
    pub number: u16,
    /// `appProtocol`, as in `kubernetes.io/h2c`.
    pub app_protocol: Option<String>,
    /// Ready endpoints, or serving ones that terminate where no other is left.
    pub endpoints: Vec<(IpAddr, u16)>,
}
