//! The datapath process and its supervisor on the real kernel: TAPs in namespaces, the real
//! `vswitchd` binary with its sandbox on, killed, crashed, replaced and taken over.

#[path = "../src/control/datapath_link/mod.rs"]
mod datapath_link;
mod datapath_process_bed;
#[path = "datapath_process_bed/several_workers.rs"]
mod several_workers;
#[path = "datapath_process_bed/tunnel.rs"]
mod tunnel;

use std::fs;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use netdev::seqpacket;
use protocol::PortId;
use protocol::link::{ConfigDelta, FromDatapath, ToDatapath};

use datapath_link::LinkEvent;
use datapath_process_bed::{Bed, Link};

#[test]
fn two_namespaces_talk_through_a_new_datapath() {
    let bed = Bed::new();
    let link = Link::start(&bed);
    link.expect_connected(0, false);
    link.attach(&bed, 1);
    bed.exchange(0, 1);
    bed.exchange(1, 0);

    let (answer, _) = link.request(ToDatapath::Summary, &[]);
    let FromDatapath::Summary(summary) = answer else { panic!("{answer:?}") };
    assert_eq!((summary.epoch, summary.workers, summary.ports), (1, 1, 2));
    assert!(summary.rx_frames >= 4, "two datagrams and their ARP: {summary:?}");
    let (answer, _) = link.request(ToDatapath::Counters { after: None }, &[]);
    let FromDatapath::Counters(rows) = answer else { panic!("{answer:?}") };
    assert_eq!(rows.iter().map(|(port, _)| port.0).collect::<Vec<_>>(), [0, 1]);
    for (port, counters) in rows {
        let dropped: u64 = counters.drops.iter().map(|d| d.frames).sum();
        assert_eq!(counters.rx_frames, counters.forwarded + dropped, "port {port}");
    }
    let (answer, _) = link.request(ToDatapath::Counters { after: Some(PortId(1)) }, &[]);
    assert_eq!(answer, FromDatapath::Counters(Vec::new()));
}

#[test]
fn the_datapath_has_no_rights_left() {
    let bed = Bed::new();
    let link = Link::start(&bed);
    let pid = link.pid();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_once(':').unwrap().1.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(set), ["0000000000000000"], "{set}");
    }
    assert_eq!(field("NoNewPrivs"), ["1"]);
    assert_eq!(field("Seccomp"), ["2"], "filter mode");
    assert_eq!(field("Uid"), ["65534"; 4]);
    assert_eq!(field("Gid"), ["65534"; 4]);
    assert!(field("Groups").is_empty());
    // The filter holds in each thread.
    for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        assert!(status.contains("Seccomp:\t2"), "{status}");
    }
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"));
    // Not dumpable: its files in /proc are root's.
    assert_eq!(fs::metadata(format!("/proc/{pid}/environ")).unwrap().uid(), 0);
    let socket = fs::metadata(bed.run_dir().join("datapath.sock")).unwrap();
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);
}

#[test]
fn the_datapath_holds_only_descriptors_it_was_given() {
    let bed = Bed::new();
    let _stray = fs::File::open("/etc/passwd").unwrap();
    let link = Link::start(&bed);
    let fds: Vec<_> = fs::read_dir(format!("/proc/{}/fd", link.pid()))
        .unwrap()
        .map(|entry| fs::read_link(entry.unwrap().path()).unwrap().to_string_lossy().into_owned())
        .collect();
    for fd in &fds {
        let known = fd.starts_with("socket:") || fd.starts_with("anon_inode:") || fd.contains("crash-report");
        let logs = fd.starts_with("/dev/")
            || fd.starts_with("pipe:")
            || fd.starts_with('/') && !fd.contains("passwd");
        assert!(known || logs, "{fds:?}");
    }
}

#[test]
fn a_killed_datapath_is_replaced_and_gets_its_ports_back() {
    let bed = Bed::new();
    let link = Link::start(&bed);
    link.expect_connected(0, false);
    link.attach(&bed, 1);
    bed.exchange(0, 1);

    let killed = link.pid();
    Link::signal(killed, libc::SIGKILL);
    let at = Instant::now();
    let (cause, culprit) = link.expect_lost();
    assert_eq!((cause.as_str(), culprit), ("killed by SIGKILL", None));
    link.expect_connected(0, false);
    assert!(at.elapsed() < Duration::from_secs(2), "took {:?}", at.elapsed());
    assert_ne!(link.pid(), killed);
    assert_eq!(link.link.status().restarts, 1);
    assert!(!fs::exists(format!("/proc/{killed}")).unwrap(), "no zombie");
    link.attach(&bed, 1);
    bed.exchange(0, 1);
}

#[test]
fn a_request_of_a_dying_datapath_fails_at_once() {
    let bed = Bed::new();
    let link = Link::start(&bed);
    let pid = link.pid();
    Link::signal(pid, libc::SIGSTOP);
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| link.link.request(ToDatapath::Summary, &[]));
        std::thread::sleep(Duration::from_millis(100));
        Link::signal(pid, libc::SIGKILL);
        let at = Instant::now();
        assert!(asked.join().unwrap().is_err());
        assert!(at.elapsed() < Duration::from_secs(2));
    });
}

#[test]
fn the_datapath_outlives_its_control_process_and_is_taken_over() {
    let bed = Bed::new();
    let link = Link::start(&bed);
    link.expect_connected(0, false);
    link.attach(&bed, 1);
    let pid = link.pid();
    link.link.detach();
    bed.exchange(0, 1);

    let next = Link::start(&bed);
    next.expect_connected(1, true);
    assert_eq!(next.pid(), pid);
    let (answer, fds) = next.request(ToDatapath::ExportPorts { after: None }, &[]);
    assert_eq!(answer, FromDatapath::Ports(bed.ports.clone()));
    assert_eq!(fds.len(), 2);
    for (fd, tap) in fds.iter().zip(&bed.taps) {
        let tap_inode = |fd: &OwnedFd| nix::sys::stat::fstat(fd).unwrap().st_rdev;
        assert_eq!(tap_inode(fd), tap_inode(&tap.as_fd().try_clone_to_owned().unwrap()));
    }
    let (answer, fds) = next.request(ToDatapath::ExportPorts { after: Some(PortId(1)) }, &[]);
    assert_eq!((answer, fds.len()), (FromDatapath::Ports(Vec::new()), 0));

    let update = ConfigDelta { epoch: 2, update: bed.ports.clone(), commit: true, ..ConfigDelta::default() };
    assert_eq!(next.request(ToDatapath::Apply(update), &[]).0, FromDatapath::Applied { epoch: 2 });
    bed.exchange(1, 0);
    next.link.stop();
    assert!(!fs::exists(format!("/proc/{pid}")).unwrap() || Link::is_zombie(pid), "it was told to end");
}

#[test]
fn a_datapath_of_another_version_is_replaced() {
    let bed = Bed::new();
    let listener = seqpacket::listen(&bed.run_dir().join("datapath.sock")).unwrap();
    // A stranger that hangs up without a hello; a real one would be killed.
    let stranger = std::thread::spawn(move || {
        for _ in 0..2 {
            drop(listener.accept());
        }
    });
    let link = Link::start(&bed);
    link.expect_connected(0, false);
    link.attach(&bed, 1);
    bed.exchange(0, 1);
    stranger.join().unwrap();
}

#[test]
fn a_panic_names_the_port_whose_frame_did_it() {
    let bed = Bed::new();
    let link = Link::start_crashing(&bed, 1);
    link.expect_connected(0, false);
    // It may crash before it answers: the station sends by itself as soon as somebody listens.
    let fds: Vec<_> = bed.taps.iter().map(AsFd::as_fd).collect();
    let _ = link.link.request(ToDatapath::Apply(bed.delta(1)), &fds);
    bed.send(1, 0);
    let (cause, culprit) = link.expect_lost();
    assert_eq!(culprit, Some(PortId(1)), "{cause}");
    assert!(cause.starts_with("killed by SIGABRT: panicked at"), "{cause}");
    assert!(cause.contains("crash on purpose"), "{cause}");
    link.expect_connected(0, false);
}

#[test]
fn a_deleted_tap_is_an_event_and_the_others_go_on() {
    let bed = Bed::with_stations(3);
    let link = Link::start(&bed);
    link.expect_connected(0, false);
    link.attach(&bed, 1);
    bed.exchange(0, 1);
    bed.delete_device(2);
    let (port, cause) = link.expect_detached();
    assert_eq!(port, PortId(2), "{cause}");
    bed.exchange(0, 1);
    let (answer, fds) = link.request(ToDatapath::ExportPorts { after: None }, &[]);
    let FromDatapath::Ports(rows) = answer else { panic!("{answer:?}") };
    assert_eq!((rows.len(), fds.len()), (2, 2), "there is nothing to take over of the third");

    // It does not spin on the dead descriptor.
    let before = link.cpu_ticks();
    std::thread::sleep(Duration::from_millis(500));
    let spent = link.cpu_ticks() - before;
    assert!(spent < 25, "{spent} ticks of 10 ms in half a second");
}

#[test]
fn a_configuration_without_its_descriptors_is_refused_and_changes_nothing() {
    let bed = Bed::new();
    let link = Link::start(&bed);
    let delta = bed.delta(1);
    let (answer, _) = link.request(ToDatapath::Apply(delta.clone()), &[bed.taps[0].as_fd()]);
    let FromDatapath::Refused { message } = answer else { panic!("{answer:?}") };
    assert!(message.contains("2 ports with 1 descriptors"), "{message}");
    let wrong = ConfigDelta { epoch: 7, ..delta };
    let fds: Vec<_> = bed.taps.iter().map(AsFd::as_fd).collect();
    let (answer, _) = link.request(ToDatapath::Apply(wrong), &fds);
    assert!(matches!(answer, FromDatapath::Refused { .. }), "{answer:?}");
    link.attach(&bed, 1);
    bed.exchange(0, 1);
}

#[test]
fn deltas_become_visible_with_the_one_that_commits() {
    let bed = Bed::new();
    let link = Link::start(&bed);
    let whole = bed.delta(1);
    let first = ConfigDelta { attach: vec![bed.ports[0].clone()], commit: false, ..whole.clone() };
    let second = ConfigDelta { node: None, attach: vec![bed.ports[1].clone()], ..whole };
    assert_eq!(
        link.request(ToDatapath::Apply(first), &[bed.taps[0].as_fd()]).0,
        FromDatapath::Applied { epoch: 1 }
    );
    let (answer, _) = link.request(ToDatapath::ExportPorts { after: None }, &[]);
    assert_eq!(answer, FromDatapath::Ports(Vec::new()));
    assert_eq!(
        link.request(ToDatapath::Apply(second), &[bed.taps[1].as_fd()]).0,
        FromDatapath::Applied { epoch: 1 }
    );
    bed.exchange(0, 1);
}

#[test]
fn garbage_on_the_link_ends_that_connection_only() {
    let bed = Bed::new();
    let link = Link::start(&bed);
    link.expect_connected(0, false);
    link.attach(&bed, 1);
    let pid = link.pid();
    for garbage in [&b"\xff\xff\xff\xff\xff\xff\xff\xff\xff"[..], &[0], &[7; 60_000]] {
        let socket = seqpacket::connect(&bed.run_dir().join("datapath.sock")).unwrap();
        let (hello, _) = seqpacket::recv(socket.as_fd(), &mut [0; 256], 2).unwrap();
        assert_ne!(hello, 0);
        seqpacket::send(socket.as_fd(), garbage, &[]).unwrap();
        let end = seqpacket::recv(socket.as_fd(), &mut [0; 256], 1);
        assert!(matches!(end, Ok((0, _)) | Err(_)), "it hangs up: {end:?}");
    }
    bed.exchange(0, 1);
    // Each of them took the link over; it is won back with nothing lost.
    link.wait_for(|link| {
        let answer = link.link.request(ToDatapath::Summary, &[]);
        matches!(answer, Ok((FromDatapath::Summary(summary), _)) if summary.epoch == 1)
    });
    assert_eq!((link.pid(), link.link.status().restarts), (pid, 0));
}

#[test]
fn a_capture_streams_the_frames_of_its_port_until_its_reader_hangs_up() {
    let bed = Bed::new();
    let link = Link::start(&bed);
    link.expect_connected(0, false);
    link.attach(&bed, 1);
    bed.exchange(0, 1);
    let (mut reader, writer) = UnixStream::pair().unwrap();
    writer.set_nonblocking(true).unwrap();
    let start = ToDatapath::StartCapture { port: PortId(0), snaplen: 0 };
    assert_eq!(link.request(start, &[OwnedFd::from(writer).as_fd()]).0, FromDatapath::Done);
    bed.exchange(0, 1);
    reader.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let payload = bed.payload(0, 1);
    let mut captured = Vec::new();
    let mut chunk = [0; 4096];
    while !captured.windows(payload.len()).any(|window| window == payload) {
        let len = reader.read(&mut chunk).expect("the frame is captured");
        assert_ne!(len, 0, "the capture goes on");
        captured.extend_from_slice(&chunk[..len]);
    }
    assert_eq!(captured[..4], [0x0a, 0x0d, 0x0d, 0x0a], "a pcapng section header");
    drop(reader);
    bed.exchange(0, 1);

    let nowhere = ToDatapath::StartCapture { port: PortId(9), snaplen: 0 };
    let (_reader, writer) = UnixStream::pair().unwrap();
    let (answer, _) = link.request(nowhere, &[OwnedFd::from(writer).as_fd()]);
    assert_eq!(answer, FromDatapath::Refused { message: "there is no port 9".to_owned() });
}

#[test]
fn a_datapath_that_cannot_start_is_an_error() {
    let bed = Bed::new();
    let error = Link::try_start(&bed, "/bin/false".into(), 1).err().expect("an error").to_string();
    assert!(error.contains("/bin/false"), "{error}");
    assert!(error.contains("exited with status 1"), "{error}");
}

#[test]
fn a_datapath_that_keeps_dying_is_started_ever_more_slowly_and_can_be_stopped() {
    let bed = Bed::new();
    let link = Link::start(&bed);
    link.expect_connected(0, false);
    for _ in 0..5 {
        Link::signal(link.pid(), libc::SIGKILL);
        link.expect_lost();
        link.expect_connected(0, false);
    }
    let at = Instant::now();
    Link::signal(link.pid(), libc::SIGKILL);
    link.expect_lost();
    link.expect_connected(0, false);
    assert!(at.elapsed() >= Duration::from_millis(250), "the sixth restart waits: {:?}", at.elapsed());
    let pid = link.pid();
    link.link.stop();
    assert!(!fs::exists(format!("/proc/{pid}")).unwrap());
    assert!(link.events.iter().all(|event| matches!(event, LinkEvent::PortDetached { .. })));
}
