//! The cluster's zone: which names there are, and what a question for one is answered with. Pure: no socket, clock or thread.
//!
//! # How it works
//! The feed's changes go into a [`Register`], which keeps [`Names`]: four tables (services, namespaces, pods, addresses) that can
//! be copied in constant time and never change once copied. A question is *located* by its labels from the right ([`locate()`]), as
//! the tree of names is cut: `<port>.<protocol>.<service>.<namespace>.svc.<zone>`. A service is found by the bytes of its two
//! labels in the question, so the cost of a question does not depend on how many services there are. What was located is then
//! asked for the type ([`Node::select`]).
//!
//! Specification: Kubernetes DNS 1.1.0, and CoreDNS's answers where that is silent. Two differences from CoreDNS, both because a
//! resolver may take NXDOMAIN for "nothing below either" (RFC 8020): `_tcp.<service>` and `dns.<zone>` exist, without records.

pub mod answer;
mod locate;
mod names;
mod register;
mod reverse;
pub mod service;
mod table;

use ipnet::IpNet;
use serde::Deserialize;

pub use answer::Answer;
pub use locate::{Node, locate};
pub use names::Names;
pub use register::Register;

use crate::wire::name::{Name, QueryName};

/// The service whose address `ns.dns.<zone>` has, if there is one, in wire form.
pub const DNS_SERVICE: &[u8] = b"\x08kube-dns\x0bkube-system";

/// Names of pods by their addresses: `10-244-1-2.<namespace>.pod.<zone>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PodRecords {
    /// There are none.
    #[default]
    Disabled,
    /// Every address has one, whoever has it.
    Insecure,
    /// Addresses of pods in the namespace have one.
    Verified,
}

/// What the zone is, besides the names in it.
#[derive(Debug, Clone)]
pub struct Zone {
    origin: Name,
    suffix: QueryName,
    server: Name,
    mailbox: Name,
    reverse: Vec<IpNet>,
    /// Seconds that an answer may be kept.
    pub ttl: u32,
    /// Names of pods.
    pub pod_records: PodRecords,
}

impl Zone {
    /// The zone below `origin`, and the reverse zones of `reverse`; `None` if the origin leaves no room for names.
    #[must_use]
    pub fn new(origin: &Name, reverse: Vec<IpNet>, ttl: u32, pod_records: PodRecords) -> Option<Self> {
        Some(Self {
            origin: origin.clone(),
            suffix: QueryName::of(origin)?,
            server: Name::below(b"\x02ns\x03dns", origin)?,
            mailbox: Name::below(b"\x0ahostmaster", origin)?,
            reverse,
            ttl,
            pod_records,
        })
    }

    /// Its name.
    #[must_use]
    pub fn origin(&self) -> &Name {
        &self.origin
    }

    /// The name of its server.
    #[must_use]
    pub fn server(&self) -> &Name {
        &self.server
    }

    /// The address of who is responsible for it, as SOA has it.
    #[must_use]
    pub fn mailbox(&self) -> &Name {
        &self.mailbox
    }

    /// Whether a name is answered from here before anything is known of the cluster.
    #[must_use]
    pub fn contains(&self, name: &QueryName) -> bool {
        name.labels_before(&self.suffix).is_some() || reverse::apex(name, &self.reverse).is_some()
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
