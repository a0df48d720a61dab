//! A Service, checked: what Kubernetes leaves as text and options is read here once, so that nothing after this
//! asks whether a field makes sense.
//!
//! What is checked is what the object says by itself. Whether its addresses are free and allowed is asked when it
//! is written ([`super::write`]).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use protocol::link::{Scheduler, TrafficPolicy, Transport};
use protocol::name::check_label;

use super::load_balancer::Request;
use super::names::{ObjectRef, PortKey, is_service_name, object_ref, port_number, transport};
use super::words;
use protocol::problem::{Invalid, Problem};

/// Ports of one service. All its NodePorts are taken and freed in one transaction with it, of at most 128 changes.
pub const MAX_PORTS: usize = 60;
/// Names another scheduler than the configured one.
pub const SCHEDULER_ANNOTATION: &str = "vpod.io/scheduler";
/// Weight of a pod, or of the endpoints of a slice.
pub const WEIGHT_ANNOTATION: &str = "vpod.io/weight";
/// Services with one of these labels are somebody else's.
const FOREIGN_LABELS: [&str; 2] =
    ["service.kubernetes.io/headless", "service.kubernetes.io/service-proxy-name"];
/// Kubernetes' default, three hours.
const DEFAULT_AFFINITY_SECONDS: u32 = 10_800;

/// How a service is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// By a DNS alias; the switch has nothing to do with it.
    ExternalName(String),
    /// By its endpoints' own addresses.
    Headless,
    /// By its cluster address.
    ClusterIp,
    /// And by a port of every node.
    NodePort,
    /// And by addresses of its own outside.
    LoadBalancer,
}

impl Reach {
    /// Its endpoints are chosen for its clients, at an address of its own.
    #[must_use]
    pub const fn is_virtual(&self) -> bool {
        matches!(self, Self::ClusterIp | Self::NodePort | Self::LoadBalancer)
    }

    /// It has clients outside of the cluster.
    #[must_use]
    pub const fn is_external(&self) -> bool {
        matches!(self, Self::NodePort | Self::LoadBalancer)
    }
}

/// Where a port leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// To this number in every pod.
    Number(u16),
    /// To the container port of this name, which may differ from pod to pod.
    Name(String),
}

/// One port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortSpec {
    /// Empty for the only one.
    pub name: String,
    /// Where clients find it.
    pub number: u16,
    /// Its protocol.
    pub transport: Transport,
    /// Where it leads.
    pub target: Target,
    /// Asked for or allocated.
    pub node_port: Option<u16>,
    /// What is spoken there, as in `kubernetes.io/h2c`.
    pub app_protocol: Option<String>,
}

/// `trafficDistribution`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distribution {
    /// `PreferSameZone`, and its older name `PreferClose`.
    SameZone,
    /// `PreferSameNode`; the zone is next.
    SameNode,
}

/// A Service that makes sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Its name.
    pub object: ObjectRef,
    /// How it is reached.
    pub reach: Reach,
    /// Labels of its pods; empty where its endpoints are given by hand.
    pub selector: BTreeMap<String, String>,
    /// Its ports.
    pub ports: Vec<PortSpec>,
    /// Asked for or allocated.
    pub cluster_ip: Option<Ipv4Addr>,
    /// `spec.externalIPs`.
    pub external_ips: Vec<IpAddr>,
    /// Addresses of load balancers that are handled here.
    pub ingress: Vec<IpAddr>,
    /// Who may use those; everybody if empty.
    pub source_ranges: Vec<IpNet>,
    /// Session affinity by client address.
    pub affinity_seconds: Option<u32>,
    /// For clients in the cluster.
    pub internal_policy: TrafficPolicy,
    /// For clients outside.
    pub external_policy: TrafficPolicy,
    /// Pods need not be ready.
    pub publish_not_ready: bool,
    /// Which endpoints are near.
    pub distribution: Option<Distribution>,
    /// Instead of the configured one.
    pub scheduler: Option<Scheduler>,
    /// Another proxy looks after it.
    pub is_foreign: bool,
    /// Where a load balancer asks for its health.
    pub health_check_node_port: Option<u16>,
    /// A load balancer of somebody else is to announce it.
    pub has_foreign_class: bool,
    /// Whether a load balancer's service gets NodePorts.
    pub wants_node_ports: bool,
    /// What it says about the address it wants.
    pub balancer: Request,
}

impl Spec {
    /// Reads and checks an object.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn check(service: &Service) -> Result<Self, Invalid> {
        let mut problems = Vec::new();
        let spec = read(service, &mut problems);
        match spec {
            Some(spec) if problems.is_empty() => Ok(spec),
            _ => Err(Invalid {
                kind: "Service",
                name: service.metadata.name.clone().unwrap_or_default(),
                problems,
            }),
        }
    }

    /// The name of one of its ports.
    #[must_use]
    pub fn key(&self, port: &PortSpec) -> PortKey {
        let name = if port.name.is_empty() { port.number.to_string() } else { port.name.clone() };
        PortKey { service: self.object.clone(), port: name, transport: port.transport }
    }

    /// Addresses that stand for it.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let outside = self.external_ips.iter().chain(&self.ingress).copied();
        self.cluster_ip.map(IpAddr::V4).into_iter().chain(outside)
    }

    /// Whether it selects a pod of its namespace with these labels.
    #[must_use]
    pub fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        !self.selector.is_empty() && self.selector.iter().all(|(key, value)| labels.get(key) == Some(value))
    }
}

fn read(service: &Service, problems: &mut Vec<Problem>) -> Option<Spec> {
    let object = object_ref(&service.metadata, problems)?;
    if object.name.as_str().contains('.') || object.name.as_str().len() > 63 {
        let why = "a service's name is one DNS label of at most 63 characters";
        problems.push(Problem::invalid("metadata.name", &object.name, why));
    }
    let Some(spec) = &service.spec else {
        problems.push(Problem::required("spec", ""));
        return None;
    };
    let reach = reach(spec, problems)?;
    let labels = service.metadata.labels.as_ref();
    let is_foreign = FOREIGN_LABELS.iter().any(|label| labels.is_some_and(|all| all.contains_key(*label)));
    for (key, value) in spec.selector.iter().flatten() {
        if let Err(error) = check_label(key, value) {
            problems.push(Problem::invalid("spec.selector", key, error));
        }
    }
    families(spec, problems);
    let cluster_ip = cluster_ip(spec, &reach, problems);
    let scheduler = words::scheduler_annotation(&service.metadata, problems);
    let external_policy =
        words::policy(spec.external_traffic_policy.as_deref(), "spec.externalTrafficPolicy", problems);
    if spec.external_traffic_policy.is_some()
        && !reach.is_external()
        && spec.external_ips.as_ref().is_none_or(Vec::is_empty)
    {
        let why = "may only be set for externally-accessible services";
        problems.push(Problem::invalid(
            "spec.externalTrafficPolicy",
            spec.external_traffic_policy.as_deref().unwrap_or(""),
            why,
        ));
    }
    Some(Spec {
        selector: match reach {
            Reach::ExternalName(_) => BTreeMap::new(),
            _ => spec.selector.clone().unwrap_or_default(),
        },
        ports: ports(spec, &reach, problems),
        cluster_ip,
        external_ips: words::addresses(spec.external_ips.as_deref(), "spec.externalIPs", problems),
        ingress: if reach == Reach::LoadBalancer { ingress(service) } else { Vec::new() },
        source_ranges: words::ranges(spec.load_balancer_source_ranges.as_deref(), problems),
        affinity_seconds: affinity(spec, problems),
        internal_policy: words::policy(
            spec.internal_traffic_policy.as_deref(),
            "spec.internalTrafficPolicy",
            problems,
        ),
        external_policy,
        publish_not_ready: spec.publish_not_ready_addresses.unwrap_or(false),
        distribution: words::distribution(spec.traffic_distribution.as_deref(), problems),
        scheduler,
        is_foreign,
        health_check_node_port: health_port(spec, &reach, external_policy, problems),
        has_foreign_class: words::class(spec.load_balancer_class.as_deref(), &reach, problems),
        wants_node_ports: spec.allocate_load_balancer_node_ports.unwrap_or(true),
        balancer: if reach == Reach::LoadBalancer {
            Request::read(service, problems)
        } else {
            Request::default()
        },
        object,
        reach,
    })
}

fn reach(spec: &ServiceSpec, problems: &mut Vec<Problem>) -> Option<Reach> {
    let headless = spec.cluster_ip.as_deref() == Some("None");
    match spec.type_.as_deref().unwrap_or("ClusterIP") {
        "ClusterIP" if headless => Some(Reach::Headless),
        word @ ("NodePort" | "LoadBalancer") if headless => {
            let why = format!("may not be set to 'None' for {word} services");
            problems.push(Problem::invalid("spec.clusterIP", "None", why));
            None
        }
        "ClusterIP" => Some(Reach::ClusterIp),
        "NodePort" => Some(Reach::NodePort),
        "LoadBalancer" => Some(Reach::LoadBalancer),
        "ExternalName" => match spec.external_name.as_deref() {
            Some(name) if words::is_dns_name(name) => {
                Some(Reach::ExternalName(name.trim_end_matches('.').to_owned()))
            }
            Some(name) if !name.is_empty() => {
                problems.push(Problem::invalid("spec.externalName", name, "is not a DNS name (RFC 1123)"));
                None
            }
            Some(_) | None => {
                problems.push(Problem::required("spec.externalName", "what the name stands for"));
                None
            }
        },
        other => {
            let known = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
            problems.push(Problem::unsupported("spec.type", other, &known));
            None
        }
    }
}

/// One family in this release.
fn families(spec: &ServiceSpec, problems: &mut Vec<Problem>) {
    for (index, family) in spec.ip_families.iter().flatten().enumerate() {
        if family != "IPv4" {
            problems.push(Problem::unsupported(format!("spec.ipFamilies[{index}]"), family, &["IPv4"]));
        }
    }
    match spec.ip_family_policy.as_deref() {
        // Prefers both families, and takes what there is.
        None | Some("SingleStack" | "PreferDualStack") => {}
        Some("RequireDualStack") => {
            let why = "this release gives services IPv4 addresses";
            problems.push(Problem::invalid("spec.ipFamilyPolicy", "RequireDualStack", why));
        }
        Some(other) => problems.push(Problem::unsupported(
            "spec.ipFamilyPolicy",
            other,
            &["PreferDualStack", "SingleStack"],
        )),
    }
}

fn cluster_ip(spec: &ServiceSpec, reach: &Reach, problems: &mut Vec<Problem>) -> Option<Ipv4Addr> {
    let first = spec.cluster_ip.as_deref().unwrap_or("");
    let all = spec.cluster_ips.as_deref().unwrap_or_default();
    if all.len() > 1 {
        problems.push(Problem::invalid("spec.clusterIPs", all.join(","), "one address in this release"));
    }
    if let Some(listed) = all.first()
        && listed != first
    {
        problems.push(Problem::invalid("spec.clusterIPs", listed, "first value must match `clusterIP`"));
    }
    match (first, reach) {
        ("" | "None", _) => None,
        (text, Reach::ExternalName(_)) => {
            problems.push(Problem::forbidden(
                "spec.clusterIP",
                format!("{text} may not be set for ExternalName services"),
            ));
            None
        }
        (text, _) => text
            .parse()
            .map_err(|_| {
                problems.push(Problem::invalid(
                    "spec.clusterIP",
                    text,
                    "must be an IPv4 address, without leading zeros, or None",
                ));
            })
            .ok(),
    }
}

fn ports(spec: &ServiceSpec, reach: &Reach, problems: &mut Vec<Problem>) -> Vec<PortSpec> {
    let all = spec.ports.as_deref().unwrap_or_default();
    if all.is_empty() && reach.is_virtual() {
        problems.push(Problem::required("spec.ports", ""));
    }
    if all.len() > MAX_PORTS {
        problems.push(Problem::invalid("spec.ports", all.len(), format!("at most {MAX_PORTS} ports")));
        return Vec::new();
    }
    let mut checked = Vec::new();
    let (mut names, mut numbers, mut node_ports) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (index, port) in all.iter().enumerate() {
        let path = format!("spec.ports[{index}]");
        let Some(port) = one_port(port, &path, reach, all.len() > 1, problems) else { continue };
        if !port.name.is_empty() && !names.insert(port.name.clone()) {
            let text = format!("Duplicate value: \"{}\"", port.name);
            problems.push(Problem { path: format!("{path}.name"), text });
        }
        if !numbers.insert((port.number, port.transport)) {
            let text = format!("Duplicate value: port {} of this protocol", port.number);
            problems.push(Problem { path: path.clone(), text });
        }
        if let Some(number) = port.node_port
            && !node_ports.insert((number, port.transport))
        {
            problems.push(Problem {
                path: format!("{path}.nodePort"),
                text: format!("Duplicate value: {number}"),
            });
        }
        checked.push(port);
    }
    checked
}

fn one_port(
    port: &ServicePort,
    path: &str,
    reach: &Reach,
    several: bool,
    problems: &mut Vec<Problem>,
) -> Option<PortSpec> {
    let name = port.name.clone().unwrap_or_default();
    if name.is_empty() && several {
        problems.push(Problem::required(format!("{path}.name"), "each of several ports has a name"));
    }
    if !name.is_empty() && name.parse::<protocol::Namespace>().is_err() {
        let why = "must be a DNS label: lower-case letters, digits and '-'";
        problems.push(Problem::invalid(format!("{path}.name"), &name, why));
    }
    let transport = transport(port.protocol.as_deref(), format!("{path}.protocol"), problems);
    let number = port_number(port.port, format!("{path}.port"), problems);
    let target = match &port.target_port {
        None | Some(IntOrString::Int(0)) => number.map(Target::Number),
        Some(IntOrString::Int(target)) => {
            port_number(*target, format!("{path}.targetPort"), problems).map(Target::Number)
        }
        Some(IntOrString::String(name)) if is_service_name(name) => Some(Target::Name(name.clone())),
        Some(IntOrString::String(name)) => {
            let why = "must be a number, or the name of a container port: at most 15 lower-case letters, digits and '-'";
            problems.push(Problem::invalid(format!("{path}.targetPort"), name, why));
            None
        }
    };
    let node_port = match port.node_port {
        None | Some(0) => None,
        Some(number) if reach.is_external() => port_number(number, format!("{path}.nodePort"), problems),
        Some(_) => {
            let why = "may not be used when `type` is 'ClusterIP' or 'ExternalName'";
            problems.push(Problem::forbidden(format!("{path}.nodePort"), why));
            None
        }
    };
    let app_protocol = port.app_protocol.clone();
    Some(PortSpec { name, number: number?, transport: transport?, target: target?, node_port, app_protocol })
}

fn affinity(spec: &ServiceSpec, problems: &mut Vec<Problem>) -> Option<u32> {
    let seconds = spec
        .session_affinity_config
        .as_ref()
        .and_then(|config| config.client_ip.as_ref())
        .and_then(|client| client.timeout_seconds);
    match spec.session_affinity.as_deref() {
        None | Some("None") => {
            if spec.session_affinity_config.is_some() {
                let why = "must not be set when session affinity is None";
                problems.push(Problem::forbidden("spec.sessionAffinityConfig", why));
            }
            None
        }
        Some("ClientIP") => match seconds.map(u32::try_from) {
            None => Some(DEFAULT_AFFINITY_SECONDS),
            Some(Ok(seconds @ 1..=86_400)) => Some(seconds),
            Some(_) => {
                let path = "spec.sessionAffinityConfig.clientIP.timeoutSeconds";
                let why = "must be greater than 0 and less than 86400 inclusive";
                problems.push(Problem::invalid(path, seconds.unwrap_or(0), why));
                None
            }
        },
        Some(other) => {
            problems.push(Problem::unsupported("spec.sessionAffinity", other, &["ClientIP", "None"]));
            None
        }
    }
}

fn health_port(
    spec: &ServiceSpec,
    reach: &Reach,
    policy: TrafficPolicy,
    problems: &mut Vec<Problem>,
) -> Option<u16> {
    let number = spec.health_check_node_port.filter(|number| *number != 0)?;
    if *reach != Reach::LoadBalancer || policy != TrafficPolicy::Local {
        let why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        problems.push(Problem::invalid("spec.healthCheckNodePort", number, why));
        return None;
    }
    port_number(number, "spec.healthCheckNodePort", problems)
}

/// Who wrote the status knew what it is doing; what is no address is no frontend.
fn ingress(service: &Service) -> Vec<IpAddr> {
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let all = status.and_then(|status| status.ingress.as_deref()).unwrap_or_default();
    let here = all.iter().filter(|ingress| ingress.ip_mode.as_deref() != Some("Proxy"));
    here.filter_map(|ingress| ingress.ip.as_deref()?.parse().ok()).collect()
}
