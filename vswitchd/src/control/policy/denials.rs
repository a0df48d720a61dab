//! What policies have refused: counts, and the flows that were refused lately.
//!
//! The datapath notes refused flows in a small ring, by numbers. They are fetched when somebody asks, and every second if they are to be logged;
//! policies and pods are named when a row is fetched, because numbers and addresses become others'.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ::policy::PolicyName;
use nix::time::{ClockId, clock_gettime};
use protocol::link::policy::DeniedBy;
use protocol::link::{DeniedFlow, FromDatapath, ToDatapath};
use protocol::object::{Denial, PolicyDirection, PolicyFlow, Timestamp};

use super::super::error::chain;
use super::super::node::Control;
use super::super::switch::{SwitchError, unexpected};
use super::super::tables::pages;
use super::PolicyState;

/// Rows that are kept.
const KEPT: usize = 1000;
/// Between two looks for the log.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What was refused lately.
#[derive(Default)]
pub(crate) struct DenialLog {
    rows: VecDeque<Denial>,
    /// Of the datapath's own numbers.
    after: u64,
    /// Which datapath these are of.
    datapath: Option<u32>,
    next: u64,
}

/// What was refused lately, the oldest first.
pub(crate) fn denials(control: &Control) -> Result<Vec<Denial>, SwitchError> {
    let mut log = control.denials.lock();
    fetch(control, &mut log, |_| {})?;
    Ok(log.rows.iter().cloned().collect())
}

fn fetch(control: &Control, log: &mut DenialLog, mut each: impl FnMut(&Denial)) -> Result<(), SwitchError> {
    let datapath = control.switch.link().status().pid;
    if log.datapath != datapath {
        (log.datapath, log.after) = (datapath, 0);
    }
    loop {
        let request = ToDatapath::Denials { after: log.after };
        let rows = match control.switch.link().request(request, &[])?.0 {
            FromDatapath::Denials { rows, .. } => rows,
            other => return Err(unexpected(other)),
        };
        let Some(last) = rows.last() else { return Ok(()) };
        log.after = last.number;
        let state = control.switch.policies();
        let now = Now::read();
        for row in &rows {
            let denial = named(&state, row, log.next, &now);
            log.next += 1;
            each(&denial);
            log.rows.push_back(denial);
            if log.rows.len() > KEPT {
                log.rows.pop_front();
            }
        }
    }
}

/// Both clocks at one moment.
struct Now {
    wall: u64,
    monotonic: Duration,
}

impl Now {
    fn read() -> Self {
        let monotonic = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default();
        Self { wall: Timestamp::now().0, monotonic }
    }

    fn at(&self, nanos: u64) -> Timestamp {
        let ago = self.monotonic.saturating_sub(Duration::from_nanos(nanos));
        Timestamp(self.wall.saturating_sub(ago.as_secs()))
    }
}

fn named(state: &PolicyState, row: &DeniedFlow, number: u64, now: &Now) -> Denial {
    let pod = |address| state.pod_at(address).map(|pod| pod.to_string());
    let (source, destination) = (row.source.into(), row.destination.into());
    Denial {
        number,
        seen: now.at(row.at_nanos),
        flow: PolicyFlow {
            source,
            source_pod: pod(source),
            destination,
            destination_pod: pod(destination),
            protocol: row.protocol,
            port: row.destination_port,
        },
        direction: row.direction,
        reason: reason(state, row.direction, row.by),
    }
}

fn reason(state: &PolicyState, direction: PolicyDirection, by: Option<DeniedBy>) -> String {
    let Some(by) = by else { return "no policies are known of the pod".to_owned() };
    let policy =
        state.policy(by.policy).map_or_else(|| "a policy that is gone".to_owned(), ToString::to_string);
    let direction = match direction {
        PolicyDirection::Ingress => "ingress",
        PolicyDirection::Egress => "egress",
    };
    match by.rule {
        Some(rule) => format!("{policy} {direction}[{rule}]"),
        None => format!("isolated by {policy}"),
    }
}

/// Packets that each policy has refused on this node; nothing if the datapath cannot be asked.
pub(crate) fn counted(control: &Control) -> BTreeMap<PolicyName, u64> {
    let rows = pages(
        control,
        |cursor| ToDatapath::Policies { cursor },
        |answer| match answer {
            FromDatapath::Policies { rows, next } => Ok((rows, next)),
            other => Err(Box::new(other)),
        },
    );
    let rows = rows.unwrap_or_default();
    let state = control.switch.policies();
    let named = rows.iter().filter_map(|row| Some((state.policy(row.policy)?.clone(), row.denied)));
    named.collect()
}

/// Logs what is refused, if that is configured, until the daemon ends.
pub(crate) fn follow(control: &Arc<Control>) -> std::io::Result<()> {
    if !control.config.log_denied {
        return Ok(());
    }
    let control = Arc::clone(control);
    std::thread::Builder::new().name("denials".to_owned()).spawn(move || {
        loop {
            std::thread::sleep(LOOK_AGAIN);
            let mut log = control.denials.lock();
            if let Err(error) = fetch(&control, &mut log, say) {
                tracing::debug!("refused flows are not logged: {}", chain(&error));
            }
        }
    })?;
    Ok(())
}

fn say(denial: &Denial) {
    let Denial { flow, direction, reason, .. } = denial;
    let name = |pod: &Option<String>| pod.clone().unwrap_or_default();
    tracing::info!(
        target: "policy",
        source = %flow.source,
        source_pod = name(&flow.source_pod),
        destination = %flow.destination,
        destination_pod = name(&flow.destination_pod),
        protocol = flow.protocol,
        port = flow.port,
        ?direction,
        by = reason,
        "denied"
    );
}
