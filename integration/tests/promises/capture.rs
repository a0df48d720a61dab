//! `vpodctl capture` writes a file that tshark reads, with the frames the pod's port saw.

use integration::{TestNode, wait};

#[test]
fn a_capture_shows_the_pings_in_both_directions() {
    let node = TestNode::start();
    let (a, b) = (node.create_pod("a"), node.create_pod("b"));
    let file = node.dir().join("a.pcapng");
    let capture = node.vpodctl_spawn(&format!("capture a -w {} --duration 4s", file.display()));
    wait::until("the file's header is written", || {
        std::fs::metadata(&file).is_ok_and(|m| m.len() > 0).then_some(())
    });
    a.sh(&format!("ping -n -c 3 -i 0.2 -W 1 {}", b.ip)).ok();
    capture.wait().ok();
    let fields = "-T fields -e ip.src -e icmp.type -e icmp.checksum.status";
    let rows = node.sh(&format!("tshark -r {} -Y icmp {fields} 2>/dev/null", file.display())).ok();
    let count = |ip: std::net::IpAddr, kind: u8| {
        rows.lines().filter(|row| row.starts_with(&format!("{ip}\t{kind}\t"))).count()
    };
    assert_eq!((count(a.ip, 8), count(b.ip, 0)), (3, 3), "{rows}");
}

#[test]
fn a_capture_cuts_frames_to_the_asked_length() {
    let node = TestNode::start();
    let (a, b) = (node.create_pod("a"), node.create_pod("b"));
    let file = node.dir().join("a.pcapng");
    let capture = node.vpodctl_spawn(&format!("capture a -w {} --snaplen 60 --duration 3s", file.display()));
    wait::until("the file's header is written", || {
        std::fs::metadata(&file).is_ok_and(|m| m.len() > 0).then_some(())
    });
    a.sh(&format!("ping -n -c 1 -s 1000 -W 1 {}", b.ip)).ok();
    capture.wait().ok();
    let rows = node
        .sh(&format!(
            "tshark -r {} -Y icmp -T fields -e frame.len -e frame.cap_len 2>/dev/null",
            file.display()
        ))
        .ok();
    assert!(rows.lines().all(|row| row == "1042\t60") && rows.lines().count() == 2, "{rows}");
}

#[test]
fn a_capture_ends_with_its_pod_and_a_reader_that_leaves_harms_nobody() {
    let node = TestNode::start();
    let (a, b) = (node.create_pod("a"), node.create_pod("b"));
    let abandoned = node.vpodctl_spawn("capture a -w -");
    let ended = node.vpodctl_spawn("capture b -w -");
    wait::until("pings pass", || a.pings(b.ip).then_some(()));
    drop(abandoned);
    assert!(a.pings(b.ip));
    node.delete_pod(&b);
    let _ = ended.wait();
    assert!(a.pings(node.status().node.gateway));
}
