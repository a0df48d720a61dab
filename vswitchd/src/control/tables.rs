//! The tables that `get` and `status` show.

use protocol::PortId;
use protocol::link::{FromDatapath, Summary, ToDatapath};
use protocol::message::{DatapathStatus, ITEMS_PER_RESPONSE, Items, Kind, Status, TunnelStatus};
use protocol::name::Namespace;
use protocol::object::{Connection, DropEntry, FdbEntry, Flow, NeighborEntry, Node, Port, PortCounters};

use routing::check;
use store::desired::{FIRST_TUNNEL_PORT, GATEWAY_PORT, UPLINK_PORT};

use super::cluster::Cluster;
use super::node::Control;
use super::switch::{SwitchError, unexpected};
use super::{ingress, peers, pods, policy, routes, services};

/// What pods are closed for.
const POLICIES_UNKNOWN: &str = "network policies have not been read from the cluster's store: until then pods are closed, but for those \
                                that a running datapath knows";

/// Rows of a kind, in pages of at most [`ITEMS_PER_RESPONSE`].
pub(crate) fn list(
    control: &Control,
    kind: Kind,
    namespace: Option<&Namespace>,
) -> Result<Vec<Items>, SwitchError> {
    Ok(match kind {
        Kind::Pods => paged(pods::list(control, namespace), Items::Pods),
        Kind::Nodes => paged(nodes(control)?, Items::Nodes),
        Kind::Fdb => paged(fdb(control)?, Items::Fdb),
        Kind::Neighbors => paged(neighbors(control)?, Items::Neighbors),
        Kind::Flows => paged(flows(control)?, Items::Flows),
        Kind::Connections => paged(connections(control)?, Items::Connections),
        Kind::Ports => paged(ports(control)?, Items::Ports),
        Kind::Drops => paged(drops(control)?, Items::Drops),
        Kind::Peers => paged(peers::rows(control)?, Items::Peers),
        Kind::Routes => paged(routes::rows(control)?, Items::Routes),
        Kind::Services => paged(services::list(control, kind, namespace), Items::Services),
        Kind::Endpoints => paged(services::list(control, kind, namespace), Items::Endpoints),
        Kind::EndpointSlices => paged(services::list(control, kind, namespace), Items::EndpointSlices),
        Kind::Namespaces => paged(services::list(control, kind, namespace), Items::Namespaces),
        Kind::Traffic => paged(services::traffic(control, namespace)?, Items::Traffic),
        Kind::Ingresses
        | Kind::IngressClasses
        | Kind::Secrets
        | Kind::GatewayClasses
        | Kind::Gateways
        | Kind::HttpRoutes => {
            let rows = ingress::list(control, kind, namespace);
            paged(rows, |rows| rows).into_iter().map(|rows| Items::Documents(kind, rows)).collect()
        }
        Kind::NetworkPolicies | Kind::ClusterNetworkPolicies => {
            let of = policy::kind_of(kind).map(|of| policy::list(control, of, namespace));
            let pages = paged(of.unwrap_or_default(), |rows| rows).into_iter();
            pages.map(|rows| Items::Documents(kind, rows)).collect()
        }
        Kind::Denials => paged(policy::denials(control)?, Items::Denials),
    })
}

/// One object of a kind that is kept as a document.
pub(crate) fn object(
    control: &Control,
    kind: Kind,
    namespace: &Namespace,
    name: &protocol::ObjectName,
) -> Option<Items> {
    if check::names(kind).is_some() {
        return Some(Items::Documents(kind, vec![ingress::document(control, kind, namespace, name)?]));
    }
    if let Some(of) = policy::kind_of(kind) {
        return Some(Items::Documents(kind, vec![policy::document(control, of, namespace, name)?]));
    }
    let found = vec![services::document(control, kind, namespace, name)?];
    match kind {
        Kind::Services => Some(Items::Services(found)),
        Kind::Endpoints => Some(Items::Endpoints(found)),
        Kind::EndpointSlices => Some(Items::EndpointSlices(found)),
        Kind::Namespaces => Some(Items::Namespaces(found)),
        _ => None,
    }
}

fn paged<T, P>(rows: Vec<T>, page: fn(Vec<T>) -> P) -> Vec<P> {
    let mut pages = Vec::new();
    let mut rows = rows.into_iter().peekable();
    while rows.peek().is_some() {
        pages.push(page(rows.by_ref().take(ITEMS_PER_RESPONSE).collect()));
    }
    pages
}

/// Rows of a page with the cursor of the next one; an answer that is no such page as it is.
type Page<T> = Result<(Vec<T>, Option<u64>), Box<FromDatapath>>;

/// Rows of a table of the datapath, page by page. Rows that appear meanwhile may be missed.
pub(crate) fn pages<T>(
    control: &Control,
    request: fn(u64) -> ToDatapath,
    open: fn(FromDatapath) -> Page<T>,
) -> Result<Vec<T>, SwitchError> {
    pages_until(control, request, open, |_| false)
}

/// As [`pages`], up to the page that is enough.
pub(crate) fn pages_until<T>(
    control: &Control,
    request: fn(u64) -> ToDatapath,
    open: fn(FromDatapath) -> Page<T>,
    mut is_enough: impl FnMut(&[T]) -> bool,
) -> Result<Vec<T>, SwitchError> {
    let mut all = Vec::new();
    let mut cursor = 0;
    loop {
        let answer = control.switch.link().request(request(cursor), &[])?.0;
        let (rows, next) = open(answer).map_err(|other| unexpected(*other))?;
        let is_last = is_enough(&rows);
        all.extend(rows);
        match next {
            Some(next) if next != cursor && !is_last => cursor = next,
            Some(_) | None => return Ok(all),
        }
    }
}

fn fdb(control: &Control) -> Result<Vec<FdbEntry>, SwitchError> {
    pages(
        control,
        |cursor| ToDatapath::Fdb { cursor },
        |answer| match answer {
            FromDatapath::Fdb { rows, next } => Ok((rows, next)),
            other => Err(Box::new(other)),
        },
    )
}

fn neighbors(control: &Control) -> Result<Vec<NeighborEntry>, SwitchError> {
    pages(
        control,
        |cursor| ToDatapath::Neighbors { cursor },
        |answer| match answer {
            FromDatapath::Neighbors { rows, next } => Ok((rows, next)),
            other => Err(Box::new(other)),
        },
    )
}

pub(crate) fn connections(control: &Control) -> Result<Vec<Connection>, SwitchError> {
    pages(
        control,
        |cursor| ToDatapath::Connections { cursor },
        |answer| match answer {
            FromDatapath::Connections { rows, next } => Ok((rows, next)),
            other => Err(Box::new(other)),
        },
    )
}

pub(crate) fn flows(control: &Control) -> Result<Vec<Flow>, SwitchError> {
    pages(
        control,
        |cursor| ToDatapath::Flows { cursor },
        |answer| match answer {
            FromDatapath::Flows { rows, next } => Ok((rows, next)),
            other => Err(Box::new(other)),
        },
    )
}

/// Counters of all ports.
pub(crate) fn counters(control: &Control) -> Result<Vec<(PortId, PortCounters)>, SwitchError> {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        match control.switch.link().request(ToDatapath::Counters { after }, &[])?.0 {
            FromDatapath::Counters(page) => match page.last() {
                Some((last, _)) => {
                    after = Some(*last);
                    all.extend(page);
                }
                None => return Ok(all),
            },
            other => return Err(unexpected(other)),
        }
    }
}

/// All ports with their counters.
pub(crate) fn ports(control: &Control) -> Result<Vec<Port>, SwitchError> {
    let rows = counters(control)?.into_iter().filter_map(|(id, counters)| {
        let config = control.switch.active_port(id)?;
        Some(Port {
            id,
            name: config.name,
            kind: config.kind,
            state: config.state,
            mac: config.mac,
            addresses: config.addresses,
            ip_mtu: config.ip_mtu,
            offloads: config.offloads,
            port_security: config.port_security,
            counters,
        })
    });
    Ok(rows.collect())
}

fn drops(control: &Control) -> Result<Vec<DropEntry>, SwitchError> {
    let rows = ports(control)?.into_iter().flat_map(|port| {
        let Port { id, name, counters, .. } = port;
        counters.drops.into_iter().map(move |drop| DropEntry {
            port: id,
            port_name: name.clone(),
            description: describe(&drop.reason).to_owned(),
            reason: drop.reason,
            frames: drop.frames,
        })
    });
    Ok(rows.collect())
}

fn describe(reason: &str) -> &'static str {
    datapath::DropReason::ALL.iter().find(|r| r.name() == reason).map_or("", |r| r.description())
}

/// The node itself.
pub(crate) fn node(control: &Control) -> Node {
    let config = &control.config;
    Node {
        name: config.node.clone(),
        addresses: control.switch.node_addresses(),
        pod_cidr: config.pod_cidr,
        gateway: config.gateway(),
        pod_mtu: Some(control.pod_mtu()),
        pods: Some(saturated(control.inventory.lock().len())),
        ready: Some(control.switch.link().status().pid.is_some() && control.switch_problem.lock().is_none()),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: nix::sys::utsname::uname()
            .map(|name| name.release().to_string_lossy().into_owned())
            .unwrap_or_default(),
    }
}

/// This node, and those it knows of.
fn nodes(control: &Control) -> Result<Vec<Node>, SwitchError> {
    let mut health = peers::health(control)?;
    let peers = control.peers.lock();
    let others = peers.known().filter_map(|peer| {
        let pod_cidr = *peer.spec.pod_cidrs.first()?;
        let said = control.cluster.as_ref().and_then(|cluster| cluster.node(&peer.spec.name));
        Some(Node {
            name: peer.spec.name.clone(),
            addresses: peer.spec.node_addresses.clone(),
            pod_cidr,
            gateway: store::ipam::Ipam::new(pod_cidr).gateway(),
            pod_mtu: said.as_ref().map(|said| said.spec.ip_mtu).filter(|mtu| *mtu > 0),
            pods: None,
            ready: health.remove(&peer.id).and_then(|health| health.reachable),
            version: said.map(|said| said.spec.version).unwrap_or_default(),
            kernel: String::new(),
        })
    });
    let mut nodes: Vec<Node> = others.collect();
    drop(peers);
    nodes.push(node(control));
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(nodes)
}

fn tunnel_status(control: &Control) -> Option<TunnelStatus> {
    let tunnel = control.switch.tunnel()?;
    let peers = peers::rows(control).unwrap_or_default();
    let count = |state| saturated(peers.iter().filter(|peer| peer.health.reachable == state).count());
    Some(TunnelStatus {
        address: tunnel.address.into(),
        udp_port: tunnel.udp_port,
        vni: tunnel.vni,
        underlay_mtu: tunnel.underlay_mtu,
        peers: saturated(peers.len()),
        peers_up: count(Some(true)),
        peers_unknown: count(None),
    })
}

fn saturated(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// What `vpodctl status` shows.
pub(crate) fn status(control: &Control) -> Status {
    let link = control.switch.link().status();
    let summary = summary(control);
    let mut problems = problems(control);
    if let Err(error) = &summary {
        problems.push(format!("the datapath is away: {}", super::error::chain(error)));
    }
    let datapath = match (link.pid, link.started, summary) {
        (Some(pid), Some(started), Ok(summary)) => Some(DatapathStatus {
            pid,
            started,
            epoch: summary.epoch,
            workers: summary.workers,
            ports: summary.ports,
            fdb_entries: summary.fdb_entries,
            flows: summary.flows,
            rx_frames: summary.rx_frames,
            forwarded: summary.forwarded,
            dropped: summary.dropped,
        }),
        _ => None,
    };
    Status {
        node: node(control),
        control_pid: std::process::id(),
        control_started: control.started,
        datapath,
        datapath_restarts: link.restarts,
        tunnel: tunnel_status(control),
        cluster: control.cluster.as_ref().map(Cluster::status),
        state_dir: control.config.state_dir.display().to_string(),
        log_filter: control.logs.filter(),
        problems,
    }
}

/// Numbers of the datapath.
pub(crate) fn summary(control: &Control) -> Result<Summary, SwitchError> {
    match control.switch.link().request(ToDatapath::Summary, &[])?.0 {
        FromDatapath::Summary(summary) => Ok(summary),
        other => Err(unexpected(other)),
    }
}

fn problems(control: &Control) -> Vec<String> {
    let mut problems: Vec<String> = control.unreadable.clone();
    problems.extend(control.store_problem.lock().clone());
    problems.extend(control.switch_problem.lock().clone());
    problems.extend(control.tunnel.lock().problem.as_ref().map(|problem| format!("no tunnel: {problem}")));
    problems.extend(control.uplink.lock().problems().iter().cloned());
    problems.extend(control.switch.edge().problem());
    problems.extend(control.switch.edge().shortcomings());
    problems.extend(control.services.problems());
    if !control.switch.policies().is_known() {
        problems.push(POLICIES_UNKNOWN.to_owned());
    }
    problems.extend(control.system_problems.lock().values().cloned());
    problems.extend(control.cluster.iter().flat_map(Cluster::problems));
    problems.extend(control.peers.lock().problems().iter().cloned());
    let quarantined = control.switch.quarantined();
    if quarantined.range(FIRST_TUNNEL_PORT..).next().is_some() {
        problems.push(
            "the tunnel is quarantined: packets of other nodes crashed the datapath twice within a minute; restart vswitchd"
                .to_owned(),
        );
    }
    if quarantined.contains(&UPLINK_PORT) {
        problems.push(
            "the uplink is quarantined: frames from outside crashed the datapath twice within a minute; restart vswitchd"
                .to_owned(),
        );
    }
    let inventory = control.inventory.lock();
    for (pod, entry) in inventory.iter() {
        if let Some(failure) = &entry.failure {
            problems.push(format!("pod {pod} failed: {failure}"));
        }
        if quarantined.contains(&entry.record.port) {
            problems.push(format!(
                "pod {pod} is quarantined: its frames crashed the datapath twice within a minute; delete and create it again"
            ));
        }
    }
    // The switch is never asked with the inventory locked: it takes the locks the other way round.
    drop(inventory);
    if !control.switch.has_device(GATEWAY_PORT) {
        problems.push(format!(
            "the gateway device {} is missing: this node does not reach its pods",
            control.config.gateway_device
        ));
    }
    problems
}
