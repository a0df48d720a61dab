//! What a pod sends may be wrong in any field, or too much: it hurts itself only.

use std::time::Duration;

use integration::frames::{self, Between, v4};
use integration::{TestNode, TestPod, raw, wait};

use crate::stream::{Place, Stream};

/// Every combination of these as flags, gso_type, hdr_len, gso_size, csum_start and csum_offset of
/// `struct virtio_net_hdr` (linux/virtio_net.h).
fn offload_headers() -> Vec<Vec<u8>> {
    let sizes: [u16; 5] = [0, 1, 54, 1400, u16::MAX];
    let mut headers = Vec::new();
    for flags in [0, 1, 2, 0xff] {
        for gso_type in [0, 1, 3, 4, 5, 0x81, 0xff] {
            for hdr_len in sizes {
                for gso_size in sizes {
                    for (csum_start, csum_offset) in
                        [(0_u16, 0_u16), (34, 16), (34, 6), (u16::MAX, u16::MAX), (20, 10)]
                    {
                        let mut header = vec![flags, gso_type];
                        for field in [hdr_len, gso_size, csum_start, csum_offset] {
                            header.extend(field.to_le_bytes());
                        }
                        headers.push(header);
                    }
                }
            }
        }
    }
    headers
}

fn between(from: &TestPod, to: &TestPod) -> Between {
    Between { from_mac: from.mac, from_ip: v4(from.ip), to_mac: to.mac, to_ip: v4(to.ip) }
}

#[test]
fn hostile_offload_headers_crash_nothing() {
    let node = TestNode::start();
    let (attacker, victim) = (node.create_pod("attacker"), node.create_pod("victim"));
    let path = between(&attacker, &victim);
    let payloads = [frames::udp(path, (1, 2), &[7; 1200]), frames::ping(path, &[7; 64]), vec![0; 14]];
    let mut sent = 0;
    for payload in payloads {
        let hostile: Vec<_> =
            offload_headers().into_iter().map(|header| [header, payload.clone()].concat()).collect();
        sent += raw::send_with_offload_header(&attacker, &hostile);
    }
    assert!(sent > 500, "the kernel let {sent} out");
    assert_eq!(node.status().datapath_restarts, 0, "{}", node.log());
    wait::until("all of them are counted", || {
        let port = node.ports().into_iter().find(|port| port.id == attacker.port)?;
        (port.counters.rx_frames >= sent as u64).then_some(())
    });
    node.assert_conservation();
    // Offloads still work, for the attacker as for the others.
    Stream::start(Place::Pod(&attacker), Place::Pod(&victim), victim.ip, 4 << 20, None).complete();
}

#[test]
fn a_flooding_pod_does_not_cut_others_off() {
    let node = TestNode::start();
    let (noisy, sink) = (node.create_pod("noisy"), node.create_pod("sink"));
    let (a, b) = (node.create_pod("a"), node.create_pod("b"));
    // As many small datagrams as the pod can make, to a pod where nobody reads them.
    let flood = "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\nwhile True:\n try: s.sendto(b'x' * 32, ('SINK', 9))\n except OSError: pass";
    let mut command = noisy.command("/usr/bin/python3");
    command.args(["-c", &flood.replace("SINK", &sink.ip.to_string())]);
    let flood = integration::Background::start(command);
    wait::until("the flood is on", || {
        let port = node.ports().into_iter().find(|port| port.id == noisy.port)?;
        (port.counters.rx_frames > 5000).then_some(())
    });
    let report = a.sh(&format!("ping -n -c 200 -i 0.01 -W 1 {}", b.ip)).stdout;
    drop(flood);
    let received =
        report.split_once(" received").and_then(|(head, _)| head.rsplit(' ').next()?.parse::<u32>().ok());
    assert!(received.is_some_and(|answers| answers >= 198), "{report}");
    node.assert_conservation();
    wait::until_within(Duration::from_secs(10), "the switch is idle again", || {
        a.pings(sink.ip).then_some(())
    });
}
