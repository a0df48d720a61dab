//! Kinds and what people call them.

use protocol::message::Kind;

/// What a kind is called.
pub(crate) struct KindNames {
    pub(crate) kind: Kind,
    pub(crate) plural: &'static str,
    pub(crate) singular: &'static str,
    /// Further names that are understood.
    pub(crate) short: &'static [&'static str],
}

/// Every kind that can be listed, in the order help shows them.
pub(crate) const KINDS: [KindNames; 24] = [
    KindNames { kind: Kind::Pods, plural: "pods", singular: "pod", short: &["po"] },
    KindNames { kind: Kind::Nodes, plural: "nodes", singular: "node", short: &["no"] },
    KindNames { kind: Kind::Peers, plural: "peers", singular: "peer", short: &["pe"] },
    KindNames { kind: Kind::Routes, plural: "routes", singular: "route", short: &["rt"] },
    KindNames { kind: Kind::Ports, plural: "ports", singular: "port", short: &[] },
    KindNames { kind: Kind::Fdb, plural: "fdb", singular: "fdb", short: &[] },
    KindNames { kind: Kind::Neighbors, plural: "neighbors", singular: "neighbor", short: &["neigh"] },
    KindNames { kind: Kind::Flows, plural: "flows", singular: "flow", short: &[] },
    KindNames { kind: Kind::Drops, plural: "drops", singular: "drop", short: &[] },
    KindNames { kind: Kind::Services, plural: "services", singular: "service", short: &["svc"] },
    KindNames { kind: Kind::Endpoints, plural: "endpoints", singular: "endpoint", short: &["ep"] },
    KindNames { kind: Kind::EndpointSlices, plural: "endpointslices", singular: "endpointslice", short: &[] },
    KindNames { kind: Kind::Namespaces, plural: "namespaces", singular: "namespace", short: &["ns"] },
    KindNames { kind: Kind::Connections, plural: "conntrack", singular: "connection", short: &["ct"] },
    KindNames { kind: Kind::Traffic, plural: "traffic", singular: "traffic", short: &[] },
    KindNames { kind: Kind::Ingresses, plural: "ingresses", singular: "ingress", short: &["ing"] },
    KindNames { kind: Kind::IngressClasses, plural: "ingressclasses", singular: "ingressclass", short: &[] },
    KindNames { kind: Kind::Secrets, plural: "secrets", singular: "secret", short: &[] },
    KindNames {
        kind: Kind::GatewayClasses,
        plural: "gatewayclasses",
        singular: "gatewayclass",
        short: &["gc"],
    },
    KindNames { kind: Kind::Gateways, plural: "gateways", singular: "gateway", short: &["gtw"] },
    KindNames { kind: Kind::HttpRoutes, plural: "httproutes", singular: "httproute", short: &[] },
    KindNames {
        kind: Kind::NetworkPolicies,
        plural: "networkpolicies",
        singular: "networkpolicy",
        short: &["netpol"],
    },
    KindNames {
        kind: Kind::ClusterNetworkPolicies,
        plural: "clusternetworkpolicies",
        singular: "clusternetworkpolicy",
        short: &["cnp"],
    },
    KindNames { kind: Kind::Denials, plural: "denials", singular: "denial", short: &[] },
];

/// What `kind` is called.
pub(crate) fn names(kind: Kind) -> &'static KindNames {
    let index = match kind {
        Kind::Pods => 0,
        Kind::Nodes => 1,
        Kind::Peers => 2,
        Kind::Routes => 3,
        Kind::Ports => 4,
        Kind::Fdb => 5,
        Kind::Neighbors => 6,
        Kind::Flows => 7,
        Kind::Drops => 8,
        Kind::Services => 9,
        Kind::Endpoints => 10,
        Kind::EndpointSlices => 11,
        Kind::Namespaces => 12,
        Kind::Connections => 13,
        Kind::Traffic => 14,
        Kind::Ingresses => 15,
        Kind::IngressClasses => 16,
        Kind::Secrets => 17,
        Kind::GatewayClasses => 18,
        Kind::Gateways => 19,
        Kind::HttpRoutes => 20,
        Kind::NetworkPolicies => 21,
        Kind::ClusterNetworkPolicies => 22,
        Kind::Denials => 23,
    };
    &KINDS[index]
}

/// A kind, and the name after its slash: `pods`, `po`, `pod/web`, `port/default/web`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KindArg {
    pub(crate) kind: Kind,
    pub(crate) name: Option<String>,
}

/// Reads a kind as typed, for clap.
pub(crate) fn parse_kind(text: &str) -> Result<KindArg, String> {
    let (word, name) = text.split_once('/').map_or((text, None), |(word, name)| (word, Some(name)));
    let lower = word.to_ascii_lowercase();
    let known = KINDS
        .iter()
        .find(|names| names.plural == lower || names.singular == lower || names.short.contains(&&*lower));
    if let Some(names) = known {
        return match name {
            Some("") => Err(format!("there is no name after the '/' in \"{text}\"")),
            other => Ok(KindArg { kind: names.kind, name: other.map(str::to_owned) }),
        };
    }
    Err(format!("there is no kind \"{word}\"; known kinds are {}", known_kinds()))
}

fn known_kinds() -> String {
    let with_short = |names: &KindNames| match names.short {
        [] => names.plural.to_owned(),
        short => format!("{} ({})", names.plural, short.join(", ")),
    };
    KINDS.iter().map(with_short).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_known_by_plural_singular_short_name_and_any_case() {
        for (text, kind) in [
            ("pods", Kind::Pods),
            ("pod", Kind::Pods),
            ("po", Kind::Pods),
            ("Pods", Kind::Pods),
            ("no", Kind::Nodes),
            ("pe", Kind::Peers),
            ("peer", Kind::Peers),
            ("rt", Kind::Routes),
            ("routes", Kind::Routes),
            ("fdb", Kind::Fdb),
            ("neigh", Kind::Neighbors),
            ("neighbor", Kind::Neighbors),
            ("flow", Kind::Flows),
            ("port", Kind::Ports),
            ("drop", Kind::Drops),
            ("svc", Kind::Services),
            ("ep", Kind::Endpoints),
            ("endpointslice", Kind::EndpointSlices),
            ("ns", Kind::Namespaces),
            ("ct", Kind::Connections),
            ("conntrack", Kind::Connections),
            ("netpol", Kind::NetworkPolicies),
            ("networkpolicy", Kind::NetworkPolicies),
            ("cnp", Kind::ClusterNetworkPolicies),
            ("denials", Kind::Denials),
        ] {
            assert_eq!(parse_kind(text), Ok(KindArg { kind, name: None }), "{text}");
        }
    }

    #[test]
    fn a_name_may_follow_the_kind_after_a_slash() {
        assert_eq!(parse_kind("po/web"), Ok(KindArg { kind: Kind::Pods, name: Some("web".into()) }));
        assert_eq!(
            parse_kind("port/default/web"),
            Ok(KindArg { kind: Kind::Ports, name: Some("default/web".into()) })
        );
        assert!(parse_kind("pod/").is_err());
    }

    #[test]
    fn a_mistake_is_answered_with_the_kinds_that_there_are() {
        let mistake = parse_kind("podz").unwrap_err();
        assert!(mistake.contains("no kind \"podz\"") && mistake.contains("neighbors (neigh)"), "{mistake}");
    }

    #[test]
    fn every_kind_has_its_own_names() {
        for names in &KINDS {
            assert_eq!(super::names(names.kind).plural, names.plural);
        }
    }
}
