//! The daemon itself: `status`, `metrics`, `log-level`, `version`.

use std::fmt::Write as _;

use protocol::client::ClientError;
use protocol::message::{
    AdminRequest, ClusterStatus, DatapathStatus, ReadRequest, Response, Status, TunnelStatus,
};
use protocol::object::Timestamp;
use serde_json::{Value, json};

use crate::cli::Target;
use crate::cli::args::{Document, LogLevelArgs, StatusArgs};
use crate::connection::{Connection, unexpected};
use crate::error::CliError;
use crate::node;
use crate::output::{self, Resource as _, age, document};

pub(crate) fn status(target: &Target, args: &StatusArgs) -> Result<(), CliError> {
    let status = ask_status(target)?;
    let text = match args.output {
        None => status_text(&status, Timestamp::now()),
        Some(Document::Json) => document::json(&status_document(&status))?,
        Some(Document::Yaml) => document::yaml(&status_document(&status))?,
    };
    output::print(&text)
}

pub(crate) fn metrics(target: &Target) -> Result<(), CliError> {
    Connection::read(target)?.metrics(output::print_bytes)
}

pub(crate) fn log_level(target: &Target, args: LogLevelArgs) -> Result<(), CliError> {
    let text = format!("log filter is now \"{}\"\n", args.filter);
    match Connection::admin(target, "log-level")?.request(&AdminRequest::SetLogFilter(args.filter))? {
        Response::Done => output::print(&text),
        other => Err(unexpected(&other)),
    }
}

/// The client's version is an answer even where no daemon runs.
pub(crate) fn version(target: &Target) -> Result<(), CliError> {
    output::print(concat!("vpodctl ", env!("CARGO_PKG_VERSION"), "\n"))?;
    match ask_status(target) {
        Ok(status) => {
            output::print(&format!("vswitchd {} (node {})\n", status.node.version, status.node.name))
        }
        Err(CliError::Client(error @ ClientError::Connect { .. })) => {
            eprintln!("{error}");
            Ok(())
        }
        Err(error) => Err(error),
    }
}

fn ask_status(target: &Target) -> Result<Status, CliError> {
    match Connection::read(target)?.ask(ReadRequest::Status)? {
        Response::Status(status) => Ok(*status),
        other => Err(unexpected(&other)),
    }
}

pub(crate) fn status_text(status: &Status, now: Timestamp) -> String {
    let node = &status.node;
    let since = |at: Timestamp| age::human(at.until(now));
    let restarts = status.datapath_restarts;
    let (datapath, traffic) = match &status.datapath {
        Some(datapath) => {
            let up = since(datapath.started);
            let state = format!("running, pid {}, for {up}, restarts {restarts}", datapath.pid);
            (state, traffic(datapath))
        }
        None => (format!("being started, restarts {restarts}"), Vec::new()),
    };
    let mtu = node.pod_mtu.unwrap_or_default();
    let cidr = format!("{}, gateway {}, MTU {mtu}", node.pod_cidr, node.gateway);
    let control = format!("running, pid {}, for {}", status.control_pid, since(status.control_started));
    let mut rows = vec![
        ("Node:", format!("{} ({})", node.name, node::readiness(node))),
        ("Version:", format!("{}, kernel {}", node.version, node.kernel)),
        ("Addresses:", node::addresses(node)),
        ("Pod CIDR:", cidr),
        ("Pods:", node.pods.unwrap_or_default().to_string()),
        ("Control:", control),
        ("Datapath:", datapath),
    ];
    rows.extend(traffic);
    rows.extend(status.tunnel.iter().flat_map(tunnel));
    rows.extend(status.cluster.as_ref().map(|store| ("Cluster:", cluster(store, since(store.since)))));
    rows.push(("State:", status.state_dir.clone()));
    rows.push(("Log filter:", status.log_filter.clone()));
    if status.problems.is_empty() {
        rows.push(("Problems:", "none".to_owned()));
    }
    rows.extend(
        status
            .problems
            .iter()
            .enumerate()
            .map(|(i, problem)| (if i == 0 { "Problems:" } else { "" }, problem.clone())),
    );
    let mut text = String::new();
    for (label, value) in rows {
        let _ = writeln!(text, "{label:<12} {value}");
    }
    text
}

fn tunnel(tunnel: &TunnelStatus) -> [(&'static str, String); 2] {
    let TunnelStatus { address, udp_port, vni, underlay_mtu, peers, peers_up, peers_unknown } = tunnel;
    let unknown = if *peers_unknown == 0 { String::new() } else { format!(", {peers_unknown} unknown") };
    [
        ("Tunnel:", format!("{address}:{udp_port}, VNI {vni}, underlay MTU {underlay_mtu}")),
        ("Peers:", format!("{peers_up} of {peers} reachable{unknown}")),
    ]
}

fn cluster(store: &ClusterStatus, since: String) -> String {
    let state = if store.connected { "connected" } else { "not connected" };
    let why = store.message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
    format!("{state} to {} for {since}{why}", store.endpoints.join(", "))
}

fn traffic(datapath: &DatapathStatus) -> Vec<(&'static str, String)> {
    let DatapathStatus { workers, ports, fdb_entries, flows, rx_frames, forwarded, dropped, epoch, .. } =
        datapath;
    let plural = if *workers == 1 { "" } else { "s" };
    vec![
        (
            "",
            format!(
                "{workers} worker{plural}, {ports} ports, {fdb_entries} FDB entries, {flows} flows, epoch {epoch}"
            ),
        ),
        ("Frames:", format!("{rx_frames} received, {forwarded} forwarded, {dropped} dropped")),
    ]
}

pub(crate) fn status_document(status: &Status) -> Value {
    let mut object = document::of_kind("Status", status);
    let mut node = status.node.document();
    if let Some(node) = node.as_object_mut() {
        node.remove("apiVersion");
        node.remove("kind");
    }
    object["node"] = node;
    object["healthy"] = json!(status.problems.is_empty() && status.datapath.is_some());
    object
}
