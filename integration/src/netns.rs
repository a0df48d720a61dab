//! The network namespace that plays a node.

use std::process::Command;

use crate::command;

/// The address of a node that is alone, on a veth whose other end is in the same namespace: it has to be
/// up and to answer, nothing more.
pub(crate) const LONELY_ADDRESS: &str = "192.0.2.1";

/// A named network namespace, deleted when dropped.
pub(crate) struct NodeNetns {
    name: String,
    address: String,
}

impl NodeNetns {
    /// With a NIC `nic0` that leads nowhere.
    pub(crate) fn create(name: &str) -> Self {
        let this = Self::without_nic(name, LONELY_ADDRESS);
        this.ip("link add nic0 type veth peer name nic1");
        this.ip(&format!("address add {LONELY_ADDRESS}/24 dev nic0"));
        this.ip("link set nic0 up");
        this.ip("link set nic1 up");
        this
    }

    /// Whoever calls gives it its `nic0`.
    pub(crate) fn without_nic(name: &str, address: &str) -> Self {
        ip(&["netns", "add", name]);
        let this = Self { name: name.to_owned(), address: address.to_owned() };
        this.ip("link set lo up");
        this
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn ip(&self, arguments: &str) {
        let mut words = vec!["-n", &self.name];
        words.extend(arguments.split_whitespace());
        ip(&words);
    }

    /// A command that will run inside. Not `ip netns exec`: that hides later mounts of the host,
    /// and with them the namespaces the daemon creates.
    pub(crate) fn command(&self, program: &str) -> Command {
        enter(&self.name, program)
    }
}

/// A command that will run in the namespace called `name`.
pub(crate) fn enter(name: &str, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/{name}")).arg("--").arg(program);
    command
}

fn ip(arguments: &[&str]) {
    let mut command = Command::new("ip");
    command.args(arguments);
    command::run(command).ok();
}

impl Drop for NodeNetns {
    fn drop(&mut self) {
        // Best effort: a test that failed before may have left it in any state.
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).status();
    }
}
