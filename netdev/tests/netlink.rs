//! Links, addresses and routes, inside namespaces of their own.

mod support;

use std::net::IpAddr;

use ipnet::IpNet;
use netdev::Netlink;
use netdev::netlink::{AddressChange, AddressMonitor, Link, NetlinkError, Route};
use protocol::Mac;
use support::TestNetns;

fn net(text: &str) -> IpNet {
    text.parse().expect("network")
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("address")
}

/// Runs `test` in a namespace with a veth pair `a` - `b`, both up.
#[track_caller]
fn with_veth(what: &str, test: impl FnOnce(&mut Netlink, Link, Link) -> Result<(), NetlinkError> + Send) {
    let ns = TestNetns::new(what);
    ns.run(|| {
        let mut netlink = Netlink::open()?;
        netlink.add_veth("a", "b")?;
        for name in ["a", "b"] {
            let link = netlink.link_by_name(name)?;
            netlink.set_up(link.index)?;
        }
        let (a, b) = (netlink.link_by_name("a")?, netlink.link_by_name("b")?);
        test(&mut netlink, a, b)
    })
    .expect("netlink");
}

#[test]
fn link_settings_take_effect() {
    with_veth("link", |netlink, a, _| {
        assert_eq!(a.kind.as_deref(), Some("veth"));
        assert!(a.up && a.carrier);
        let mac = Mac([0x0a, 0x58, 1, 2, 3, 4]);
        netlink.set_mac(a.index, mac)?;
        netlink.set_mtu(a.index, 1400)?;
        netlink.set_txqueuelen(a.index, 77)?;
        netlink.set_down(a.index)?;
        netlink.rename(a.index, "renamed")?;
        let changed = netlink.link_by_name("renamed")?;
        assert_eq!((changed.mac, changed.ip_mtu, changed.txqueuelen), (Some(mac), 1400, 77));
        assert!(!changed.up);
        assert_eq!(netlink.find_link("a")?, None);
        Ok(())
    });
}

#[test]
fn all_links_are_listed_and_deleted_ones_are_not() {
    with_veth("list", |netlink, a, _| {
        let names = |links: Vec<Link>| links.into_iter().map(|link| link.name).collect::<Vec<_>>();
        assert_eq!(names(netlink.links()?).len(), 3);
        netlink.delete_link(a.index)?;
        assert_eq!(names(netlink.links()?), ["lo"]);
        Ok(())
    });
}

#[test]
fn bridge_gets_and_loses_ports() {
    with_veth("bridge", |netlink, a, _| {
        netlink.add_bridge("br0")?;
        let bridge = netlink.link_by_name("br0")?;
        assert_eq!(bridge.kind.as_deref(), Some("bridge"));
        netlink.set_master(a.index, bridge.index)?;
        assert_eq!(netlink.link_by_name("a")?.master, Some(bridge.index));
        netlink.set_master(a.index, 0)?;
        assert_eq!(netlink.link_by_name("a")?.master, None);
        Ok(())
    });
}

#[test]
fn link_moves_to_another_namespace() {
    let target = TestNetns::new("target");
    with_veth("move", |netlink, a, _| {
        netlink.move_link(a.index, std::os::fd::AsFd::as_fd(target.netns.as_ref().expect("open")))?;
        assert_eq!(netlink.find_link("a")?, None);
        Ok(())
    });
    // Its peer's namespace is gone by now, so the pair is, too, or about to be.
    target.run(|| Netlink::open().and_then(|mut netlink| netlink.links())).expect("links");
}

#[test]
fn addresses_of_both_families_come_and_go() {
    with_veth("address", |netlink, a, _| {
        for address in [net("10.9.0.1/24"), net("10.9.1.1/32"), net("fd00:9::1/64")] {
            netlink.add_address(a.index, address)?;
            // Taking over after a restart adds it again.
            netlink.add_address(a.index, address)?;
            let rows = netlink.addresses()?;
            let row = rows.iter().find(|row| row.address == address).expect("listed");
            assert_eq!((row.ifindex, row.is_global), (a.index, true));
            netlink.delete_address(a.index, address)?;
            assert!(netlink.addresses()?.iter().all(|row| row.address != address));
        }
        assert!(netlink.addresses()?.iter().any(|row| row.address == net("127.0.0.1/8") && !row.is_global));
        Ok(())
    });
}

#[test]
fn routes_come_and_go_with_all_their_attributes() {
    with_veth("route", |netlink, a, _| {
        netlink.add_address(a.index, net("10.9.0.2/24"))?;
        let default = Route {
            dst: net("0.0.0.0/0"),
            via: Some(ip("10.9.0.1")),
            ifindex: a.index,
            src: None,
            mtu: None,
        };
        let cluster = Route {
            dst: net("10.244.0.0/16"),
            via: None,
            ifindex: a.index,
            src: Some(ip("10.9.0.2")),
            mtu: Some(1400),
        };
        for route in [default, cluster] {
            netlink.add_route(route)?;
            assert!(netlink.routes()?.contains(&route), "{route:?} in {:?}", netlink.routes()?);
            assert!(netlink.add_route(route).expect_err("twice").is_exists());
            netlink.replace_route(route)?;
            netlink.delete_route(route)?;
            assert!(!netlink.routes()?.contains(&route));
            assert!(netlink.delete_route(route).expect_err("twice").is_not_found());
        }
        Ok(())
    });
}

#[test]
fn on_link_gateway_outside_the_prefix_needs_its_own_route_first() {
    // What a pod with a /32 does: a link route to the gateway, then the default through it.
    with_veth("via", |netlink, a, _| {
        netlink.add_address(a.index, net("10.9.0.2/32"))?;
        let default = Route {
            dst: net("0.0.0.0/0"),
            via: Some(ip("10.9.0.1")),
            ifindex: a.index,
            src: None,
            mtu: None,
        };
        assert!(netlink.add_route(default).is_err());
        netlink.add_route(Route { dst: net("10.9.0.1/32"), via: None, ..default })?;
        netlink.add_route(default)
    });
}

#[test]
fn routes_of_ipv6_come_and_go() {
    with_veth("route6", |netlink, a, _| {
        netlink.add_address(a.index, net("fd00:9::2/64"))?;
        let default =
            Route { dst: net("::/0"), via: Some(ip("fd00:9::1")), ifindex: a.index, src: None, mtu: None };
        netlink.add_route(default)?;
        assert!(netlink.routes()?.contains(&default));
        netlink.delete_route(default)
    });
}

#[test]
fn errors_name_operation_object_and_errno() {
    with_veth("error", |netlink, _, _| {
        let error = netlink.link_by_name("nosuch0").expect_err("no such link");
        assert!(error.is_not_found());
        assert_eq!(error.errno(), Some(libc::ENODEV));
        assert_eq!(error.to_string(), "cannot find interface nosuch0");
        let error = netlink.add_address(4711, net("10.9.0.1/24")).expect_err("no such link");
        assert_eq!(error.to_string(), "cannot add address 10.9.0.1/24 on interface 4711");
        // The connection is still good.
        netlink.links().map(drop)
    });
}

#[test]
fn large_dumps_arrive_whole() {
    with_veth("large", |netlink, a, _| {
        for third in 0..8_u8 {
            for fourth in 0..=249_u8 {
                netlink.add_address(a.index, net(&format!("10.{third}.0.{fourth}/32")))?;
            }
        }
        let count = netlink
            .addresses()?
            .into_iter()
            .filter(|row| row.ifindex == a.index && row.address.addr().is_ipv4());
        assert_eq!(count.count(), 2000);
        Ok(())
    });
}

#[test]
fn monitor_tells_of_addresses_that_come_and_go() {
    with_veth("monitor", |netlink, a, _| {
        let mut monitor = AddressMonitor::open()?;
        monitor.set_nonblocking(true)?;
        assert_eq!(monitor.recv()?, []);
        let address = net("10.9.0.1/24");
        netlink.add_address(a.index, address)?;
        netlink.delete_address(a.index, address)?;
        // Notifications are queued before the request is acknowledged.
        let mut changes = Vec::new();
        loop {
            let more = monitor.recv()?;
            if more.is_empty() {
                break;
            }
            changes.extend(more);
        }
        let [AddressChange::Added(added), AddressChange::Removed(removed)] = changes[..] else {
            panic!("{changes:?}");
        };
        assert_eq!(added, removed);
        assert_eq!((added.address, added.ifindex), (address, a.index));
        Ok(())
    });
}
