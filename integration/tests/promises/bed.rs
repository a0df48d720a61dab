//! The testbed does what promises that span nodes rely on: its faults are real, and end.

use integration::etcd::Etcd;
use integration::underlay::{ForeignNode, Underlay, node_address};

const PACKETS: u32 = 200;

fn machines(underlay: &Underlay) -> [ForeignNode; 3] {
    [0, 1, 2].map(|number| underlay.plug_foreign(number))
}

fn reaches(from: &ForeignNode, to: usize, options: &str) -> bool {
    from.sh(&format!("ping -n -c 1 -W 1 {options} {}", node_address(to))).succeeded()
}

#[test]
fn a_cut_is_between_two_machines_and_heals() {
    let mut underlay = Underlay::create();
    let machines = machines(&underlay);
    assert!(reaches(&machines[0], 1, "") && reaches(&machines[0], 2, ""));
    underlay.cut(0, 1);
    assert!(!reaches(&machines[0], 1, "") && !reaches(&machines[1], 0, ""));
    assert!(reaches(&machines[0], 2, "") && reaches(&machines[2], 1, ""));
    underlay.heal();
    assert!(reaches(&machines[0], 1, ""));
}

#[test]
fn an_isolated_machine_reaches_nobody() {
    let mut underlay = Underlay::create();
    let machines = machines(&underlay);
    underlay.isolate(0);
    assert!(!reaches(&machines[0], 1, "") && !reaches(&machines[2], 0, ""));
    assert!(reaches(&machines[1], 2, ""));
}

#[test]
fn the_asked_share_of_frames_is_lost() {
    let mut underlay = Underlay::create();
    let machines = machines(&underlay);
    assert!(reaches(&machines[0], 1, ""), "addresses are resolved before");
    underlay.lose(30);
    let ran = machines[0].sh(&format!("ping -n -q -i 0.002 -c {PACKETS} -W 1 {}", node_address(1)));
    let answered = ran.stdout.split(", ").find_map(|part| part.strip_suffix(" received"));
    let answered: u32 = answered.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{ran}"));
    // Both ways lose 30 %: 49 % come back, give or take six standard deviations.
    assert!((PACKETS * 28 / 100..PACKETS * 70 / 100).contains(&answered), "{ran}");
}

#[test]
fn large_packets_vanish_without_a_word() {
    let mut underlay = Underlay::create();
    let machines = machines(&underlay);
    let names: Vec<&str> = machines.iter().map(ForeignNode::netns).collect();
    underlay.turn_offloads_off(&names);
    underlay.swallow_packets_over(1400);
    assert!(reaches(&machines[0], 1, "-M do -s 1372"));
    let ran = machines[0].sh(&format!("ping -n -c 1 -W 1 -M do -s 1373 {}", node_address(1)));
    assert!(!ran.succeeded() && !ran.to_string().contains("mtu"), "{ran}");
}

#[test]
fn filtered_icmp_spares_everything_else() {
    let mut underlay = Underlay::create();
    let machines = machines(&underlay);
    underlay.filter_icmp();
    assert!(!reaches(&machines[0], 1, ""));
    let script = "import socket; s = socket.socket(); s.bind(('', 7000)); s.listen(); print('ready', flush=True); s.accept()";
    let mut server = machines[1].spawn(&format!("exec /usr/bin/python3 -c \"{script}\""));
    server.wait_for_output("ready\n");
    let connect = format!("import socket; socket.create_connection(('{}', 7000), 5)", node_address(1));
    machines[0].sh(&format!("/usr/bin/python3 -c \"{connect}\"")).ok();
    server.wait().ok();
}

#[test]
fn the_mtu_of_all_devices_changes() {
    let mut underlay = Underlay::create();
    let machines = machines(&underlay);
    let names: Vec<&str> = machines.iter().map(ForeignNode::netns).collect();
    for mtu in [9000, 1300] {
        underlay.set_mtu(mtu, &names);
        assert!(reaches(&machines[0], 1, &format!("-M do -s {}", mtu - 28)));
        assert!(!reaches(&machines[0], 1, &format!("-M do -s {}", mtu - 27)));
    }
}

#[test]
fn etcd_keeps_its_entries_when_it_is_killed_and_loses_them_when_told() {
    let underlay = Underlay::create();
    let machine = underlay.plug_foreign(0);
    let mut etcd = Etcd::start(&underlay);
    let put = format!(
        "ETCDCTL_API=3 etcdctl --endpoints {} --command-timeout 2s put /bed/key value",
        Etcd::endpoint()
    );
    machine.sh(&put).ok();
    etcd.kill();
    assert!(!machine.sh(&put).succeeded());
    etcd.start_again();
    assert_eq!(etcd.entries("/bed/"), [("/bed/key".to_owned(), "value".to_owned())]);
    etcd.freeze();
    assert!(!machine.sh(&put).succeeded());
    etcd.thaw();
    assert_eq!(etcd.entries("/bed/").len(), 1);
    etcd.kill();
    etcd.forget_everything();
    etcd.start_again();
    assert!(etcd.entries("/bed/").is_empty());
}
