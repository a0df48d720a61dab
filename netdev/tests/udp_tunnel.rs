//! The tunnel's sockets, on the real kernel: trains arrive as they were sent, whoever cuts them.

mod support;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use netdev::udp_tunnel::{Inbox, Train, TunnelSent};
use netdev::{Netlink, UdpTunnel, UdpTunnelOptions};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use support::TestNetns;

const OPTIONS: UdpTunnelOptions =
    UdpTunnelOptions { address: Ipv4Addr::LOCALHOST, port: 0, reuse_port: false };

/// Two tunnels in a namespace of their own, whose loopback has the MTU of an Ethernet.
struct Bed {
    netns: TestNetns,
    from: UdpTunnel,
    to: UdpTunnel,
}

/// A received datagram.
#[derive(Debug, PartialEq, Eq)]
struct Got {
    source: SocketAddrV4,
    tos: u8,
    bytes: Vec<u8>,
}

impl Bed {
    fn new(what: &str) -> Self {
        let netns = TestNetns::new(what);
        let (from, to) = netns.run(|| {
            let mut netlink = Netlink::open().expect("netlink");
            let lo = netlink.link_by_name("lo").expect("lo");
            netlink.set_mtu(lo.index, 1500).expect("mtu of lo");
            (UdpTunnel::bind(&OPTIONS).expect("sender"), UdpTunnel::bind(&OPTIONS).expect("receiver"))
        });
        Self { netns, from, to }
    }

    fn train<'a>(&self, headers: &'a [u8], payload: &'a [u8], payload_size: usize) -> Train<'a> {
        let to = self.to.local_address().expect("address");
        Train { to, tos: 0, entropy: 0, headers, header_len: 8, payload, payload_size }
    }

    /// Receives `count` datagrams, and sees that no more come; also says the longest train they came in.
    fn receive(&self, count: usize) -> (Vec<Got>, usize) {
        let mut inbox = Inbox::new(32);
        let (mut got, mut longest) = (Vec::new(), 0);
        let deadline = Instant::now() + Duration::from_secs(5);
        while got.len() < count && Instant::now() < deadline {
            self.to.receive(&mut inbox, 32).expect("receive");
            for datagram in inbox.datagrams() {
                let pieces = datagram.bytes.chunks(datagram.segment_size);
                longest = longest.max(pieces.len());
                got.extend(pieces.map(|bytes| Got {
                    source: datagram.source,
                    tos: datagram.tos,
                    bytes: bytes.to_vec(),
                }));
            }
        }
        self.to.receive(&mut inbox, 32).expect("receive");
        assert!(inbox.is_empty(), "more came than was sent");
        (got, longest)
    }
}

/// `count` headers of eight bytes, all different.
fn headers(count: usize) -> Vec<u8> {
    (0..count).flat_map(|index| (index as u64).to_be_bytes()).collect()
}

fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

/// The datagrams the train stands for.
fn expected(train: &Train<'_>) -> Vec<Vec<u8>> {
    let headers = train.headers.chunks(train.header_len);
    headers.zip(train.payload.chunks(train.payload_size)).map(|(h, p)| [h, p].concat()).collect()
}

fn bytes(got: Vec<Got>) -> Vec<Vec<u8>> {
    got.into_iter().map(|got| got.bytes).collect()
}

#[test]
fn superframe_beyond_one_message_arrives_as_its_segments() {
    let bed = Bed::new("train");
    let (headers, payload) = (headers(47), payload(46 * 1400 + 77));
    let train = bed.train(&headers, &payload, 1400);
    assert_eq!(bed.from.send(&train).unwrap(), TunnelSent::Sent);
    let (got, longest) = bed.receive(47);
    assert_eq!(bytes(got), expected(&train));
    assert!(longest > 40, "the kernel kept the train together: {longest}");
    assert!(!bed.from.segments_in_software());
}

#[test]
fn segments_cut_in_software_are_the_same() {
    let bed = Bed::new("software");
    bed.from.segment_in_software();
    let (headers, payload) = (headers(70), payload(69 * 900 + 5));
    let train = bed.train(&headers, &payload, 900);
    assert_eq!(bed.from.send(&train).unwrap(), TunnelSent::Sent);
    assert_eq!(bytes(bed.receive(70).0), expected(&train));
}

#[test]
fn many_small_segments_take_several_calls() {
    let bed = Bed::new("small");
    let (headers, payload) = (headers(1366), payload(65_536));
    let train = bed.train(&headers, &payload, 48);
    assert_eq!(bed.from.send(&train).unwrap(), TunnelSent::Sent);
    assert_eq!(bytes(bed.receive(1366).0), expected(&train));
}

#[test]
fn type_of_service_and_source_travel_beside_the_bytes() {
    let bed = Bed::new("tos");
    let (headers, payload) = (headers(1), payload(9));
    let train = Train { tos: 0xb9, ..bed.train(&headers, &payload, 9) };
    bed.from.send(&train).unwrap();
    let (got, _) = bed.receive(1);
    assert_eq!((got[0].tos, *got[0].source.ip()), (0xb9, Ipv4Addr::LOCALHOST));
    assert_eq!(bytes(got), expected(&train));
}

#[test]
fn a_flow_keeps_its_source_port_and_flows_spread_over_several() {
    let bed = Bed::new("entropy");
    let (headers, payload) = (headers(1), payload(9));
    let mut ports = BTreeSet::new();
    for entropy in 0..32 {
        let train = Train { entropy, ..bed.train(&headers, &payload, 9) };
        bed.from.send(&train).unwrap();
        bed.from.send(&train).unwrap();
        let (got, _) = bed.receive(2);
        assert_eq!(got[0].source, got[1].source);
        assert!((49_152..61_000).contains(&got[0].source.port()), "{}", got[0].source);
        ports.insert(got[0].source.port());
    }
    assert_eq!(ports.len(), netdev::udp_tunnel::SEND_SOCKETS);
}

#[test]
fn what_exceeds_the_mtu_is_refused_and_never_fragmented() {
    let bed = Bed::new("mtu");
    let (headers, payload) = (headers(2), payload(3000));
    // 1500 = IP header 20 + UDP header 8 + our 8 + 1464.
    let fits = bed.train(&headers, &payload[..1464], 1464);
    assert_eq!(bed.from.send(&fits).unwrap(), TunnelSent::Sent);
    assert_eq!(bed.receive(1).0.len(), 1);
    let single = bed.train(&headers, &payload[..1465], 1465);
    assert_eq!(bed.from.send(&single).unwrap(), TunnelSent::TooBig);
    let train = bed.train(&headers, &payload[..2930], 1465);
    assert_eq!(bed.from.send(&train).unwrap(), TunnelSent::TooBig);
    assert!(!bed.from.segments_in_software(), "the size was refused, not the segmentation");
    assert!(bed.receive(0).0.is_empty());
}

#[test]
fn no_route_is_a_state() {
    let bed = Bed::new("route");
    let (headers, payload) = (headers(1), payload(9));
    let to = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 4789);
    let train = Train { to, ..bed.train(&headers, &payload, 9) };
    assert_eq!(bed.from.send(&train).unwrap(), TunnelSent::Unreachable);
}

#[test]
fn descriptors_taken_over_are_the_same_tunnel() {
    let bed = Bed::new("fds");
    let name = bed.to.name().to_owned();
    let Bed { netns: _netns, from, to } = bed;
    let to = UdpTunnel::from_fds(to.into_fds()).unwrap();
    assert_eq!(to.name(), name);
    let mut too_few = from.duplicate_fds().unwrap();
    too_few.pop();
    assert!(UdpTunnel::from_fds(too_few).is_none());
    let from = UdpTunnel::from_fds(from.into_fds()).unwrap();
    let bed = Bed { netns: _netns, from, to };
    let (headers, payload) = (headers(3), payload(30));
    let train = bed.train(&headers, &payload, 10);
    bed.from.send(&train).unwrap();
    assert_eq!(bytes(bed.receive(3).0), expected(&train));
}

#[test]
fn sending_sockets_keep_nothing_that_is_sent_to_them() {
    let bed = Bed::new("discard");
    let sender = bed.from.fds().nth(1).unwrap().as_raw_fd();
    let name: nix::sys::socket::SockaddrIn = nix::sys::socket::getsockname(sender).unwrap();
    bed.netns.run(|| {
        let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
        stranger.send_to(b"hello", SocketAddrV4::from(name)).unwrap();
    });
    assert_eq!(recv(sender, &mut [0; 16], MsgFlags::empty()), Err(Errno::EAGAIN));
}

#[test]
fn workers_share_a_port_only_on_request() {
    let netns = TestNetns::new("reuse");
    netns.run(|| {
        let shared = UdpTunnelOptions { port: 4789, reuse_port: true, ..OPTIONS };
        let _first = UdpTunnel::bind(&shared).expect("first");
        let _second = UdpTunnel::bind(&shared).expect("second");
        let error = UdpTunnel::bind(&UdpTunnelOptions { reuse_port: false, ..shared }).unwrap_err();
        assert_eq!(error.to_string(), "tunnel 127.0.0.1:4789: cannot bind the receiving socket");
    });
}
