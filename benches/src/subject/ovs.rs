//! Open vSwitch with its userspace datapath: a database server and a switch of our own in a
//! temporary directory, and a TAP per pod, made by the switch and moved into the pod's namespace.
//! Whatever Open vSwitch the machine runs beside is not touched.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::{IP_MTU, Pod, Subject};
use crate::host::{
    Background, Netns, Running, check_stop, in_netns, installed, ip_batch, temporary_directory, wait_for,
};

const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";
/// Seconds that one `ovs-vsctl` may wait for the switch.
const TIMEOUT: &str = "--timeout=20";

/// One node.
pub(crate) struct Ovs {
    // Dropped in this order: the switch, then what it uses.
    switch: Switch,
    pods: Vec<Pod>,
    node: Netns,
}

impl Ovs {
    pub(crate) fn set_up() -> Result<Self> {
        let node = Netns::create("vb-ovs-")?;
        Ok(Self { switch: Switch::start(&node)?, pods: Vec::new(), node })
    }
}

/// A switch in a node's namespace, with a bridge `br0`.
pub(super) struct Switch {
    // Dropped in this order: the switch, its database, then what they use.
    switch: Background,
    _database: Background,
    directory: TempDir,
}

impl Switch {
    pub(super) fn start(node: &Netns) -> Result<Self> {
        installed(&["ovs-vswitchd", "ovsdb-server", "ovsdb-tool", "ovs-vsctl"])?;
        let directory = temporary_directory()?;
        let path = |name: &str| directory.path().join(name);
        let mut create = Command::new("ovsdb-tool");
        create.arg("create").arg(path("conf.db")).arg(SCHEMA);
        Running::start(&mut create)?.finish(Duration::from_secs(10)).context("ovsdb-tool create")?;
        let database = daemon(node, directory.path(), "ovsdb-server", |command| {
            command.arg(format!("--remote=punix:{}", path("db.sock").display())).arg(path("conf.db"));
        })?;
        wait_for(Duration::from_secs(10), || {
            check_stop()?;
            Ok(path("db.sock").exists())
        })
        .context("ovsdb-server makes no socket")?;
        vsctl(directory.path(), &["--no-wait", "init"])?;
        let switch = daemon(node, directory.path(), "ovs-vswitchd", |command| {
            command.arg("--disable-system").arg(format!("unix:{}", path("db.sock").display()));
        })?;
        // Returns when the switch has made it.
        let bridge = ["add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev"];
        vsctl(directory.path(), &bridge)?;
        Ok(Self { switch, _database: database, directory })
    }

    pub(super) fn vsctl(&self, arguments: &[&str]) -> Result<()> {
        vsctl(self.directory.path(), arguments)
    }

    pub(super) fn pid(&self) -> u32 {
        self.switch.pid()
    }

    /// A pod on `br0`.
    pub(super) fn add_pod(&self, node: &Netns, index: usize) -> Result<Pod> {
        let pod = Pod::create(index)?;
        // The switch knows the device by name, so it keeps it in the pod.
        let port = format!("tap{index}");
        let mtu = format!("mtu_request={IP_MTU}");
        self.vsctl(&["add-port", "br0", &port, "--", "set", "interface", &port, "type=tap", &mtu])?;
        ip_batch(&node.0, &format!("link set {port} netns {}\n", pod.netns))?;
        pod.configure(&port)?;
        Ok(pod)
    }

    pub(super) fn remove_pod(&self, index: usize) -> Result<()> {
        self.vsctl(&["del-port", "br0", &format!("tap{index}")])
    }
}

/// Starts a daemon in the foreground, with everything it writes in `directory`.
fn daemon(
    node: &Netns,
    directory: &Path,
    program: &str,
    arguments: impl FnOnce(&mut Command),
) -> Result<Background> {
    let mut command = in_netns(&node.0, program);
    command
        .args(["--no-chdir", "-vconsole:off"])
        .arg(format!("--pidfile={}", directory.join(format!("{program}.pid")).display()))
        .arg(format!("--log-file={}", directory.join(format!("{program}.log")).display()))
        .arg(format!("--unixctl={}", directory.join(format!("{program}.ctl")).display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    own_directories(&mut command, directory);
    arguments(&mut command);
    Background::spawn(&mut command)
}

fn vsctl(directory: &Path, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("ovs-vsctl");
    command.arg(TIMEOUT).arg(format!("--db=unix:{}", directory.join("db.sock").display())).args(arguments);
    own_directories(&mut command, directory);
    let done = Running::start(&mut command)?.finish(Duration::from_secs(25));
    done.with_context(|| format!("ovs-vsctl {}", arguments.join(" ")))?;
    Ok(())
}

fn own_directories(command: &mut Command, directory: &Path) {
    for variable in ["OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"] {
        command.env(variable, directory);
    }
}

impl Subject for Ovs {
    fn name(&self) -> &'static str {
        "ovs"
    }

    fn add_pod(&mut self) -> Result<()> {
        let pod = self.switch.add_pod(&self.node, self.pods.len())?;
        self.pods.push(pod);
        Ok(())
    }

    fn remove_pod(&mut self) -> Result<()> {
        let index = self.pods.len().checked_sub(1).context("no pod left")?;
        self.switch.remove_pod(index)?;
        self.pods.pop();
        Ok(())
    }

    fn pods(&self) -> &[Pod] {
        &self.pods
    }

    fn processes(&self) -> Result<Vec<u32>> {
        Ok(vec![self.switch.pid()])
    }
}
