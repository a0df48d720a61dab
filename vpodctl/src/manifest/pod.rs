//! A Pod manifest as a request. vpod runs programs of the node in a pod's network, so much of a Pod means nothing to it: what would
//! change how the program runs is refused by its path, what only a kubelet or a registry cares about is warned about.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Container, Pod, PodDNSConfigOption, PodSpec, Probe as KubeProbe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use protocol::link::Transport;
use protocol::message::{CreatePod, PodRef};
use protocol::object::{
    Bandwidth, Check, ContainerPort, DnsOption, DnsPolicy, PodDns, Probe, Rate, Resources, RestartPolicy,
    Serving,
};
use serde_json::Value;

use super::Named;
use crate::cli::quantity::{parse_bits, parse_cpu, parse_memory};

/// Fields that vpod understands.
const SPEC: [&str; 6] = ["containers", "restartPolicy", "dnsPolicy", "dnsConfig", "hostname", "subdomain"];
const CONTAINER: [&str; 6] = ["name", "command", "args", "ports", "readinessProbe", "resources"];
/// Fields without which a program runs as well.
const IGNORED_IN_SPEC: [&str; 7] = [
    "automountServiceAccountToken",
    "enableServiceLinks",
    "imagePullSecrets",
    "schedulerName",
    "serviceAccountName",
    "terminationGracePeriodSeconds",
    "tolerations",
];
const IGNORED_IN_CONTAINER: [&str; 6] = [
    "image",
    "imagePullPolicy",
    "livenessProbe",
    "startupProbe",
    "terminationMessagePath",
    "terminationMessagePolicy",
];

/// The pod, and the containers to start after its first.
pub(crate) struct Request {
    pub(crate) create: CreatePod,
    pub(crate) more: Vec<(String, Vec<String>)>,
    pub(crate) warnings: Vec<String>,
}

/// Reads a manifest.
pub(crate) fn request(named: &Named, pod: &Pod) -> Result<Request, String> {
    let spec = pod.spec.as_ref().ok_or("spec: Required value")?;
    let mut warnings = Vec::new();
    check(&to_value(spec)?, "spec", &SPEC, &IGNORED_IN_SPEC, &mut warnings)?;
    for (index, container) in spec.containers.iter().enumerate() {
        let path = format!("spec.containers[{index}]");
        check(&to_value(container)?, &path, &CONTAINER, &IGNORED_IN_CONTAINER, &mut warnings)?;
    }
    let (first, others) = spec.containers.split_first().ok_or("spec.containers: Required value")?;
    if let Some(index) = others.iter().position(|container| container.readiness_probe.is_some()) {
        return Err(format!(
            "spec.containers[{}].readinessProbe: only the first container can be probed",
            index + 1
        ));
    }
    let create = CreatePod {
        pod: PodRef { namespace: named.namespace.clone(), name: named.name.clone() },
        labels: pod.metadata.labels.clone().unwrap_or_default(),
        ip: None,
        mac: None,
        port_security: true,
        resources: resources(first)?,
        restart_policy: restart_policy(spec)?,
        command: command(first),
        serving: Serving { ports: ports(spec)?, readiness: readiness(first)?, weight: weight(pod)? },
        dns: dns(spec)?,
        hostname: spec.hostname.clone().filter(|name| !name.is_empty()),
        subdomain: spec.subdomain.clone().filter(|name| !name.is_empty()),
        bandwidth: bandwidth(pod)?,
    };
    let more = others.iter().map(|container| (container.name.clone(), command(container))).collect();
    Ok(Request { create, more, warnings })
}

fn to_value<T: serde::Serialize>(part: &T) -> Result<Value, String> {
    serde_json::to_value(part).map_err(|error| error.to_string())
}

fn check(
    value: &Value,
    path: &str,
    known: &[&str],
    ignored: &[&str],
    warnings: &mut Vec<String>,
) -> Result<(), String> {
    let empty = |value: &Value| value.as_array().is_some_and(Vec::is_empty);
    for (key, value) in value.as_object().into_iter().flatten() {
        let key = key.as_str();
        if known.contains(&key) || empty(value) {
            continue;
        }
        if !ignored.contains(&key) {
            return Err(format!(
                "{path}.{key}: not supported: vpod runs programs of the node in the pod's network"
            ));
        }
        warnings.push(format!("{path}.{key}: ignored"));
    }
    Ok(())
}

fn command(container: &Container) -> Vec<String> {
    let parts = [&container.command, &container.args];
    parts.into_iter().flatten().flatten().cloned().collect()
}

fn restart_policy(spec: &PodSpec) -> Result<RestartPolicy, String> {
    match spec.restart_policy.as_deref() {
        None | Some("Always") => Ok(RestartPolicy::Always),
        Some("OnFailure") => Ok(RestartPolicy::OnFailure),
        Some("Never") => Ok(RestartPolicy::Never),
        Some(other) => Err(format!("spec.restartPolicy: Unsupported value: \"{other}\"")),
    }
}

fn dns(spec: &PodSpec) -> Result<PodDns, String> {
    let policy = match spec.dns_policy.as_deref() {
        None | Some("") => DnsPolicy::default(),
        Some(word) => {
            let known = DnsPolicy::ALL.iter().find(|(name, _)| *name == word).map(|(_, policy)| *policy);
            known.ok_or_else(|| format!("spec.dnsPolicy: Unsupported value: \"{word}\""))?
        }
    };
    let Some(config) = &spec.dns_config else { return Ok(PodDns { policy, ..PodDns::default() }) };
    let nameservers = config.nameservers.iter().flatten().enumerate();
    let nameserver =
        |(index, text): (usize, &String)| address(text, &format!("spec.dnsConfig.nameservers[{index}]"));
    let options = config.options.iter().flatten();
    let option = |option: &PodDNSConfigOption| DnsOption {
        name: option.name.clone().unwrap_or_default(),
        value: option.value.clone().filter(|value| !value.is_empty()),
    };
    Ok(PodDns {
        policy,
        nameservers: nameservers.map(nameserver).collect::<Result<_, _>>()?,
        searches: config.searches.clone().unwrap_or_default(),
        options: options.map(option).collect(),
    })
}

fn resources(container: &Container) -> Result<Resources, String> {
    let limits = container.resources.as_ref().and_then(|all| all.limits.as_ref());
    let limit = |name: &str| limits.and_then(|limits| limits.get(name)).map(|quantity| quantity.0.as_str());
    Ok(Resources {
        cpu_millicores: limit("cpu").map(parse_cpu).transpose()?,
        memory_bytes: limit("memory").map(parse_memory).transpose()?,
    })
}

fn ports(spec: &PodSpec) -> Result<Vec<ContainerPort>, String> {
    let mut all = Vec::new();
    for (index, container) in spec.containers.iter().enumerate() {
        for (number, port) in container.ports.iter().flatten().enumerate() {
            let path = format!("spec.containers[{index}].ports[{number}]");
            let transport = match port.protocol.as_deref() {
                None | Some("TCP") => Transport::Tcp,
                Some("UDP") => Transport::Udp,
                Some("SCTP") => Transport::Sctp,
                Some(other) => return Err(format!("{path}.protocol: Unsupported value: \"{other}\"")),
            };
            let number = port_number(port.container_port, &format!("{path}.containerPort"))?;
            let host_port =
                port.host_port.map(|port| port_number(port, &format!("{path}.hostPort"))).transpose()?;
            let host_ip = port.host_ip.as_deref().filter(|text| !text.is_empty());
            let host_ip = host_ip.map(|text| address(text, &format!("{path}.hostIP"))).transpose()?;
            all.push(ContainerPort {
                name: port.name.clone().unwrap_or_default(),
                number,
                transport,
                host_port,
                // Without a port it means nothing, as in Kubernetes.
                host_ip: host_ip.filter(|_| host_port.is_some()),
            });
        }
    }
    Ok(all)
}

fn address(text: &str, path: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| format!("{path}: Invalid value: \"{text}\": must be a valid IP address"))
}

fn port_number(number: i32, path: &str) -> Result<u16, String> {
    let number = u16::try_from(number).ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("{path}: must be between 1 and 65535, inclusive"))
}

fn weight(pod: &Pod) -> Result<Option<u16>, String> {
    let Some(text) = pod.metadata.annotations.as_ref().and_then(|all| all.get("vpod.io/weight")) else {
        return Ok(None);
    };
    let bad = |_| format!("metadata.annotations[vpod.io/weight]: \"{text}\" is not a number from 0 to 65535");
    text.parse().map(Some).map_err(bad)
}

/// Kubernetes' annotations, which name no burst.
fn bandwidth(pod: &Pod) -> Result<Bandwidth, String> {
    let rate = |name: &str| {
        let Some(text) = pod.metadata.annotations.as_ref().and_then(|all| all.get(name)) else {
            return Ok(None);
        };
        let bad = |problem: String| format!("metadata.annotations[{name}]: {problem}");
        let rate = parse_bits(text).map_err(bad)?;
        if !(Rate::MIN..=Rate::MAX).contains(&rate) {
            return Err(bad(format!("\"{text}\" is not between 1k and 1P bits per second")));
        }
        Ok(Some(rate))
    };
    Ok(Bandwidth {
        ingress_rate: rate("kubernetes.io/ingress-bandwidth")?,
        egress_rate: rate("kubernetes.io/egress-bandwidth")?,
        ..Bandwidth::default()
    })
}

fn readiness(container: &Container) -> Result<Option<Probe>, String> {
    let Some(given) = &container.readiness_probe else { return Ok(None) };
    let mut probe = Probe::new(action(container, given)?);
    let path = "spec.containers[0].readinessProbe";
    for (field, given, to, least) in [
        ("initialDelaySeconds", given.initial_delay_seconds, &mut probe.initial_delay_seconds, 0),
        ("periodSeconds", given.period_seconds, &mut probe.period_seconds, 1),
        ("timeoutSeconds", given.timeout_seconds, &mut probe.timeout_seconds, 1),
        ("successThreshold", given.success_threshold, &mut probe.success_threshold, 1),
        ("failureThreshold", given.failure_threshold, &mut probe.failure_threshold, 1),
    ] {
        let Some(given) = given else { continue };
        *to = u32::try_from(given)
            .ok()
            .filter(|seconds| *seconds >= least)
            .ok_or_else(|| format!("{path}.{field}: must be greater than or equal to {least}"))?;
    }
    Ok(Some(probe))
}

fn action(container: &Container, probe: &KubeProbe) -> Result<Check, String> {
    let path = "spec.containers[0].readinessProbe";
    let number = |port: &IntOrString, field: &str| match port {
        IntOrString::Int(number) => port_number(*number, &format!("{path}.{field}.port")),
        IntOrString::String(name) => {
            let mut ports = container.ports.iter().flatten();
            let port = ports.find(|port| port.name.as_ref() == Some(name));
            let port = port.ok_or_else(|| format!("{path}.{field}.port: no port is named \"{name}\""))?;
            port_number(port.container_port, &format!("{path}.{field}.port"))
        }
    };
    match (&probe.tcp_socket, &probe.http_get, &probe.exec, &probe.grpc) {
        (Some(tcp), None, None, None) => Ok(Check::Tcp { port: number(&tcp.port, "tcpSocket")? }),
        (None, Some(http), None, None) => {
            if http.scheme.as_deref().is_some_and(|scheme| scheme != "HTTP") || http.http_headers.is_some() {
                return Err(format!("{path}.httpGet: scheme and httpHeaders are not supported"));
            }
            let target = http.path.clone().unwrap_or_else(|| "/".to_owned());
            Ok(Check::Http { port: number(&http.port, "httpGet")?, path: target })
        }
        (None, None, Some(exec), None) => {
            Ok(Check::Exec { command: exec.command.clone().unwrap_or_default() })
        }
        _ => Err(format!("{path}: must have one of tcpSocket, httpGet and exec")),
    }
}
