//! Linux bridge and veth, laid out as the CNI bridge plugin does: one namespace plays the node and
//! holds the bridge with the gateway address, each pod has a veth whose other end is a bridge port.

use anyhow::Result;

use super::{IP_MTU, Subject};
use crate::host::{Netns, run};

pub(crate) struct Bridge {
    client: Netns,
    server: Netns,
    _node: Netns,
}

const SERVER_IP: &str = "10.97.0.3";

impl Bridge {
    pub(crate) fn set_up() -> Result<Self> {
        let node = Netns::create("vb-bridge-")?;
        run(&format!("ip -n {} link add cni0 mtu {IP_MTU} type bridge", node.0))?;
        run(&format!("ip -n {} address add 10.97.0.1/24 dev cni0", node.0))?;
        run(&format!("ip -n {} link set cni0 up", node.0))?;
        let client = pod(&node, "veth1", "10.97.0.2")?;
        let server = pod(&node, "veth2", SERVER_IP)?;
        Ok(Self { client, server, _node: node })
    }
}

fn pod(node: &Netns, port: &str, ip: &str) -> Result<Netns> {
    let pod = Netns::create("vb-pod-")?;
    let (node, name) = (&node.0, &pod.0);
    run(&format!(
        "ip -n {node} link add {port} mtu {IP_MTU} type veth peer name eth0 mtu {IP_MTU} netns {name}"
    ))?;
    run(&format!("ip -n {node} link set {port} master cni0 up"))?;
    run(&format!("ip -n {name} address add {ip}/24 dev eth0"))?;
    run(&format!("ip -n {name} link set eth0 up"))?;
    run(&format!("ip -n {name} route add default via 10.97.0.1"))?;
    Ok(pod)
}

impl Subject for Bridge {
    fn name(&self) -> &'static str {
        "bridge"
    }
    fn client_netns(&self) -> &str {
        &self.client.0
    }
    fn server_netns(&self) -> &str {
        &self.server.0
    }
    fn server_ip(&self) -> &str {
        SERVER_IP
    }
}
