//! Arguments about services and manifests.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum, ValueHint};
use protocol::ObjectName;
use protocol::object::{Check, Probe};

use super::args::{Document, NamespaceArg, parse_duration};

/// Sorts of services, as `kubectl create service` calls them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ServiceType {
    /// An address that pods and nodes reach it at
    Clusterip,
    /// And a port of every node
    Nodeport,
    /// And an address outside
    Loadbalancer,
    /// Another name for a DNS name
    Externalname,
}

impl ServiceType {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Clusterip => "ClusterIP",
            Self::Nodeport => "NodePort",
            Self::Loadbalancer => "LoadBalancer",
            Self::Externalname => "ExternalName",
        }
    }
}

/// `80:8080`, `80:http`, `80`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PortArg {
    pub(crate) number: u16,
    pub(crate) target: String,
}

fn parse_port(text: &str) -> Result<PortArg, String> {
    let (number, target) = text.split_once(':').unwrap_or((text, text));
    let bad = |word: &str| format!("\"{word}\" is not a port: want 1 to 65535");
    let number: u16 = number.parse().ok().filter(|n| *n > 0).ok_or_else(|| bad(number))?;
    let is_number = target.bytes().all(|byte| byte.is_ascii_digit());
    if target.is_empty() || is_number && target.parse::<u16>().map_or(true, |n| n == 0) {
        return Err(bad(target));
    }
    Ok(PortArg { number, target: target.to_owned() })
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vpodctl create-service clusterip web --tcp 80:8080
  vpodctl create-service clusterip dns --tcp 53 --udp 53 --selector k8s-app=dns
  vpodctl create-service nodeport web --tcp 80:http --node-port 30080
  vpodctl create-service externalname db --external-name db.example.com")]
pub(crate) struct CreateServiceArgs {
    /// How it is reached
    #[arg(value_name = "TYPE", value_enum, ignore_case = true)]
    pub(crate) kind: ServiceType,
    /// The new service's name
    #[arg(value_name = "NAME")]
    pub(crate) name: ObjectName,
    #[command(flatten)]
    pub(crate) namespace: NamespaceArg,
    /// A TCP port, and the pods' port if it is another one: a number or a container port's name
    #[arg(long, value_name = "PORT[:TARGET]", value_parser = parse_port, value_delimiter = ',')]
    pub(crate) tcp: Vec<PortArg>,
    /// A UDP port
    #[arg(long, value_name = "PORT[:TARGET]", value_parser = parse_port, value_delimiter = ',')]
    pub(crate) udp: Vec<PortArg>,
    /// An SCTP port
    #[arg(long, value_name = "PORT[:TARGET]", value_parser = parse_port, value_delimiter = ',')]
    pub(crate) sctp: Vec<PortArg>,
    /// Labels of its pods [default: app=NAME]
    #[arg(short = 'l', long, value_name = "KEY=VALUE", value_parser = protocol::name::parse_label, value_delimiter = ',')]
    pub(crate) selector: Vec<(String, String)>,
    /// A port of all nodes instead of a free one
    #[arg(long, value_name = "PORT")]
    pub(crate) node_port: Option<u16>,
    /// An address instead of a free one; None makes the service headless
    #[arg(long = "clusterip", value_name = "IP|None")]
    pub(crate) cluster_ip: Option<String>,
    /// What an externalname service stands for
    #[arg(long, value_name = "DNS_NAME")]
    pub(crate) external_name: Option<String>,
    /// Only say what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteServiceArgs {
    /// The services' names
    #[arg(value_name = "SERVICE", required = true, num_args = 1.., value_parser = parse_service_name)]
    pub(crate) names: Vec<ObjectName>,
    #[command(flatten)]
    pub(crate) namespace: NamespaceArg,
    /// A service that does not exist is fine
    #[arg(long)]
    pub(crate) ignore_not_found: bool,
}

fn parse_service_name(text: &str) -> Result<ObjectName, protocol::NameError> {
    let prefixes = ["service/", "services/", "svc/"];
    prefixes.iter().find_map(|prefix| text.strip_prefix(prefix)).unwrap_or(text).parse()
}

/// What to do about fields that an object's type does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Validation {
    /// Refuse the object
    Strict,
    /// Warn, and ignore them
    Warn,
}

/// Which manifests.
#[derive(Debug, Clone, Args)]
pub(crate) struct FileArgs {
    /// YAML or JSON with one or several objects; '-' is standard input
    #[arg(short = 'f', long = "filename", value_name = "FILE", required = true, value_hint = ValueHint::FilePath)]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) namespace: NamespaceArg,
    /// Fields that do not exist
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Validation::Strict)]
    pub(crate) validate: Validation,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vpodctl apply -f web.yaml
  vpodctl apply -f web.yaml --wait
  kubectl get svc web -o yaml | vpodctl apply -f -")]
pub(crate) struct ApplyArgs {
    #[command(flatten)]
    pub(crate) files: FileArgs,
    /// Only say what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Return when the datapaths of all nodes run what was applied
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) wait: bool,
    /// For how long to wait
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
    pub(crate) timeout: Duration,
    /// Print what became of the objects, and the revision of the store, as json or yaml
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) output: Option<Document>,
}

/// `--readiness-…` of `create-pod`.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ReadinessArgs {
    /// The pod is ready while something listens at this port
    #[arg(long, value_name = "PORT", group = "readiness", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) readiness_tcp: Option<u16>,
    /// The pod is ready while a GET is answered with a status from 200 to 399
    #[arg(long, value_name = "PORT[/PATH]", group = "readiness", value_parser = parse_http)]
    pub(crate) readiness_http: Option<Check>,
    /// The pod is ready while this command, run in its network by a shell, ends with status 0
    #[arg(long, value_name = "CMD", group = "readiness")]
    pub(crate) readiness_exec: Option<String>,
    /// Seconds between two tries
    #[arg(long, value_name = "SECONDS", default_value_t = 10, requires = "readiness", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) readiness_period: u32,
    /// Failures in a row that make the pod unready
    #[arg(long, value_name = "COUNT", default_value_t = 3, requires = "readiness", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) readiness_failures: u32,
}

impl ReadinessArgs {
    pub(crate) fn probe(self) -> Option<Probe> {
        let shell = |command| Check::Exec { command: vec!["sh".to_owned(), "-c".to_owned(), command] };
        let check = self
            .readiness_tcp
            .map(|port| Check::Tcp { port })
            .or(self.readiness_http)
            .or(self.readiness_exec.map(shell))?;
        let (period_seconds, failure_threshold) = (self.readiness_period, self.readiness_failures);
        Some(Probe { period_seconds, failure_threshold, ..Probe::new(check) })
    }
}

fn parse_http(text: &str) -> Result<Check, String> {
    let (port, path) = text.split_once('/').unwrap_or((text, ""));
    let bad = || format!("\"{text}\" is not a port and a path: write 8080/healthz");
    let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(bad)?;
    if path.bytes().any(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control()) {
        return Err(bad());
    }
    Ok(Check::Http { port, path: format!("/{path}") })
}
