//! How a pod's programs resolve names: `dnsPolicy` and `dnsConfig` of Kubernetes.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// `dnsPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum DnsPolicy {
    /// The cluster's DNS, and its domains before the node's.
    #[default]
    ClusterFirst,
    /// The same, for pods with a network of their own and for those with the node's.
    ClusterFirstWithHostNet,
    /// As the node does.
    Default,
    /// Only what `dnsConfig` says.
    None,
}

impl DnsPolicy {
    /// All, as manifests spell them.
    pub const ALL: [(&'static str, Self); 4] = [
        ("ClusterFirst", Self::ClusterFirst),
        ("ClusterFirstWithHostNet", Self::ClusterFirstWithHostNet),
        ("Default", Self::Default),
        ("None", Self::None),
    ];
}

/// What a pod is given as `/etc/resolv.conf`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodDns {
    /// What it begins with.
    pub policy: DnsPolicy,
    /// Further name servers.
    pub nameservers: Vec<IpAddr>,
    /// Further domains to search.
    pub searches: Vec<String>,
    /// Further options, or other values of them.
    pub options: Vec<DnsOption>,
}

/// An option of `resolv.conf(5)`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DnsOption {
    /// As in `ndots`.
    pub name: String,
    /// As in `5`; `None` for those without.
    pub value: Option<String>,
}
