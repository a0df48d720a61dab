//! What objects and the ports of services are called.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
pub use protocol::ObjectRef;
use protocol::link::Transport;
use protocol::name::check_label;

use protocol::problem::Problem;

/// The names in an object's metadata, whose labels are checked as well.
pub fn object_ref(metadata: &ObjectMeta, problems: &mut Vec<Problem>) -> Option<ObjectRef> {
    for (key, value) in metadata.labels.iter().flatten() {
        if let Err(error) = check_label(key, value) {
            problems.push(Problem::invalid("metadata.labels", key, error));
        }
    }
    let namespace = metadata.namespace.as_deref().unwrap_or("default").parse();
    let namespace = namespace
        .map_err(|e| {
            problems.push(Problem::invalid(
                "metadata.namespace",
                metadata.namespace.as_deref().unwrap_or(""),
                e,
            ));
        })
        .ok();
    let Some(name) = metadata.name.as_deref() else {
        problems.push(Problem::required("metadata.name", "name or generateName is required"));
        return None;
    };
    let name = name.parse().map_err(|e| problems.push(Problem::invalid("metadata.name", name, e))).ok();
    Some(ObjectRef { namespace: namespace?, name: name? })
}

/// One port of a service, whatever its settings. It keeps its number in the datapath as long as it is the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortKey {
    /// The service.
    pub service: ObjectRef,
    /// The port's name; its number where it has none.
    pub port: String,
    /// Its protocol.
    pub transport: Transport,
}

impl fmt::Display for PortKey {
    /// For tables: `namespace/name:port`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.service, self.port)
    }
}

/// The word of manifests.
#[must_use]
pub const fn transport_word(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "TCP",
        Transport::Udp => "UDP",
        Transport::Sctp => "SCTP",
    }
}

pub(super) fn transport(
    word: Option<&str>,
    path: impl Into<String>,
    problems: &mut Vec<Problem>,
) -> Option<Transport> {
    match word {
        None | Some("TCP") => Some(Transport::Tcp),
        Some("UDP") => Some(Transport::Udp),
        Some("SCTP") => Some(Transport::Sctp),
        Some(other) => {
            problems.push(Problem::unsupported(path, other, &["SCTP", "TCP", "UDP"]));
            None
        }
    }
}

/// A port number in a manifest.
pub(super) fn port_number(number: i32, path: impl Into<String>, problems: &mut Vec<Problem>) -> Option<u16> {
    match u16::try_from(number) {
        Ok(number) if number > 0 => Some(number),
        Ok(_) | Err(_) => {
            problems.push(Problem::invalid(path, number, "must be between 1 and 65535, inclusive"));
            None
        }
    }
}

/// A port's name (RFC 6335 §5.1, as Kubernetes has it for target ports: at most 15 characters).
pub(super) fn is_service_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=15).contains(&bytes.len())
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
        && bytes.iter().any(u8::is_ascii_lowercase)
        && !text.starts_with('-')
        && !text.ends_with('-')
        && !text.contains("--")
}
