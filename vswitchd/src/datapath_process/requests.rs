//! Answers to what control asks of a worker. Each runs between two turns, so it must be short:
//! tables leave in pages.

use std::os::fd::OwnedFd;

use protocol::PortId;
use protocol::link::{FromDatapath, Summary};

use super::change::Change;
use super::command::{Command, Reply};
use super::worker::{Staged, Worker};

/// Carries out one request.
pub(super) fn answer(worker: &mut Worker, command: Command) -> Reply {
    let now = worker.now();
    match command {
        Command::Apply(change) => apply(worker, &change),
        Command::ExportPorts { after, max } => export_ports(worker, after, max),
        Command::Counters { after, max } => {
            let ports = ports_after(worker, after, max);
            let rows = ports.into_iter().filter_map(|port| Some((port, worker.switch.port_counters(port)?)));
            FromDatapath::Counters(rows.collect()).into()
        }
        Command::Fdb { cursor, max } => {
            let (rows, next) = worker.switch.fdb_page(cursor, max, now);
            FromDatapath::Fdb { rows, next }.into()
        }
        Command::Neighbors { cursor, max } => {
            let (rows, next) = worker.switch.neighbors_page(cursor, max, now);
            FromDatapath::Neighbors { rows, next }.into()
        }
        Command::Flows { cursor, max } => {
            let (rows, next) = worker.switch.flows_page(cursor, max, now);
            FromDatapath::Flows { rows, next }.into()
        }
        Command::Connections { cursor, max } => {
            let (rows, next) = worker.switch.connections_page(cursor, max, now);
            FromDatapath::Connections { rows, next }.into()
        }
        Command::Services { cursor, max } => {
            let (rows, next) = worker.switch.services_page(cursor, max);
            FromDatapath::Services { rows, next }.into()
        }
        Command::Trace(packet) => match worker.switch.trace(&packet, now) {
            Ok(trace) => FromDatapath::Trace(Box::new(trace)).into(),
            Err(problem) => Reply::refused(problem),
        },
        Command::Peers { after, max } => {
            FromDatapath::Peers(worker.switch.peers_page(after, max, now)).into()
        }
        Command::Summary => {
            let summary = Summary { ports: worker.ports.attached(), ..worker.switch.summary() };
            FromDatapath::Summary(summary).into()
        }
        Command::StartCapture { port, snaplen, stream } => start_capture(worker, port, snaplen, stream),
        Command::HoldAnnounced { until } => {
            worker.switch.hold_announced(until, now);
            FromDatapath::Done.into()
        }
        Command::Shutdown => FromDatapath::Done.into(),
    }
}

/// Takes part in a change. Devices follow the switch: nothing is polled before its port is configured,
/// and nothing stays polled whose port is gone.
fn apply(worker: &mut Worker, change: &Change) -> Reply {
    let delta = &change.delta;
    let prepared = worker.switch.prepare(delta);
    if !change.agree(prepared.is_ok()) {
        worker.switch.discard();
        worker.staged = Staged::default();
        return Reply::refused(match prepared {
            Err(e) => format!("configuration {}: {e}", delta.epoch),
            Ok(()) => format!("configuration {}: another worker refused it", delta.epoch),
        });
    }
    worker.staged.detach.extend(&delta.detach);
    worker.staged.attach.extend(change.devices.iter().cloned());
    if delta.commit {
        worker.switch.commit(worker.now());
        let Staged { detach, attach } = std::mem::take(&mut worker.staged);
        worker.switch_devices(&detach, attach);
        worker.resume_paused();
        change.complete();
    }
    FromDatapath::Applied { epoch: delta.epoch }.into()
}

/// The `max` lowest port numbers after `after`.
fn ports_after(worker: &Worker, after: Option<PortId>, max: usize) -> Vec<PortId> {
    let mut ports: Vec<_> = worker
        .switch
        .ports()
        .map(|port| port.id)
        .filter(|id| after.is_none_or(|after| *id > after))
        .collect();
    ports.sort_unstable();
    ports.truncate(max);
    ports
}

/// Configurations and descriptors of ports that have a device. A port without one was detached:
/// there is nothing to take over. At most `max` descriptors.
fn export_ports(worker: &Worker, after: Option<PortId>, max: usize) -> Reply {
    let mut rows: Vec<_> = worker
        .switch
        .ports()
        .filter(|port| after.is_none_or(|after| port.id > after) && worker.ports.contains(port.id))
        .collect();
    rows.sort_unstable_by_key(|port| port.id);
    rows.truncate(max);
    let mut configs = Vec::with_capacity(rows.len());
    let mut fds = Vec::with_capacity(rows.len());
    for config in rows {
        if fds.len() + config.device.descriptors() > max {
            break;
        }
        match worker.ports.duplicate(config.id) {
            Some(Ok(own)) => fds.extend(own),
            Some(Err(e)) => return Reply::refused(format!("port {} ({}): {e}", config.id, config.name)),
            None => continue,
        }
        configs.push(config.clone());
    }
    Reply { body: FromDatapath::Ports(configs), fds }
}

fn start_capture(worker: &mut Worker, port: PortId, snaplen: u32, stream: OwnedFd) -> Reply {
    let Some(config) = worker.switch.ports().find(|config| config.id == port).cloned() else {
        return Reply::refused(format!("there is no port {port}"));
    };
    match worker.start_capture(&config, snaplen, stream) {
        Ok(()) => FromDatapath::Done.into(),
        Err(e) => Reply::refused(format!("capture on port {port} ({}): {e}", config.name)),
    }
}
