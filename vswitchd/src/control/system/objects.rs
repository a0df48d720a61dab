//! The services of system pods in the cluster's store.
//!
//! Whichever node is first makes what is missing; what is there is the user's, whatever it says. `default/kubernetes` leads nowhere:
//! there is no API server. It exists because programs that find out whether they are in a cluster ask for its name, and has the first
//! address of the range, as in Kubernetes, if that is free.

use std::net::Ipv4Addr;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::super::node::Control;
use super::super::services::create_missing;
use super::{NAMESPACE, listeners};

/// Makes what is missing.
pub(super) fn keep(control: &Control) {
    let config = &control.config;
    let mut wanted = Vec::new();
    if config.dns.program.enabled {
        wanted.push(vec![kube_dns(config.cluster_dns)]);
        let first = first_address(config.service_cidr);
        wanted.push(first.map(|ip| kubernetes(Some(ip))).into_iter().chain([kubernetes(None)]).collect());
    }
    if config.ingress.program.enabled {
        wanted.push(vec![ingress()]);
    }
    for alternatives in wanted {
        create_missing(control, &alternatives);
    }
    if config.ingress.program.enabled {
        listeners::keep(control);
    }
}

fn first_address(range: IpNet) -> Option<Ipv4Addr> {
    match range {
        IpNet::V4(range) => Some(Ipv4Addr::from_bits(range.network().to_bits().checked_add(1)?)),
        IpNet::V6(_) => None,
    }
}

fn kube_dns(address: std::net::IpAddr) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "kube-dns",
            "namespace": NAMESPACE,
            "labels": { "k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS" },
            "annotations": { "prometheus.io/port": "9153", "prometheus.io/scrape": "true" },
        },
        "spec": {
            "clusterIP": address,
            "selector": { "k8s-app": "kube-dns" },
            "trafficDistribution": "PreferSameNode",
            "ports": [
                { "name": "dns", "port": 53, "protocol": "UDP", "targetPort": "dns" },
                { "name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": "dns-tcp" },
                { "name": "metrics", "port": 9153, "protocol": "TCP", "targetPort": "metrics" },
            ],
        },
    })
}

fn kubernetes(address: Option<Ipv4Addr>) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": { "component": "apiserver", "provider": "kubernetes" },
        },
        "spec": {
            "clusterIP": address,
            "ports": [{ "name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443 }],
        },
    })
}

fn ingress() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "vpod-ingress",
            "namespace": NAMESPACE,
            "labels": { "app.kubernetes.io/name": "vpod-ingress" },
        },
        "spec": {
            "type": "LoadBalancer",
            "externalTrafficPolicy": "Local",
            "selector": { "app.kubernetes.io/name": "vpod-ingress" },
            "ports": [
                { "name": "http", "port": 80, "protocol": "TCP", "targetPort": "http" },
                { "name": "https", "port": 443, "protocol": "TCP", "targetPort": "https" },
            ],
        },
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Service;
    use store::services::Spec;

    use super::*;

    #[test]
    fn what_is_made_is_sound() {
        let all = [
            kube_dns([10, 96, 0, 10].into()),
            kubernetes(None),
            kubernetes(Some([10, 96, 0, 1].into())),
            ingress(),
        ];
        for value in all {
            let service: Service = serde_json::from_value(value.clone()).unwrap();
            Spec::check(&service).unwrap_or_else(|error| panic!("{value}: {error}"));
        }
    }

    #[test]
    fn the_first_address_is_behind_that_of_the_range() {
        assert_eq!(first_address("10.96.0.0/16".parse().unwrap()), Some([10, 96, 0, 1].into()));
    }
}
