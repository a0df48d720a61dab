//! Two nodes and the wire between them, for subjects that span nodes: two namespaces joined by a veth
//! pair, which does what a NIC of 1500 bytes would do, with its offloads or without.

use anyhow::{Context, Result};

use crate::host::{Netns, in_netns, ip_batch, run_command};

/// Ethernet's; the pods' [`super::IP_MTU`] is this less the overhead of VXLAN.
const UNDERLAY_MTU: u16 = 1500;

/// What the underlay's NICs segment themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offloads {
    /// As the kernel sets a veth up: everything.
    On,
    /// Nothing, as on a NIC without segmentation offload: whoever sends has to.
    Off,
}

impl Offloads {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
        }
    }
}

/// Namespaces of two nodes that reach each other.
pub(super) fn joined(prefix: &str, offloads: Offloads) -> Result<[Netns; 2]> {
    let nodes = [Netns::create(prefix)?, Netns::create(prefix)?];
    join(&nodes[0].0, &nodes[1].0, offloads)?;
    Ok(nodes)
}

/// Joins two namespaces by a wire between devices `nic0`, with [`underlay_address`] 0 and 1.
pub(super) fn join(one: &str, other: &str, offloads: Offloads) -> Result<()> {
    let wire = format!(
        "link add nic0 mtu {UNDERLAY_MTU} type veth peer name nic0 mtu {UNDERLAY_MTU} netns {other}\n"
    );
    ip_batch(one, &wire)?;
    for (index, node) in [one, other].into_iter().enumerate() {
        let address = underlay_address(index);
        ip_batch(node, &format!("address add {address}/24 dev nic0\nlink set nic0 up\n"))?;
        if offloads == Offloads::Off {
            turn_off(node).with_context(|| format!("offloads of {node}"))?;
        }
    }
    Ok(())
}

/// `gso` and `tso` as an administrator would; the kernel's tunnels and UDP_SEGMENT have switches of their
/// own, which a NIC without offload does not have either.
fn turn_off(node: &str) -> Result<()> {
    let switches = "gso off tso off tx-udp-segmentation off tx-udp_tnl-segmentation off tx-udp_tnl-csum-segmentation off";
    let mut ethtool = in_netns(node, "ethtool");
    ethtool.args(["-K", "nic0"]).args(switches.split(' '));
    run_command(&mut ethtool)
}

/// Of node `index`, 0 or 1.
pub(super) fn underlay_address(index: usize) -> String {
    format!("192.0.2.{}", index + 1)
}

/// The index of the other node.
pub(super) const fn other(index: usize) -> usize {
    1 - index
}
