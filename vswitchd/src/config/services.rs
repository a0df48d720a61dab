//! `[services]`: what services of this node may have.

use std::net::SocketAddr;
use std::ops::RangeInclusive;

use ipnet::IpNet;
use protocol::link::Scheduler;
use store::services::allocate::NodePorts;
use store::services::{SCHEDULERS, scheduler};

use super::checked::{ConfigError, cidr, parse, value};
use super::raw::RawServices;

/// Settings of services; the same on all nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Services {
    /// What `spec.externalIPs` may hold.
    pub(crate) external_ips: Vec<IpNet>,
    /// The range of NodePorts.
    pub(crate) node_ports: NodePorts,
    /// For services that name no other.
    pub(crate) scheduler: Scheduler,
    /// Where a load balancer of somebody else asks whether this node serves, as it asks kube-proxy.
    pub(crate) healthz: Option<SocketAddr>,
}

pub(super) fn check(raw: Option<RawServices>) -> Result<Services, ConfigError> {
    let raw = raw.unwrap_or_default();
    let ranges = raw.external_ips.unwrap_or_default().into_iter().enumerate();
    let ranges = ranges.map(|(index, text)| cidr(&format!("services.external_ips[{index}]"), Some(text), ""));
    let scheduler = match raw.scheduler.as_deref() {
        None => Scheduler::Random,
        Some(word) => scheduler(word).ok_or_else(|| {
            let names: Vec<&str> = SCHEDULERS.iter().map(|(name, _)| *name).collect();
            value("services.scheduler", format!("\"{word}\" is none of {}", names.join(", ")))
        })?,
    };
    let node_ports = match raw.node_ports {
        None => NodePorts::default(),
        Some(text) => NodePorts(ports("services.node_ports", &text)?),
    };
    let healthz = match raw.healthz.as_deref() {
        None => None,
        Some(text) => Some(parse("services.healthz", text, "an address and port such as 0.0.0.0:10256")?),
    };
    Ok(Services { external_ips: ranges.collect::<Result<_, _>>()?, node_ports, scheduler, healthz })
}

/// A range of ports that is not empty.
pub(super) fn ports(key: &str, text: &str) -> Result<RangeInclusive<u16>, ConfigError> {
    let range = text.split_once('-').and_then(|(first, last)| {
        let (first, last) = (first.trim().parse::<u16>().ok()?, last.trim().parse::<u16>().ok()?);
        (first > 0 && first <= last).then_some(first..=last)
    });
    range.ok_or_else(|| value(key, format!("\"{text}\" is not a range such as 30000-32767")))
}

pub(super) fn raw(services: &Services) -> RawServices {
    let word = SCHEDULERS.iter().find(|(_, known)| *known == services.scheduler).map(|(word, _)| *word);
    RawServices {
        external_ips: Some(services.external_ips.iter().map(ToString::to_string).collect()),
        node_ports: Some(format!("{}-{}", services.node_ports.0.start(), services.node_ports.0.end())),
        scheduler: word.map(str::to_owned),
        healthz: services.healthz.map(|address| address.to_string()),
    }
}
