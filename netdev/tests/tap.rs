//! How a TAP comes, changes hands and goes; what the code assumes of the kernel's driver.

mod support;

use std::net::UdpSocket;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use netdev::netlink::Netlink;
use netdev::{Device, Netns, PlainTap, Tap, TapError, TapOptions, VNET_HDR_LEN, VnetTap};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use protocol::link::DeviceKind;
use protocol::{Mac, Offloads};
use support::tap::{
    MakeTap, PATIENCE, assert_vanishes, attach_when_free, next_frame, plain, pod, vnet, wait_readable,
};
use support::{TestNetns, tap_options};

#[test]
fn this_kernel_takes_all_offloads() {
    let ns = TestNetns::new("offload");
    let tap = ns.run(|| VnetTap::create(&tap_options("eth0")).expect("TAP"));
    let all = [Offloads::CSUM, Offloads::TSO4, Offloads::TSO6, Offloads::USO4, Offloads::USO6];
    for offload in all {
        assert!(tap.offloads().contains(offload), "{offload} missing in {}", tap.offloads());
    }
}

#[test]
fn created_device_has_the_settings_asked_for() {
    let ns = TestNetns::new("settings");
    for (name, create) in [("vnet0", vnet as MakeTap), ("plain0", plain)] {
        ns.run(|| {
            let options = tap_options(name);
            let tap = create(&options).expect("TAP");
            let link = Netlink::open().expect("netlink").link_by_name(name).expect("link");
            assert_eq!((link.mac, link.ip_mtu, link.txqueuelen), (Some(options.mac), 1450, 500));
            assert_eq!(link.kind.as_deref(), Some("tun"));
            assert!(!link.up, "whoever makes it raises it");
            assert_eq!(tap.name(), name);
        });
    }
}

#[test]
fn persistent_device_survives_and_attaching_keeps_its_settings() {
    let ns = TestNetns::new("persist");
    let options = TapOptions { persistent: true, ..tap_options("eth0") };
    let tap = pod(&ns, |_| vnet(&options));
    drop(tap);
    ns.run(|| {
        let mut netlink = Netlink::open().expect("netlink");
        let deadline = Instant::now() + PATIENCE;
        while netlink.link_by_name("eth0").expect("still there").carrier {
            assert!(Instant::now() < deadline, "nobody holds the other end");
        }
        let other = TapOptions { mac: Mac([2; 6]), ip_mtu: 1000, txqueuelen: 1, ..options.clone() };
        let tap = attach_when_free(DeviceKind::VnetTap, &other);
        assert!(tap.offloads().contains(Offloads::TSO4));
        let link = netlink.link_by_name("eth0").expect("link");
        assert_eq!((link.mac, link.ip_mtu, link.txqueuelen), (Some(options.mac), 1450, 500));
        assert!(link.up && link.carrier);
        assert!(!netlink.addresses().expect("addresses").is_empty());
        tap.set_persistent(false).expect("clear");
        drop(tap);
        assert_vanishes("eth0");
    });
}

#[test]
fn device_that_is_not_persistent_goes_with_its_descriptor() {
    let ns = TestNetns::new("vanish");
    ns.run(|| {
        drop(VnetTap::create(&tap_options("eth0")).expect("TAP"));
        assert_vanishes("eth0");
    });
}

#[test]
fn carrier_is_what_we_say() {
    let ns = TestNetns::new("carrier");
    let tap = pod(&ns, vnet);
    let link = || ns.run(|| Netlink::open().expect("netlink").link_by_name("eth0").expect("link"));
    // The kernel follows in the background.
    let settles = |on: bool| eventually(|| link().operational == on);
    assert!(link().carrier);
    tap.set_carrier(false).expect("off");
    assert!(!link().carrier && settles(false));
    tap.set_carrier(true).expect("on");
    assert!(link().carrier && settles(true));
}

/// Whether it comes to be so within [`PATIENCE`].
fn eventually(condition: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        if Instant::now() > deadline {
            return false;
        }
    }
    true
}

#[test]
fn device_belongs_to_one_descriptor_and_a_name_to_one_device() {
    let ns = TestNetns::new("busy");
    ns.run(|| {
        let options = tap_options("eth0");
        let tap = VnetTap::create(&options).expect("TAP");
        for result in [VnetTap::create(&options).map(drop), PlainTap::create(&options).map(drop)] {
            assert!(matches!(result, Err(TapError::Exists { .. })), "{result:?}");
        }
        assert!(matches!(VnetTap::attach(&options), Err(TapError::Busy { .. })));
        assert!(matches!(PlainTap::attach(&options), Err(TapError::Busy { .. })));
        drop(tap);
        assert_vanishes("eth0");
        for result in [VnetTap::attach(&options).map(drop), PlainTap::attach(&options).map(drop)] {
            assert!(matches!(result, Err(TapError::NotFound { .. })), "{result:?}");
        }
    });
}

#[test]
fn multi_queue_device_takes_several_descriptors_of_its_mode_only() {
    let ns = TestNetns::new("queues");
    ns.run(|| {
        let options = TapOptions { multi_queue: true, ..tap_options("eth0") };
        let first = VnetTap::create(&options).expect("TAP");
        let second = VnetTap::attach(&options).expect("second queue");
        let single = TapOptions { multi_queue: false, ..options };
        assert!(matches!(VnetTap::attach(&single), Err(TapError::Refused { .. })));
        drop((first, second));
    });
}

#[test]
fn name_of_another_kind_of_interface_is_refused() {
    let ns = TestNetns::new("veth");
    ns.run(|| {
        Netlink::open().and_then(|mut netlink| netlink.add_veth("a", "b")).expect("veth");
        assert!(VnetTap::create(&tap_options("a")).is_err());
        assert!(VnetTap::attach(&tap_options("a")).is_err());
        for name in ["", "sixteen-bytes-xx", "a/b", "a b", "tap%d", ".."] {
            assert!(matches!(VnetTap::create(&tap_options(name)), Err(TapError::BadName { .. })), "{name:?}");
        }
    });
}

#[test]
fn failed_configuration_leaves_no_device() {
    let ns = TestNetns::new("undo");
    ns.run(|| {
        let multicast = TapOptions { mac: Mac([1, 0, 0, 0, 0, 1]), persistent: true, ..tap_options("eth0") };
        for result in [VnetTap::create(&multicast).map(drop), PlainTap::create(&multicast).map(drop)] {
            assert!(matches!(result, Err(TapError::Configure { .. })), "{result:?}");
            assert_vanishes("eth0");
        }
    });
}

#[test]
fn deleted_device_is_gone() {
    for (what, make) in [("vnet", vnet as MakeTap), ("plain", plain)] {
        let ns = TestNetns::new(what);
        let mut tap = pod(&ns, make);
        ns.run(|| {
            let mut netlink = Netlink::open().expect("netlink");
            let link = netlink.link_by_name("eth0").expect("link");
            netlink.delete_link(link.index).expect("delete");
        });
        let error = tap.recv(&mut [0; 100]).expect_err("no device");
        assert!(error.is_gone(), "{error:?}");
        assert_eq!(error.to_string(), "device eth0 is gone");
        assert!(tap.send(&[0; 100]).expect_err("no device").is_gone());
        assert!(wait_readable(&tap).contains(PollFlags::POLLERR), "a poll loop hears of it");
    }
}

#[test]
fn device_moved_into_a_namespace_is_gone_when_that_is_deleted() {
    let outside = TestNetns::new("outside");
    let mut inside = TestNetns::new("inside");
    let mut tap = outside.run(|| {
        let tap = VnetTap::create(&tap_options("tap0")).expect("TAP");
        let mut netlink = Netlink::open().expect("netlink");
        let link = netlink.link_by_name("tap0").expect("link");
        netlink.move_link(link.index, inside.netns.as_ref().expect("open").as_fd()).expect("move");
        tap
    });
    assert_eq!(tap.recv(&mut [0; 100]).expect("works across namespaces"), None);
    inside.release();
    // The kernel takes namespaces apart in the background.
    let deadline = Instant::now() + PATIENCE;
    loop {
        match tap.recv(&mut [0; 100]) {
            Err(error) => {
                assert!(error.is_gone(), "{error:?}");
                break;
            }
            Ok(_) => assert!(Instant::now() < deadline, "never gone"),
        }
        poll(&mut [PollFd::new(tap.as_fd(), PollFlags::empty())], PollTimeout::from(50_u16)).expect("poll");
    }
}

#[test]
fn device_made_inside_a_namespace_keeps_it_alive() {
    let mut ns = TestNetns::new("pinned");
    let tap = pod(&ns, vnet);
    ns.release();
    let same: Netns = tap.netns().expect("namespace of the device");
    let links =
        same.run(|| Netlink::open().and_then(|mut netlink| netlink.links())).expect("enter").expect("links");
    assert!(links.iter().any(|link| link.name == "eth0"));
}

#[test]
fn descriptor_works_in_other_hands() {
    let ns = TestNetns::new("handover");
    let tap = pod(&ns, vnet);
    let (kind, offloads) = (tap.device_kind(), tap.offloads());
    let fd = OwnedFd::from(tap);
    let copy = fd.try_clone().expect("copy");
    let mut tap = Tap::from_fd(kind, fd, offloads);
    assert_eq!((tap.name(), tap.offloads()), ("eth0", offloads));
    let socket = ns.run(|| UdpSocket::bind("10.9.0.1:5000").expect("bind"));
    socket.send_to(b"hello", "10.9.0.2:6000").expect("send");
    assert_eq!(next_frame(&mut tap).len(), VNET_HDR_LEN + 47);
    drop(tap);
    // The copy keeps the device, and frames wait in its queue.
    socket.send_to(b"hello", "10.9.0.2:6000").expect("send");
    let mut tap = Tap::from_fd(kind, copy, offloads);
    assert_eq!(next_frame(&mut tap).len(), VNET_HDR_LEN + 47);
}

#[test]
fn best_device_is_a_vnet_device_here() {
    let ns = TestNetns::new("best");
    let tap = ns.run(|| Tap::create_best(&tap_options("eth0")).expect("TAP"));
    assert_eq!(tap.device_kind(), DeviceKind::VnetTap);
}
