//! Sample messages about network policies.

use std::collections::BTreeMap;

use protocol::message::{AdminRequest, Items, Kind, PodRef, PolicyEnd, PolicyTest, ReadRequest, Response};
use protocol::object::{
    Denial, PolicyAudit, PolicyDecision, PolicyDirection, PolicyFlow, PolicyVerdict, Timestamp,
};

pub(crate) fn admin_requests() -> Vec<(&'static str, AdminRequest)> {
    let label = AdminRequest::Label {
        kind: Kind::Pods,
        namespace: "prod".parse().unwrap(),
        name: "web".parse().unwrap(),
        set: BTreeMap::from([("app".to_owned(), "web".to_owned())]),
        remove: vec!["old".to_owned()],
        overwrite: true,
    };
    vec![("admin label", label)]
}

pub(crate) fn read_requests() -> Vec<(&'static str, ReadRequest)> {
    let list = |kind| ReadRequest::List { kind, namespace: None };
    let pod = PodRef { namespace: "prod".parse().unwrap(), name: "web".parse().unwrap() };
    let service = PolicyEnd::Service {
        namespace: "prod".parse().unwrap(),
        name: "db".parse().unwrap(),
        port: Some("sql".to_owned()),
    };
    let address = PolicyEnd::Address("192.0.2.7".parse().unwrap());
    let test = |from, to, port| ReadRequest::TestPolicy(PolicyTest { from, to, protocol: 6, port });
    vec![
        ("read list network policies", list(Kind::NetworkPolicies)),
        ("read list cluster policies", list(Kind::ClusterNetworkPolicies)),
        ("read list denials", list(Kind::Denials)),
        ("read test policy", test(PolicyEnd::Pod(pod.clone()), service, 0)),
        ("read test policy of address", test(address, PolicyEnd::Pod(pod), 80)),
        ("read audit policies", ReadRequest::AuditPolicies { manifests: vec!["{}".to_owned()] }),
    ]
}

fn flow() -> PolicyFlow {
    PolicyFlow {
        source: "10.244.0.5".parse().unwrap(),
        source_pod: Some("shop/cart".to_owned()),
        destination: "192.0.2.9".parse().unwrap(),
        destination_pod: None,
        protocol: 17,
        port: 53,
    }
}

fn verdict() -> PolicyVerdict {
    let decision = |allowed, reason: &str| PolicyDecision { allowed, reason: reason.to_owned() };
    PolicyVerdict {
        flow: flow(),
        allowed: false,
        egress: decision(false, "denied: NetworkPolicy shop/deny egress[0]"),
        ingress: decision(true, "allowed: no pod at this end"),
    }
}

pub(crate) fn responses(document: protocol::object::Document) -> Vec<(&'static str, Response)> {
    let denial = |direction| Denial {
        number: 7,
        seen: Timestamp(1_700_000_000),
        flow: flow(),
        direction,
        reason: "isolated".to_owned(),
    };
    let denials = [PolicyDirection::Ingress, PolicyDirection::Egress].map(denial).into();
    let audit = PolicyAudit { flows: 9, cut: vec![verdict()], opened: Vec::new(), left_out: 1 };
    vec![
        ("response items policies", Response::Items(Items::Documents(Kind::NetworkPolicies, vec![document]))),
        ("response items denials", Response::Items(Items::Denials(denials))),
        ("response policy verdicts", Response::PolicyVerdicts(vec![verdict()])),
        ("response policy audit", Response::PolicyAudit(Box::new(audit))),
    ]
}
