//! A pod as tests see it: where it is, and how to run something in it.

use std::net::IpAddr;
use std::process::Command;

use protocol::object::Pod;
use protocol::{Mac, PortId};

use crate::command::{self, Background, Ran};
use crate::netns;

/// A pod that was created; it is deleted with its node.
#[derive(Debug, Clone)]
pub struct TestPod {
    /// Its name.
    pub name: String,
    /// Its Kubernetes namespace.
    pub namespace: String,
    /// Its address.
    pub ip: IpAddr,
    /// The address of its `eth0`.
    pub mac: Mac,
    /// Its attachment.
    pub port: PortId,
    /// File name of its network namespace.
    pub netns: String,
}

impl TestPod {
    /// From the daemon's answer.
    ///
    /// # Panics
    /// When the answer lacks an address, a port or a namespace.
    #[must_use]
    pub fn of(pod: &Pod) -> Self {
        let netns = pod.status.netns.rsplit('/').next().expect("rsplit gives at least one part");
        Self {
            name: pod.metadata.name.to_string(),
            namespace: pod.metadata.namespace.to_string(),
            ip: *pod.spec.pod_ips.first().expect("a created pod has an address"),
            mac: pod.spec.mac,
            port: pod.status.port.expect("a created pod has a port"),
            netns: netns.to_owned(),
        }
    }

    /// `namespace/name`.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// A command that will run in its network namespace, without any help of vpod.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        netns::enter(&self.netns, program)
    }

    /// Runs a shell script in its network namespace to the end.
    #[track_caller]
    #[must_use]
    pub fn sh(&self, script: &str) -> Ran {
        let mut command = self.command("sh");
        command.args(["-c", script]);
        command::run(command)
    }

    /// Starts a shell script in its network namespace.
    #[track_caller]
    #[must_use]
    pub fn spawn(&self, script: &str) -> Background {
        let mut command = self.command("sh");
        command.args(["-c", script]);
        Background::start(command)
    }

    /// Whether one echo request to `target` is answered within a second.
    #[track_caller]
    #[must_use]
    pub fn pings(&self, target: IpAddr) -> bool {
        self.sh(&format!("ping -n -c 1 -W 1 {target}")).succeeded()
    }
}
