use std::net::Ipv4Addr;

use protocol::link::{FrontendKind, Transport};

use super::*;

const OWN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
const OTHER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

fn host_port(address: Option<Ipv4Addr>, number: u16) -> HostPort {
    HostPort { transport: Transport::Tcp, address, number, target: 80 }
}

fn with_ports(text: &str, address: &str, ports: &[HostPort]) -> PodFacts {
    PodFacts { host_ports: ports.to_vec(), ..pod(text, address) }
}

fn table() -> Table {
    let mut table = Table::new(settings());
    table.set_own_addresses([OWN, OTHER].into());
    table
}

/// Names, and where they are.
fn served(table: &Table) -> Vec<(String, Vec<(FrontendKind, String)>)> {
    let of = |state: &ServiceState| {
        let at = |frontend: &protocol::link::Frontend| {
            (frontend.kind, format!("{}:{}", frontend.address, frontend.port))
        };
        (state.config.name.clone(), state.config.frontends.iter().map(at).collect())
    };
    table.states().values().map(|state| of(state)).collect()
}

fn at(kind: FrontendKind, text: &str) -> (FrontendKind, String) {
    (kind, text.to_owned())
}

#[test]
fn a_host_port_is_at_the_nodes_addresses_and_leads_to_its_pod() {
    let mut table = table();
    table.put_pod(with_ports("default/a", "10.244.0.2", &[host_port(None, 8080)]));
    assert!(table.settle());
    let everywhere = vec![
        at(FrontendKind::HostLocal, "10.96.0.0:8080"),
        at(FrontendKind::HostPort, "192.0.2.7:8080"),
        at(FrontendKind::HostPort, "198.51.100.7:8080"),
    ];
    assert_eq!(served(&table), [("default/a:hostPort-8080".to_owned(), everywhere)]);
    let state = table.states().values().next().unwrap();
    let backend = state.backends.get(&(ip("10.244.0.2"), 80)).unwrap();
    assert!(backend.is_local);
    assert!(!table.settle(), "nothing has changed");
}

#[test]
fn a_host_address_narrows_where_it_is() {
    let mut table = table();
    let ports =
        [host_port(Some(Ipv4Addr::LOCALHOST), 80), host_port(Some(OTHER), 80), host_port(Some(OTHER), 81)];
    table.put_pod(with_ports("default/a", "10.244.0.2", &ports));
    table.settle();
    let served: BTreeMap<_, _> = served(&table).into_iter().collect();
    let expected = [
        ("default/a:hostPort-80@127.0.0.1", at(FrontendKind::HostLocal, "10.96.0.0:80")),
        ("default/a:hostPort-80@198.51.100.7", at(FrontendKind::HostPort, "198.51.100.7:80")),
        ("default/a:hostPort-81@198.51.100.7", at(FrontendKind::HostPort, "198.51.100.7:81")),
    ];
    assert_eq!(served, expected.into_iter().map(|(name, place)| (name.to_owned(), vec![place])).collect());
}

#[test]
fn host_ports_follow_the_pod_and_the_nodes_addresses() {
    let mut table = table();
    let ports = [host_port(Some(OTHER), 80)];
    table.put_pod(with_ports("default/a", "10.244.0.2", &ports));
    table.settle();
    table.set_own_addresses([OWN].into());
    assert!(table.settle());
    assert_eq!(served(&table), [], "the address is gone");
    table.set_own_addresses([OTHER].into());
    table.settle();
    assert_eq!(served(&table).len(), 1);
    // Ready or not.
    table.put_pod(PodFacts { ready: false, ..with_ports("default/a", "10.244.0.2", &ports) });
    table.settle();
    assert_eq!(served(&table).len(), 1);
    table.remove_pod(&name("default/a"));
    assert!(table.settle());
    assert_eq!(served(&table), []);
}

#[test]
fn host_ports_of_other_nodes_are_theirs() {
    let mut table = table();
    let pod = with_ports("default/a", "10.244.1.2", &[host_port(None, 80)]);
    table.put_pod(PodFacts { node: "b".to_owned(), ..pod });
    table.settle();
    assert_eq!(served(&table), []);
}

/// The datapath would refuse the whole configuration.
#[test]
fn of_two_pods_with_one_port_the_first_by_name_has_it() {
    let mut table = table();
    table.put_pod(with_ports("default/b", "10.244.0.3", &[host_port(Some(OWN), 80)]));
    table.put_pod(with_ports("default/a", "10.244.0.2", &[host_port(None, 80)]));
    table.settle();
    let names: Vec<String> = served(&table).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["default/a:hostPort-80"]);
    table.remove_pod(&name("default/a"));
    table.settle();
    assert_eq!(served(&table).len(), 1);
}

#[test]
fn a_service_named_like_the_pod_is_another_one() {
    let mut table = table();
    table.put_pod(with_ports("default/web", "10.244.0.2", &[host_port(None, 80)]));
    table.put_service(spec(&json!({})));
    table.settle();
    let names: Vec<String> = served(&table).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), 2);
    table.remove_service(&name("default/web"));
    table.settle();
    assert_eq!(served(&table)[0].0, "default/web:hostPort-80");
}

#[test]
fn addresses_of_the_nodes_network_are_refused_for_services_by_what_they_are() {
    let mut table = table();
    table.set_link_addresses([(ip("203.0.113.1"), "the uplink's gateway")].into());
    let spec = spec(&json!({ "externalIPs": ["203.0.113.1", "203.0.113.2"] }));
    let problems = table.check_service(&spec);
    assert_eq!(problems.len(), 1);
    assert!(problems[0].to_string().contains("is the uplink's gateway"), "{}", problems[0]);
    // One that was there before.
    table.put_service(spec);
    table.settle();
    let places = &served(&table)[0].1;
    assert!(places.contains(&at(FrontendKind::ExternalIp, "203.0.113.2:80")));
    assert!(!places.contains(&at(FrontendKind::ExternalIp, "203.0.113.1:80")));
    table.set_link_addresses(BTreeMap::new());
    table.settle();
    assert!(served(&table)[0].1.contains(&at(FrontendKind::ExternalIp, "203.0.113.1:80")));
}
