//! What an interface is to be, checked as far as only this node can.

use std::net::IpAddr;

use protocol::attachment::{AddressRange, Attach, Resolver};
use protocol::message::{ApiError, ErrorCode, PodRef};
use protocol::object::{DnsPolicy, PodDns, Serving};
use store::ipam::IpamError;
use store::services::HostPort;

use super::super::super::error::api;
use super::super::super::inventory::Inventory;
use super::super::super::node::Control;
use super::super::dns::{self, ClusterDns};
use super::super::{create, host_ports};

/// An interface to be made.
pub(super) struct Plan {
    pub(super) request: Attach,
    pub(super) serving: Serving,
    pub(super) host_ports: Vec<HostPort>,
    pub(super) dns: PodDns,
    pub(super) resolver: Resolver,
}

impl Plan {
    /// Checks what is asked.
    pub(super) fn of(control: &Control, request: Attach) -> Result<Self, ApiError> {
        let key = &request.key;
        let invalid = |why: String| ApiError::new(ErrorCode::Invalid, format!("{key}: {why}"));
        create::check_station(&request.labels, request.mac).map_err(invalid)?;
        let ip_mtu = control.pod_mtu();
        if let Some(asked) = request.ip_mtu.filter(|asked| *asked > ip_mtu) {
            return Err(invalid(format!(
                "an MTU of {asked} is above {ip_mtu}, which pods of this node have"
            )));
        }
        request.bandwidth.check(request.ip_mtu.unwrap_or(ip_mtu)).map_err(invalid)?;
        check_addresses(control, &request).map_err(invalid)?;
        let serving = Serving { ports: request.ports.clone(), ..Serving::default() };
        let host_ports = host_ports::check(control, &request.pod, &serving)?;
        let (dns, resolver) = names(control, &request.pod, &request.resolver);
        Ok(Self { request, serving, host_ports, dns, resolver })
    }

    /// Takes its address, for `owner`.
    pub(super) fn address(
        &self,
        control: &Control,
        inventory: &mut Inventory,
        owner: &str,
    ) -> Result<IpAddr, ApiError> {
        address(control, inventory, &self.request, owner)
    }
}

/// Takes the address that is asked for, or one of the ranges that are, or any.
pub(super) fn address(
    control: &Control,
    inventory: &mut Inventory,
    request: &Attach,
    owner: &str,
) -> Result<IpAddr, ApiError> {
    let now = control.now();
    let taken = match (request.addresses.first(), request.ranges.first()) {
        // A runtime that starts a container again asks for the address that it has said itself before.
        (Some(ip), _) => inventory.ipam.allocate_again(owner, *ip, now),
        (None, Some(set)) => {
            let ranges: Vec<_> = set.iter().map(|range| (range.start, range.end)).collect();
            inventory.ipam.allocate_within(owner, &ranges, now)
        }
        (None, None) => inventory.ipam.allocate(owner, None, now),
    };
    taken.map_err(|error| {
        let mut refusal = api(create::ipam_code(&error), &request.key, &error);
        if let IpamError::Exhausted { .. } = error {
            if !request.ranges.is_empty() {
                refusal.message.push_str("; the ranges that were asked for are full");
            }
            refusal.message.push_str("; delete pods, or give the node a larger pod_cidr");
        }
        refusal
    })
}

/// A pod of this node has one address, of the node's range.
pub(super) fn check_addresses(control: &Control, request: &Attach) -> Result<(), String> {
    let cidr = control.config.pod_cidr;
    if let Some(ip) = request.addresses.iter().find(|ip| !cidr.contains(*ip)) {
        return Err(format!("address {ip} is not in {cidr}, the range of this node"));
    }
    if request.addresses.len() > 1 {
        return Err(format!("several addresses are asked for, and a pod of this node has one, of {cidr}"));
    }
    if request.ranges.len() > 1 {
        let sets = request.ranges.len();
        return Err(format!(
            "ipRanges has {sets} sets, one for each address, and a pod of this node has one, of {cidr}"
        ));
    }
    let ranges: Vec<&AddressRange> = request.ranges.iter().flatten().collect();
    for range in &ranges {
        if !cidr.contains(&range.start) || !cidr.contains(&range.end) {
            return Err(format!(
                "range {}-{} of {} is not in {cidr}, the range of this node",
                range.start, range.end, range.subnet
            ));
        }
        let gateway = control.config.gateway();
        if let Some(other) = range.gateway.filter(|asked| *asked != gateway) {
            return Err(format!("gateway {other} is not {gateway}, which pods of this node have"));
        }
    }
    match request.addresses.first() {
        Some(ip) if !ranges.is_empty() && !ranges.iter().any(|range| range.contains(*ip)) => {
            Err(format!("address {ip} is in none of the ranges that are asked for"))
        }
        Some(_) | None => Ok(()),
    }
}

/// What is asked, or what the cluster has for a pod of its namespace.
fn names(control: &Control, pod: &PodRef, asked: &Resolver) -> (PodDns, Resolver) {
    if asked.is_empty() {
        let config = &control.config;
        let cluster = ClusterDns { address: config.cluster_dns, domain: config.cluster_domain.as_str() };
        let composed = dns::compose(&pod.namespace, &PodDns::default(), cluster, dns::of_node);
        let resolver = Resolver {
            nameservers: composed.nameservers,
            domain: None,
            searches: composed.searches,
            options: composed.options.iter().map(dns::written).collect(),
        };
        return (PodDns::default(), resolver);
    }
    let dns = PodDns {
        policy: DnsPolicy::None,
        nameservers: asked.nameservers.clone(),
        searches: asked.domain.iter().chain(&asked.searches).cloned().collect(),
        options: asked.options.iter().map(|word| dns::option(word)).collect(),
    };
    (dns, asked.clone())
}
