//! A pod as Kubernetes writes one, with vpod's own fields beside Kubernetes' ones.
//!
//! What Kubernetes has is where Kubernetes has it (`status.podIP`, `status.containerStatuses`,
//! `spec.containers[].command`), so that scripts written for kubectl find it. Ours are
//! `spec.mac`, `spec.portSecurity`, `spec.bandwidth`, `spec.resources` (of the whole pod), `status.netns` and
//! `status.port`. Ports are the pod's, whichever container listens: they are shown at the first one,
//! and as `spec.ports` of a pod without containers.

use protocol::link::Transport;
use protocol::object::{
    Bandwidth, Container, ContainerPort, ContainerState, ContainerStatus, DnsPolicy, Exit, Pod, PodDns,
    RestartPolicy,
};
use serde_json::{Value, json};

use super::summary;
use crate::cli::quantity::{format_cpu, format_memory};
use crate::output::document::time;

pub(super) fn of_pod(pod: &Pod) -> Value {
    let meta = &pod.metadata;
    let mut ports = Some(ports(pod));
    let listed = |c: &Container| json!({ "name": c.name, "command": c.command, "ports": ports.take() });
    let containers: Vec<Value> = pod.spec.containers.iter().map(listed).collect();
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": meta.name,
            "namespace": meta.namespace,
            "uid": meta.uid,
            "labels": if meta.labels.is_empty() { Value::Null } else { json!(meta.labels) },
            "creationTimestamp": time(meta.creation_timestamp),
            "resourceVersion": meta.resource_version.to_string(),
        },
        "spec": {
            "bandwidth": bandwidth(pod),
            "containers": containers,
            "dnsConfig": dns_config(&pod.spec.dns),
            "dnsPolicy": dns_policy(&pod.spec.dns),
            "hostname": pod.spec.hostname,
            "mac": pod.spec.mac.to_string(),
            "nodeName": pod.spec.node_name,
            "portSecurity": pod.spec.port_security,
            "ports": ports,
            "resources": resources(pod),
            "restartPolicy": policy(pod.spec.restart_policy),
            "subdomain": pod.spec.subdomain,
        },
        "status": {
            "conditions": [{ "type": "Ready", "status": if summary::is_ready(pod) { "True" } else { "False" } }],
            "containerStatuses": pod.status.container_statuses.iter().map(container).collect::<Vec<_>>(),
            "message": pod.status.message,
            "netns": pod.status.netns,
            "phase": summary::phase(pod.status.phase),
            "podIP": pod.spec.pod_ips.first(),
            "podIPs": pod.spec.pod_ips.iter().map(|ip| json!({ "ip": ip })).collect::<Vec<_>>(),
            "port": pod.status.port,
        },
    })
}

fn dns_policy(dns: &PodDns) -> Option<&'static str> {
    DnsPolicy::ALL.iter().find(|(_, policy)| *policy == dns.policy).map(|(name, _)| *name)
}

fn dns_config(dns: &PodDns) -> Value {
    if dns.nameservers.is_empty() && dns.searches.is_empty() && dns.options.is_empty() {
        return Value::Null;
    }
    json!({
        "nameservers": dns.nameservers,
        "searches": dns.searches,
        "options": dns.options.iter().map(|o| json!({ "name": o.name, "value": o.value })).collect::<Vec<_>>(),
    })
}

fn ports(pod: &Pod) -> Value {
    let all = &pod.spec.serving.ports;
    if all.is_empty() { Value::Null } else { all.iter().map(port).collect() }
}

fn port(port: &ContainerPort) -> Value {
    let protocol = match port.transport {
        Transport::Tcp => "TCP",
        Transport::Udp => "UDP",
        Transport::Sctp => "SCTP",
    };
    json!({
        "name": Some(&port.name).filter(|name| !name.is_empty()),
        "containerPort": port.number,
        "hostIP": port.host_ip,
        "hostPort": port.host_port,
        "protocol": protocol,
    })
}

fn resources(pod: &Pod) -> Value {
    let resources = &pod.spec.resources;
    if resources.cpu_millicores.is_none() && resources.memory_bytes.is_none() {
        return Value::Null;
    }
    json!({ "limits": {
        "cpu": resources.cpu_millicores.map(format_cpu),
        "memory": resources.memory_bytes.map(format_memory),
    } })
}

fn bandwidth(pod: &Pod) -> Value {
    let limits = pod.spec.bandwidth;
    if limits == Bandwidth::default() { Value::Null } else { json!(limits) }
}

fn container(status: &ContainerStatus) -> Value {
    let (state, ready) = match &status.state {
        ContainerState::Waiting { reason } => (json!({ "waiting": { "reason": reason } }), false),
        ContainerState::Running { pid, since } => {
            (json!({ "running": { "pid": pid, "startedAt": time(*since) } }), true)
        }
        ContainerState::Terminated { exit } => (terminated(exit), false),
    };
    json!({
        "name": status.name,
        "ready": ready,
        "restartCount": status.restart_count,
        "state": state,
        "lastState": status.last_exit.as_ref().map(terminated),
    })
}

fn terminated(exit: &Exit) -> Value {
    let reason = if exit.code == 0 { "Completed" } else { "Error" };
    json!({ "terminated": {
        "exitCode": exit.code,
        "finishedAt": time(exit.at),
        "reason": reason,
        "signal": exit.signal,
    } })
}

pub(super) const fn policy(policy: RestartPolicy) -> &'static str {
    match policy {
        RestartPolicy::Always => "Always",
        RestartPolicy::OnFailure => "OnFailure",
        RestartPolicy::Never => "Never",
    }
}
