//! What Flannel's vxlan backend makes of two nodes: on each a bridge `cni0` with a veth per pod, a kernel
//! VXLAN device `flannel.1` (VNI 1, UDP 8472, no learning), and for the other node a route, a permanent
//! neighbour and an FDB entry. Flannel only watches afterwards, so its program is not needed to measure it.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};

use super::nodes::{Offloads, joined, other, underlay_address};
use super::{IP_MTU, Pod, Subject};
use crate::host::{Netns, in_netns, ip_batch, run_command};

const VNI: u32 = 1;
/// Linux's own default from before VXLAN had a number, which Flannel kept.
const UDP_PORT: u16 = 8472;

pub(crate) struct Flannel {
    pods: Vec<Pod>,
    nodes: [Netns; 2],
}

impl Flannel {
    pub(crate) fn set_up(offloads: Offloads) -> Result<Self> {
        let nodes = joined("vb-flannel-", offloads)?;
        for (index, node) in nodes.iter().enumerate() {
            lay_out(&node.0, index)?;
        }
        Ok(Self { pods: Vec::new(), nodes })
    }
}

/// As flanneld and the CNI plugin `bridge` configure node `index`.
fn lay_out(node: &str, index: usize) -> Result<()> {
    netdev::netns::open(node)?.run(|| netdev::sysctl::write("net.ipv4.ip_forward", "1"))??;
    let (own, far) = (index, other(index));
    let (own_mac, far_mac) = (device_mac(own), device_mac(far));
    let lines = format!(
        "link add flannel.1 address {own_mac} mtu {IP_MTU} type vxlan id {VNI} dstport {UDP_PORT} local {} dev nic0 nolearning\n\
         address add {}/32 dev flannel.1\n\
         link set flannel.1 up\n\
         link add cni0 mtu {IP_MTU} type bridge\n\
         address add {}/24 dev cni0\n\
         link set cni0 up\n\
         neigh add {} lladdr {far_mac} dev flannel.1 nud permanent\n\
         route add {}/24 via {} dev flannel.1 onlink\n",
        underlay_address(own),
        address(own, 0),
        address(own, 1),
        address(far, 0),
        address(far, 0),
        address(far, 0),
    );
    ip_batch(node, &lines)?;
    let mut bridge = in_netns(node, "bridge");
    bridge.args(["fdb", "append", &far_mac, "dev", "flannel.1", "dst", &underlay_address(far)]);
    run_command(&mut bridge)
}

fn device_mac(index: usize) -> String {
    format!("02:00:00:00:01:{index:02x}")
}

/// Host number `host` of node `index`'s range.
fn address(index: usize, host: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 97, if index == 0 { 0 } else { 1 }, host)
}

impl Subject for Flannel {
    fn name(&self) -> &'static str {
        "flannel"
    }

    fn add_pod(&mut self) -> Result<()> {
        let number = self.pods.len();
        let index = number % 2;
        // .0 and .1 are the node's own.
        let host = u8::try_from(number / 2 + 2).context("too many pods")?;
        let pod = Pod::create_at(address(index, host))?;
        let lines = format!(
            "link add veth{number} mtu {IP_MTU} type veth peer name eth0 mtu {IP_MTU} netns {}\n\
             link set veth{number} master cni0 up\n",
            pod.netns
        );
        ip_batch(&self.nodes[index].0, &lines)?;
        pod.configure_in("eth0", address(index, 1), 24)?;
        self.pods.push(pod);
        Ok(())
    }

    fn remove_pod(&mut self) -> Result<()> {
        let number = self.pods.len().checked_sub(1).context("no pod left")?;
        ip_batch(&self.nodes[number % 2].0, &format!("link delete veth{number}\n"))?;
        self.pods.pop();
        Ok(())
    }

    fn pods(&self) -> &[Pod] {
        &self.pods
    }

    fn processes(&self) -> Result<Vec<u32>> {
        Ok(Vec::new())
    }
}
