//! `dns query`: what a pod would be answered, and why.
//!
//! The question is a real one: it is asked in the pod's network namespace, of the server and with the search list of the pod's own
//! `resolv.conf` ([`ask`]), so it takes the way that the pod's would. The reason comes from what the daemon tells the DNS server
//! ([`names`], [`explain`]). Where the two disagree, the server is behind, or another one.

mod ask;
mod explain;
mod names;
mod resolver;

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::str::FromStr as _;

use hickory_proto::rr::{Name, RecordType};
use protocol::message::PodRef;
use protocol::object::Pod;

use self::ask::Answer;
use self::names::Names;
use self::resolver::Resolver;
use crate::cli::Target;
use crate::cli::dns::QueryArgs;
use crate::connection::Connection;
use crate::error::CliError;
use crate::output;

/// Where a node keeps the files that its pods see as theirs.
const PODS_FILES: &str = "/etc/netns";

/// From where a question is asked.
struct Place {
    netns: String,
    resolver: Resolver,
    /// For people.
    text: String,
}

pub(crate) fn run(target: &Target, args: &QueryArgs) -> Result<(), CliError> {
    let kind = RecordType::from_str(&args.record_type.to_ascii_uppercase()).map_err(|_| {
        CliError::Usage(format!("\"{}\" is no record type such as A, AAAA or SRV", args.record_type))
    })?;
    let mut daemon = Connection::read(target)?;
    let place = match &args.from {
        Some(name) => {
            let pod = PodRef { namespace: args.namespace.namespace.clone(), name: name.clone() };
            of_pod(&daemon.pod(pod)?)?
        }
        None => of_dns(&mut daemon)?,
    };
    let names = Names::read(&mut daemon)?;
    let zone = place.resolver.zone().unwrap_or("cluster.local").to_owned();
    let mut text = place.text.clone();
    let mut is_answered = false;
    for tried in place.resolver.candidates(&args.name) {
        let name = Name::from_str(&tried)
            .map_err(|error| CliError::Usage(format!("\"{tried}\" is no name: {error}")))?;
        let answer = ask::ask(&place.netns, place.resolver.server, &name, kind)?;
        text += &format!("\n{tried} {kind}: {}\n", answer.summary());
        for record in &answer.records {
            text += &format!("    {record}\n");
        }
        let reason = explain::explain(&tried, &zone, &names);
        text += &format!("  {reason}\n");
        if let Some(doubt) = doubt(&answer, &names, &tried, &zone, kind) {
            text += &format!("  {doubt}\n");
        }
        is_answered = !answer.records.is_empty();
        // A resolver goes on with the next name of its list after a name that does not exist, or has no such record.
        if is_answered || !answer.is_negative() {
            break;
        }
    }
    output::print(&text)?;
    if is_answered { Ok(()) } else { Err(CliError::Reported) }
}

/// Where the server and the daemon say different things.
fn doubt(answer: &Answer, names: &Names, tried: &str, zone: &str, kind: RecordType) -> Option<String> {
    if kind != RecordType::A {
        return None;
    }
    let expected = explain::addresses(tried, zone, names)?;
    let differs = expected.is_empty() != answer.records.is_empty();
    differs.then(|| "the daemon tells another thing than the server says: it may be behind".to_owned())
}

/// As a pod of this node sees it.
fn of_pod(pod: &Pod) -> Result<Place, CliError> {
    let netns = pod.status.netns.clone();
    let file = Path::new(&netns).file_name().map(|name| Path::new(PODS_FILES).join(name).join("resolv.conf"));
    let path = file.ok_or_else(|| CliError::Usage(format!("pod {} has no network", pod.metadata.key())))?;
    let text =
        std::fs::read_to_string(&path).map_err(|source| CliError::Read { path: path.clone(), source })?;
    let resolver = Resolver::parse(&text)
        .ok_or_else(|| CliError::Usage(format!("{} names no server", path.display())))?;
    let text = format!(
        "Asked as pod {}: server {}, search {}, ndots {}\n",
        pod.metadata.key(),
        resolver.server,
        if resolver.searches.is_empty() { "nothing".to_owned() } else { resolver.searches.join(" ") },
        resolver.ndots
    );
    Ok(Place { netns, resolver, text })
}

/// The node's own DNS server, without a search list.
fn of_dns(daemon: &mut Connection) -> Result<Place, CliError> {
    let pods = daemon.list(protocol::message::Kind::Pods, "kube-system".parse().ok())?;
    let pods: Vec<Pod> = crate::get::rows_of(pods)?;
    let is_dns = |pod: &&Pod| pod.metadata.labels.get("k8s-app").is_some_and(|app| app == "kube-dns");
    let Some(pod) = pods.iter().find(is_dns) else {
        let text = "this node runs no DNS server; ask as one of its pods: --from POD";
        return Err(CliError::Usage(text.to_owned()));
    };
    let resolver = Resolver { server: IpAddr::V4(Ipv4Addr::LOCALHOST), searches: Vec::new(), ndots: 0 };
    let text = format!("Asked of {} itself, without a search list\n", pod.metadata.key());
    Ok(Place { netns: pod.status.netns.clone(), resolver, text })
}
