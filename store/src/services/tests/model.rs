//! Random changes of all objects, against a reference that looks at everything anew.

use std::collections::BTreeSet;

use proptest::prelude::*;
use protocol::link::{BackendConfig, BackendState, FrontendKind, Transport};

use super::*;

#[derive(Debug, Clone)]
enum Op {
    Service(Spec),
    NoService(u8),
    Slice(SliceSpec),
    NoSlice(u8),
    Pod(PodFacts),
    NoPod(u8),
    Nodes(BTreeSet<u8>),
    Zone(bool),
    Settle,
}

fn object(kind: &str, number: u8) -> ObjectRef {
    name(&format!("{}/{kind}{}", if number.is_multiple_of(2) { "x" } else { "y" }, number / 2))
}

/// Few addresses, so that they meet.
fn address(number: u8) -> IpAddr {
    ip(&format!("10.244.0.{}", 2 + number))
}

fn any_labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    let value = |on: bool| if on { "1" } else { "0" }.to_owned();
    prop::collection::btree_map(prop::sample::select(vec!["a", "b"]), any::<bool>(), 0..=2)
        .prop_map(move |all| all.into_iter().map(|(key, on)| (key.to_owned(), value(on))).collect())
}

fn any_service() -> impl Strategy<Value = Op> {
    let target = prop::sample::select(vec![json!(8080), json!("web")]);
    let port = (prop::sample::select(vec![80, 81]), prop::sample::select(vec!["TCP", "UDP"]), target);
    let near = prop::sample::select(vec![Value::Null, json!("PreferSameNode"), json!("PreferSameZone")]);
    let kind = prop::sample::select(vec!["ClusterIP", "NodePort", "Headless", "Foreign"]);
    let ports = prop::collection::btree_map(0u8..3, port, 1..=2);
    let external = prop::collection::btree_set(0u8..3, 0..=2);
    (0u8..6, any_labels(), ports, kind, near, any::<bool>(), external).prop_map(
        |(number, selector, ports, kind, near, publish, external)| {
            let mut seen = BTreeSet::new();
            let ports: Vec<Value> = ports
                .into_iter()
                .filter(|(_, (port, protocol, _))| seen.insert((*port, *protocol)))
                .map(|(name, (port, protocol, target))| {
                    json!({ "name": format!("p{name}"), "port": port, "protocol": protocol, "targetPort": target })
                })
                .collect();
            let external: Vec<String> = external.into_iter().map(|n| format!("203.0.{}.1", 113 + n)).collect();
            let cluster_ip = if kind == "Headless" { "None".to_owned() } else { format!("10.96.1.{number}") };
            let mut spec = spec(&json!({
                "selector": selector,
                "ports": ports,
                "clusterIP": cluster_ip,
                "type": if kind == "NodePort" { "NodePort" } else { "ClusterIP" },
                "trafficDistribution": near,
                "publishNotReadyAddresses": publish,
                "externalIPs": external,
            }));
            spec.object = object("s", number);
            spec.is_foreign = kind == "Foreign";
            Op::Service(spec)
        },
    )
}

fn any_pod() -> impl Strategy<Value = Op> {
    let node =
        prop::sample::select(vec![("a", Some("z1")), ("b", Some("z1")), ("c", Some("z2")), ("d", None)]);
    let flags = (any::<bool>(), prop::bool::weighted(0.3), prop::bool::weighted(0.1), any::<bool>());
    (0u8..8, any_labels(), 0u8..8, node, flags, 0u16..3).prop_map(
        |(number, labels, at, (node, zone), (ready, terminating, ended, named), weight)| {
            let web = NamedPort {
                name: "web".to_owned(),
                transport: Transport::Tcp,
                number: 9000 + u16::from(number),
            };
            Op::Pod(PodFacts {
                host_ports: Vec::new(),
                object: object("p", number),
                labels,
                addresses: vec![address(at)],
                node: node.to_owned(),
                zone: zone.map(str::to_owned),
                ready,
                terminating,
                ended,
                ports: if named { vec![web] } else { Vec::new() },
                weight,
                hostname: None,
                subdomain: None,
            })
        },
    )
}

fn any_slice() -> impl Strategy<Value = Op> {
    let hint = prop::sample::select(vec![None, Some("a"), Some("b")]);
    let end = (0u8..8, any::<bool>(), any::<bool>(), any::<bool>(), hint).prop_map(
        |(at, ready, serving, terminating, node)| SliceEndpoint {
            address: address(at),
            ready,
            serving,
            terminating,
            node: None,
            for_nodes: node.map(str::to_owned).into_iter().collect(),
            for_zones: BTreeSet::new(),
            hostname: None,
        },
    );
    let port = (0u8..3).prop_map(|name| SlicePort {
        name: format!("p{name}"),
        transport: Transport::Tcp,
        number: 7000,
    });
    let ends = prop::collection::vec(end, 0..4);
    (0u8..4, prop::option::of(0u8..3), prop::collection::vec(port, 0..3), ends, 0u16..3).prop_map(
        |(number, service, ports, endpoints, weight)| {
            // Slices and services of one namespace have numbers of one parity.
            let service = service.map(|service| object("s", service * 2 + number % 2));
            Op::Slice(SliceSpec { object: object("l", number), service, ports, endpoints, weight })
        },
    )
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => any_service(),
        1 => (0u8..6).prop_map(Op::NoService),
        4 => any_pod(),
        2 => (0u8..8).prop_map(Op::NoPod),
        3 => any_slice(),
        1 => (0u8..4).prop_map(Op::NoSlice),
        1 => prop::collection::btree_set(0u8..8, 0..3).prop_map(Op::Nodes),
        1 => any::<bool>().prop_map(Op::Zone),
        4 => Just(Op::Settle),
    ]
}

#[derive(Default)]
struct Reference {
    services: BTreeMap<ObjectRef, Spec>,
    slices: BTreeMap<ObjectRef, SliceSpec>,
    pods: BTreeMap<ObjectRef, PodFacts>,
    nodes: BTreeSet<IpAddr>,
    zone: Option<String>,
}

/// Address, port, readiness, weight, place and hints of an endpoint.
struct End {
    at: (IpAddr, u16),
    ready: bool,
    draining: bool,
    weight: u16,
    local: bool,
    nodes: BTreeSet<String>,
    zones: BTreeSet<String>,
}

/// Frontends and backends.
type Found = (BTreeSet<(FrontendKind, IpAddr, u16)>, Backends);

impl Reference {
    fn ends(&self, spec: &Spec, port: &PortSpec) -> Vec<End> {
        let mut ends = Vec::new();
        for pod in self.pods.values() {
            let selected = pod.object.namespace == spec.object.namespace
                && !spec.selector.is_empty()
                && spec.selector.iter().all(|pair| pod.labels.iter().any(|label| label == pair));
            let number = match &port.target {
                Target::Number(number) => Some(*number),
                Target::Name(name) => pod
                    .ports
                    .iter()
                    .find(|p| p.name == *name && p.transport == port.transport)
                    .map(|p| p.number),
            };
            let (true, false, Some(number)) = (selected, pod.ended, number) else { continue };
            ends.push(End {
                at: (pod.addresses[0], number),
                ready: spec.publish_not_ready || pod.ready && !pod.terminating,
                draining: pod.ready && pod.terminating,
                weight: pod.weight,
                local: pod.node == "a",
                nodes: match spec.distribution {
                    Some(Distribution::SameNode) => [pod.node.clone()].into(),
                    _ => BTreeSet::new(),
                },
                zones: match spec.distribution {
                    Some(_) => pod.zone.clone().into_iter().collect(),
                    None => BTreeSet::new(),
                },
            });
        }
        for slice in self.slices.values().filter(|slice| slice.service.as_ref() == Some(&spec.object)) {
            for end in &slice.endpoints {
                let owners: Vec<_> =
                    self.pods.values().filter(|pod| pod.addresses.contains(&end.address)).collect();
                let foreign = !owners.is_empty()
                    && owners.iter().all(|pod| pod.object.namespace != slice.object.namespace);
                let number =
                    slice.ports.iter().find(|p| p.name == port.name && p.transport == port.transport);
                let (false, false, Some(number)) = (foreign, self.nodes.contains(&end.address), number)
                else {
                    continue;
                };
                ends.push(End {
                    at: (end.address, number.number),
                    ready: end.ready,
                    draining: end.serving && end.terminating,
                    weight: slice.weight,
                    local: owners.first().is_some_and(|pod| pod.node == "a"),
                    nodes: end.for_nodes.clone(),
                    zones: end.for_zones.clone(),
                });
            }
        }
        ends
    }

    fn backends(&self, spec: &Spec, port: &PortSpec) -> Backends {
        let ends = self.ends(spec, port);
        let ready: Vec<&End> = ends.iter().filter(|end| end.ready).collect();
        let by_node =
            ready.iter().all(|end| !end.nodes.is_empty()) && ready.iter().any(|end| end.nodes.contains("a"));
        let zone = self.zone.clone().unwrap_or_default();
        let by_zone = ready.iter().all(|end| !end.zones.is_empty())
            && ready.iter().any(|end| end.zones.contains(&zone));
        let mut result = Backends::new();
        for is_ready in [true, false] {
            for end in &ends {
                if (if is_ready { !end.ready } else { end.ready || !end.draining })
                    || result.contains_key(&end.at)
                {
                    continue;
                }
                let is_preferred =
                    if by_node { end.nodes.contains("a") } else { !by_zone || end.zones.contains(&zone) };
                result.insert(
                    end.at,
                    BackendConfig {
                        address: end.at.0,
                        port: end.at.1,
                        weight: end.weight,
                        state: if is_ready { BackendState::Ready } else { BackendState::Draining },
                        is_local: end.local,
                        is_preferred,
                    },
                );
            }
        }
        if result.values().all(|backend| !backend.is_preferred) {
            result.values_mut().for_each(|backend| backend.is_preferred = true);
        }
        result
    }

    /// Frontends and backends by the name of the port and its protocol.
    fn all(&self) -> BTreeMap<(String, Transport), Found> {
        let mut all = BTreeMap::new();
        let mut taken = BTreeMap::new();
        let served = |spec: &&Spec| !spec.is_foreign && spec.reach.is_virtual();
        let keys: BTreeMap<PortKey, (&Spec, &PortSpec)> = self
            .services
            .values()
            .filter(served)
            .flat_map(|spec| spec.ports.iter().map(move |port| (spec.key(port), (spec, port))))
            .collect();
        for (key, (spec, port)) in keys {
            let mut frontends =
                BTreeSet::from([(FrontendKind::ClusterIp, spec.cluster_ip.unwrap().into(), port.number)]);
            let external = spec.external_ips.iter().filter(|ip| ip.to_string().starts_with("203.0.113."));
            frontends.extend(external.map(|ip| (FrontendKind::ExternalIp, *ip, port.number)));
            // Keys come in order, so who comes first has it.
            frontends.retain(|(_, ip, number)| {
                *taken.entry((key.transport, *ip, *number)).or_insert_with(|| key.clone()) == key
            });
            all.insert((key.to_string(), key.transport), (frontends, self.backends(spec, port)));
        }
        all.retain(|_, (frontends, _)| !frontends.is_empty());
        all
    }
}

fn set(table: &mut Table, reference: &Reference) {
    let place = Place { node: "a".to_owned(), zone: reference.zone.clone() };
    table.set_settings(Settings { place, ..settings() });
}

fn check(table: &mut Table, reference: &Reference, numbers: &mut BTreeMap<(String, Transport), u32>) {
    let before = std::sync::Arc::clone(table.states());
    let changed = table.settle();
    assert_eq!(changed, before != *table.states());
    let found: BTreeMap<_, _> = table
        .states()
        .values()
        .map(|state| {
            let frontends = state.config.frontends.iter().map(|f| (f.kind, f.address, f.port)).collect();
            ((state.config.name.clone(), state.config.transport), (frontends, state.backends.clone()))
        })
        .collect();
    assert_eq!(found.len(), table.states().len(), "two numbers for one port");
    assert_eq!(found, reference.all());
    let now: BTreeMap<_, _> = table
        .states()
        .iter()
        .map(|(id, state)| ((state.config.name.clone(), state.config.transport), id.0))
        .collect();
    for (key, id) in &now {
        match numbers.get(key) {
            Some(before) => assert_eq!(id, before, "{key:?} has another number"),
            None => assert!((*id as usize) < now.len(), "new numbers are the lowest free"),
        }
    }
    *numbers = now;
}

/// What a follower of names knows by what it was told of, which must be what there is to know.
#[derive(Debug, Default, PartialEq)]
struct Follower {
    services: BTreeMap<ObjectRef, protocol::feed::NamedService>,
    pods: BTreeMap<ObjectRef, IpAddr>,
    namespaces: BTreeSet<protocol::Namespace>,
}

impl Follower {
    fn follow(&mut self, table: &mut Table) {
        let renamed = table.take_renamed();
        for object in renamed.services {
            match table.named(&object) {
                Some(named) => _ = self.services.insert(object, named),
                None => _ = self.services.remove(&object),
            }
        }
        for object in renamed.pods {
            match table.named_pod(&object) {
                Some(address) => _ = self.pods.insert(object, address),
                None => _ = self.pods.remove(&object),
            }
        }
        for namespace in renamed.namespaces {
            match table.has_namespace(&namespace) {
                true => _ = self.namespaces.insert(namespace),
                false => _ = self.namespaces.remove(&namespace),
            }
        }
    }

    /// A look at everything.
    fn of(table: &Table, reference: &Reference) -> Self {
        let services =
            reference.services.keys().filter_map(|object| Some((object.clone(), table.named(object)?)));
        let is_named = |pod: &&PodFacts| !pod.ended;
        let pods = reference.pods.values().filter(is_named).map(|pod| (pod.object.clone(), pod.addresses[0]));
        let inhabited = reference.services.keys().chain(reference.pods.keys());
        Self {
            services: services.collect(),
            pods: pods.collect(),
            namespaces: inhabited.map(|object| object.namespace.clone()).collect(),
        }
    }
}

/// Of each service the ports that are served at its cluster address, or its endpoints that may be named.
fn check_names(table: &Table, reference: &Reference) {
    use protocol::feed::NameTarget;
    let served = reference.all();
    for (object, spec) in &reference.services {
        let is_served = |port: &&PortSpec| {
            let found = served.get(&(spec.key(port).to_string(), port.transport));
            found.is_some_and(|(frontends, _)| {
                frontends.iter().any(|(kind, ..)| *kind == FrontendKind::ClusterIp)
            })
        };
        match table.named(object).map(|named| named.target) {
            None => assert!(spec.reach.is_virtual() && !spec.ports.iter().any(|port| is_served(&port))),
            Some(NameTarget::Cluster { addresses, ports }) => {
                assert_eq!(addresses, [IpAddr::V4(spec.cluster_ip.unwrap())]);
                let expected: Vec<u16> =
                    spec.ports.iter().filter(is_served).map(|port| port.number).collect();
                assert_eq!(ports.iter().map(|port| port.number).collect::<Vec<_>>(), expected);
            }
            Some(NameTarget::Headless { endpoints }) => {
                let named: BTreeSet<IpAddr> = endpoints.iter().map(|endpoint| endpoint.address).collect();
                let all = table.endpoints_of(object);
                let may = all.iter().filter(|endpoint| endpoint.ready || spec.publish_not_ready);
                assert_eq!(named, may.map(|endpoint| endpoint.address).collect());
            }
            Some(NameTarget::External { .. }) => panic!("there are none"),
        }
    }
}

proptest! {
    #[test]
    fn derives_what_a_look_at_everything_derives(ops in prop::collection::vec(any_op(), 1..60)) {
        let mut reference = Reference { zone: Some("z1".to_owned()), ..Reference::default() };
        let (mut table, mut numbers) = (Table::new(settings()), BTreeMap::new());
        let mut follower = Follower::default();
        for op in ops {
            match op {
                Op::Service(spec) => {
                    table.put_service(spec.clone());
                    reference.services.insert(spec.object.clone(), spec);
                }
                Op::NoService(number) => {
                    table.remove_service(&object("s", number));
                    reference.services.remove(&object("s", number));
                }
                Op::Slice(slice) => {
                    table.put_slice(slice.clone());
                    reference.slices.insert(slice.object.clone(), slice);
                }
                Op::NoSlice(number) => {
                    table.remove_slice(&object("l", number));
                    reference.slices.remove(&object("l", number));
                }
                Op::Pod(pod) => {
                    table.put_pod(pod.clone());
                    reference.pods.insert(pod.object.clone(), pod);
                }
                Op::NoPod(number) => {
                    table.remove_pod(&object("p", number));
                    reference.pods.remove(&object("p", number));
                }
                Op::Nodes(all) => {
                    reference.nodes = all.into_iter().map(address).collect();
                    table.set_node_addresses(reference.nodes.clone());
                }
                Op::Zone(known) => {
                    reference.zone = known.then(|| "z1".to_owned());
                    set(&mut table, &reference);
                }
                Op::Settle => {
                    check(&mut table, &reference, &mut numbers);
                    follower.follow(&mut table);
                    assert_eq!(follower, Follower::of(&table, &reference));
                    check_names(&table, &reference);
                }
            }
        }
        check(&mut table, &reference, &mut numbers);
    }
}
