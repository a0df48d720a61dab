//! `get`: lists, one kind at a time, once or for as long as somebody watches.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use protocol::client::ClientError;
use protocol::message::{Items, Kind, PodRef, ReadRequest, Response};
use protocol::object::{
    self, Denial, DropEntry, FdbEntry, Flow, NeighborEntry, Node, Peer, Pod, Port, Route, ServiceCounters,
    Timestamp, Traffic,
};
use protocol::{NameError, Namespace};

use crate::cli::args::GetArgs;
use crate::cli::selector::Selector;
use crate::cli::{self, Target};
use crate::connection::{Connection, unexpected};
use crate::error::CliError;
use crate::filter::Filter;
use crate::kept::{
    Endpoints, GatewayClasses, Gateways, HttpRoutes, IngressClasses, Ingresses, Kept, Namespaces, Secrets,
    Services, Shape, Slices,
};
use crate::output::table::{View, Widths};
use crate::output::{self, Format, Resource, document};
use crate::policy::{ClusterNetworkPolicies, NetworkPolicies};

/// Between two looks of `-w`.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);

pub(crate) fn run(target: &Target, args: &GetArgs) -> Result<(), CliError> {
    let mut query = Query::new(args)?;
    if matches!(args.kind.kind, Kind::Flows | Kind::Connections) {
        query.filter = Filter::new(args, &mut Connection::read(target)?)?;
    }
    match args.kind.kind {
        Kind::Pods => get::<Pod>(target, args, &query),
        Kind::Nodes => get::<Node>(target, args, &query),
        Kind::Fdb => get::<FdbEntry>(target, args, &query),
        Kind::Neighbors => get::<NeighborEntry>(target, args, &query),
        Kind::Flows => get::<Flow>(target, args, &query),
        Kind::Connections => get::<object::Connection>(target, args, &query),
        Kind::Ports => get::<Port>(target, args, &query),
        Kind::Drops => get::<DropEntry>(target, args, &query),
        Kind::Peers => get::<Peer>(target, args, &query),
        Kind::Routes => get::<Route>(target, args, &query),
        Kind::Services => get::<Services>(target, args, &query),
        Kind::Endpoints => get::<Endpoints>(target, args, &query),
        Kind::EndpointSlices => get::<Slices>(target, args, &query),
        Kind::Namespaces => get::<Namespaces>(target, args, &query),
        Kind::Traffic => get::<Traffic>(target, args, &query),
        Kind::Ingresses => get::<Ingresses>(target, args, &query),
        Kind::IngressClasses => get::<IngressClasses>(target, args, &query),
        Kind::Secrets => get::<Secrets>(target, args, &query),
        Kind::GatewayClasses => get::<GatewayClasses>(target, args, &query),
        Kind::Gateways => get::<Gateways>(target, args, &query),
        Kind::HttpRoutes => get::<HttpRoutes>(target, args, &query),
        Kind::NetworkPolicies => get::<NetworkPolicies>(target, args, &query),
        Kind::ClusterNetworkPolicies => get::<ClusterNetworkPolicies>(target, args, &query),
        Kind::Denials => get::<Denial>(target, args, &query),
    }
}

/// Which rows are wanted.
struct Query {
    names: Vec<String>,
    /// `None` is all, or a kind without namespaces.
    namespace: Option<Namespace>,
    selector: Option<Selector>,
    filter: Filter,
    /// All columns are.
    wide: bool,
}

impl Query {
    fn new(args: &GetArgs) -> Result<Self, CliError> {
        let mut names = args.names.clone();
        if let Some(name) = &args.kind.name {
            names.insert(0, name.clone());
        }
        let kind = args.kind.kind;
        let routed = matches!(kind, Kind::Ingresses | Kind::Secrets | Kind::Gateways | Kind::HttpRoutes);
        let kept = routed
            || matches!(
                kind,
                Kind::Services | Kind::Endpoints | Kind::EndpointSlices | Kind::NetworkPolicies
            );
        Filter::check(args)?;
        let has_namespaces = kept || matches!(kind, Kind::Pods | Kind::Traffic);
        if args.selector.is_some() && (!has_namespaces || kind == Kind::Traffic) && !is_cluster_wide(kind) {
            return Err(CliError::Usage(
                "only pods, services and other objects that are applied have labels that -l could select"
                    .to_owned(),
            ));
        }
        if !names.is_empty() && args.all_namespaces && has_namespaces {
            let singular = cli::kind::names(kind).singular;
            let text = format!("a {singular} cannot be named across all namespaces: use -n");
            return Err(CliError::Usage(text));
        }
        if !names.is_empty() && args.selector.is_some() {
            return Err(CliError::Usage("give either names or a selector".to_owned()));
        }
        let namespace = (has_namespaces && !args.all_namespaces).then(|| args.namespace.namespace.clone());
        let wide = args.output == Format::Wide;
        Ok(Self { names, namespace, selector: args.selector.clone(), filter: Filter::default(), wide })
    }
}

/// Kinds of objects with labels that live in no namespace.
const fn is_cluster_wide(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Namespaces | Kind::IngressClasses | Kind::GatewayClasses | Kind::ClusterNetworkPolicies
    )
}

fn get<R: Resource + Selectable>(target: &Target, args: &GetArgs, query: &Query) -> Result<(), CliError> {
    let mut daemon = Connection::read(target)?;
    let rows = fetch::<R>(&mut daemon, query, !args.watch)?;
    let view = View {
        wide: args.output == Format::Wide,
        all_namespaces: args.all_namespaces,
        no_headers: args.no_headers,
    };
    if args.watch {
        return watch(&mut daemon, query, rows, args.output, view);
    }
    if rows.is_empty() && matches!(args.output, Format::Table | Format::Wide) {
        match &query.namespace {
            Some(namespace) => eprintln!("No resources found in {namespace} namespace."),
            None => eprintln!("No resources found."),
        }
        return Ok(());
    }
    let single = query.names.len() == 1;
    output::print(&output::render(&rows, args.output, view, single, Timestamp::now())?)
}

/// The rows that `query` wants; a name that is not among them is an error if `strict`.
fn fetch<R: Resource + Selectable>(
    daemon: &mut Connection,
    query: &Query,
    strict: bool,
) -> Result<Vec<R>, CliError> {
    if let (true, Some(rows)) = (strict, R::by_name(daemon, query)?) {
        return Ok(rows);
    }
    let pages = daemon.list(R::KIND, query.namespace.clone())?;
    let mut rows = rows_of::<R>(pages)?;
    rows.retain(|row| row.passes(&query.filter));
    rows.retain(|row| query.selector.as_ref().is_none_or(|selector| row.is_selected(selector)));
    R::complete(&mut rows, daemon, query);
    if query.names.is_empty() {
        return Ok(rows);
    }
    let names = cli::kind::names(R::KIND);
    for name in &query.names {
        if strict && !rows.iter().any(|row| row.is_named(name)) {
            let (kind, plural) = (names.singular, names.plural);
            return Err(CliError::NotFound { kind, plural, name: name.clone() });
        }
    }
    rows.retain(|row| query.names.iter().any(|name| row.is_named(name)));
    Ok(rows)
}

/// The rows of all pages, which must be of one kind.
pub(crate) fn rows_of<R: Resource>(pages: Vec<Items>) -> Result<Vec<R>, CliError> {
    let mut rows = Vec::new();
    for page in pages {
        let wrong = || ClientError::Unexpected("rows of another kind".to_owned());
        rows.extend(R::from_items(page).ok_or_else(wrong)?);
    }
    Ok(rows)
}

/// What only some kinds have.
trait Selectable: Sized {
    fn is_selected(&self, _selector: &Selector) -> bool {
        true
    }

    fn passes(&self, _filter: &Filter) -> bool {
        true
    }

    /// Fills in what another request answers.
    fn complete(_rows: &mut [Self], _daemon: &mut Connection, _query: &Query) {}

    /// The named rows, where the daemon can be asked for one; `None` to list and filter instead.
    fn by_name(_daemon: &mut Connection, _query: &Query) -> Result<Option<Vec<Self>>, CliError> {
        Ok(None)
    }
}

impl Selectable for Pod {
    fn is_selected(&self, selector: &Selector) -> bool {
        selector.matches(&self.metadata.labels)
    }

    fn by_name(daemon: &mut Connection, query: &Query) -> Result<Option<Vec<Self>>, CliError> {
        let (false, Some(namespace)) = (query.names.is_empty(), &query.namespace) else { return Ok(None) };
        let mut pods = Vec::new();
        for name in &query.names {
            let name = name.parse().map_err(|error: NameError| CliError::Usage(error.to_string()))?;
            let pod = PodRef { namespace: namespace.clone(), name };
            match daemon.ask(ReadRequest::GetPod(pod))? {
                Response::Pod(pod) => pods.push(*pod),
                other => return Err(unexpected(&other)),
            }
        }
        Ok(Some(pods))
    }
}

impl<S: Shape> Selectable for Kept<S> {
    fn is_selected(&self, selector: &Selector) -> bool {
        selector.matches(&self.row.labels())
    }

    /// A daemon whose datapath cannot be asked knows its services all the same.
    fn complete(rows: &mut [Self], daemon: &mut Connection, query: &Query) {
        if !S::HAS_TRAFFIC || !query.wide {
            return;
        }
        let Ok(pages) = daemon.list(Kind::Traffic, query.namespace.clone()) else { return };
        let Ok(traffic) = rows_of::<Traffic>(pages) else { return };
        let mut sums: BTreeMap<(String, String), ServiceCounters> = BTreeMap::new();
        for port in traffic.iter().filter(|row| row.backend.is_none()) {
            sums.entry((port.namespace.to_string(), port.service.to_string()))
                .or_default()
                .add(&port.counters);
        }
        for Self { row, .. } in rows {
            let sum = sums.remove(&(row.namespace(), row.document.name.to_string()));
            row.traffic = Some(sum.unwrap_or_default());
        }
    }
}

impl Selectable for Node {}
impl Selectable for FdbEntry {}
impl Selectable for NeighborEntry {}
impl Selectable for Traffic {}

impl Selectable for Flow {
    fn passes(&self, filter: &Filter) -> bool {
        filter.has_flow(self)
    }
}

impl Selectable for object::Connection {
    fn passes(&self, filter: &Filter) -> bool {
        filter.has_connection(self)
    }
}

impl Selectable for Port {}
impl Selectable for DropEntry {}
impl Selectable for Denial {}
impl Selectable for Peer {}
impl Selectable for Route {}

/// Prints `rows`, then whatever changes, until the user or the daemon ends it.
fn watch<R: Resource + Selectable>(
    daemon: &mut Connection,
    query: &Query,
    rows: Vec<R>,
    format: Format,
    view: View,
) -> Result<(), CliError> {
    let mut before: BTreeMap<String, R> = BTreeMap::new();
    let mut rows = rows;
    let mut view = view;
    let mut widths = Widths::default();
    loop {
        let now = Timestamp::now();
        let after: BTreeMap<String, R> = rows.into_iter().map(|row| (row.id(), row)).collect();
        let is_new = |id: &String, row: &R| before.get(id).is_none_or(|earlier| row.differs(earlier));
        let changed: Vec<&R> = after.iter().filter(|(id, row)| is_new(id, row)).map(|(_, row)| row).collect();
        let gone: Vec<&R> =
            before.iter().filter(|(id, _)| !after.contains_key(*id)).map(|(_, row)| row).collect();
        output::print(&changes(&changed, &gone, format, (view, &mut widths), now)?)?;
        view.no_headers |= !changed.is_empty() || !gone.is_empty();
        before = after;
        thread::sleep(WATCH_INTERVAL);
        rows = fetch(daemon, query, false)?;
    }
}

fn changes<R: Resource>(
    changed: &[&R],
    gone: &[&R],
    format: Format,
    (view, widths): (View, &mut Widths),
    now: Timestamp,
) -> Result<String, CliError> {
    if changed.is_empty() && gone.is_empty() {
        return Ok(String::new());
    }
    let all = || changed.iter().chain(gone);
    match format {
        Format::Table | Format::Wide => {
            let cells = changed.iter().map(|row| row.cells(now));
            let cells = cells.chain(gone.iter().map(|row| row.cells_when_gone(now)));
            Ok(widths.lines::<R>(cells, view).concat())
        }
        Format::Json => all().map(|row| document::json(&row.document())).collect(),
        Format::Yaml => all().map(|row| Ok(format!("---\n{}", document::yaml(&row.document())?))).collect(),
        Format::Name => Ok(all().map(|row| row.name() + "\n").collect()),
    }
}
