//! Values of single fields.

use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use protocol::link::{Scheduler, TrafficPolicy};

use super::spec::{Distribution, Reach, SCHEDULER_ANNOTATION, WEIGHT_ANNOTATION};
use protocol::problem::Problem;

/// The class of load balancers that vpod is.
pub const LOAD_BALANCER_CLASS: &str = "vpod.io/l2";

/// Schedulers by IPVS's names.
pub const SCHEDULERS: [(&str, Scheduler); 10] = [
    ("random", Scheduler::Random),
    ("rr", Scheduler::RoundRobin),
    ("wrr", Scheduler::WeightedRoundRobin),
    ("lc", Scheduler::LeastConnections),
    ("wlc", Scheduler::WeightedLeastConnections),
    ("sh", Scheduler::SourceHash),
    ("dh", Scheduler::DestinationHash),
    ("sed", Scheduler::ShortestExpectedDelay),
    ("nq", Scheduler::NeverQueue),
    ("mh", Scheduler::Maglev),
];

/// The scheduler of this name.
#[must_use]
pub fn scheduler(word: &str) -> Option<Scheduler> {
    SCHEDULERS.iter().find(|(name, _)| *name == word).map(|(_, scheduler)| *scheduler)
}

pub(super) fn scheduler_annotation(metadata: &ObjectMeta, problems: &mut Vec<Problem>) -> Option<Scheduler> {
    let word = metadata.annotations.as_ref()?.get(SCHEDULER_ANNOTATION)?;
    let found = scheduler(word);
    if found.is_none() {
        let names: Vec<&str> = SCHEDULERS.iter().map(|(name, _)| *name).collect();
        let path = format!("metadata.annotations[{SCHEDULER_ANNOTATION}]");
        problems.push(Problem::unsupported(path, word, &names));
    }
    found
}

pub(super) fn weight_annotation(metadata: &ObjectMeta, problems: &mut Vec<Problem>) -> u16 {
    let Some(text) = metadata.annotations.as_ref().and_then(|all| all.get(WEIGHT_ANNOTATION)) else {
        return 1;
    };
    text.parse().unwrap_or_else(|_| {
        let path = format!("metadata.annotations[{WEIGHT_ANNOTATION}]");
        problems.push(Problem::invalid(path, text, "must be a number from 0 to 65535"));
        1
    })
}

pub(super) fn policy(word: Option<&str>, path: &str, problems: &mut Vec<Problem>) -> TrafficPolicy {
    match word {
        None | Some("Cluster") => TrafficPolicy::Cluster,
        Some("Local") => TrafficPolicy::Local,
        Some(other) => {
            problems.push(Problem::unsupported(path, other, &["Cluster", "Local"]));
            TrafficPolicy::Cluster
        }
    }
}

pub(super) fn distribution(word: Option<&str>, problems: &mut Vec<Problem>) -> Option<Distribution> {
    match word? {
        "PreferSameZone" | "PreferClose" => Some(Distribution::SameZone),
        "PreferSameNode" => Some(Distribution::SameNode),
        other => {
            let known = ["PreferClose", "PreferSameNode", "PreferSameZone"];
            problems.push(Problem::unsupported("spec.trafficDistribution", other, &known));
            None
        }
    }
}

/// Addresses a client can send to. Rust's parser takes no leading zeros (CVE-2021-29923).
pub(super) fn addresses(all: Option<&[String]>, path: &str, problems: &mut Vec<Problem>) -> Vec<IpAddr> {
    let mut checked = Vec::new();
    for (index, text) in all.unwrap_or_default().iter().enumerate() {
        match text.parse::<IpAddr>() {
            Ok(ip) => match special(ip) {
                Some(why) => problems.push(Problem::invalid(format!("{path}[{index}]"), text, why)),
                None => checked.push(ip),
            },
            Err(_) => problems.push(Problem::invalid(
                format!("{path}[{index}]"),
                text,
                "must be a valid IP address, without leading zeros",
            )),
        }
    }
    checked
}

/// What keeps an address from being anybody's in particular.
pub(super) fn special(ip: IpAddr) -> Option<&'static str> {
    let IpAddr::V4(v4) = ip else { return Some("must be an IPv4 address in this release") };
    if v4.is_unspecified() || v4.octets()[0] == 0 {
        Some("may not be unspecified (0.0.0.0)")
    } else if v4.is_loopback() {
        Some("may not be in the loopback range (127.0.0.0/8)")
    } else if v4.is_link_local() {
        Some("may not be in the link-local range (169.254.0.0/16)")
    } else if v4.is_multicast() {
        Some("may not be in the multicast range (224.0.0.0/4)")
    } else if v4.octets()[0] >= 240 {
        Some("may not be in the reserved range (240.0.0.0/4)")
    } else {
        None
    }
}

/// As many as the datapath looks at.
const MAX_SOURCE_RANGES: usize = 256;

pub(super) fn ranges(all: Option<&[String]>, problems: &mut Vec<Problem>) -> Vec<IpNet> {
    let mut checked = Vec::new();
    let count = all.unwrap_or_default().len();
    if count > MAX_SOURCE_RANGES {
        let why = format!("at most {MAX_SOURCE_RANGES} ranges");
        problems.push(Problem::invalid("spec.loadBalancerSourceRanges", count, why));
        return checked;
    }
    for (index, text) in all.unwrap_or_default().iter().enumerate() {
        match text.trim().parse::<IpNet>() {
            Ok(range) => checked.push(range.trunc()),
            Err(_) => problems.push(Problem::invalid(
                format!("spec.loadBalancerSourceRanges[{index}]"),
                text,
                "must be a valid CIDR such as 192.0.2.0/24",
            )),
        }
    }
    checked
}

/// Whether somebody else's load balancer is asked for.
pub(super) fn class(word: Option<&str>, reach: &Reach, problems: &mut Vec<Problem>) -> bool {
    let Some(class) = word else { return false };
    if *reach != Reach::LoadBalancer {
        let why = "may only be used when `type` is 'LoadBalancer'";
        problems.push(Problem::forbidden("spec.loadBalancerClass", why));
    }
    class != LOAD_BALANCER_CLASS
}

/// RFC 1123 names joined by dots, at most 253 characters.
pub(super) fn is_dns_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    !name.is_empty()
        && name.len() <= 253
        && name.split('.').all(|label| label.parse::<protocol::Namespace>().is_ok())
}
