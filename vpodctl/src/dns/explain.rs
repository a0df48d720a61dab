//! Which object is behind a name, or why there is none. Pure.

use std::net::{IpAddr, Ipv4Addr};

use protocol::feed::{NameTarget, NamedEndpoint, NamedPort, NamedService};
use protocol::link::Transport;

use super::names::Names;

/// Endpoints that are listed; the others are counted.
const SHOWN: usize = 8;

/// One sentence.
pub(super) fn explain(name: &str, zone: &str, names: &Names) -> String {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    if let Some(address) = reversed(&name) {
        return explain_address(address, names);
    }
    let Some(labels) = inside(&name, zone) else {
        return format!("{name} is not in the cluster's domain {zone}: it is forwarded");
    };
    match labels.as_slice() {
        [] => format!("{zone} is the cluster's domain itself"),
        ["dns-version"] => "the version of the specification, a TXT record".to_owned(),
        ["svc" | "pod"] => "there are names below, and no record here".to_owned(),
        ["svc" | "pod", namespace] if names.namespaces.contains(*namespace) => {
            format!("namespace {namespace} exists; it has names below, and no record here")
        }
        ["svc" | "pod", namespace, ..] if !names.namespaces.contains(*namespace) => {
            format!("there is no namespace {namespace}")
        }
        ["pod", namespace, dashed] => explain_pod(namespace, dashed, names),
        ["svc", namespace, service, rest @ ..] => match names.service(namespace, service) {
            None => format!("there is no service {namespace}/{service} that the switch serves"),
            Some(found) => explain_service(found, rest),
        },
        _ => format!("below {zone} there are svc, pod and dns-version only"),
    }
}

/// Addresses that a service's name leads to; `None` for any other name.
pub(super) fn addresses(name: &str, zone: &str, names: &Names) -> Option<Vec<IpAddr>> {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    match inside(&name, zone)?.as_slice() {
        ["svc", namespace, service] => match &names.service(namespace, service)?.target {
            NameTarget::Cluster { addresses, .. } => Some(addresses.clone()),
            NameTarget::Headless { endpoints } => Some(endpoints.iter().map(|end| end.address).collect()),
            NameTarget::External { .. } => None,
        },
        _ => None,
    }
}

/// Labels below the zone, the nearest to it first.
fn inside<'a>(name: &'a str, zone: &str) -> Option<Vec<&'a str>> {
    let below = name.strip_suffix(zone)?;
    match below.strip_suffix('.') {
        Some(labels) => Some(labels.rsplit('.').collect()),
        None => below.is_empty().then(Vec::new),
    }
}

fn explain_service(service: &NamedService, rest: &[&str]) -> String {
    let name = format!("{}/{}", service.namespace, service.name);
    match (&service.target, rest) {
        (NameTarget::External { name: to }, _) => format!("service {name} is an alias of {to}"),
        (NameTarget::Cluster { addresses, ports }, []) => {
            format!("service {name} has cluster address {}, {}", join(addresses), port_list(ports))
        }
        (NameTarget::Headless { endpoints }, []) if endpoints.is_empty() => {
            format!("service {name} is headless, and no endpoint of it is ready")
        }
        (NameTarget::Headless { endpoints }, []) => {
            format!("service {name} is headless, with {}", endpoint_list(endpoints))
        }
        (target, [transport, port]) if transport.starts_with('_') && port.starts_with('_') => {
            explain_port(&name, target, transport.trim_start_matches('_'), port.trim_start_matches('_'))
        }
        (NameTarget::Headless { endpoints }, [host]) => {
            let found: Vec<&NamedEndpoint> = endpoints.iter().filter(|end| is_named(end, host)).collect();
            if found.is_empty() {
                return format!("service {name} has no ready endpoint {host}");
            }
            let found: Vec<String> = found.into_iter().map(endpoint).collect();
            format!("endpoint of service {name}: {}", found.join(", "))
        }
        (NameTarget::Cluster { .. } | NameTarget::Headless { .. }, _) => {
            format!("service {name} has no such name below its own")
        }
    }
}

/// By the host name it was given, or else by its address.
fn is_named(endpoint: &NamedEndpoint, host: &str) -> bool {
    match &endpoint.hostname {
        Some(name) => name == host,
        None => endpoint.address.to_string().replace(['.', ':'], "-") == host,
    }
}

fn explain_port(service: &str, target: &NameTarget, transport: &str, port: &str) -> String {
    let is_meant = |its: &&NamedPort| its.name.as_deref() == Some(port) && word(its.transport) == transport;
    let found = match target {
        NameTarget::Cluster { ports, .. } => ports.iter().filter(is_meant).count(),
        NameTarget::Headless { endpoints } => {
            endpoints.iter().filter(|end| end.ports.iter().any(|its| is_meant(&its))).count()
        }
        NameTarget::External { .. } => 0,
    };
    match found {
        0 => format!("service {service} has no port named {port} over {transport}"),
        found => format!("port {port} of service {service}, at {found} target(s)"),
    }
}

fn explain_pod(namespace: &str, dashed: &str, names: &Names) -> String {
    let Ok(address) = dashed.replace('-', ".").parse::<Ipv4Addr>() else {
        return format!("{dashed} is no address with '-' for '.'");
    };
    let at = |((ns, _), ip): &(&(String, String), &IpAddr)| ns == namespace && **ip == IpAddr::V4(address);
    match names.pods.iter().find(at) {
        Some(((_, pod), _)) => {
            format!("pod {namespace}/{pod} has {address}; whether pods have names says dns.pod_records")
        }
        None => format!("no pod of namespace {namespace} has {address}"),
    }
}

fn explain_address(address: IpAddr, names: &Names) -> String {
    let mut owners = Vec::new();
    for service in names.services.values() {
        match &service.target {
            NameTarget::Cluster { addresses, .. } if addresses.contains(&address) => {
                owners.push(format!("the cluster address of service {}/{}", service.namespace, service.name));
            }
            NameTarget::Headless { endpoints } if endpoints.iter().any(|end| end.address == address) => {
                owners
                    .push(format!("an endpoint of headless service {}/{}", service.namespace, service.name));
            }
            _ => {}
        }
    }
    if owners.is_empty() {
        return format!(
            "{address} is of no service: it is forwarded, unless it is in the cluster's own ranges"
        );
    }
    format!("{address} is {}", owners.join(" and "))
}

/// The address that a name of `in-addr.arpa` or `ip6.arpa` is about.
fn reversed(name: &str) -> Option<IpAddr> {
    if let Some(labels) = name.strip_suffix(".in-addr.arpa") {
        let text: Vec<&str> = labels.rsplit('.').collect();
        return text.join(".").parse::<Ipv4Addr>().ok().map(IpAddr::V4);
    }
    let nibbles: String = name.strip_suffix(".ip6.arpa")?.rsplit('.').collect();
    let number = (nibbles.len() == 32).then(|| u128::from_str_radix(&nibbles, 16).ok())?;
    number.map(|bits| IpAddr::V6(bits.into()))
}

fn port_list(ports: &[NamedPort]) -> String {
    let port = |port: &NamedPort| {
        let name = port.name.as_ref().map(|name| format!("{name} ")).unwrap_or_default();
        format!("{name}{}/{}", port.number, word(port.transport).to_ascii_uppercase())
    };
    format!("ports {}", ports.iter().map(port).collect::<Vec<_>>().join(", "))
}

fn endpoint_list(endpoints: &[NamedEndpoint]) -> String {
    let shown: Vec<String> = endpoints.iter().take(SHOWN).map(endpoint).collect();
    let more = endpoints.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{} endpoint(s): {}{more}", endpoints.len(), shown.join(", "))
}

fn endpoint(endpoint: &NamedEndpoint) -> String {
    let host = endpoint.hostname.as_ref().map(|host| format!(" {host}")).unwrap_or_default();
    let pod = endpoint.pod.as_ref().map(|pod| format!(" (pod {pod})")).unwrap_or_default();
    format!("{}{host}{pod}", endpoint.address)
}

const fn word(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "tcp",
        Transport::Udp => "udp",
        Transport::Sctp => "sctp",
    }
}

fn join(addresses: &[IpAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests {
    use protocol::feed::{FeedChange, NameChange};
    use protocol::message::PodRef;

    use super::*;

    fn service(name: &str, target: NameTarget) -> FeedChange {
        let (namespace, name) = ("shop".parse().unwrap(), name.parse().unwrap());
        FeedChange::Name(NameChange::Service(NamedService { namespace, name, target }))
    }

    fn names() -> Names {
        let port = |number| NamedPort { name: Some("http".to_owned()), transport: Transport::Tcp, number };
        let end = |last, hostname: Option<&str>| NamedEndpoint {
            address: [10, 244, 0, last].into(),
            hostname: hostname.map(str::to_owned),
            pod: None,
            ports: vec![port(8080)],
        };
        let mut names = Names::default();
        let web = NameTarget::Cluster { addresses: vec![[10, 96, 0, 7].into()], ports: vec![port(80)] };
        let db = NameTarget::Headless { endpoints: vec![end(2, Some("first")), end(3, None)] };
        for change in [
            FeedChange::Name(NameChange::Namespace("shop".parse().unwrap())),
            service("web", web),
            service("db", db),
            service("none", NameTarget::Headless { endpoints: Vec::new() }),
            service("out", NameTarget::External { name: "db.example.com".to_owned() }),
            FeedChange::Name(NameChange::Pod {
                pod: PodRef { namespace: "shop".parse().unwrap(), name: "a".parse().unwrap() },
                address: [10, 244, 0, 2].into(),
            }),
        ] {
            names.take(change);
        }
        names
    }

    #[test]
    fn every_name_has_a_reason() {
        for (name, part) in [
            ("web.shop.svc.cluster.local.", "cluster address 10.96.0.7, ports http 80/TCP"),
            ("WEB.Shop.svc.cluster.local.", "service shop/web"),
            ("db.shop.svc.cluster.local.", "2 endpoint(s): 10.244.0.2 first, 10.244.0.3"),
            ("none.shop.svc.cluster.local.", "no endpoint of it is ready"),
            ("out.shop.svc.cluster.local.", "alias of db.example.com"),
            ("nope.shop.svc.cluster.local.", "no service shop/nope"),
            ("web.other.svc.cluster.local.", "no namespace other"),
            ("first.db.shop.svc.cluster.local.", "endpoint of service shop/db: 10.244.0.2 first"),
            ("10-244-0-3.db.shop.svc.cluster.local.", "10.244.0.3"),
            ("10-244-0-2.db.shop.svc.cluster.local.", "no ready endpoint"),
            ("_http._tcp.web.shop.svc.cluster.local.", "port http of service shop/web, at 1"),
            ("_http._tcp.db.shop.svc.cluster.local.", "at 2 target(s)"),
            ("_http._udp.web.shop.svc.cluster.local.", "no port named http over udp"),
            ("x.web.shop.svc.cluster.local.", "no such name below"),
            ("shop.svc.cluster.local.", "namespace shop exists"),
            ("svc.cluster.local.", "names below"),
            ("cluster.local.", "itself"),
            ("foo.cluster.local.", "svc, pod and dns-version only"),
            ("10-244-0-2.shop.pod.cluster.local.", "pod shop/a has 10.244.0.2"),
            ("10-244-0-9.shop.pod.cluster.local.", "no pod of namespace shop"),
            ("7.0.96.10.in-addr.arpa.", "10.96.0.7 is the cluster address of service shop/web"),
            ("2.0.244.10.in-addr.arpa.", "endpoint of headless service shop/db"),
            ("1.2.0.192.in-addr.arpa.", "of no service"),
            ("www.example.com.", "not in the cluster's domain cluster.local: it is forwarded"),
            ("mycluster.local.", "not in the cluster's domain"),
        ] {
            let reason = explain(name, "cluster.local", &names());
            assert!(reason.contains(part), "{name}: {reason}");
        }
    }
}
