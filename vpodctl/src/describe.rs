//! `describe`: everything about one object, for people.

use protocol::NameError;
use protocol::message::{Items, Kind, PodRef};
use protocol::object::{Node, Peer, Port, Timestamp, Traffic};

use crate::cli::args::DescribeArgs;
use crate::cli::{Target, kind};
use crate::connection::Connection;
use crate::error::CliError;
use crate::get::rows_of;
use crate::kept::routing_described::{self, Around};
use crate::kept::{
    self, AsRow, Endpoints, GatewayClasses, Gateways, HttpRoutes, IngressClasses, Ingresses, Row, Secrets,
    Services, Slices, described,
};
use crate::output::table::{self, View};
use crate::output::{self, Resource};
use crate::{node, peer, pod, policy, port};

pub(crate) fn run(target: &Target, args: &DescribeArgs) -> Result<(), CliError> {
    let name = match (&args.kind.name, &args.name) {
        (Some(name), None) | (None, Some(name)) => Some(name.as_str()),
        (None, None) => None,
        (Some(_), Some(name)) => return Err(CliError::Usage(format!("\"{name}\" is one name too many"))),
    };
    let names = kind::names(args.kind.kind);
    let required = || {
        let singular = names.singular;
        name.ok_or_else(|| CliError::Usage(format!("which {singular}? vpodctl describe {singular} NAME")))
    };
    match args.kind.kind {
        Kind::Pods => describe_pod(target, args, required()?),
        Kind::Nodes => {
            let nodes: Vec<Node> = named(&mut Connection::read(target)?, name)?;
            output::print(&nodes.iter().map(node::describe).collect::<Vec<_>>().join("\n"))
        }
        Kind::Ports => {
            let ports: Vec<Port> = named(&mut Connection::read(target)?, Some(required()?))?;
            output::print(&ports.iter().map(port::describe).collect::<Vec<_>>().join("\n"))
        }
        Kind::Peers => {
            let peers: Vec<Peer> = named(&mut Connection::read(target)?, name)?;
            output::print(&peers.iter().map(peer::describe).collect::<Vec<_>>().join("\n"))
        }
        Kind::Services => describe_service(target, args, required()?),
        Kind::Ingresses => describe_routed::<Ingresses>(target, args, required()?),
        Kind::IngressClasses => describe_routed::<IngressClasses>(target, args, required()?),
        Kind::Secrets => describe_routed::<Secrets>(target, args, required()?),
        Kind::GatewayClasses => describe_routed::<GatewayClasses>(target, args, required()?),
        Kind::Gateways => describe_routed::<Gateways>(target, args, required()?),
        Kind::HttpRoutes => describe_routed::<HttpRoutes>(target, args, required()?),
        Kind::NetworkPolicies | Kind::ClusterNetworkPolicies => describe_policy(target, args, required()?),
        Kind::Endpoints
        | Kind::EndpointSlices
        | Kind::Namespaces
        | Kind::Routes
        | Kind::Fdb
        | Kind::Neighbors
        | Kind::Flows
        | Kind::Connections
        | Kind::Drops
        | Kind::Denials
        | Kind::Traffic => {
            let plural = names.plural;
            Err(CliError::Usage(format!("{plural} have nothing to describe: vpodctl get {plural} -o wide")))
        }
    }
}

fn describe_service(target: &Target, args: &DescribeArgs, name: &str) -> Result<(), CliError> {
    let mut daemon = Connection::read(target)?;
    let namespace = Some(args.namespace.namespace.clone());
    let services: Vec<Services> = rows_of(daemon.list(Kind::Services, namespace.clone())?)?;
    let found = services.iter().find(|service| service.is_named(name));
    let missing = || CliError::NotFound { kind: "service", plural: "services", name: name.to_owned() };
    let service = found.ok_or_else(missing)?;
    let endpoints: Vec<Endpoints> = rows_of(daemon.list(Kind::Endpoints, namespace.clone())?)?;
    let its = endpoints.iter().find(|endpoints| endpoints.is_named(name)).map(|endpoints| &endpoints.row);
    let now = Timestamp::now();
    let mut text = kept::service::describe(service, its, now);
    let slices: Vec<Slices> = rows_of(daemon.list(Kind::EndpointSlices, namespace)?)?;
    text += &described::endpoints(name, slices.iter().map(|slice| &slice.row));
    text += &described::conditions(&service.row, now);
    // Of a datapath that is being started nothing can be said; of the service everything else.
    let pages = daemon.list(Kind::Traffic, Some(args.namespace.namespace.clone())).unwrap_or_default();
    let mut rows: Vec<Traffic> = rows_of(pages)?;
    rows.retain(|row| row.service.as_str() == name);
    if !rows.is_empty() {
        text += "\nTraffic on this node:\n";
        let view = View { wide: true, ..View::default() };
        text += &table::lines::<Traffic>(rows.iter().map(|row| row.cells(now)), view).concat();
    }
    output::print(&text)
}

/// A policy, with what it does at the moment.
fn describe_policy(target: &Target, args: &DescribeArgs, name: &str) -> Result<(), CliError> {
    let name = name.parse().map_err(|error: NameError| CliError::Usage(error.to_string()))?;
    let namespace = args.namespace.namespace.clone();
    let items = Connection::read(target)?.object(args.kind.kind, namespace, name)?;
    let found = items.into_iter().filter_map(|page| match page {
        Items::Documents(_, found) => Some(found),
        _ => None,
    });
    let described = found.flatten().map(|one| policy::describe(&Row::new(one), Timestamp::now()));
    output::print(&described.collect::<Result<Vec<_>, _>>()?.concat())
}

/// One of the objects that the ingress reads, with what it leads to.
fn describe_routed<R: Resource + AsRow>(
    target: &Target,
    args: &DescribeArgs,
    name: &str,
) -> Result<(), CliError> {
    let mut daemon = Connection::read(target)?;
    let namespace = Some(args.namespace.namespace.clone());
    let rows: Vec<R> = rows_of(daemon.list(R::KIND, namespace.clone())?)?;
    let names = kind::names(R::KIND);
    let missing = || CliError::NotFound { kind: names.singular, plural: names.plural, name: name.to_owned() };
    let found = rows.iter().find(|row| row.is_named(name)).ok_or_else(missing)?;
    let services: Vec<Services> = rows_of(daemon.list(Kind::Services, namespace.clone())?)?;
    let endpoints: Vec<Endpoints> = rows_of(daemon.list(Kind::Endpoints, namespace)?)?;
    let services: Vec<&Row> = services.iter().map(|service| &service.row).collect();
    let endpoints: Vec<&Row> = endpoints.iter().map(|endpoints| &endpoints.row).collect();
    let around = Around { services: &services, endpoints: &endpoints };
    output::print(&routing_described::describe(R::KIND, found.as_row(), &around, Timestamp::now())?)
}

fn describe_pod(target: &Target, args: &DescribeArgs, name: &str) -> Result<(), CliError> {
    let name = name.parse().map_err(|error: NameError| CliError::Usage(error.to_string()))?;
    let mut daemon = Connection::read(target)?;
    let pod = daemon.pod(PodRef { namespace: args.namespace.namespace.clone(), name })?;
    let ports: Vec<Port> = rows_of(daemon.list(Kind::Ports, None)?)?;
    let port = ports.iter().find(|port| Some(port.id) == pod.status.port);
    output::print(&pod::describe::describe(&pod, port, Timestamp::now()))
}

/// The rows called `name`, or all.
fn named<R: Resource>(daemon: &mut Connection, name: Option<&str>) -> Result<Vec<R>, CliError> {
    let mut rows: Vec<R> = rows_of(daemon.list(R::KIND, None)?)?;
    let Some(name) = name else { return Ok(rows) };
    rows.retain(|row| row.is_named(name));
    if rows.is_empty() {
        let names = kind::names(R::KIND);
        let (kind, plural) = (names.singular, names.plural);
        return Err(CliError::NotFound { kind, plural, name: name.to_owned() });
    }
    Ok(rows)
}
