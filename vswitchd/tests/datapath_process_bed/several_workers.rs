//! The same process with several workers: to whoever asks it, one datapath.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::AsFd;
use std::time::Duration;

use protocol::PortId;
use protocol::link::{ConfigDelta, FromDatapath, ToDatapath};
use protocol::object::{Flow, PortCounters};

use crate::datapath_process_bed::{Bed, Link};

const WORKERS: u8 = 3;
const STATIONS: u8 = 4;

fn start() -> (Bed, Link) {
    let bed = Bed::with_stations(STATIONS);
    let link = Link::start_with_workers(&bed, WORKERS);
    link.expect_connected(0, false);
    link.attach(&bed, 1);
    (bed, link)
}

fn pairs() -> impl Iterator<Item = (usize, usize)> {
    let stations = usize::from(STATIONS);
    (0..stations)
        .flat_map(move |from| (0..stations).map(move |to| (from, to)))
        .filter(|(from, to)| from != to)
}

fn counters(link: &Link) -> Vec<(PortId, PortCounters)> {
    let (answer, _) = link.request(ToDatapath::Counters { after: None }, &[]);
    let FromDatapath::Counters(rows) = answer else { panic!("{answer:?}") };
    rows
}

fn flows(link: &Link) -> Vec<Flow> {
    let (mut all, mut cursor) = (Vec::new(), Some(0));
    while let Some(at) = cursor {
        let (answer, _) = link.request(ToDatapath::Flows { cursor: at }, &[]);
        let FromDatapath::Flows { rows, next } = answer else { panic!("{answer:?}") };
        assert_ne!(next, cursor);
        all.extend(rows);
        cursor = next;
    }
    all
}

#[test]
fn every_station_talks_to_every_other_whoever_reads_them() {
    let (bed, link) = start();
    for (from, to) in pairs() {
        bed.exchange(from, to);
    }
    let (answer, _) = link.request(ToDatapath::Summary, &[]);
    let FromDatapath::Summary(summary) = answer else { panic!("{answer:?}") };
    assert_eq!((summary.epoch, summary.workers, summary.ports), (1, 3, 4));
    let rows = counters(&link);
    assert_eq!(rows.iter().map(|(port, _)| port.0).collect::<Vec<_>>(), [0, 1, 2, 3]);
    for (port, counters) in &rows {
        let dropped: u64 = counters.drops.iter().map(|d| d.frames).sum();
        assert_eq!(counters.rx_frames, counters.forwarded + dropped, "port {port}");
        assert!(counters.rx_frames >= 3 && counters.tx_frames >= 3, "port {port}: {counters:?}");
    }
    let flows = flows(&link);
    let seen: BTreeSet<_> = flows.iter().map(|flow| (flow.ingress.0, flow.egress.0)).collect();
    assert_eq!(seen.len(), pairs().count(), "{seen:?}");
}

#[test]
fn each_worker_is_a_thread_and_none_has_rights() {
    let (_bed, link) = start();
    let tasks = fs::read_dir(format!("/proc/{}/task", link.pid())).unwrap();
    let mut names = Vec::new();
    for task in tasks {
        let path = task.unwrap().path();
        names.push(fs::read_to_string(path.join("comm")).unwrap().trim().to_owned());
        let status = fs::read_to_string(path.join("status")).unwrap();
        assert!(status.contains("Seccomp:\t2"), "{status}");
    }
    names.sort_unstable();
    assert_eq!(names[..names.len() - 1].len(), usize::from(WORKERS));
    for worker in 0..WORKERS {
        assert!(names.contains(&format!("worker-{worker}")), "{names:?}");
    }
    let limits = fs::read_to_string(format!("/proc/{}/limits", link.pid())).unwrap();
    let files: Vec<_> =
        limits.lines().find(|line| line.starts_with("Max open files")).unwrap().split_whitespace().collect();
    assert_eq!(files[3], files[4], "as many descriptors as the machine allows");
}

#[test]
fn a_refused_change_leaves_every_worker_as_it_was() {
    let (bed, link) = start();
    let update = ConfigDelta { update: bed.ports.clone(), commit: true, ..ConfigDelta::default() };
    for epoch in [1, 7] {
        let wrong = ToDatapath::Apply(ConfigDelta { epoch, ..update.clone() });
        let FromDatapath::Refused { .. } = link.request(wrong, &[]).0 else { panic!("epoch {epoch}") };
    }
    // Collected, then taken along by a delta that is refused.
    let detach = ConfigDelta { epoch: 2, detach: vec![PortId(0)], ..ConfigDelta::default() };
    let collected = link.request(ToDatapath::Apply(detach), &[]).0;
    assert_eq!(collected, FromDatapath::Applied { epoch: 2 });
    let FromDatapath::Refused { .. } = link.request(ToDatapath::Apply(ConfigDelta::default()), &[]).0 else {
        panic!("epoch 0")
    };
    let update = ToDatapath::Apply(ConfigDelta { epoch: 2, ..update });
    assert_eq!(link.request(update, &[]).0, FromDatapath::Applied { epoch: 2 });
    for (from, to) in pairs() {
        bed.exchange(from, to);
    }
}

#[test]
fn a_port_goes_and_comes_for_all_workers_at_once() {
    let (bed, link) = start();
    bed.exchange(1, 2);
    let last = bed.ports.len() - 1;
    let detach =
        ConfigDelta { epoch: 2, detach: vec![bed.ports[last].id], commit: true, ..ConfigDelta::default() };
    assert_eq!(link.request(ToDatapath::Apply(detach), &[]).0, FromDatapath::Applied { epoch: 2 });
    assert_eq!(counters(&link).len(), last);
    let attach = ConfigDelta {
        epoch: 3,
        attach: vec![bed.ports[last].clone()],
        commit: true,
        ..ConfigDelta::default()
    };
    let answer = link.request(ToDatapath::Apply(attach), &[bed.taps[last].as_fd()]).0;
    assert_eq!(answer, FromDatapath::Applied { epoch: 3 });
    for (from, to) in pairs() {
        bed.exchange(from, to);
    }
}

#[test]
fn a_deleted_tap_is_one_event_whoever_finds_it() {
    let (bed, link) = start();
    bed.exchange(0, 2);
    // Each worker writes to the one that goes.
    std::thread::scope(|scope| {
        for from in [0, 1, 3] {
            let bed = &bed;
            scope.spawn(move || (0..200).for_each(|_| bed.send(from, 2)));
        }
        bed.delete_device(2);
    });
    let (port, cause) = link.expect_detached();
    assert_eq!(port, PortId(2), "{cause}");
    bed.exchange(0, 3);
    bed.exchange(3, 1);
    std::thread::sleep(Duration::from_millis(200));
    assert!(link.events.try_recv().is_err(), "one event is enough");
    let before = link.cpu_ticks();
    std::thread::sleep(Duration::from_millis(500));
    let spent = link.cpu_ticks() - before;
    assert!(spent < 25, "{spent} ticks of 10 ms in half a second");
}
