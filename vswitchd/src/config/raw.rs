//! The file as typed. Every key is optional; unknown ones are refused.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What the file may hold. The meaning of each key is told in [`super::Config`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawConfig {
    pub(crate) node: Option<String>,
    pub(crate) state_dir: Option<String>,
    pub(crate) run_dir: Option<String>,
    pub(crate) cluster_cidr: Option<String>,
    pub(crate) pod_cidr: Option<String>,
    pub(crate) service_cidr: Option<String>,
    pub(crate) netns_prefix: Option<String>,
    pub(crate) gateway_device: Option<String>,
    pub(crate) workers: Option<RawWorkers>,
    pub(crate) pod_mtu: Option<i64>,
    pub(crate) txqueuelen: Option<i64>,
    pub(crate) tap: Option<String>,
    pub(crate) cluster_domain: Option<String>,
    pub(crate) cluster_dns: Option<String>,
    pub(crate) fdb_ageing_seconds: Option<i64>,
    pub(crate) datapath_user: Option<String>,
    pub(crate) metrics: Option<String>,
    pub(crate) log: Option<RawLog>,
    pub(crate) tunnel: Option<RawTunnel>,
    #[serde(rename = "peer")]
    pub(crate) peers: Option<Vec<RawPeer>>,
    pub(crate) etcd: Option<RawEtcd>,
    pub(crate) zone: Option<String>,
    pub(crate) services: Option<RawServices>,
    pub(crate) uplink: Option<RawUplink>,
    pub(crate) load_balancer: Option<RawLoadBalancer>,
    pub(crate) dns: Option<RawDns>,
    pub(crate) ingress: Option<RawIngress>,
}

/// `[services]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawServices {
    pub(crate) external_ips: Option<Vec<String>>,
    pub(crate) node_ports: Option<String>,
    pub(crate) scheduler: Option<String>,
    pub(crate) healthz: Option<String>,
}

/// `[dns]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawDns {
    pub(crate) enabled: Option<bool>,
    pub(crate) program: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) ttl: Option<i64>,
    pub(crate) pod_records: Option<String>,
    pub(crate) upstreams: Option<Vec<String>>,
    pub(crate) cache_entries: Option<i64>,
    pub(crate) max_concurrent: Option<i64>,
    pub(crate) log_queries: Option<bool>,
    pub(crate) lameduck_seconds: Option<i64>,
    pub(crate) stub_domains: Option<BTreeMap<String, Vec<String>>>,
}

/// `[ingress]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawIngress {
    pub(crate) enabled: Option<bool>,
    pub(crate) program: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) class: Option<String>,
    pub(crate) http: Option<String>,
    pub(crate) https: Option<String>,
    pub(crate) trusted_proxies: Option<Vec<String>>,
    pub(crate) proxy_protocol: Option<bool>,
    pub(crate) host_ports: Option<bool>,
    pub(crate) access_log: Option<bool>,
    pub(crate) options: Option<toml::Table>,
}

/// `[load_balancer]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawLoadBalancer {
    pub(crate) lease_seconds: Option<i64>,
    #[serde(rename = "pool")]
    pub(crate) pools: Option<Vec<RawPool>>,
}

/// One of `[[load_balancer.pool]]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawPool {
    pub(crate) name: Option<String>,
    pub(crate) addresses: Option<Vec<String>>,
    pub(crate) auto_assign: Option<bool>,
    pub(crate) avoid_buggy_ips: Option<bool>,
    pub(crate) priority: Option<i64>,
    pub(crate) namespaces: Option<Vec<String>>,
    pub(crate) service_selectors: Option<Vec<String>>,
}

/// `[uplink]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawUplink {
    pub(crate) enabled: Option<bool>,
    pub(crate) device: Option<String>,
    pub(crate) address: Option<String>,
    pub(crate) source_ports: Option<String>,
    pub(crate) filtering: Option<String>,
    pub(crate) not_translated: Option<Vec<String>>,
    pub(crate) egress: Option<Vec<RawEgress>>,
}

/// One of `[[uplink.egress]]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawEgress {
    pub(crate) namespaces: Option<Vec<String>>,
    pub(crate) labels: Option<BTreeMap<String, String>>,
    pub(crate) address: Option<String>,
}

/// `[tunnel]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawTunnel {
    pub(crate) vni: Option<i64>,
    pub(crate) udp_port: Option<i64>,
    pub(crate) device: Option<String>,
    pub(crate) address: Option<String>,
    pub(crate) clamp_mss: Option<bool>,
}

/// One of `[[peer]]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawPeer {
    pub(crate) name: Option<String>,
    pub(crate) address: Option<String>,
    pub(crate) udp_port: Option<i64>,
    pub(crate) pod_cidrs: Option<Vec<String>>,
    pub(crate) node_addresses: Option<Vec<String>>,
    pub(crate) router_mac: Option<String>,
    pub(crate) keep_alive: Option<bool>,
}

/// `[etcd]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawEtcd {
    pub(crate) endpoints: Option<Vec<String>>,
    pub(crate) ca: Option<String>,
    pub(crate) cert: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) password_file: Option<String>,
    pub(crate) lease_seconds: Option<i64>,
}

/// A number, or a word for one that is found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "want \"auto\" or a number")]
pub(crate) enum RawWorkers {
    /// As many.
    Number(i64),
    /// `auto`.
    Word(String),
}

/// `[log]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawLog {
    pub(crate) filter: Option<String>,
    pub(crate) format: Option<String>,
    pub(crate) denied_flows: Option<bool>,
}
