//! Linux bridge and veth, laid out as the CNI bridge plugin does: one namespace plays the node and
//! holds the bridge with the gateway address, each pod has a veth whose other end is a bridge port.

use anyhow::{Context, Result};

use super::pod::{GATEWAY, PREFIX_LEN};
use super::{IP_MTU, Pod, Subject};
use crate::host::{Netns, ip_batch};

pub(crate) struct Bridge {
    pods: Vec<Pod>,
    node: Netns,
}

impl Bridge {
    pub(crate) fn set_up() -> Result<Self> {
        let node = Netns::create("vb-bridge-")?;
        let lines = format!(
            "link add cni0 mtu {IP_MTU} type bridge\naddress add {GATEWAY}/{PREFIX_LEN} dev cni0\n\
             link set cni0 up\n"
        );
        ip_batch(&node.0, &lines)?;
        Ok(Self { pods: Vec::new(), node })
    }

    /// The namespace that plays the node.
    pub(super) fn node(&self) -> &str {
        &self.node.0
    }
}

impl Subject for Bridge {
    fn name(&self) -> &'static str {
        "bridge"
    }

    fn add_pod(&mut self) -> Result<()> {
        let index = self.pods.len();
        let pod = Pod::create(index)?;
        let lines = format!(
            "link add veth{index} mtu {IP_MTU} type veth peer name eth0 mtu {IP_MTU} netns {}\n\
             link set veth{index} master cni0 up\n",
            pod.netns
        );
        ip_batch(&self.node.0, &lines)?;
        pod.configure("eth0")?;
        self.pods.push(pod);
        Ok(())
    }

    fn remove_pod(&mut self) -> Result<()> {
        // Before the namespace, whose devices the kernel removes some time later.
        let index = self.pods.len().checked_sub(1).context("no pod left")?;
        ip_batch(&self.node.0, &format!("link delete veth{index}\n"))?;
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
