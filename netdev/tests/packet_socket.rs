//! The socket on the node's interface, on the real kernel: a veth between two namespaces, and a packet socket at either end.

mod support;

use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use netdev::{Device, DeviceError, Netlink, PacketFilter, PacketSocket, Sent, VNET_HDR_LEN, sysctl};
use protocol::{Mac, Offloads};
use support::{TestNetns, output_of};

const NEAR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const FAR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const NEAR_MAC: Mac = Mac([0x02, 0, 0, 0, 0, 1]);
const FAR_MAC: Mac = Mac([0x02, 0, 0, 0, 0, 2]);
/// A load balancer's, say.
const VIRTUAL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 100);

const NEEDS_CSUM: u8 = 1;
const GSO_TCPV4: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// Two machines on a cable; each has a socket.
struct Bed {
    near_netns: TestNetns,
    far_netns: TestNetns,
    near: PacketSocket,
    far: PacketSocket,
}

impl Bed {
    fn new(filter: &PacketFilter) -> Self {
        let (near_netns, far_netns) = (TestNetns::new("near"), TestNetns::new("far"));
        let quiet = || sysctl::write("net.ipv6.conf.default.disable_ipv6", "1").expect("sysctl");
        near_netns.run(quiet);
        far_netns.run(quiet);
        near_netns.run(|| {
            let mut netlink = Netlink::open().expect("netlink");
            netlink.add_veth("nic0", "far0").expect("veth");
            let link = netlink.link_by_name("far0").expect("far0");
            let other = far_netns.netns.as_ref().expect("not released");
            netlink.move_link(link.index, std::os::fd::AsFd::as_fd(other)).expect("move");
        });
        let everything = PacketFilter { whole: vec!["0.0.0.0/0".parse().expect("net")], ..filter.clone() };
        let near = socket(&near_netns, "nic0", NEAR, NEAR_MAC, filter);
        let far = socket(&far_netns, "far0", FAR, FAR_MAC, &everything);
        let bed = Self { near_netns, far_netns, near, far };
        bed.wait_for_carrier();
        bed
    }

    /// Until both ends are operational, the kernel throws away what is sent.
    fn wait_for_carrier(&self) {
        for (netns, name) in [(&self.near_netns, "nic0"), (&self.far_netns, "far0")] {
            netns.run(|| {
                let mut netlink = Netlink::open().expect("netlink");
                let deadline = Instant::now() + Duration::from_secs(20);
                while !netlink.link_by_name(name).expect("link").operational {
                    assert!(Instant::now() < deadline, "{name} does not come up");
                    std::thread::yield_now();
                }
            });
        }
    }
}

fn socket(netns: &TestNetns, name: &str, address: Ipv4Addr, mac: Mac, filter: &PacketFilter) -> PacketSocket {
    netns.run(|| {
        let mut netlink = Netlink::open().expect("netlink");
        let link = netlink.link_by_name(name).expect("link");
        netlink.set_mac(link.index, mac).expect("mac");
        let socket = PacketSocket::open(name, link.index, filter).expect("socket");
        netlink.add_address(link.index, format!("{address}/24").parse().expect("net")).expect("address");
        netlink.set_up(link.index).expect("up");
        socket
    })
}

/// All there is for the node, and two ranges of its ports.
fn usual() -> PacketFilter {
    PacketFilter {
        whole: vec![VIRTUAL.into()],
        shared: vec![NEAR],
        ports: vec![30_000..=32_767, 61_000..=65_535],
    }
}

/// A frame from far to near, without a virtio header.
fn frame(to: Ipv4Addr, protocol: u8, fragment: u16, l4: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend_from_slice(&NEAR_MAC.0);
    frame.extend_from_slice(&FAR_MAC.0);
    frame.extend_from_slice(&[8, 0, 0x45, 0]);
    frame.extend_from_slice(&u16::try_from(20 + l4.len()).expect("short").to_be_bytes());
    frame.extend_from_slice(&[0, 1]);
    frame.extend_from_slice(&fragment.to_be_bytes());
    frame.extend_from_slice(&[64, protocol, 0, 0]);
    frame.extend_from_slice(&FAR.octets());
    frame.extend_from_slice(&to.octets());
    let checksum = !sum(&frame[14..34]);
    frame[24..26].copy_from_slice(&checksum.to_be_bytes());
    frame.extend_from_slice(l4);
    frame
}

fn udp(to: Ipv4Addr, port: u16) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    frame(to, UDP, 0, &[0x10, 0, high, low, 0, 12, 0, 0, b't', b'e', b's', b't'])
}

/// RFC 1071, without the final complement.
fn sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    u16::try_from((folded & 0xffff) + (folded >> 16)).expect("folded")
}

fn pseudo_header_sum(to: Ipv4Addr, protocol: u8, len: usize) -> u16 {
    let mut bytes = [FAR.octets(), to.octets()].concat();
    bytes.extend_from_slice(&[0, protocol]);
    bytes.extend_from_slice(&u16::try_from(len).expect("short").to_be_bytes());
    sum(&bytes)
}

/// A TCP segment of `payload` bytes with a checksum that is still to be completed.
fn tcp_segment(to: Ipv4Addr, port: u16, payload: usize) -> Vec<u8> {
    let mut l4 = vec![0x10, 0];
    l4.extend_from_slice(&port.to_be_bytes());
    l4.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0]);
    l4.extend_from_slice(&pseudo_header_sum(to, TCP, 20 + payload).to_be_bytes());
    l4.extend_from_slice(&[0, 0]);
    l4.extend((0..payload).map(|at| u8::try_from(at % 251).expect("a byte")));
    frame(to, TCP, 0, &l4)
}

/// Puts the 12-byte header before a frame; `segment` 0 is none.
fn with_header(frame: &[u8], needs_csum: bool, segment: u16) -> Vec<u8> {
    let mut all = vec![0; VNET_HDR_LEN];
    if needs_csum {
        all[0] = NEEDS_CSUM;
        all[6..8].copy_from_slice(&34u16.to_le_bytes());
        all[8..10].copy_from_slice(&16u16.to_le_bytes());
    }
    if segment > 0 {
        all[1] = GSO_TCPV4;
        all[2..4].copy_from_slice(&54u16.to_le_bytes());
        all[4..6].copy_from_slice(&segment.to_le_bytes());
    }
    all.extend_from_slice(frame);
    all
}

#[track_caller]
fn send(mut from: &PacketSocket, frame: &[u8]) {
    assert_eq!(from.send(frame).expect("send"), Sent::Sent);
}

/// Everything but ARP that comes before the frame `last`, which comes.
#[track_caller]
fn received_until(mut socket: &PacketSocket, last: &[u8]) -> Vec<Vec<u8>> {
    let mut buffer = vec![0xaa; 80_000];
    let mut all = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match socket.recv(&mut buffer).expect("recv") {
            Some(len) if buffer[VNET_HDR_LEN..len] == *last => return all,
            // The two stacks ask for each other.
            Some(_) if buffer[VNET_HDR_LEN + 12..][..2] == [8, 6] => {}
            Some(len) => all.push(buffer[..len].to_vec()),
            None => assert!(Instant::now() < deadline, "the frame does not come; others: {}", all.len()),
        }
    }
}

/// What near's socket gets of `frames`, without headers.
#[track_caller]
fn passed(bed: &Bed, frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
    for frame in frames {
        send(&bed.far, &with_header(frame, false, 0));
    }
    // ARP always passes.
    let last = arp();
    send(&bed.far, &with_header(&last, false, 0));
    received_until(&bed.near, &last).into_iter().map(|frame| frame[VNET_HDR_LEN..].to_vec()).collect()
}

/// A reply that nobody asked for, nor will, which the node's stack ignores.
fn arp() -> Vec<u8> {
    let mut frame = [NEAR_MAC.0, FAR_MAC.0].concat();
    frame.extend_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 2]);
    frame.extend_from_slice(&FAR_MAC.0);
    frame.extend_from_slice(&[198, 51, 100, 9]);
    frame.extend_from_slice(&NEAR_MAC.0);
    frame.extend_from_slice(&NEAR.octets());
    frame
}

#[test]
fn superframes_pass_whole_with_partial_checksums_both_ways() {
    let bed = Bed::new(&usual());
    let superframe = with_header(&tcp_segment(NEAR, 30_080, 40_000), true, 1400);
    send(&bed.far, &superframe);
    send(&bed.far, &with_header(&arp(), false, 0));
    assert!(received_until(&bed.near, &arp()).contains(&superframe));
    send(&bed.near, &superframe_to_far());
    send(&bed.near, &with_header(&arp_to_far(), false, 0));
    // Beside what near's stack has answered.
    assert!(received_until(&bed.far, &arp_to_far()).contains(&superframe_to_far()));
}

fn superframe_to_far() -> Vec<u8> {
    let mut frame = with_header(&tcp_segment(VIRTUAL, 80, 40_000), true, 1400);
    swap_macs(&mut frame[VNET_HDR_LEN..]);
    frame
}

fn arp_to_far() -> Vec<u8> {
    let mut frame = arp();
    swap_macs(&mut frame);
    frame
}

fn swap_macs(frame: &mut [u8]) {
    let (to, from) = frame.split_at_mut(6);
    to.swap_with_slice(&mut from[..6]);
}

#[test]
fn what_the_interface_cannot_segment_or_checksum_the_kernel_does() {
    let bed = Bed::new(&usual());
    let off = "-K far0 tx off sg off tso off gso off";
    bed.far_netns.run(|| output_of("ethtool", &off.split(' ').collect::<Vec<_>>()));
    let whole = tcp_segment(NEAR, 30_080, 4000);
    send(&bed.far, &with_header(&whole, true, 1400));
    send(&bed.far, &with_header(&arp(), false, 0));
    let segments = received_until(&bed.near, &arp());
    let lengths: Vec<usize> = segments.iter().map(|segment| segment.len() - VNET_HDR_LEN - 54).collect();
    assert_eq!(lengths, [1400, 1400, 1200]);
    let mut payload = Vec::new();
    for segment in &segments {
        assert_eq!(segment[0] & NEEDS_CSUM, 0, "complete");
        let tcp = &segment[VNET_HDR_LEN + 34..];
        let folded = u32::from(sum(tcp)) + u32::from(pseudo_header_sum(NEAR, TCP, tcp.len()));
        assert_eq!(u16::try_from((folded & 0xffff) + (folded >> 16)), Ok(0xffff), "checksum");
        payload.extend_from_slice(&tcp[20..]);
    }
    assert_eq!(payload, whole[54..]);
}

#[test]
fn the_filter_passes_what_may_be_the_switchs_and_nothing_else() {
    let bed = Bed::new(&usual());
    let icmp = |kind| frame(NEAR, 1, 0, &[kind, 0, 0, 0, 0, 0, 0, 0]);
    let mine = [
        udp(NEAR, 30_000),
        udp(NEAR, 32_767),
        udp(NEAR, 65_535),
        frame(NEAR, 132, 0, &[0x10, 0, 0xf0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        frame(NEAR, UDP, 0x2000, &udp(NEAR, 61_000)[34..]),
        frame(NEAR, UDP, 0x0100, b"a later fragment"),
        icmp(0),
        icmp(3),
        icmp(11),
        udp(VIRTUAL, 80),
        frame(VIRTUAL, 1, 0, &[8, 0, 0, 0, 0, 0, 0, 0]),
    ];
    let mut others = vec![
        udp(NEAR, 29_999),
        udp(NEAR, 60_999),
        udp(FAR, 30_000),
        udp(Ipv4Addr::new(192, 0, 2, 101), 80),
        icmp(8),
        frame(NEAR, 47, 0, &[0; 16]),
    ];
    // Another station's, which a switch that forgot it floods; and in a VLAN.
    let mut foreign = udp(NEAR, 30_001);
    foreign[5] = 9;
    let mut tagged = udp(NEAR, 30_002);
    tagged.splice(12..12, [0x81, 0, 0, 5]);
    others.extend([foreign, tagged]);
    let all: Vec<_> = mine.iter().chain(&others).cloned().collect();
    assert_eq!(passed(&bed, &all), mine);
}

#[test]
fn what_is_sent_never_comes_back() {
    let bed = Bed::new(&usual());
    bed.near_netns.run(|| {
        let socket = UdpSocket::bind((NEAR, 30_000)).expect("socket");
        for _ in 0..3 {
            let _ = socket.send_to(b"to nobody", (VIRTUAL, 30_000));
        }
    });
    send(&bed.near, &with_header(&udp(NEAR, 30_000), false, 0));
    // What did come: the far end's own questions at most.
    let seen = passed(&bed, &[udp(NEAR, 30_007)]);
    assert!(seen.iter().all(|frame| frame[6..12] == FAR_MAC.0), "{seen:?}");
    assert!(seen.contains(&udp(NEAR, 30_007)));
}

#[test]
fn a_new_filter_counts_at_once_also_for_who_took_the_socket_over() {
    let bed = Bed::new(&PacketFilter::default());
    assert!(passed(&bed, &[udp(NEAR, 30_000)]).is_empty());
    let copy = std::os::fd::AsFd::as_fd(&bed.near).try_clone_to_owned().expect("duplicate");
    bed.near.set_filter(&usual()).expect("filter");
    assert_eq!(passed(&bed, &[udp(NEAR, 30_000)]).len(), 1);
    let adopted = PacketSocket::from_fd(copy, bed.near.offloads());
    assert_eq!(adopted.ifindex(), bed.near.ifindex());
    assert!(adopted.name().starts_with("interface "), "{}", adopted.name());
    adopted.set_filter(&PacketFilter::default()).expect("filter");
    assert!(passed(&bed, &[udp(NEAR, 30_000)]).is_empty());
    // The largest there may be.
    let shared = (0..512).map(|n| Ipv4Addr::from_bits(0x0a00_0000 + 2 * n)).chain([NEAR]).skip(2).collect();
    adopted.set_filter(&PacketFilter { shared, ..usual() }).expect("a large filter");
    assert_eq!(passed(&bed, &[udp(NEAR, 30_000), udp(NEAR, 1000)]), [udp(NEAR, 30_000)]);
}

#[test]
fn an_interface_that_goes_down_comes_back_to_the_same_socket() {
    let bed = Bed::new(&usual());
    let set = |up: bool| {
        bed.near_netns.run(|| {
            let mut netlink = Netlink::open().expect("netlink");
            let link = netlink.link_by_name("nic0").expect("nic0");
            if up { netlink.set_up(link.index) } else { netlink.set_down(link.index) }.expect("set");
        });
    };
    set(false);
    let mut near = &bed.near;
    let mut buffer = [0; 2048];
    let error = near.recv(&mut buffer).expect_err("said once");
    assert!(matches!(error, DeviceError::Down { .. }), "{error}");
    assert!(near.recv(&mut buffer).expect("then nothing").is_none());
    let error = near.send(&with_header(&udp(FAR, 1), false, 0)).expect_err("nothing leaves");
    assert!(matches!(error, DeviceError::Down { .. }), "{error}");
    set(true);
    bed.wait_for_carrier();
    assert_eq!(passed(&bed, &[udp(NEAR, 30_000)]).len(), 1);
}

#[test]
fn a_deleted_interface_is_gone() {
    let bed = Bed::new(&usual());
    assert!(bed.near.ifindex().is_some());
    bed.near_netns.run(|| {
        let mut netlink = Netlink::open().expect("netlink");
        let link = netlink.link_by_name("nic0").expect("nic0");
        netlink.delete_link(link.index).expect("delete");
    });
    assert_eq!(bed.near.ifindex(), None);
    let mut near = &bed.near;
    assert!(near.recv(&mut [0; 2048]).expect_err("gone").is_gone());
    assert!(near.send(&with_header(&udp(FAR, 1), false, 0)).expect_err("gone").is_gone());
    let missing =
        bed.near_netns.run(|| PacketSocket::open("nic0", 999, &usual()).expect_err("none").to_string());
    assert_eq!(missing, "packet socket on nic0: cannot bind");
}

#[test]
fn a_frame_the_kernel_refuses_does_not_spoil_the_next() {
    let bed = Bed::new(&usual());
    let mut far = &bed.far;
    for bad in [with_header(&frame(NEAR, UDP, 0, &[0; 3000]), false, 0), vec![0; 5], vec![0; VNET_HDR_LEN]] {
        let error = far.send(&bad).expect_err("refused");
        assert!(matches!(error, DeviceError::Refused { .. }), "{error}");
    }
    assert!(far.recv(&mut [0; 5]).is_err(), "no room for a header");
    assert_eq!(passed(&bed, &[udp(NEAR, 30_000)]).len(), 1);
    assert!(bed.near.offloads().contains(Offloads::CSUM.union(Offloads::TSO4)));
    let _: OwnedFd = bed.near.into();
}

/// What the whole uplink rests on: a packet socket sees a frame before the `ingress` hook, where it is hidden from the node.
#[test]
fn what_nftables_hides_from_the_node_the_socket_sees() {
    let bed = Bed::new(&usual());
    let rules = "table netdev t { chain c { type filter hook ingress device nic0 priority 0; udp dport 30000 drop; }; }";
    bed.near_netns.run(|| output_of("nft", &[rules]));
    let hidden = bed.near_netns.run(|| UdpSocket::bind((NEAR, 30_000)).expect("socket"));
    let shown = bed.near_netns.run(|| UdpSocket::bind((NEAR, 30_001)).expect("socket"));
    let frames = [udp(NEAR, 30_000), udp(NEAR, 30_001)];
    assert_eq!(passed(&bed, &frames), frames);
    let mut buffer = [0; 16];
    shown.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
    assert_eq!(shown.recv(&mut buffer).expect("the node gets the other one"), 4);
    hidden.set_nonblocking(true).expect("non-blocking");
    assert!(hidden.recv(&mut buffer).is_err());
}
