//! A Linux kernel `vxlan` device, set up by hand, is a peer like any other; and tshark understands every
//! packet that we send, with good checksums throughout.

use std::net::IpAddr;

use integration::underlay::{ForeignNode, node_address};
use integration::{Cluster, ClusterOptions, wait};
use protocol::Mac;

use super::TUNNEL_PORT;
use crate::stream::{Place, Stream, datagrams};

/// Of the kernel's device; any will do.
const DEVICE_MAC: &str = "02:00:00:00:00:99";
const FOREIGN_ADDRESS: &str = "10.244.1.1";

/// Node 0 is ours; number 1 on the underlay is a plain Linux machine.
fn beside_linux() -> (Cluster, ForeignNode) {
    let peer = format!(
        "[[peer]]\nname = \"linux\"\naddress = {:?}\npod_cidrs = [\"10.244.1.0/24\"]\n\
         router_mac = {DEVICE_MAC:?}\nkeep_alive = false\n",
        node_address(1)
    );
    let cluster = ClusterOptions::new(1).section(&peer).start();
    let linux = cluster.underlay().plug_foreign(1);
    let ours = "10.244.0.1".parse::<IpAddr>().expect("an address");
    let (router, here, there) = (Mac::for_router(ours), node_address(1), node_address(0));
    linux
        .sh(&format!(
            "set -e\n\
             ip link add vx0 address {DEVICE_MAC} mtu 1450 type vxlan id 1 dstport {TUNNEL_PORT} local {here} nolearning\n\
             ip address add {FOREIGN_ADDRESS}/32 dev vx0\n\
             ip link set vx0 up\n\
             ip neigh add {ours} lladdr {router} dev vx0 nud permanent\n\
             bridge fdb append {router} dev vx0 dst {there}\n\
             ip route add 10.244.0.0/24 via {ours} dev vx0 onlink src {FOREIGN_ADDRESS}"
        ))
        .ok();
    (cluster, linux)
}

fn foreign_address() -> IpAddr {
    FOREIGN_ADDRESS.parse().expect("an address")
}

#[test]
fn a_kernel_vxlan_device_exchanges_icmp_tcp_and_udp_with_our_pods() {
    let (cluster, linux) = beside_linux();
    let pod = cluster.node(0).create_pod("a");
    let (here, there) = (Place::Pod(&pod), Place::Foreign(&linux));
    pod.sh(&format!("ping -n -c 2 -i 0.2 -W 2 {FOREIGN_ADDRESS}")).ok();
    linux.sh(&format!("ping -n -c 2 -i 0.2 -W 2 {}", pod.ip)).ok();
    Stream::start(here, there, foreign_address(), 32 << 20, None).complete();
    Stream::start(there, here, pod.ip, 32 << 20, None).complete();
    for size in [1, 1200, 9000] {
        datagrams(here, there, foreign_address(), size, 20);
        datagrams(there, here, pod.ip, size, 20);
    }
}

#[test]
fn tshark_decodes_what_we_send_without_a_complaint() {
    let (cluster, linux) = beside_linux();
    // Else the capture holds what the kernel left for the NIC to do.
    cluster.turn_offloads_off();
    let pod = cluster.node(0).create_pod("a");
    let file = cluster.underlay().dir().join("wire.pcap");
    let mut capture = cluster
        .underlay()
        .spawn(&format!("exec tcpdump -U -i node0 -s 0 -w {} udp port {TUNNEL_PORT} 2>&1", file.display()));
    capture.wait_for_output("listening on");
    let (here, there) = (Place::Pod(&pod), Place::Foreign(&linux));
    pod.sh(&format!("ping -n -c 3 -i 0.2 -W 2 {FOREIGN_ADDRESS}")).ok();
    Stream::start(here, there, foreign_address(), 4 << 20, None).complete();
    Stream::start(there, here, pod.ip, 4 << 20, None).complete();
    datagrams(here, there, foreign_address(), 1200, 20);
    datagrams(here, there, foreign_address(), 9000, 5);
    // tcpdump writes packet by packet; the last may be under way.
    wait::until("the capture is written", || {
        let before = std::fs::metadata(&file).ok()?.len();
        std::thread::sleep(std::time::Duration::from_millis(300));
        (std::fs::metadata(&file).ok()?.len() == before).then_some(())
    });
    drop(capture);
    let ours = format!("ip.src == {}", node_address(0));
    let tshark = |filter: &str, fields: &str| {
        let checks = "-o ip.check_checksum:TRUE -o udp.check_checksum:TRUE -o tcp.check_checksum:TRUE";
        // What the pods' random bytes look like to other decoders is not our complaint.
        let decode = format!("-d udp.port=={TUNNEL_PORT},vxlan -d tcp.port==7000,data");
        let script =
            format!("tshark -r {} {decode} {checks} -Y '{filter}' {fields} 2>/dev/null", file.display());
        cluster.underlay().sh(&script).ok()
    };
    let all = tshark(&ours, "-T fields -e vxlan.vni -e ip.ttl").lines().count();
    assert!(all > 2000, "only {all} packets of 4 MiB and more were captured");
    let outside = format!("{ours} && !(vxlan.vni == 1 && vxlan.flag_i == 1 && vxlan.flags_reserved == 0)");
    assert_eq!(tshark(&outside, ""), "", "not VXLAN of VNI 1");
    // 8388608 is "error", 6291456 "warning": malformed packets and bad checksums are errors.
    let complaints = "_ws.malformed || _ws.expert.severity == 8388608";
    assert_eq!(tshark(&format!("{ours} && ({complaints})"), ""), "");
    // Status 1 is "good"; what was not checked would be another.
    let unchecked = "(ip.checksum.status && any ip.checksum.status != 1) || (udp.checksum.status && any udp.checksum.status != 1) \
                     || (tcp.checksum.status && any tcp.checksum.status != 1) || (icmp.checksum.status && any icmp.checksum.status != 1)";
    // Only the first fragment of a datagram has a checksum, over data that tshark puts together.
    assert_eq!(tshark(&format!("{ours} && !(ip.flags.mf == 1) && ({unchecked})"), ""), "");
    assert_eq!(tshark(&format!("{ours} && ip.dst == {} && !(ip.flags.df == 1)", node_address(1)), ""), "");
}
