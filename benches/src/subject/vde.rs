//! Virtual Distributed Ethernet: `vde_switch` moves frames between Unix sockets, and a
//! `vde_plug2tap` per pod between its socket and the pod's TAP.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::{Pod, Subject};
use crate::host::{
    Background, Netns, Running, check_stop, in_netns, installed, temporary_directory, wait_for,
};

/// More than any workload has pods; the default is 32.
const PORTS: &str = "300";

pub(crate) struct Vde {
    // Dropped in this order: the plugs, their switch, then what they use.
    plugs: Vec<Background>,
    // Its console is our pipe: it ends at the end of its stdin.
    switch: Running,
    pods: Vec<Pod>,
    _node: Netns,
    directory: TempDir,
}

impl Vde {
    pub(crate) fn set_up() -> Result<Self> {
        installed(&["vde_switch", "vde_plug2tap"])?;
        let directory = temporary_directory()?;
        let node = Netns::create("vb-vde-")?;
        let socket = directory.path().join("switch");
        let mut command = in_netns(&node.0, "vde_switch");
        command.args(["-n", PORTS, "-s"]).arg(&socket);
        let mut switch = Running::start(&mut command)?;
        wait_for(Duration::from_secs(10), || {
            check_stop()?;
            switch.check_running()?;
            Ok(socket.join("ctl").exists())
        })
        .context("vde_switch makes no socket")?;
        Ok(Self { plugs: Vec::new(), switch, pods: Vec::new(), _node: node, directory })
    }
}

impl Subject for Vde {
    fn name(&self) -> &'static str {
        "vde"
    }

    fn add_pod(&mut self) -> Result<()> {
        let pod = Pod::create(self.pods.len())?;
        let mut command = in_netns(&pod.netns, "vde_plug2tap");
        command.arg("-s").arg(self.directory.path().join("switch")).arg("eth0");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut plug = Background::spawn(&mut command)?;
        let netns = netdev::netns::open(&pod.netns)?;
        wait_for(Duration::from_secs(10), || {
            check_stop()?;
            plug.check_running()?;
            Ok(netns.run(|| netdev::Netlink::open()?.find_link("eth0"))??.is_some())
        })
        .context("vde_plug2tap makes no TAP")?;
        pod.configure("eth0")?;
        self.plugs.push(plug);
        self.pods.push(pod);
        Ok(())
    }

    fn remove_pod(&mut self) -> Result<()> {
        drop(self.plugs.pop().context("no pod left")?);
        self.pods.pop();
        Ok(())
    }

    fn pods(&self) -> &[Pod] {
        &self.pods
    }

    fn processes(&self) -> Result<Vec<u32>> {
        Ok(self.plugs.iter().map(Background::pid).chain([self.switch.pid()]).collect())
    }
}
