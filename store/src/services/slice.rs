//! An EndpointSlice given by hand, checked.

use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use protocol::link::Transport;

use super::names::{ObjectRef, port_number, transport};
use super::problem::{Invalid, Problem};
use super::words::{special, weight_annotation};

/// Names the service that a slice belongs to.
pub const SERVICE_LABEL: &str = "kubernetes.io/service-name";
/// Kubernetes' limits.
const MAX_ENDPOINTS: usize = 1000;
const MAX_SLICE_PORTS: usize = 100;

/// A slice that makes sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SliceSpec {
    /// Its name.
    pub object: ObjectRef,
    /// The service whose endpoints these are.
    pub service: Option<ObjectRef>,
    /// Its ports.
    pub ports: Vec<SlicePort>,
    /// Its endpoints.
    pub endpoints: Vec<SliceEndpoint>,
    /// For weighted schedulers.
    pub weight: u16,
}

/// A port that all endpoints of a slice have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlicePort {
    /// That of the service's port.
    pub name: String,
    /// That of the service's port.
    pub transport: Transport,
    /// At the endpoint.
    pub number: u16,
}

/// An endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SliceEndpoint {
    /// Kubernetes uses the first of its addresses only.
    pub address: IpAddr,
    /// It may be chosen.
    pub ready: bool,
    /// It answers.
    pub serving: bool,
    /// It is going.
    pub terminating: bool,
    /// Where it is.
    pub node: Option<String>,
    /// Nodes that should prefer it.
    pub for_nodes: BTreeSet<String>,
    /// Zones that should prefer it.
    pub for_zones: BTreeSet<String>,
    /// Its name within the service.
    pub hostname: Option<String>,
}

impl SliceSpec {
    /// Reads and checks an object.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn check(slice: &EndpointSlice) -> Result<Self, Invalid> {
        let mut problems = Vec::new();
        match read(slice, &mut problems) {
            Some(spec) if problems.is_empty() => Ok(spec),
            _ => Err(Invalid {
                kind: "EndpointSlice",
                name: slice.metadata.name.clone().unwrap_or_default(),
                problems,
            }),
        }
    }
}

fn read(slice: &EndpointSlice, problems: &mut Vec<Problem>) -> Option<SliceSpec> {
    let object = ObjectRef::of(&slice.metadata, problems)?;
    if slice.address_type != "IPv4" {
        problems.push(Problem::unsupported("addressType", &slice.address_type, &["IPv4"]));
    }
    let label = slice.metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE_LABEL));
    let service = label.and_then(|name| match name.parse() {
        Ok(name) => Some(ObjectRef { namespace: object.namespace.clone(), name }),
        Err(error) => {
            problems.push(Problem::invalid(format!("metadata.labels[{SERVICE_LABEL}]"), name, error));
            None
        }
    });
    let endpoints = slice.endpoints.as_deref().unwrap_or_default();
    if endpoints.len() > MAX_ENDPOINTS {
        let why = format!("at most {MAX_ENDPOINTS} endpoints");
        problems.push(Problem::invalid("endpoints", endpoints.len(), why));
        return None;
    }
    let ports = slice.ports.as_deref().unwrap_or_default();
    if ports.len() > MAX_SLICE_PORTS {
        let why = format!("at most {MAX_SLICE_PORTS} ports");
        problems.push(Problem::invalid("ports", ports.len(), why));
        return None;
    }
    let ports = ports.iter().enumerate().filter_map(|(index, port)| one_port(port, index, problems));
    let ports = ports.collect();
    let endpoints = endpoints.iter().enumerate().filter_map(|(index, end)| one(end, index, problems));
    let endpoints = endpoints.collect();
    let weight = weight_annotation(&slice.metadata, problems);
    Some(SliceSpec { object, service, ports, endpoints, weight })
}

fn one_port(port: &EndpointPort, index: usize, problems: &mut Vec<Problem>) -> Option<SlicePort> {
    let path = format!("ports[{index}]");
    let Some(number) = port.port else {
        problems.push(Problem::required(format!("{path}.port"), "a slice for all ports is not supported"));
        return None;
    };
    let number = port_number(number, format!("{path}.port"), problems);
    let transport = transport(port.protocol.as_deref(), format!("{path}.protocol"), problems);
    Some(SlicePort { name: port.name.clone().unwrap_or_default(), transport: transport?, number: number? })
}

fn one(endpoint: &Endpoint, index: usize, problems: &mut Vec<Problem>) -> Option<SliceEndpoint> {
    let path = format!("endpoints[{index}].addresses");
    let Some(first) = endpoint.addresses.first() else {
        problems.push(Problem::required(path, "must contain at least 1 address"));
        return None;
    };
    let mut address = None;
    for (number, text) in endpoint.addresses.iter().enumerate().rev() {
        let path = format!("{path}[{number}]");
        match text.parse::<IpAddr>() {
            Ok(ip) => match special(ip) {
                Some(why) => problems.push(Problem::invalid(path, text, why)),
                None => address = Some(ip),
            },
            Err(_) => problems.push(Problem::invalid(
                path,
                text,
                "must be a valid IP address, without leading zeros",
            )),
        }
    }
    let address = address.filter(|ip| ip.to_string() == *first)?;
    let conditions = endpoint.conditions.as_ref();
    let ready = conditions.and_then(|c| c.ready).unwrap_or(true);
    if let Some(hostname) = &endpoint.hostname
        && let Err(error) = hostname.parse::<protocol::Namespace>()
    {
        let why = error.to_string().replace("namespace", "host name");
        problems.push(Problem::invalid(format!("endpoints[{index}].hostname"), hostname, why));
    }
    let hints = endpoint.hints.as_ref();
    let nodes = hints.and_then(|hints| hints.for_nodes.as_ref()).into_iter().flatten();
    let zones = hints.and_then(|hints| hints.for_zones.as_ref()).into_iter().flatten();
    Some(SliceEndpoint {
        address,
        ready,
        serving: conditions.and_then(|c| c.serving).unwrap_or(ready),
        terminating: conditions.and_then(|c| c.terminating).unwrap_or(false),
        node: endpoint.node_name.clone(),
        for_nodes: nodes.map(|node| node.name.clone()).collect(),
        for_zones: zones.map(|zone| zone.name.clone()).collect(),
        hostname: endpoint.hostname.clone(),
    })
}
