//! Endpoints as EndpointSlices, which is how people and scripts read them. Derived, not stored.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::discovery::v1::{
    Endpoint as Written, EndpointConditions, EndpointHints, EndpointPort, EndpointSlice, ForNode, ForZone,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::endpoints::Endpoint;
use super::names::transport_word;
use super::slice::SERVICE_LABEL;
use super::spec::Spec;

/// Kubernetes' `--max-endpoints-per-slice`.
const ENDPOINTS_PER_SLICE: usize = 100;

/// The slices that Kubernetes' controller would make for the selected pods of a service: endpoints with the same
/// numbers of ports together, named `<service>-<n>`.
#[must_use]
pub fn slices(spec: &Spec, endpoints: &[Endpoint]) -> Vec<EndpointSlice> {
    let mut groups: BTreeMap<&[Option<u16>], Vec<&Endpoint>> = BTreeMap::new();
    for endpoint in endpoints.iter().filter(|endpoint| endpoint.pod.is_some()) {
        groups.entry(&endpoint.ports).or_default().push(endpoint);
    }
    let chunks = groups
        .iter()
        .flat_map(|(ports, all)| all.chunks(ENDPOINTS_PER_SLICE).map(move |endpoints| (*ports, endpoints)));
    let slice = |(number, (ports, endpoints)): (usize, (&[Option<u16>], &[&Endpoint]))| EndpointSlice {
        address_type: "IPv4".to_owned(),
        metadata: ObjectMeta {
            name: Some(format!("{}-{number}", spec.object.name)),
            namespace: Some(spec.object.namespace.to_string()),
            labels: Some(BTreeMap::from([
                (SERVICE_LABEL.to_owned(), spec.object.name.to_string()),
                ("endpointslice.kubernetes.io/managed-by".to_owned(), "vpod.io".to_owned()),
            ])),
            ..ObjectMeta::default()
        },
        ports: Some(self::ports(spec, ports)),
        endpoints: Some(endpoints.iter().map(|endpoint| written(endpoint)).collect()),
    };
    chunks.enumerate().map(slice).collect()
}

fn ports(spec: &Spec, numbers: &[Option<u16>]) -> Vec<EndpointPort> {
    let known = spec.ports.iter().zip(numbers).filter_map(|(port, number)| Some((port, (*number)?)));
    let port = |(port, number): (&super::spec::PortSpec, u16)| EndpointPort {
        name: Some(port.name.clone()),
        port: Some(number.into()),
        protocol: Some(transport_word(port.transport).to_owned()),
        app_protocol: None,
    };
    known.map(port).collect()
}

fn written(endpoint: &Endpoint) -> Written {
    let nodes: Vec<ForNode> = endpoint.for_nodes.iter().map(|name| ForNode { name: name.clone() }).collect();
    let zones: Vec<ForZone> = endpoint.for_zones.iter().map(|name| ForZone { name: name.clone() }).collect();
    let hinted = !nodes.is_empty() || !zones.is_empty();
    Written {
        addresses: vec![endpoint.address.to_string()],
        conditions: Some(EndpointConditions {
            ready: Some(endpoint.ready),
            serving: Some(endpoint.serving),
            terminating: Some(endpoint.terminating),
        }),
        hints: hinted.then(|| EndpointHints {
            for_nodes: (!nodes.is_empty()).then_some(nodes),
            for_zones: (!zones.is_empty()).then_some(zones),
        }),
        hostname: endpoint.hostname.clone(),
        node_name: endpoint.node.clone(),
        target_ref: endpoint.pod.as_ref().map(|pod| ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: Some(pod.namespace.to_string()),
            name: Some(pod.name.to_string()),
            ..ObjectReference::default()
        }),
        ..Written::default()
    }
}
