//! What services need to know of pods, and objects that are kept as Kubernetes writes them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Timestamp;
use crate::link::Transport;
use crate::name::{Namespace, ObjectName};

/// What a pod offers to services.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Serving {
    /// Ports that target ports can name.
    pub ports: Vec<ContainerPort>,
    /// How to find out whether it can serve; without it is ready when its containers run.
    pub readiness: Option<Probe>,
    /// For weighted schedulers; 1 without.
    pub weight: Option<u16>,
}

/// `containerPorts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerPort {
    /// Unique within the pod; may be empty.
    pub name: String,
    /// Its number.
    pub number: u16,
    /// Its protocol.
    pub transport: Transport,
    /// The port of its node that leads there.
    #[serde(default)]
    pub host_port: Option<u16>,
    /// At this address of the node; at all of them without.
    #[serde(default)]
    pub host_ip: Option<IpAddr>,
}

impl ContainerPort {
    /// The address of the node that its port is at; `None` is all of them.
    #[must_use]
    pub fn host_address(&self) -> Option<IpAddr> {
        self.host_ip.filter(|ip| !ip.is_unspecified())
    }
}

/// Kubernetes' readiness probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Probe {
    /// What is tried.
    pub check: Check,
    /// Before the first try.
    pub initial_delay_seconds: u32,
    /// Between two tries; at least 1.
    pub period_seconds: u32,
    /// For one try; at least 1.
    pub timeout_seconds: u32,
    /// Successes in a row that make a pod ready.
    pub success_threshold: u32,
    /// Failures in a row that make it unready.
    pub failure_threshold: u32,
}

impl Probe {
    /// With Kubernetes' defaults.
    #[must_use]
    pub const fn new(check: Check) -> Self {
        Self {
            check,
            initial_delay_seconds: 0,
            period_seconds: 10,
            timeout_seconds: 1,
            success_threshold: 1,
            failure_threshold: 3,
        }
    }
}

/// What a probe tries, inside of the pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Check {
    /// Something listens.
    Tcp {
        /// At this port of the pod's address.
        port: u16,
    },
    /// `GET` is answered by a status from 200 to 399.
    Http {
        /// At this port of the pod's address.
        port: u16,
        /// Begins with `/`.
        path: String,
    },
    /// A program ends with status 0.
    Exec {
        /// Program and arguments.
        command: Vec<String>,
    },
}

/// An object as Kubernetes writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    /// Where it lives; `None` for kinds without namespaces.
    pub namespace: Option<Namespace>,
    /// Its name.
    pub name: ObjectName,
    /// When it was created; that of its service for what is derived.
    pub created: Timestamp,
    /// The whole object.
    pub json: String,
    /// Endpoints that may be chosen.
    pub ready: u32,
    /// All its endpoints.
    pub endpoints: u32,
}
