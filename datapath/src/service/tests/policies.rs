//! Who may be chosen: conditions, policies, topology, source ranges.

use std::net::Ipv4Addr;

use protocol::link::{BackendConfig, BackendState, FrontendKind, ServiceConfig, TrafficPolicy, Transport};

use super::bed::*;
use crate::service::{NoBackend, Origin};

const LB: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const EXTERNAL: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
const NODE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const STRANGER: (Ipv4Addr, u16) = (Ipv4Addr::new(198, 51, 100, 7), 1234);

/// `web` at an address of each kind.
fn everywhere() -> ServiceConfig {
    ServiceConfig {
        frontends: vec![
            frontend(FrontendKind::ClusterIp, VIP, 80),
            frontend(FrontendKind::NodePort, Ipv4Addr::UNSPECIFIED, 30_080),
            frontend(FrontendKind::LoadBalancer, LB, 80),
            frontend(FrontendKind::ExternalIp, EXTERNAL, 80),
        ],
        ..web()
    }
}

const AT: [(Ipv4Addr, u16); 4] = [(VIP, 80), (NODE, 30_080), (LB, 80), (EXTERNAL, 80)];

fn local(host: u8) -> BackendConfig {
    BackendConfig { is_local: true, ..backend(host) }
}

fn draining(backend: BackendConfig) -> BackendConfig {
    BackendConfig { state: BackendState::Draining, ..backend }
}

fn elsewhere(host: u8) -> BackendConfig {
    BackendConfig { is_preferred: false, ..backend(host) }
}

/// The hosts chosen in 50 tries.
#[track_caller]
fn chosen(bed: &mut Bed, at: (Ipv4Addr, u16), origin: Origin) -> Result<Vec<u8>, NoBackend> {
    let tries: Result<Vec<_>, _> =
        (0..50).map(|_| bed.choose_at(at, STRANGER, origin, &[]).map(|c| c.address.octets()[3])).collect();
    let mut hosts = tries?;
    hosts.sort_unstable();
    hosts.dedup();
    Ok(hosts)
}

#[test]
fn policies_hold_for_whom_they_are_meant() {
    use TrafficPolicy::{Cluster, Local};
    for internal in [Cluster, Local] {
        for external in [Cluster, Local] {
            let service =
                ServiceConfig { internal_policy: internal, external_policy: external, ..everywhere() };
            let mut bed = Bed::with(service, vec![local(1), backend(2)]);
            for (at, inside, outside) in [
                (AT[0], internal, internal),
                (AT[1], Cluster, external),
                (AT[2], Cluster, external),
                (AT[3], Cluster, external),
            ] {
                for (origin, policy) in [(Origin::Inside, inside), (Origin::Outside, outside)] {
                    let wanted: &[u8] = match policy {
                        Cluster => &[1, 2],
                        Local => &[1],
                    };
                    assert_eq!(chosen(&mut bed, at, origin).unwrap(), wanted, "{at:?} {origin:?} {policy:?}");
                }
            }
        }
    }
}

#[test]
fn draining_ones_are_chosen_where_none_is_ready_and_each_policy_looks_for_itself() {
    let service = ServiceConfig { external_policy: TrafficPolicy::Local, ..everywhere() };
    let mut bed = Bed::with(service, vec![draining(local(1)), backend(2), draining(backend(3))]);
    assert_eq!(chosen(&mut bed, AT[0], Origin::Inside).unwrap(), [2]);
    assert_eq!(chosen(&mut bed, AT[2], Origin::Outside).unwrap(), [1]);
    bed.apply(remove(WEB, &[2]));
    assert_eq!(chosen(&mut bed, AT[0], Origin::Inside).unwrap(), [1, 3]);
    bed.apply(put(WEB, vec![local(1)]));
    assert_eq!(chosen(&mut bed, AT[0], Origin::Inside).unwrap(), [1]);
}

#[test]
fn no_backend_is_refused_and_none_here_is_silence() {
    let local_only = ServiceConfig {
        internal_policy: TrafficPolicy::Local,
        external_policy: TrafficPolicy::Local,
        ..everywhere()
    };
    let mut bed = Bed::with(local_only, Vec::new());
    assert_eq!(chosen(&mut bed, AT[0], Origin::Inside), Err(NoBackend::None));
    assert_eq!(chosen(&mut bed, AT[1], Origin::Outside), Err(NoBackend::None));
    bed.apply(put(WEB, vec![backend(1)]));
    assert_eq!(chosen(&mut bed, AT[0], Origin::Inside), Err(NoBackend::NoLocal));
    assert_eq!(chosen(&mut bed, AT[1], Origin::Outside), Err(NoBackend::NoLocal));
    assert_eq!(chosen(&mut bed, AT[1], Origin::Inside).unwrap(), [1]);
    bed.apply(services(vec![everywhere()]));
    assert_eq!(chosen(&mut bed, AT[0], Origin::Inside).unwrap(), [1], "new settings, the same backends");
}

#[test]
fn topology_counts_among_ready_ones_and_never_against_a_policy() {
    let service = ServiceConfig { external_policy: TrafficPolicy::Local, ..everywhere() };
    let remote_local = BackendConfig { is_preferred: false, ..local(3) };
    let mut bed = Bed::with(service, vec![backend(1), elsewhere(2), remote_local]);
    assert_eq!(chosen(&mut bed, AT[0], Origin::Inside).unwrap(), [1]);
    assert_eq!(chosen(&mut bed, AT[2], Origin::Outside).unwrap(), [3], "local policies win");
    bed.apply(put(WEB, vec![draining(backend(1))]));
    assert_eq!(chosen(&mut bed, AT[0], Origin::Inside).unwrap(), [2, 3], "none preferred is ready");
    bed.apply(put(WEB, vec![draining(elsewhere(2)), draining(remote_local)]));
    assert_eq!(chosen(&mut bed, AT[0], Origin::Inside).unwrap(), [1, 2, 3], "all drain");
}

#[test]
fn source_ranges_hold_for_load_balancers_alone() {
    let ranges = |ranges: &[&str]| ServiceConfig {
        source_ranges: ranges.iter().map(|range| range.parse().unwrap()).collect(),
        ..everywhere()
    };
    let mut bed = Bed::with(ranges(&["10.0.0.0/8", "198.51.100.0/24"]), vec![backend(1)]);
    assert!(chosen(&mut bed, AT[2], Origin::Outside).is_ok());
    for refused in [&["10.0.0.0/8"][..], &["2001:db8::/32"]] {
        bed.apply(services(vec![ranges(refused)]));
        for origin in [Origin::Inside, Origin::Outside] {
            assert_eq!(chosen(&mut bed, AT[2], origin), Err(NoBackend::SourceNotAllowed));
            for at in [AT[0], AT[1], AT[3]] {
                assert!(chosen(&mut bed, at, origin).is_ok());
            }
        }
    }
}

#[test]
fn frontends_are_found_by_protocol_address_and_port() {
    let dns = |id, transport| ServiceConfig {
        id: protocol::ServiceId(id),
        name: format!("kube-system/dns:{id}"),
        transport,
        frontends: vec![
            frontend(FrontendKind::ClusterIp, [10, 96, 0, 53], 53),
            frontend(FrontendKind::NodePort, [0; 4], 30_053),
        ],
        ..web()
    };
    let mut bed = Bed::new();
    bed.apply(services(vec![dns(7, Transport::Udp), dns(9, Transport::Tcp), dns(0, Transport::Sctp)]));
    let services = bed.services();
    let find = |protocol, address: [u8; 4], port, is_node| {
        services.frontend(protocol, address.into(), port, is_node).map(|hit| (hit.service.0, hit.number))
    };
    assert_eq!(find(17, [10, 96, 0, 53], 53, false), Some((7, 0)));
    assert_eq!(find(6, [10, 96, 0, 53], 53, false), Some((9, 0)));
    assert_eq!(find(132, [10, 96, 0, 53], 53, false), Some((0, 0)));
    assert_eq!(find(1, [10, 96, 0, 53], 53, false), None);
    assert_eq!(find(17, [10, 96, 0, 53], 54, false), None);
    assert_eq!(find(17, [192, 0, 2, 2], 30_053, true), Some((7, 1)));
    assert_eq!(find(17, [192, 0, 2, 2], 30_053, false), None, "not the node's address");
    assert_eq!(find(17, [10, 96, 0, 53], 30_053, false), None);
    assert!(services.is_service_address([10, 96, 0, 53].into()));
    assert!(!services.is_service_address([0, 0, 0, 0].into()));
    let forget = protocol::link::ConfigDelta {
        forget_services: vec![protocol::ServiceId(7), protocol::ServiceId(0)],
        ..Default::default()
    };
    bed.apply(forget.clone());
    assert!(bed.services().is_service_address([10, 96, 0, 53].into()), "TCP is left");
    bed.apply(protocol::link::ConfigDelta { forget_services: vec![protocol::ServiceId(9)], ..forget });
    assert!(!bed.services().is_service_address([10, 96, 0, 53].into()));
}
