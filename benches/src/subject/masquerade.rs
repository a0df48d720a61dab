//! The way out of a node as CNI plugins lay it out: a bridge for the pods, forwarding, and one rule that
//! gives packets to the outside the node's address.

use std::time::Duration;

use anyhow::{Context, Result};

use super::bridge::Bridge;
use super::nodes::{Offloads, join};
use super::{Pod, Subject};
use crate::host::{Netns, Running, in_netns, installed};

/// As the CNI bridge plugin's `ipMasq`.
const RULES: &str = "\
add table ip nat
add chain ip nat postrouting { type nat hook postrouting priority 100 ; }
add rule ip nat postrouting ip saddr 10.97.0.0/16 ip daddr != { 10.97.0.0/16, 224.0.0.0/4 } masquerade
";

pub(crate) struct Masquerade {
    bridge: Bridge,
    outside: Pod,
}

impl Masquerade {
    pub(crate) fn set_up() -> Result<Self> {
        installed(&["nft"])?;
        let bridge = Bridge::set_up()?;
        let outside = outside()?;
        join(bridge.node(), &outside.netns, Offloads::On)?;
        netdev::netns::open(bridge.node())?.run(|| netdev::sysctl::write("net.ipv4.ip_forward", "1"))??;
        let mut nft = Running::start(in_netns(bridge.node(), "nft").args(["-f", "-"]))?;
        nft.write(RULES)?;
        nft.finish(Duration::from_secs(30)).context("nft")?;
        Ok(Self { bridge, outside })
    }
}

/// A namespace that plays the Internet: the other end of the node's wire.
pub(super) fn outside() -> Result<Pod> {
    Ok(Pod::of_netns(Netns::create("vb-out-")?, super::nodes::underlay_address(1).parse()?))
}

impl Subject for Masquerade {
    fn name(&self) -> &'static str {
        "kernel-masquerade"
    }

    fn add_pod(&mut self) -> Result<()> {
        self.bridge.add_pod()
    }

    fn remove_pod(&mut self) -> Result<()> {
        self.bridge.remove_pod()
    }

    fn pods(&self) -> &[Pod] {
        self.bridge.pods()
    }

    fn processes(&self) -> Result<Vec<u32>> {
        Ok(Vec::new())
    }

    fn server(&self) -> &Pod {
        &self.outside
    }
}
