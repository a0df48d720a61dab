//! Items of `ports`.

use protocol::problem::Problem;
use serde_json::Value;

use super::PolicyKind;
use super::fields::{Object, number, shown};
use crate::model::{PortRange, Ports, Protocol};

/// RFC 6335 §5.1.
const MAX_PORT_NAME_LEN: usize = 15;

pub(super) fn ports(
    kind: PolicyKind,
    value: &Value,
    path: String,
    problems: &mut Vec<Problem>,
) -> Option<Ports> {
    let object = Object::read(value, path, problems)?;
    object.allow_only(&["protocol", "port", "endPort"], problems);
    let protocol = protocol(kind, &object, problems);
    let range = range(&object, problems);
    let protocol = protocol?;
    if !protocol.has_ports() && object.get("port").is_some() {
        problems.push(Problem::forbidden(object.at("port"), format!("{protocol} has no ports")));
    }
    Some(Ports { protocol, range: range? })
}

fn protocol(kind: PolicyKind, object: &Object<'_>, problems: &mut Vec<Problem>) -> Option<Protocol> {
    let known: &[&str] = match kind {
        PolicyKind::NetworkPolicy => &["SCTP", "TCP", "UDP"],
        PolicyKind::ClusterNetworkPolicy => &["ICMP", "ICMPv6", "SCTP", "TCP", "UDP"],
    };
    if object.get("protocol").is_none() {
        return Some(Protocol::TCP);
    }
    let word = object.text("protocol", problems)?;
    let protocol = Protocol::named(word).filter(|_| known.contains(&word));
    if protocol.is_none() {
        problems.push(Problem::unsupported(object.at("protocol"), word, known));
    }
    protocol
}

fn range(object: &Object<'_>, problems: &mut Vec<Problem>) -> Option<PortRange> {
    let end = object.get("endPort");
    let mut refuse_end = |why: &str| {
        if let Some(end) = end {
            problems.push(Problem::invalid(object.at("endPort"), shown(end), why));
        }
    };
    match object.get("port") {
        None => {
            refuse_end("may not be specified when `port` is not specified");
            Some(PortRange::Any)
        }
        Some(Value::String(name)) => {
            refuse_end("may not be specified when `port` is non-numeric");
            if let Some(why) = wrong_with_port_name(name) {
                problems.push(Problem::invalid(object.at("port"), name, why));
            }
            Some(PortRange::Named(name.clone()))
        }
        Some(value) => {
            let first = port(value, object.at("port"), problems);
            let last = match end {
                Some(end) => port(end, object.at("endPort"), problems),
                None => first,
            };
            let (first, last) = (first?, last?);
            if last < first {
                let why = "must be greater than or equal to `port`";
                problems.push(Problem::invalid(object.at("endPort"), last, why));
            }
            Some(PortRange::Numbers(first, last))
        }
    }
}

fn port(value: &Value, path: String, problems: &mut Vec<Problem>) -> Option<u16> {
    number(value, path, 1, u32::from(u16::MAX), problems).and_then(|port| u16::try_from(port).ok())
}

/// apimachinery, `IsValidPortName`.
fn wrong_with_port_name(name: &str) -> Option<&'static str> {
    let bytes = name.as_bytes();
    if name.is_empty() || name.len() > MAX_PORT_NAME_LEN {
        Some("must be between 1 and 15 characters")
    } else if !bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-') {
        Some("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    } else if !bytes.iter().any(u8::is_ascii_lowercase) {
        Some("must contain at least one letter (a-z)")
    } else if name.contains("--") {
        Some("must not contain consecutive hyphens")
    } else if name.starts_with('-') || name.ends_with('-') {
        Some("must not begin or end with a hyphen")
    } else {
        None
    }
}
