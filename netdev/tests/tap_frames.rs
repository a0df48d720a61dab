//! What a TAP does with frames: headers, superframes, refusals, queues.

mod support;

use std::net::UdpSocket;

use netdev::{Device, DeviceError, Sent, TapOptions, VNET_HDR_LEN};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::UdpGsoSegment;
use protocol::link::DeviceKind;
use support::tap::{MakeTap, PATIENCE, attach_when_free, next_frame, plain, pod, vnet};
use support::{TestNetns, output_of, tap_options};

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`.
const NEEDS_CSUM: u8 = 1;
/// `VIRTIO_NET_HDR_GSO_UDP_L4`.
const GSO_UDP_L4: u8 = 5;
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
fn every_frame_starts_with_a_twelve_byte_header() {
    for (what, make) in [("vnet", vnet as MakeTap), ("plain", plain)] {
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
            DeviceKind::UdpTunnel | DeviceKind::PacketSocket => unreachable!("not a TAP"),
        };
        assert_eq!(next_frame(&mut tap).len(), VNET_HDR_LEN + 42 + payload, "{kind:?}");
    }
}

#[test]
fn writing_to_a_device_that_is_down_is_an_error_of_its_own() {
    for (what, make) in [("vnet", vnet as MakeTap), ("plain", plain)] {
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
