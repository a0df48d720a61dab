//! `describe pod`.

use std::fmt::Write as _;

use protocol::object::{Container, ContainerState, ContainerStatus, Exit, Pod, Port, Rate, Timestamp};

use super::{addresses, document, publish, summary};
use crate::cli::quantity::{format_cpu, format_memory, format_rate};
use crate::output::{age, or_none};
use crate::port;

/// Everything about `pod`, and about its port if there is one.
pub(crate) fn describe(pod: &Pod, port: Option<&Port>, now: Timestamp) -> String {
    let meta = &pod.metadata;
    let labels = meta.labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>();
    let created = meta.creation_timestamp;
    let limit = |text: Option<String>| text.unwrap_or_else(|| "none".to_owned());
    let host_ports: Vec<String> = pod.spec.serving.ports.iter().filter_map(publish::shown).collect();
    let rows = [
        ("Name:", meta.name.to_string()),
        ("Namespace:", meta.namespace.to_string()),
        ("UID:", meta.uid.clone()),
        ("Labels:", or_none(labels.join(","))),
        ("Created:", format!("{created} ({} ago)", age::human(created.until(now)))),
        ("Node:", pod.spec.node_name.clone()),
        ("Status:", summary::status(pod)),
        ("Message:", pod.status.message.clone().unwrap_or_default()),
        ("IP:", or_none(addresses(pod))),
        ("MAC:", pod.spec.mac.to_string()),
        ("Host ports:", host_ports.join(", ")),
        ("Netns:", or_none(pod.status.netns.clone())),
        ("Restart:", document::policy(pod.spec.restart_policy).to_owned()),
        ("CPU limit:", limit(pod.spec.resources.cpu_millicores.map(format_cpu))),
        ("Memory:", limit(pod.spec.resources.memory_bytes.map(format_memory))),
        ("Bandwidth:", bandwidth(pod)),
    ];
    let mut text = String::new();
    for (label, value) in rows.iter().filter(|(_, value)| !value.is_empty()) {
        let _ = writeln!(text, "{label:<12} {value}");
    }
    text.push_str(&containers(pod, now));
    match port {
        Some(port) => {
            text.push_str("Network:\n");
            for line in port::describe(port).lines() {
                let _ = writeln!(text, "  {line}");
            }
        }
        None => text.push_str("Network:     no port at the switch\n"),
    }
    text
}

/// Both directions; nothing for a pod without limits.
fn bandwidth(pod: &Pod) -> String {
    let limits = &pod.spec.bandwidth;
    let shown = |(direction, rate): (&str, Option<Rate>)| {
        let rate = rate?;
        let (per_second, burst) = (format_rate(rate.bits_per_second), format_memory(rate.burst_bits / 8));
        Some(format!("{direction} {per_second} (burst {burst} bytes)"))
    };
    let directions = [("ingress", limits.ingress()), ("egress", limits.egress())];
    directions.into_iter().filter_map(shown).collect::<Vec<_>>().join(", ")
}

fn containers(pod: &Pod, now: Timestamp) -> String {
    if pod.spec.containers.is_empty() {
        return "Containers:  <none>\n".to_owned();
    }
    let mut text = "Containers:\n".to_owned();
    for container in &pod.spec.containers {
        let status = pod.status.container_statuses.iter().find(|status| status.name == container.name);
        describe_container(&mut text, container, status, now);
    }
    text
}

fn describe_container(
    text: &mut String,
    container: &Container,
    status: Option<&ContainerStatus>,
    now: Timestamp,
) {
    let _ = writeln!(text, "  {}:", container.name);
    let _ = writeln!(text, "    Command:   {}", command_line(&container.command));
    let Some(status) = status else {
        text.push_str("    State:     unknown\n");
        return;
    };
    let state = match &status.state {
        ContainerState::Waiting { reason } => format!("Waiting ({reason})"),
        ContainerState::Running { pid, since } => {
            format!("Running (pid {pid}, for {})", age::human(since.until(now)))
        }
        ContainerState::Terminated { exit } => format!("Terminated ({})", exit_text(exit, now)),
    };
    let _ = writeln!(text, "    State:     {state}");
    if let Some(exit) = &status.last_exit {
        let _ = writeln!(text, "    Last exit: {}", exit_text(exit, now));
    }
    let _ = writeln!(text, "    Restarts:  {}", status.restart_count);
}

fn exit_text(exit: &Exit, now: Timestamp) -> String {
    let ago = age::human(exit.at.until(now));
    match exit.signal {
        Some(signal) => format!("signal {signal}, {ago} ago"),
        None => format!("exit status {}, {ago} ago", exit.code),
    }
}

/// The words as a shell would take them.
fn command_line(words: &[String]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    let quoted = |word: &String| {
        if !word.is_empty() && word.chars().all(plain) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', "'\\''"))
        }
    };
    words.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_can_be_pasted_into_a_shell() {
        let words = ["sh", "-c", "echo 'a b'; exit 3", ""].map(str::to_owned);
        assert_eq!(command_line(&words), r"sh -c 'echo '\''a b'\''; exit 3' ''");
    }
}
