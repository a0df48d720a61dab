//! The arguments of each command.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Args, ValueEnum, ValueHint};
use protocol::message::PodRef;
use protocol::object::{Bandwidth, ContainerPort, RestartPolicy};
use protocol::{Mac, Namespace, ObjectName};

use super::kind::{KindArg, parse_kind};
use super::quantity::{parse_bits, parse_cpu, parse_memory};
use super::selector::{Selector, parse_selector};
pub(crate) use super::service::{
    ApplyArgs, CreateServiceArgs, DeleteServiceArgs, FileArgs, PortArg, ReadinessArgs, ServiceType,
    Validation,
};
use crate::output::Format;

pub(crate) const KINDS_HELP: &str = "Kinds (and what else they are called):
  pods (pod, po)           pods of this node
  services (service, svc)  addresses that stand for pods
  endpoints (ep)           where services lead
  endpointslices           the same, as Kubernetes keeps it
  namespaces (ns)          what keeps names apart
  nodes (node, no)         this node, and those it knows of
  peers (peer, pe)         other nodes as the tunnel sees them: round trip, loss, MTU
  routes (route, rt)       where packets go, by destination
  ports (port)             attachments to the switch, with counters
  fdb                      forwarding database: which MAC is behind which port
  neighbors (neigh)        which MAC has which address
  flows (flow)             what the switch has decided about current traffic
  conntrack (ct)           translated connections: client, service, chosen backend, state
  drops (drop)             frames that were not forwarded, by port and reason
  traffic                  what services and their backends have to do on this node

Examples:
  vpodctl get pods -A -o wide
  vpodctl get pods -l app=web,tier!=test -w
  vpodctl get pod web -o json
  vpodctl get drops -o wide";

/// Where the pod lives.
#[derive(Debug, Clone, Args)]
pub(crate) struct NamespaceArg {
    /// The Kubernetes namespace
    #[arg(short, long, value_name = "NAMESPACE", default_value = "default")]
    pub(crate) namespace: Namespace,
}

/// One pod by name.
#[derive(Debug, Clone, Args)]
pub(crate) struct PodArg {
    /// The pod's name; pod/NAME is understood as well
    #[arg(value_name = "POD", value_parser = parse_pod_name)]
    pub(crate) name: ObjectName,
    #[command(flatten)]
    pub(crate) namespace: NamespaceArg,
}

impl PodArg {
    pub(crate) fn reference(&self) -> PodRef {
        PodRef { namespace: self.namespace.namespace.clone(), name: self.name.clone() }
    }
}

/// Limits of a pod's traffic. Bursts need their rates; whether they can be kept is the daemon's to say.
#[derive(Debug, Args)]
pub(crate) struct BandwidthArgs {
    /// At most so many bits per second to the pod: 10M, 1.5G
    #[arg(long, value_name = "RATE", value_parser = parse_bits)]
    pub(crate) ingress_rate: Option<u64>,
    /// So many bits may come at once after a rest [default: those of 20 ms, at least 64 KiB]
    #[arg(long, value_name = "BITS", value_parser = parse_bits)]
    pub(crate) ingress_burst: Option<u64>,
    /// At most so many bits per second from the pod: 10M, 1.5G
    #[arg(long, value_name = "RATE", value_parser = parse_bits)]
    pub(crate) egress_rate: Option<u64>,
    /// So many bits may leave at once after a rest [default: those of 20 ms, at least 64 KiB]
    #[arg(long, value_name = "BITS", value_parser = parse_bits)]
    pub(crate) egress_burst: Option<u64>,
}

impl BandwidthArgs {
    pub(crate) const fn bandwidth(&self) -> Bandwidth {
        let Self { ingress_rate, ingress_burst, egress_rate, egress_burst } = *self;
        Bandwidth { ingress_rate, ingress_burst, egress_rate, egress_burst }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vpodctl create-pod web -l app=web -- python3 -m http.server 80
  vpodctl create-pod db -n prod --ip 10.244.0.10 --cpu 500m --memory 256Mi -- postgres
  vpodctl create-pod mirror --ingress-rate 100M --egress-rate 10M -- python3 -m http.server 80
  vpodctl create-pod job --restart Never -- sh -c 'echo done'
  vpodctl create-pod empty")]
pub(crate) struct CreatePodArgs {
    /// The new pod's name
    #[arg(value_name = "NAME", value_parser = parse_pod_name)]
    pub(crate) name: ObjectName,
    #[command(flatten)]
    pub(crate) namespace: NamespaceArg,
    /// A label for selectors; may be given several times
    #[arg(short, long = "label", value_name = "KEY=VALUE", value_parser = protocol::name::parse_label, visible_alias = "labels", value_delimiter = ',')]
    pub(crate) labels: Vec<(String, String)>,
    /// A fixed address of the node's Pod CIDR [default: the next free one]
    #[arg(long, value_name = "IP")]
    pub(crate) ip: Option<IpAddr>,
    /// A fixed MAC address for its eth0 [default: derived from the IP]
    #[arg(long, value_name = "MAC")]
    pub(crate) mac: Option<Mac>,
    /// At most so many cores for all its processes together: 2, 0.5 or 500m
    #[arg(long, value_name = "CORES", value_parser = parse_cpu)]
    pub(crate) cpu: Option<u32>,
    /// At most so much memory for all its processes together: 64Mi, 1G
    #[arg(long, value_name = "SIZE", value_parser = parse_memory)]
    pub(crate) memory: Option<u64>,
    #[command(flatten)]
    pub(crate) bandwidth: BandwidthArgs,
    /// When an ended container is started again
    #[arg(long, value_name = "POLICY", default_value = "Always", ignore_case = true, value_parser = restart_policies())]
    pub(crate) restart: RestartPolicy,
    /// A port of the node that leads to the pod: 8080:80, 127.0.0.1:8080:80 or 53:53/udp; may be given several times
    ///
    /// Without an address it is at all of the node's. Written as for podman; in a manifest it is ports[].hostPort.
    #[arg(short, long, value_name = "[IP:]PORT:PORT", value_parser = crate::pod::publish::parse)]
    pub(crate) publish: Vec<ContainerPort>,
    /// Let the pod send from addresses that are not its own
    ///
    /// For pods that hold further stations behind their eth0, such as a bridged virtual machine.
    #[arg(long)]
    pub(crate) no_port_security: bool,
    #[command(flatten)]
    pub(crate) readiness: ReadinessArgs,
    /// Its weight as an endpoint of services with a weighted scheduler [default: 1]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) weight: Option<u16>,
    #[command(flatten)]
    pub(crate) dns: super::dns::DnsArgs,
    /// Print the new pod in this format instead of its name
    #[arg(short, long, value_name = "FORMAT", value_enum)]
    pub(crate) output: Option<Format>,
    /// Program and arguments of its first container, which is named like the pod
    #[arg(last = true, value_name = "CMD", num_args = 1.., value_hint = ValueHint::CommandWithArguments)]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vpodctl delete-pod web
  vpodctl delete-pod -n prod db cache")]
pub(crate) struct DeletePodArgs {
    /// The pods' names
    #[arg(value_name = "POD", required = true, num_args = 1.., value_parser = parse_pod_name)]
    pub(crate) names: Vec<ObjectName>,
    #[command(flatten)]
    pub(crate) namespace: NamespaceArg,
    /// A pod that does not exist is fine
    #[arg(long)]
    pub(crate) ignore_not_found: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vpodctl delete node node-3
  vpodctl delete -f web.yaml
  vpodctl delete pod web -n prod")]
pub(crate) struct DeleteArgs {
    /// node, pod, service, endpointslice or namespace; KIND/NAME is understood as well
    #[arg(value_name = "KIND", value_parser = parse_kind, required_unless_present = "filename")]
    pub(crate) kind: Option<KindArg>,
    /// Which ones
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<ObjectName>,
    /// What is in these manifests instead; '-' is standard input
    #[arg(short = 'f', long, value_name = "FILE", conflicts_with = "kind", value_hint = ValueHint::FilePath)]
    pub(crate) filename: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) namespace: NamespaceArg,
    /// What does not exist is fine
    #[arg(long)]
    pub(crate) ignore_not_found: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vpodctl exec web -- ip addr
  vpodctl exec -n prod db -- sh
  tar c site | vpodctl exec web -- tar x -C /srv")]
pub(crate) struct ExecArgs {
    #[command(flatten)]
    pub(crate) pod: PodArg,
    /// Check that the pod has this container (all containers of a pod are entered alike)
    #[arg(short, long, value_name = "CONTAINER")]
    pub(crate) container: Option<ObjectName>,
    /// Taken for kubectl's sake: standard input is always passed
    #[arg(short = 'i', long)]
    pub(crate) stdin: bool,
    /// Taken for kubectl's sake: the terminal is always passed
    #[arg(short = 't', long)]
    pub(crate) tty: bool,
    /// Program and arguments
    #[arg(last = true, required = true, value_name = "CMD", num_args = 1.., value_hint = ValueHint::CommandWithArguments)]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vpodctl run-container web sidecar -- python3 -m http.server 9000
  vpodctl logs web -c sidecar")]
pub(crate) struct RunContainerArgs {
    #[command(flatten)]
    pub(crate) pod: PodArg,
    /// The new container's name
    #[arg(value_name = "NAME")]
    pub(crate) container: ObjectName,
    /// Program and arguments
    #[arg(last = true, required = true, value_name = "CMD", num_args = 1.., value_hint = ValueHint::CommandWithArguments)]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vpodctl logs web
  vpodctl logs web -c sidecar --tail 20 -f
  vpodctl logs web -p")]
pub(crate) struct LogsArgs {
    #[command(flatten)]
    pub(crate) pod: PodArg,
    /// Which container [default: the first]
    #[arg(short, long, value_name = "CONTAINER")]
    pub(crate) container: Option<ObjectName>,
    /// Go on printing what is written until Ctrl-C
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only the last so many lines
    #[arg(long, value_name = "LINES")]
    pub(crate) tail: Option<u32>,
    /// Of the run before the latest restart
    #[arg(short, long)]
    pub(crate) previous: bool,
}

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// What to list; KIND/NAME is understood as well
    #[arg(value_name = "KIND", value_parser = parse_kind)]
    pub(crate) kind: KindArg,
    /// Only the objects of these names
    ///
    /// A pod, node or peer is named by its name, a route by its range or its peer, a port or its drops by 'NAMESPACE/POD' or number, an FDB
    /// entry by its MAC, a neighbor by its address.
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    #[command(flatten)]
    pub(crate) namespace: NamespaceArg,
    /// Objects of all namespaces
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,
    /// How to print
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    /// Only pods or services whose labels match: app=web, app!=web, 'app in (a,b)', app, '!app'; ',' is and
    #[arg(short = 'l', long, value_name = "SELECTOR", value_parser = parse_selector)]
    pub(crate) selector: Option<Selector>,
    /// After the list, go on and print what changes
    #[arg(short, long)]
    pub(crate) watch: bool,
    /// Of flows and conntrack only those of this service, as [NAMESPACE/]NAME
    #[arg(long, value_name = "SERVICE")]
    pub(crate) service: Option<String>,
    /// Of flows and conntrack only those of this pod, as [NAMESPACE/]NAME
    #[arg(long, value_name = "POD")]
    pub(crate) pod: Option<String>,
    /// Of conntrack only connections to this backend, ADDRESS or ADDRESS:PORT
    #[arg(long, value_name = "BACKEND")]
    pub(crate) backend: Option<String>,
    /// Of flows and conntrack only those of this protocol: tcp, udp, icmp or a number
    #[arg(long, value_name = "PROTOCOL")]
    pub(crate) protocol: Option<String>,
    /// Of conntrack only connections in this state, such as ESTABLISHED
    #[arg(long, value_name = "STATE")]
    pub(crate) state: Option<String>,
    /// Of flows and conntrack only those to this port of a node
    #[arg(long, value_name = "PORT")]
    pub(crate) node_port: Option<u16>,
    /// Leave out the table's header
    #[arg(long)]
    pub(crate) no_headers: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vpodctl describe pod web
  vpodctl describe port default/web
  vpodctl describe node
  vpodctl describe peer node-2")]
pub(crate) struct DescribeArgs {
    /// pod, service, node, peer or port; KIND/NAME is understood as well
    #[arg(value_name = "KIND", value_parser = parse_kind)]
    pub(crate) kind: KindArg,
    /// Which; for ports 'NAMESPACE/POD', 'gateway' or the number
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) namespace: NamespaceArg,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Print as json or yaml
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) output: Option<Document>,
}

/// Formats of a single document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Document {
    Json,
    Yaml,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vpodctl wait pod/web --for=condition=Ready --timeout 10s
  vpodctl wait pod web --for=delete
  vpodctl wait service/web --for=active
  vpodctl wait --revision 4711")]
pub(crate) struct WaitArgs {
    /// pod or service; KIND/NAME is understood as well
    #[arg(value_name = "KIND", value_parser = parse_kind, required_unless_present = "revision")]
    pub(crate) kind: Option<KindArg>,
    /// Its name
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) namespace: NamespaceArg,
    /// What to wait for
    #[arg(
        long = "for",
        value_name = "CONDITION",
        value_enum,
        ignore_case = true,
        required_unless_present = "revision"
    )]
    pub(crate) condition: Option<Condition>,
    /// Until the datapaths of all nodes run all changes of services up to this revision, as 'apply -o json' prints it
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["kind", "condition"])]
    pub(crate) revision: Option<u64>,
    /// For how long
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
    pub(crate) timeout: Duration,
}

/// What can be waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Condition {
    /// The pod can talk and all its containers run
    #[value(alias = "condition=ready")]
    Ready,
    /// It does not exist (any more)
    Delete,
    /// The datapaths of all nodes run the service as it is now, with the endpoints it has now
    Active,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vpodctl trace client --to service/web
  vpodctl trace client --to service/dns:53 --udp
  vpodctl trace client --to 10.244.1.7:8080 --size 1500 -o json
  vpodctl trace client --to pod/web --icmp")]
pub(crate) struct TraceArgs {
    #[command(flatten)]
    pub(crate) pod: PodArg,
    /// Whom the packet is for: ADDRESS, service/NAME or pod/NAME, each with :PORT or without; of another namespace NAMESPACE/NAME
    #[arg(long, value_name = "WHERE")]
    pub(crate) to: String,
    /// A datagram instead of a connection's first segment
    #[arg(long, conflicts_with = "icmp")]
    pub(crate) udp: bool,
    /// An echo request instead
    #[arg(long)]
    pub(crate) icmp: bool,
    /// Its source port, or the identifier of an echo request
    #[arg(long, value_name = "PORT", default_value_t = 40_000)]
    pub(crate) from_port: u16,
    /// Its size in bytes, from the IP header on
    #[arg(long, value_name = "BYTES", default_value_t = 60, value_parser = clap::value_parser!(u16).range(28..))]
    pub(crate) size: u16,
    /// Print as json or yaml
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) output: Option<Document>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vpodctl capture web -w web.pcapng --duration 10s
  vpodctl capture web -w - | tshark -r -")]
pub(crate) struct CaptureArgs {
    #[command(flatten)]
    pub(crate) pod: PodArg,
    /// The file to write; '-' is standard output
    #[arg(short, long = "write", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) write: PathBuf,
    /// Keep at most so many bytes of each frame
    #[arg(long, value_name = "BYTES", default_value_t = 262_144, value_parser = clap::value_parser!(u32).range(14..=262_144))]
    pub(crate) snaplen: u32,
    /// Stop after this time [default: at Ctrl-C]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) duration: Option<Duration>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vpodctl log-level debug
  vpodctl log-level info,vswitchd::control=debug")]
pub(crate) struct LogLevelArgs {
    /// error, warn, info, debug or trace, or directives TARGET=LEVEL joined by commas
    #[arg(value_name = "FILTER")]
    pub(crate) filter: String,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionArgs {
    /// For which shell
    #[arg(value_name = "SHELL", value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vpodctl man | man -l -
  vpodctl man --dir /usr/local/share/man/man1")]
pub(crate) struct ManArgs {
    /// Write one page per command into this directory
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) dir: Option<PathBuf>,
    /// Print all help as one Markdown document (docs/cli.md)
    #[arg(long, conflicts_with = "dir")]
    pub(crate) markdown: bool,
}

pub(crate) fn parse_pod_name(text: &str) -> Result<ObjectName, protocol::NameError> {
    let name = ["pod/", "pods/", "po/"].iter().find_map(|prefix| text.strip_prefix(prefix)).unwrap_or(text);
    name.parse()
}

/// A duration as `30s`, `2m`, `1h30m`; a bare number is seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    humantime::parse_duration(text)
        .map_err(|_| format!("\"{text}\" is not a duration: write 30s, 2m or a number of seconds"))
}

fn restart_policies() -> impl clap::builder::TypedValueParser<Value = RestartPolicy> {
    PossibleValuesParser::new(["Always", "OnFailure", "Never"]).map(|word| {
        match word.to_ascii_lowercase().as_str() {
            "never" => RestartPolicy::Never,
            "onfailure" => RestartPolicy::OnFailure,
            _ => RestartPolicy::Always,
        }
    })
}
