//! A naive zone: a list of services, searched by text for every question. What the real one is compared with.

use std::collections::BTreeSet;
use std::net::IpAddr;

use protocol::feed::{NameTarget, NamedEndpoint, NamedService};
use protocol::link::Transport;

/// An answer: its code and its records, as text and in order of the text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Expected {
    Records(BTreeSet<String>),
    NoData,
    NoName,
}

fn host(endpoint: &NamedEndpoint) -> String {
    match &endpoint.hostname {
        Some(name) => name.clone(),
        None => endpoint.address.to_string().replace(['.', ':'], "-"),
    }
}

fn protocol(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "_tcp",
        Transport::Udp => "_udp",
        Transport::Sctp => "_sctp",
    }
}

/// Every record below the zone `z.` as (owner, type, data); the data of SRV without its weight.
pub(super) fn records(services: &[NamedService]) -> Vec<(String, &'static str, String)> {
    let mut all = Vec::new();
    for service in services {
        let own = format!("{}.{}.svc.z", service.name, service.namespace);
        let mut address = |owner: &str, address: &IpAddr| {
            let kind = if address.is_ipv4() { "A" } else { "AAAA" };
            all.push((owner.to_owned(), kind, address.to_string()));
        };
        let mut ports = Vec::new();
        match &service.target {
            NameTarget::Cluster { addresses, ports: own_ports } => {
                for one in addresses {
                    address(&own, one);
                    ports.extend(own_ports.iter().map(|port| (own.clone(), port.clone())));
                }
            }
            NameTarget::Headless { endpoints } => {
                for endpoint in endpoints {
                    let below = format!("{}.{own}", host(endpoint));
                    address(&own, &endpoint.address);
                    address(&below, &endpoint.address);
                    ports.extend(endpoint.ports.iter().map(|port| (below.clone(), port.clone())));
                }
            }
            NameTarget::External { name } => all.push((own.clone(), "CNAME", name.clone())),
        }
        for (target, port) in ports {
            let data = format!("{} {target}", port.number);
            all.push((own.clone(), "SRV", data.clone()));
            if let Some(name) = port.name.filter(|name| !name.is_empty()) {
                all.push((format!("_{name}.{}.{own}", protocol(port.transport)), "SRV", data));
            }
        }
    }
    all
}

pub(super) fn answer(services: &[NamedService], namespaces: &[&str], name: &str, kind: &str) -> Expected {
    let records = records(services);
    let here: Vec<_> = records.iter().filter(|(owner, ..)| owner == name).collect();
    let found: BTreeSet<String> = here
        .iter()
        .filter(|(_, of, _)| *of == kind || *of == "CNAME")
        .map(|(_, of, data)| format!("{of} {data}"))
        .collect();
    if !found.is_empty() {
        return Expected::Records(found);
    }
    let below = records.iter().any(|(owner, ..)| owner.ends_with(&format!(".{name}")));
    let given = ["z", "svc.z", "pod.z", "dns.z", "ns.dns.z", "dns-version.z"].contains(&name)
        || namespaces.iter().any(|namespace| name == format!("{namespace}.svc.z"));
    let cluster = services.iter().any(|service| {
        matches!(service.target, NameTarget::Cluster { .. })
            && name == format!("{}.{}.svc.z", service.name, service.namespace)
    });
    if !here.is_empty() || below || given || cluster { Expected::NoData } else { Expected::NoName }
}
