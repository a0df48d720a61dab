//! What the code assumes of the kernel's TAP driver, proved on the running kernel.

mod support;

use std::net::UdpSocket;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use netdev::netlink::Netlink;
use netdev::{Device, DeviceError, Netns, PlainTap, Sent, Tap, TapError, TapOptions, VNET_HDR_LEN, VnetTap};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{UdpGroSegment, UdpGsoSegment};
use protocol::link::DeviceKind;
use protocol::{Mac, Offloads};
use support::{TestNetns, output_of, tap_options};

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`.
const NEEDS_CSUM: u8 = 1;
/// `VIRTIO_NET_HDR_GSO_UDP_L4`.
const GSO_UDP_L4: u8 = 5;
/// Long enough for a loaded machine; nothing here waits that long when it works.
const PATIENCE: Duration = Duration::from_secs(20);

/// A pod-like namespace: `eth0` up with 10.9.0.1/24, silent but for what the test sends, and a
/// neighbour 10.9.0.2.
fn pod(ns: &TestNetns, make: impl FnOnce(&TapOptions) -> Result<Tap, TapError> + Send) -> Tap {
    let tap = ns.run(|| {
        netdev::sysctl::write("net.ipv6.conf.default.disable_ipv6", "1").expect("sysctl");
        let tap = make(&tap_options("eth0")).expect("TAP");
        let mut netlink = Netlink::open().expect("netlink");
        let link = netlink.link_by_name("eth0").expect("eth0");
        netlink.add_address(link.index, "10.9.0.1/24".parse::<IpNet>().expect("net")).expect("address");
        netlink.set_up(link.index).expect("up");
        tap
    });
    let neighbor =
        ["-n", &ns.name, "neigh", "replace", "10.9.0.2", "lladdr", "0a:58:0a:09:00:02", "dev", "eth0"];
    output_of("ip", &neighbor);
    tap
}

fn vnet(options: &TapOptions) -> Result<Tap, TapError> {
    VnetTap::create(options).map(Tap::Vnet)
}

fn plain(options: &TapOptions) -> Result<Tap, TapError> {
    PlainTap::create(options).map(Tap::Plain)
}

/// The next frame.
#[track_caller]
fn next_frame(tap: &mut Tap) -> Vec<u8> {
    let mut buf = vec![0xaa; 80_000];
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(len) = tap.recv(&mut buf).expect("recv") {
            buf.truncate(len);
            return buf;
        }
        assert!(Instant::now() < deadline, "no frame");
        wait_readable(tap);
    }
}

fn wait_readable(tap: &Tap) -> PollFlags {
    let mut fds = [PollFd::new(tap.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::from(1000_u16)).expect("poll");
    fds[0].revents().unwrap_or(PollFlags::empty())
}

/// Attaches as soon as no copy of the last descriptor is left; see [`assert_vanishes`].
#[track_caller]
fn attach_when_free(kind: DeviceKind, options: &TapOptions) -> Tap {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match Tap::attach(kind, options) {
            Err(TapError::Busy { .. }) => assert!(Instant::now() < deadline, "still busy"),
            result => return result.expect("attach"),
        }
    }
}

/// The interface goes. Not always at once: a program that another test is just starting holds a
/// copy of every descriptor between fork and exec.
#[track_caller]
fn assert_vanishes(name: &str) {
    let mut netlink = Netlink::open().expect("netlink");
    let deadline = Instant::now() + PATIENCE;
    while netlink.find_link(name).expect("find").is_some() {
        assert!(Instant::now() < deadline, "{name} stays");
        std::thread::yield_now();
    }
}

/// A UDP socket in the namespace that sends one superframe of `segments` datagrams per `send`.
fn superframe_socket(ns: &TestNetns, segment_size: u16) -> UdpSocket {
    ns.run(|| {
        let socket = UdpSocket::bind("10.9.0.1:5000").expect("bind");
        setsockopt(&socket, UdpGsoSegment, &i32::from(segment_size)).expect("UDP_SEGMENT");
        socket.connect("10.9.0.2:6000").expect("connect");
        socket.set_read_timeout(Some(PATIENCE)).expect("timeout");
        socket
    })
}

/// The answer to an IPv4 UDP frame: everything swapped, so that all checksums stay right.
fn turned_around(frame: &[u8]) -> Vec<u8> {
    let mut answer = frame.to_vec();
    let ethernet = &mut answer[VNET_HDR_LEN..];
    for (at, len) in [(0, 6), (26, 4), (34, 2)] {
        let (first, second) = ethernet[at..at + 2 * len].split_at_mut(len);
        first.swap_with_slice(second);
    }
    answer
}

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
    for (name, create) in [("vnet0", vnet as fn(&TapOptions) -> _), ("plain0", plain)] {
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
fn every_frame_starts_with_a_twelve_byte_header() {
    for (what, make) in [("vnet", vnet as fn(&TapOptions) -> _), ("plain", plain)] {
        let ns = TestNetns::new(what);
        let mut tap = pod(&ns, make);
        let socket = ns.run(|| UdpSocket::bind("10.9.0.1:5000").expect("bind"));
        socket.send_to(b"hello", "10.9.0.2:6000").expect("send");
        let frame = next_frame(&mut tap);
        assert_eq!(frame.len(), VNET_HDR_LEN + 14 + 20 + 8 + 5, "{what}");
        assert_eq!(frame[VNET_HDR_LEN..][..6], [0x0a, 0x58, 0x0a, 0x09, 0, 2], "{what}");
        assert_eq!(frame[10..12], [0, 0], "{what}: num_buffers is not what the buffer held before");
    }
}

#[test]
fn plain_device_hands_out_complete_checksums() {
    let ns = TestNetns::new("plain");
    let mut tap = pod(&ns, plain);
    let socket = ns.run(|| UdpSocket::bind("10.9.0.1:5000").expect("bind"));
    socket.send_to(b"hello", "10.9.0.2:6000").expect("send");
    let frame = next_frame(&mut tap);
    assert_eq!(frame[..VNET_HDR_LEN], [0; VNET_HDR_LEN]);
    assert_eq!(tap.send(&turned_around(&frame)).expect("send"), Sent::Sent);
    let mut buf = [0; 64];
    socket.set_read_timeout(Some(PATIENCE)).expect("timeout");
    assert_eq!(socket.recv(&mut buf).expect("the kernel believes the checksum"), 5);
}

#[test]
fn superframe_passes_whole_in_both_directions() {
    let ns = TestNetns::new("super");
    let mut tap = pod(&ns, vnet);
    let socket = superframe_socket(&ns, 1400);
    let payload: Vec<u8> = (0..14_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    socket.send(&payload).expect("send");
    let frame = next_frame(&mut tap);
    assert_eq!(frame.len(), VNET_HDR_LEN + 14 + 20 + 8 + payload.len());
    assert_eq!(frame[0] & NEEDS_CSUM, NEEDS_CSUM);
    assert_eq!(frame[1], GSO_UDP_L4);
    assert_eq!(u16::from_le_bytes([frame[4], frame[5]]), 1400, "gso_size");

    assert_eq!(tap.send(&turned_around(&frame)).expect("send"), Sent::Sent);
    let mut received = Vec::new();
    while received.len() < payload.len() {
        let mut buf = [0; 2000];
        let len = socket.recv(&mut buf).expect("datagram");
        assert_eq!(len, 1400);
        received.extend_from_slice(&buf[..len]);
    }
    assert_eq!(received, payload);
}

#[test]
fn largest_superframe_passes_whole() {
    let ns = TestNetns::new("largest");
    let mut tap = pod(&ns, vnet);
    let socket = superframe_socket(&ns, 1400);
    let payload = vec![7; 65_507 / 1400 * 1400];
    socket.send(&payload).expect("send");
    assert_eq!(next_frame(&mut tap).len(), VNET_HDR_LEN + 42 + payload.len());
    setsockopt(&socket, UdpGroSegment, &true).expect("UDP_GRO");
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
fn attaching_plain_turns_superframes_off_and_attaching_vnet_turns_them_on_again() {
    let ns = TestNetns::new("sticky");
    let options = TapOptions { persistent: true, ..tap_options("eth0") };
    drop(pod(&ns, |_| vnet(&options)));
    for kind in [DeviceKind::PlainTap, DeviceKind::VnetTap] {
        let mut tap = ns.run(|| attach_when_free(kind, &options));
        // Attaching does not bring back the neighbour the lost carrier took away.
        output_of(
            "ip",
            &["-n", &ns.name, "neigh", "replace", "10.9.0.2", "lladdr", "0a:58:0a:09:00:02", "dev", "eth0"],
        );
        let socket = superframe_socket(&ns, 1000);
        socket.send(&[7; 4000]).expect("send");
        let payload = match kind {
            DeviceKind::PlainTap => 1000,
            DeviceKind::VnetTap => 4000,
        };
        assert_eq!(next_frame(&mut tap).len(), VNET_HDR_LEN + 42 + payload, "{kind:?}");
    }
}

#[test]
fn carrier_is_what_we_say() {
    let ns = TestNetns::new("carrier");
    let tap = pod(&ns, vnet);
    let carrier = || ns.run(|| Netlink::open().expect("netlink").link_by_name("eth0").expect("link").carrier);
    assert!(carrier());
    tap.set_carrier(false).expect("off");
    assert!(!carrier());
    tap.set_carrier(true).expect("on");
    assert!(carrier());
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
    for (what, make) in [("vnet", vnet as fn(&TapOptions) -> _), ("plain", plain)] {
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
fn writing_to_a_device_that_is_down_is_an_error_of_its_own() {
    for (what, make) in [("vnet", vnet as fn(&TapOptions) -> _), ("plain", plain)] {
        let ns = TestNetns::new(what);
        let mut tap = ns.run(|| make(&tap_options("eth0")).expect("TAP"));
        let error = tap.send(&[0; 100]).expect_err("down");
        assert!(matches!(error, DeviceError::Down { .. }), "{error:?}");
        assert_eq!(tap.recv(&mut [0; 100]).expect("reading is not affected"), None);
    }
}

#[test]
fn frame_the_kernel_does_not_believe_is_refused_and_the_next_one_passes() {
    let ns = TestNetns::new("refuse");
    let mut tap = pod(&ns, vnet);
    let mut unknown_gso = vec![0; 100];
    unknown_gso[1] = 0x7f;
    let mut checksum_beyond_the_end = vec![0; 100];
    checksum_beyond_the_end[..VNET_HDR_LEN].copy_from_slice(&[1, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0]);
    for bad in [vec![0; VNET_HDR_LEN + 4], vec![0; 3], unknown_gso, checksum_beyond_the_end] {
        let error = tap.send(&bad).expect_err("refused");
        assert!(matches!(error, DeviceError::Refused { .. }), "{error:?}");
    }
    assert_eq!(tap.send(&[0; 100]).expect("send"), Sent::Sent);
}

#[test]
fn plain_device_refuses_frames_that_need_an_offload() {
    let ns = TestNetns::new("needs");
    let mut tap = pod(&ns, plain);
    for (at, value) in [(0, NEEDS_CSUM), (1, GSO_UDP_L4)] {
        let mut frame = vec![0; 100];
        frame[at] = value;
        assert!(matches!(tap.send(&frame), Err(DeviceError::Refused { .. })));
    }
    assert!(matches!(tap.send(&[0; 5]), Err(DeviceError::Refused { .. })));
    assert_eq!(tap.send(&[0; 100]).expect("send"), Sent::Sent);
}

#[test]
fn frames_beyond_the_queue_length_are_dropped_by_the_kernel() {
    let ns = TestNetns::new("queue");
    let mut tap = pod(&ns, |options| vnet(&TapOptions { txqueuelen: 10, ..options.clone() }));
    let socket = ns.run(|| UdpSocket::bind("10.9.0.1:5000").expect("bind"));
    for _ in 0..50 {
        socket.send_to(b"x", "10.9.0.2:6000").expect("send");
    }
    let mut frames = 0;
    while tap.recv(&mut [0; 2000]).expect("recv").is_some() {
        frames += 1;
    }
    assert!((1..=16).contains(&frames), "{frames} frames waited in a queue of 10");
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
