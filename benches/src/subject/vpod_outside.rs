//! vpod with a way out: a node with an uplink, and a namespace at the other end of its wire.

use std::path::Path;

use anyhow::Result;

use super::masquerade::outside;
use super::nodes::{Offloads, join};
use super::vpod::NO_SYSTEM_PODS;
use super::{Pod, Subject, Vpod};
use crate::host::Netns;

/// What the configuration has besides the usual.
const UPLINK: &str = "[uplink]\ndevice = \"nic0\"\n";

pub(crate) struct VpodOutside {
    vpod: Vpod,
    outside: Pod,
}

impl VpodOutside {
    /// Of the build in `programs`.
    pub(crate) fn start(name: &'static str, programs: &Path) -> Result<Self> {
        let node = Netns::create("vb-node-")?;
        let outside = outside()?;
        join(&node.0, &outside.netns, Offloads::On)?;
        let vpod = Vpod::on_node(name, programs.to_owned(), node, format!("{UPLINK}{NO_SYSTEM_PODS}"))?;
        Ok(Self { vpod, outside })
    }
}

impl Subject for VpodOutside {
    fn name(&self) -> &'static str {
        self.vpod.name()
    }

    fn add_pod(&mut self) -> Result<()> {
        self.vpod.add_pod()
    }

    fn remove_pod(&mut self) -> Result<()> {
        self.vpod.remove_pod()
    }

    fn pods(&self) -> &[Pod] {
        self.vpod.pods()
    }

    fn processes(&self) -> Result<Vec<u32>> {
        self.vpod.processes()
    }

    fn server(&self) -> &Pod {
        &self.outside
    }
}
