//! Datapath processes that are nodes: their pods reach those of others through real sockets, and those
//! behind a Linux `vxlan` device.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::Command;
use std::time::Duration;

use netdev::{Netns, UdpTunnel, UdpTunnelOptions, netns};
use protocol::link::{
    ConfigDelta, DeviceKind, FromDatapath, NodeConfig, PeerConfig, PortConfig, ToDatapath, TunnelConfig,
};
use protocol::object::{PeerHealth, PortKind};
use protocol::{Mac, PeerId, PortId};

use crate::datapath_process_bed::{Bed, Link};

const VNI: u32 = 77;
const UDP_PORT: u16 = 4789;
const PEER: PeerId = PeerId(3);

fn router(subnet: u8) -> Mac {
    Mac::for_router(Ipv4Addr::new(10, 9, subnet, 1).into())
}

fn underlay(node: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, 1 + node)
}

/// Two namespaces joined by a cable of MTU 1500: what is between nodes.
struct Underlay {
    names: [String; 2],
    netns: [Netns; 2],
}

impl Underlay {
    fn new(what: &str) -> Self {
        let names = [0, 1].map(|node| format!("vpdp-{}-{what}-{node}", std::process::id()));
        let netns = [0, 1].map(|node: usize| netns::create(&names[node]).unwrap());
        let [a, b] = &names;
        run(&format!("ip link add eth0 netns {a} type veth peer name eth0 netns {b}"));
        for (node, name) in (0..).zip(&names) {
            run(&format!("ip -n {name} addr add {}/24 dev eth0", underlay(node)));
            run(&format!("ip -n {name} link set eth0 up"));
            run(&format!("ip -n {name} link set lo up"));
        }
        Self { names, netns }
    }
}

impl Drop for Underlay {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = netns::delete(name);
        }
    }
}

#[track_caller]
fn run(command: &str) {
    let mut words = command.split_whitespace();
    let status = Command::new(words.next().unwrap()).args(words).status().unwrap();
    assert!(status.success(), "{command}");
}

/// A datapath with one pod, `10.9.<number>.2`, whose tunnels are in the underlay.
struct Node {
    bed: Bed,
    link: Link,
}

impl Node {
    /// With a peer that has `10.9.<other>.0/24`.
    fn start(underlay_of: &Underlay, number: u8, workers: u8, keep_alive: bool) -> Self {
        let bed = Bed::in_subnet(number, 1);
        let link = Link::start_with_workers(&bed, workers);
        let other = 1 - number;
        let options = UdpTunnelOptions { address: underlay(number), port: UDP_PORT, reuse_port: workers > 1 };
        let bind = || (0..workers).map(|_| UdpTunnel::bind(&options).unwrap()).collect::<Vec<_>>();
        let tunnels = underlay_of.netns[usize::from(number)].run(bind).unwrap();
        let delta = bed.delta(1);
        let tunnel = TunnelConfig {
            vni: VNI,
            address: underlay(number),
            udp_port: UDP_PORT,
            underlay_mtu: 1500,
            clamp_mss: false,
        };
        let ports = (0..u32::from(workers)).map(|worker| PortConfig {
            id: PortId(PortId::MAX_PORTS - 1 - worker),
            name: format!("tunnel-{worker}"),
            kind: PortKind::Tunnel,
            device: DeviceKind::UdpTunnel,
            addresses: Vec::new(),
            port_security: false,
            ..bed.ports[0].clone()
        });
        let peer = PeerConfig {
            id: PEER,
            name: format!("node-{other}"),
            address: underlay(other),
            udp_port: UDP_PORT,
            pod_cidrs: vec![format!("10.9.{other}.0/24").parse().unwrap()],
            node_addresses: Vec::new(),
            router_mac: router(other),
            keep_alive,
            has_pods: true,
            shares_policies: false,
        };
        let delta = ConfigDelta {
            node: delta.node.map(|node| NodeConfig { tunnel: Some(tunnel), ..node }),
            attach: delta.attach.iter().cloned().chain(ports).collect(),
            peers: vec![peer],
            ..delta
        };
        let fds: Vec<BorrowedFd<'_>> =
            bed.taps.iter().map(AsFd::as_fd).chain(tunnels.iter().flat_map(UdpTunnel::fds)).collect();
        let (answer, _) = link.request(ToDatapath::Apply(delta), &fds);
        assert_eq!(answer, FromDatapath::Applied { epoch: 1 });
        let node = Self { bed, link };
        node.in_pod(|| run(&format!("ip route add default via 10.9.{number}.1")));
        node
    }

    fn in_pod<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.bed.netns[0].run(work).unwrap()
    }

    fn health(&self) -> PeerHealth {
        match self.link.request(ToDatapath::Peers { after: None }, &[]).0 {
            FromDatapath::Peers(rows) => {
                assert_eq!(rows.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [PEER]);
                rows[0].1
            }
            other => panic!("{other:?}"),
        }
    }

    /// Everything that came in was forwarded or dropped by name; gives the names.
    #[track_caller]
    fn assert_conservation(&self) -> Vec<String> {
        let FromDatapath::Counters(rows) = self.link.request(ToDatapath::Counters { after: None }, &[]).0
        else {
            panic!("no counters");
        };
        for (port, counters) in &rows {
            let dropped: u64 = counters.drops.iter().map(|drop| drop.frames).sum();
            assert_eq!(counters.rx_frames, counters.forwarded + dropped, "port {port}");
        }
        rows.into_iter().flat_map(|(_, counters)| counters.drops).map(|drop| drop.reason).collect()
    }
}

/// Bytes nobody else sends, checked on the other side.
fn stream(len: usize) -> Vec<u8> {
    let mut state = 1_u64;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.to_be_bytes()[0]
        })
        .collect()
}

/// A TCP transfer of some megabytes between two namespaces, every byte compared.
#[track_caller]
fn transfer(from: &Netns, to: &Netns, address: Ipv4Addr) {
    let bytes = stream(8 << 20);
    let listener = to.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 5000)).unwrap()).unwrap();
    let mut sender = from
        .run(|| TcpStream::connect_timeout(&(address, 5000).into(), Duration::from_secs(5)).unwrap())
        .unwrap();
    let (mut receiver, _) = listener.accept().unwrap();
    receiver.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            sender.write_all(&bytes).unwrap();
            sender.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let mut got = Vec::new();
        receiver.read_to_end(&mut got).unwrap();
        assert!(got == bytes, "{} of {} bytes arrived, or other ones", got.len(), bytes.len());
    });
}

/// Datagrams of several sizes, one larger than any packet.
#[track_caller]
fn datagrams(from: &Netns, to: &Netns, address: Ipv4Addr) {
    let receiver = to.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 5001)).unwrap()).unwrap();
    receiver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let sender = from.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap()).unwrap();
    for len in [1, 64, 1400, 9000] {
        let payload = stream(len);
        sender.send_to(&payload, (address, 5001)).unwrap();
        let mut buffer = vec![0; 10_000];
        let got = receiver.recv(&mut buffer).unwrap_or_else(|e| panic!("{len} bytes: {e}"));
        assert!(buffer[..got] == payload, "{len} bytes");
    }
}

#[test]
fn pods_of_two_nodes_talk_and_the_nodes_know_their_path() {
    for workers in [1, 2] {
        let between = Underlay::new(&format!("pair{workers}"));
        let nodes = [0, 1].map(|number| Node::start(&between, number, workers, true));
        let [a, b] = [0_usize, 1].map(|number| &nodes[number].bed.netns[0]);
        let [a_ip, b_ip] = [0, 1].map(|number| Ipv4Addr::new(10, 9, number, 2));
        nodes[0].in_pod(|| run("ping -q -c 2 -W 2 10.9.1.2"));
        transfer(a, b, b_ip);
        transfer(b, a, a_ip);
        datagrams(a, b, b_ip);
        for node in &nodes {
            node.link.wait_for(|_| {
                let health = node.health();
                health.reachable == Some(true) && health.path_mtu == Some(1500) && health.rtt_us.is_some()
            });
            assert!(node.health().rx_packets > 1000);
            assert_eq!(node.assert_conservation().iter().filter(|reason| !is_noise(reason)).count(), 0);
        }
    }
}

/// What kernels send on their own: IPv6, groups.
fn is_noise(reason: &str) -> bool {
    ["ipv6_disabled", "arp_own_address", "no_flood_target"].contains(&reason)
}

#[test]
fn linux_vxlan_device_is_a_peer() {
    let between = Underlay::new("kernel");
    let node = Node::start(&between, 0, 1, false);
    let name = &between.names[1];
    let local = underlay(1);
    let vxlan = format!("ip -n {name} link add vxlan0 address {} type vxlan", router(1));
    run(&format!("{vxlan} id {VNI} dstport {UDP_PORT} local {local} nolearning"));
    run(&format!("bridge -n {name} fdb append {} dev vxlan0 dst {}", router(0), underlay(0)));
    run(&format!("ip -n {name} addr add 10.9.1.2/24 dev vxlan0"));
    run(&format!("ip -n {name} link set vxlan0 mtu 1450 up"));
    run(&format!("ip -n {name} neigh add 10.9.0.1 lladdr {} dev vxlan0 nud permanent", router(0)));
    run(&format!("ip -n {name} route add 10.9.0.0/24 via 10.9.0.1 dev vxlan0 onlink"));
    // Its inner checksums are left to the NIC, and a cable between namespaces is none: a socket would read
    // them incomplete.
    run(&format!("ip netns exec {name} ethtool -K eth0 tx-checksum-ip-generic off"));
    let pod = &node.bed.netns[0];
    let kernel = &between.netns[1];
    node.in_pod(|| run("ping -q -c 2 -W 2 10.9.1.2"));
    kernel.run(|| run("ping -q -c 2 -W 2 10.9.0.2")).unwrap();
    transfer(pod, kernel, Ipv4Addr::new(10, 9, 1, 2));
    transfer(kernel, pod, Ipv4Addr::new(10, 9, 0, 2));
    datagrams(pod, kernel, Ipv4Addr::new(10, 9, 1, 2));
    datagrams(kernel, pod, Ipv4Addr::new(10, 9, 0, 2));
    assert_eq!(node.health().reachable, None, "not asked");
    node.assert_conservation();
}

#[test]
fn tunnel_is_handed_on_with_all_of_its_descriptors() {
    let between = Underlay::new("takeover");
    let nodes = [0, 1].map(|number| Node::start(&between, number, 1, true));
    nodes[0].in_pod(|| run("ping -q -c 1 -W 2 10.9.1.2"));
    let link = &nodes[0].link;
    let FromDatapath::Ports(rows) = link.request(ToDatapath::ExportPorts { after: None }, &[]).0 else {
        panic!("no ports");
    };
    assert_eq!(rows.iter().map(|port| port.device.descriptors()).collect::<Vec<_>>(), [1, 9]);
    let (_, fds) = link.request(ToDatapath::ExportPorts { after: Some(PortId(0)) }, &[]);
    let tunnel = UdpTunnel::from_fds(fds).expect("all of its descriptors");
    assert_eq!(tunnel.local_address().unwrap(), std::net::SocketAddrV4::new(underlay(0), UDP_PORT));
}
