//! Two Open vSwitches with userspace datapaths and a VXLAN port each. A userspace tunnel needs the node's
//! NIC and address in a bridge of the switch itself (`br-phy`), from which it takes routes and neighbours.

use anyhow::{Context, Result};

use super::nodes::{Offloads, joined, other, underlay_address};
use super::ovs::Switch;
use super::{Pod, Subject};
use crate::host::{Netns, in_netns, ip_batch, run_command, wait_for};

/// The first packets are dropped while the switch resolves the other node's address.
const SETTLE: std::time::Duration = std::time::Duration::from_secs(10);

pub(crate) struct OvsNodes {
    // Dropped in this order: switches before the namespaces they run in.
    switches: Vec<Switch>,
    pods: Vec<Pod>,
    nodes: [Netns; 2],
}

impl OvsNodes {
    pub(crate) fn set_up(offloads: Offloads) -> Result<Self> {
        let nodes = joined("vb-ovs-", offloads)?;
        let mut switches = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            let switch = Switch::start(node)?;
            connect(&switch, &node.0, index).with_context(|| format!("tunnel of node {index}"))?;
            switches.push(switch);
        }
        for (index, node) in nodes.iter().enumerate() {
            let far = underlay_address(other(index));
            let reached = wait_for(SETTLE, || {
                Ok(run_command(in_netns(&node.0, "ping").args(["-c", "1", "-W", "1", &far])).is_ok())
            });
            reached.context("the nodes do not reach each other through br-phy")?;
        }
        Ok(Self { switches, pods: Vec::new(), nodes })
    }
}

fn connect(switch: &Switch, node: &str, index: usize) -> Result<()> {
    let address = underlay_address(index);
    // The NIC's packets belong to the switch from now on, and so does the node's address.
    ip_batch(node, &format!("address del {address}/24 dev nic0\n"))?;
    switch.vsctl(&["add-br", "br-phy", "--", "set", "bridge", "br-phy", "datapath_type=netdev"])?;
    switch.vsctl(&["add-port", "br-phy", "nic0"])?;
    ip_batch(node, &format!("address add {address}/24 dev br-phy\nlink set br-phy up\n"))?;
    let remote = format!("options:remote_ip={}", underlay_address(other(index)));
    let mut port = vec!["add-port", "br0", "vxlan0", "--", "set", "interface", "vxlan0"];
    port.extend(["type=vxlan", &remote, "options:key=1"]);
    switch.vsctl(&port)
}

impl Subject for OvsNodes {
    fn name(&self) -> &'static str {
        "ovs"
    }

    fn add_pod(&mut self) -> Result<()> {
        let number = self.pods.len();
        let index = number % 2;
        let pod = self.switches[index].add_pod(&self.nodes[index], number)?;
        self.pods.push(pod);
        Ok(())
    }

    fn remove_pod(&mut self) -> Result<()> {
        let number = self.pods.len().checked_sub(1).context("no pod left")?;
        self.switches[number % 2].remove_pod(number)?;
        self.pods.pop();
        Ok(())
    }

    fn pods(&self) -> &[Pod] {
        &self.pods
    }

    fn processes(&self) -> Result<Vec<u32>> {
        Ok(self.switches.iter().map(Switch::pid).collect())
    }
}
