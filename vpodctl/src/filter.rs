//! Which flows and connections are shown: `--service`, `--pod`, `--backend`, `--protocol`, `--state`, `--node-port`.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use protocol::message::{Items, Kind, PodRef};
use protocol::object::{Connection as Tracked, Flow};
use protocol::{NameError, Namespace, ObjectName};
use serde_json::Value;

use crate::cli::args::GetArgs;
use crate::connection::Connection;
use crate::error::CliError;
use crate::flow::protocol_name;

/// What rows must be like; what is `None` does not matter.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    service: Option<Frontends>,
    pod: Option<BTreeSet<IpAddr>>,
    backend: Option<(IpAddr, Option<u16>)>,
    protocol: Option<String>,
    state: Option<String>,
    node_port: Option<u16>,
}

/// Where a service is found.
#[derive(Debug, Default)]
struct Frontends {
    addresses: BTreeSet<IpAddr>,
    ports: BTreeSet<u16>,
    node_ports: BTreeSet<u16>,
}

impl Frontends {
    fn has(&self, address: IpAddr, port: u16) -> bool {
        let is_address = self.addresses.contains(&address);
        is_address && self.ports.contains(&port) || !is_address && self.node_ports.contains(&port)
    }

    fn of(service: &Value) -> Self {
        let addresses = ["/spec/clusterIPs", "/spec/externalIPs"].into_iter();
        let addresses = addresses.filter_map(|path| service.pointer(path)?.as_array()).flatten();
        let ingress = service.pointer("/status/loadBalancer/ingress").and_then(Value::as_array);
        let ingress = ingress.into_iter().flatten().map(|one| &one["ip"]);
        let ports = service.pointer("/spec/ports").and_then(Value::as_array);
        let number = |value: &Value| value.as_u64().and_then(|number| u16::try_from(number).ok());
        let numbers = |key: &str| ports.into_iter().flatten().filter_map(|port| number(&port[key])).collect();
        Self {
            addresses: addresses.chain(ingress).filter_map(|ip| ip.as_str()?.parse().ok()).collect(),
            ports: numbers("port"),
            node_ports: numbers("nodePort"),
        }
    }
}

impl Filter {
    /// Names are looked up once.
    pub(crate) fn new(args: &GetArgs, daemon: &mut Connection) -> Result<Self, CliError> {
        let here = &args.namespace.namespace;
        let service = args.service.as_deref().map(|text| service(text, here, daemon)).transpose()?;
        let pod = args.pod.as_deref().map(|text| pod(text, here, daemon)).transpose()?;
        let backend = args.backend.as_deref().map(backend).transpose()?;
        Ok(Self {
            service,
            pod,
            backend,
            protocol: args.protocol.as_deref().map(str::to_ascii_lowercase),
            state: args.state.clone(),
            node_port: args.node_port,
        })
    }

    /// Flags that a kind has nothing for.
    pub(crate) fn check(args: &GetArgs) -> Result<(), CliError> {
        let both = args.service.is_some()
            || args.pod.is_some()
            || args.protocol.is_some()
            || args.node_port.is_some();
        let connections = args.backend.is_some() || args.state.is_some();
        match args.kind.kind {
            Kind::Connections => Ok(()),
            Kind::Flows if !connections => Ok(()),
            _ if !both && !connections => Ok(()),
            Kind::Flows => {
                Err(CliError::Usage("flows have no backend and no state: get conntrack".to_owned()))
            }
            _ => Err(CliError::Usage("only flows and conntrack can be filtered so".to_owned())),
        }
    }

    fn is_protocol(&self, number: u8) -> bool {
        self.protocol
            .as_ref()
            .is_none_or(|wanted| *wanted == protocol_name(number) || *wanted == number.to_string())
    }

    pub(crate) fn has_connection(&self, row: &Tracked) -> bool {
        let (original, reply) = (&row.original, &row.reply);
        let service = self
            .service
            .as_ref()
            .is_none_or(|service| service.has(original.destination, original.destination_port));
        let pod = self
            .pod
            .as_ref()
            .is_none_or(|pod| [original.source, reply.source].iter().any(|ip| pod.contains(ip)));
        let backend = self.backend.is_none_or(|(address, port)| {
            reply.source == address && port.is_none_or(|port| reply.source_port == port)
        });
        service
            && pod
            && backend
            && self.is_protocol(row.protocol)
            && self.state.as_ref().is_none_or(|state| row.state.eq_ignore_ascii_case(state))
            && self.node_port.is_none_or(|port| original.destination_port == port)
    }

    /// Both directions of what passes between a client and a service or pod.
    pub(crate) fn has_flow(&self, row: &Flow) -> bool {
        let from = row.becomes.map_or((row.source, row.source_port), |to| (to.source, to.source_port));
        let to = (row.destination, row.destination_port);
        let service = self
            .service
            .as_ref()
            .is_none_or(|service| service.has(to.0, to.1) || service.has(from.0, from.1));
        let ends = [row.source, row.destination].into_iter();
        let mut ends = ends.chain(row.becomes.iter().flat_map(|to| [to.source, to.destination]));
        let pod = self.pod.as_ref().is_none_or(|pod| ends.any(|ip| pod.contains(&ip)));
        service
            && pod
            && self.is_protocol(row.protocol)
            && self.node_port.is_none_or(|port| to.1 == port || from.1 == port)
    }
}

fn named(text: &str, here: &Namespace) -> Result<(Namespace, ObjectName), CliError> {
    let wrong = |error: NameError| CliError::Usage(format!("\"{text}\": {error}"));
    let (namespace, name) = match text.split_once('/') {
        Some((namespace, name)) => (namespace.parse().map_err(wrong)?, name),
        None => (here.clone(), text),
    };
    Ok((namespace, name.parse().map_err(wrong)?))
}

fn service(text: &str, here: &Namespace, daemon: &mut Connection) -> Result<Frontends, CliError> {
    let (namespace, name) = named(text, here)?;
    let pages = daemon.object(Kind::Services, namespace, name)?;
    let documents = pages.into_iter().flat_map(|page| match page {
        Items::Services(rows) => rows,
        _ => Vec::new(),
    });
    let value = documents.filter_map(|document| serde_json::from_str::<Value>(&document.json).ok()).next();
    Ok(Frontends::of(&value.unwrap_or_default()))
}

fn pod(text: &str, here: &Namespace, daemon: &mut Connection) -> Result<BTreeSet<IpAddr>, CliError> {
    let (namespace, name) = named(text, here)?;
    Ok(daemon.pod(PodRef { namespace, name })?.spec.pod_ips.into_iter().collect())
}

fn backend(text: &str) -> Result<(IpAddr, Option<u16>), CliError> {
    if let Ok(socket) = text.parse::<SocketAddr>() {
        return Ok((socket.ip(), Some(socket.port())));
    }
    let wrong = |_| CliError::Usage(format!("--backend \"{text}\": write ADDRESS or ADDRESS:PORT"));
    Ok((text.parse().map_err(wrong)?, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_found_at_all_its_addresses_and_node_ports() {
        let service = serde_json::json!({
            "spec": {
                "clusterIPs": ["10.96.0.7"], "externalIPs": ["192.0.2.9"],
                "ports": [{ "port": 80, "nodePort": 30080 }, { "port": 53 }],
            },
            "status": { "loadBalancer": { "ingress": [{ "ip": "198.51.100.4" }] } },
        });
        let frontends = Frontends::of(&service);
        let has = |ip: &str, port| frontends.has(ip.parse().unwrap(), port);
        assert!(has("10.96.0.7", 80) && has("10.96.0.7", 53) && has("192.0.2.9", 80));
        assert!(has("198.51.100.4", 53) && has("203.0.113.1", 30080), "node ports are at any address");
        assert!(!has("10.96.0.7", 81) && !has("10.96.0.8", 80) && !has("10.96.0.7", 30080));
    }
}
