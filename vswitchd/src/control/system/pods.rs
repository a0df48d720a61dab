//! One system pod: there, as it should be, or not there.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use protocol::link::Transport;
use protocol::message::{CreatePod, PodRef};
use protocol::object::{
    Bandwidth, Check, ContainerPort, DnsPolicy, PodDns, Probe, Resources, RestartPolicy, Serving,
};
use store::record::PodRecord;

use super::super::inventory::Life;
use super::super::node::Control;
use super::super::pods::{containers, create, delete};
use super::{Role, prepare, settings};
use crate::config::{Config, Program};

/// Says whose a pod is.
const MANAGED: (&str, &str) = ("app.kubernetes.io/managed-by", "vswitchd");
/// Where it says that it is ready.
const READY_PORT: u16 = 8181;

/// Makes it so; what keeps it from being so otherwise.
pub(super) fn keep(control: &Control, role: Role) -> Result<(), String> {
    let config = &control.config;
    let program = role.program(config);
    let Some(pod) = role.pod(&config.node) else {
        let problem = format!("{}: the node's name is too long for a pod's", role.name());
        return if program.enabled { Err(problem) } else { Ok(()) };
    };
    let found = control.inventory.lock().get(&pod).cloned();
    let is_ours =
        |record: &PodRecord| record.metadata.labels.get(MANAGED.0).is_some_and(|value| value == MANAGED.1);
    let remove = || delete::delete(control, &pod).map_err(|error| format!("{}: {error}", role.name()));
    if !program.enabled {
        let is_left = found.is_some_and(|entry| entry.life == Life::Ready && is_ours(&entry.record));
        return if is_left { remove() } else { Ok(()) };
    }
    check_program(role, program)?;
    prepare(control).map_err(|error| format!("{}: its directory: {error}", role.name()))?;
    let wanted = request(role, config, &pod);
    match found {
        None => make(control, role, wanted),
        Some(entry) if entry.life != Life::Ready => Ok(()),
        Some(entry) if entry.failure.is_some() || is_other(&entry.record, &wanted) => {
            remove()?;
            make(control, role, wanted)
        }
        Some(entry) => {
            let now = fingerprint(control, role, program);
            let place = note(control, &entry.record);
            if fs::read_to_string(&place).is_ok_and(|known| known == now) {
                return Ok(());
            }
            tracing::info!(%pod, "its program or settings have changed; starting it again");
            let started = match role {
                Role::Dns => containers::replace(control, &pod, wanted.command),
                // Its connections are not to be cut.
                Role::Ingress => containers::succeed(control, &pod, wanted.command),
            };
            started.map_err(|error| error.to_string())?;
            fs::write(&place, now).map_err(|error| format!("{}: {error}", place.display()))
        }
    }
}

fn check_program(role: Role, program: &Program) -> Result<(), String> {
    if program.path.is_file() {
        return Ok(());
    }
    let (name, section) = (role.name(), role.section());
    Err(format!(
        "{name} does not run: there is no program {}; install it there, or set {section}.program or {section}.enabled = false",
        program.path.display()
    ))
}

fn make(control: &Control, role: Role, wanted: CreatePod) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| format!("{} does not run: {error}", role.name());
    if role == Role::Dns && !settings::has_upstreams(&control.config) {
        tracing::warn!(
            "vpod-dns answers for the cluster only: /etc/resolv.conf names no server that a pod reaches, and dns.upstreams is empty"
        );
    }
    let now = fingerprint(control, role, role.program(&control.config));
    let pod = wanted.pod.clone();
    create::create(control, wanted).map_err(|error| failed(&error))?;
    tracing::info!(%pod, "system pod created");
    let record = control.inventory.lock().get(&pod).map(|entry| entry.record.clone());
    let Some(record) = record else { return Ok(()) };
    let place = note(control, &record);
    fs::write(&place, now).map_err(|error| failed(&format!("{}: {error}", place.display())))
}

/// What its container was started with.
fn note(control: &Control, record: &PodRecord) -> PathBuf {
    control.pod_dir(record).join("started-with")
}

/// Another one, and the container must be started again.
fn fingerprint(control: &Control, role: Role, program: &Program) -> String {
    let file = |path: &Path| {
        let metadata = fs::metadata(path).ok()?;
        let (seconds, nanos) = (metadata.mtime(), metadata.mtime_nsec());
        Some(format!("{}:{}:{}:{seconds}.{nanos}", metadata.dev(), metadata.ino(), metadata.size()))
    };
    let binary = file(&program.path).unwrap_or_default();
    let user = &program.user;
    let command = settings::command(role).join(" ");
    format!("{command}\n{binary}\n{}:{}\n{}", user.uid, user.gid, settings::text(control, role))
}

/// Differs in what a pod keeps for its life.
fn is_other(record: &PodRecord, wanted: &CreatePod) -> bool {
    record.metadata.labels != wanted.labels
        || record.spec.serving != wanted.serving
        || record.spec.dns != wanted.dns
        || record.spec.restart_policy != wanted.restart_policy
}

fn request(role: Role, config: &Config, pod: &PodRef) -> CreatePod {
    let ingress = &config.ingress;
    let (own, ports) = match role {
        Role::Dns => (
            ("k8s-app", "kube-dns"),
            vec![
                ("dns", Transport::Udp, 53),
                ("dns-tcp", Transport::Tcp, 53),
                ("metrics", Transport::Tcp, 9153),
            ],
        ),
        Role::Ingress => (
            ("app.kubernetes.io/name", "vpod-ingress"),
            vec![
                ("http", Transport::Tcp, ingress.http.port()),
                ("https", Transport::Tcp, ingress.https.port()),
                ("metrics", Transport::Tcp, 9153),
            ],
        ),
    };
    let labels = [own, MANAGED].map(|(key, value)| (key.to_owned(), value.to_owned()));
    let is_published =
        |name: &str| role == Role::Ingress && ingress.host_ports && matches!(name, "http" | "https");
    let port = |(name, transport, number): (&str, Transport, u16)| ContainerPort {
        name: name.to_owned(),
        number,
        transport,
        host_port: is_published(name).then_some(number),
        host_ip: None,
    };
    // It is asked often, so that a change of its readiness is soon known.
    let ready = Probe {
        period_seconds: 1,
        ..Probe::new(Check::Http { port: READY_PORT, path: "/ready".to_owned() })
    };
    CreatePod {
        pod: pod.clone(),
        labels: BTreeMap::from(labels),
        ip: None,
        mac: None,
        port_security: true,
        resources: Resources::default(),
        restart_policy: RestartPolicy::Always,
        command: settings::command(role),
        serving: Serving {
            ports: ports.into_iter().map(port).collect(),
            readiness: Some(ready),
            weight: None,
        },
        // It is what others ask; it asks whom the node asks.
        dns: PodDns { policy: DnsPolicy::Default, ..PodDns::default() },
        hostname: None,
        subdomain: None,
        bandwidth: Bandwidth::default(),
    }
}
