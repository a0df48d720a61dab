//! vpod on two nodes: a `vswitchd` in each, with the other as a static peer.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use protocol::object::Bandwidth;

use super::nodes::{Offloads, joined, other, underlay_address};
use super::vpod::NO_SYSTEM_PODS;
use super::{Pod, Subject, Vpod};

/// Two daemons; pods are made on them in turn.
pub(crate) struct VpodNodes {
    name: &'static str,
    pods: Vec<Pod>,
    daemons: Vec<Vpod>,
}

impl VpodNodes {
    /// Of the build in `programs`.
    pub(crate) fn start(name: &'static str, programs: &Path, offloads: Offloads) -> Result<Self> {
        let mut daemons = Vec::new();
        for (index, node) in joined("vb-node-", offloads)?.into_iter().enumerate() {
            let programs: PathBuf = programs.to_owned();
            daemons.push(Vpod::on_node(name, programs, node, settings(index))?);
        }
        Ok(Self { name, pods: Vec::new(), daemons })
    }
}

/// What the configuration of node `index` has besides the usual.
fn settings(index: usize) -> String {
    let far = other(index);
    let address = underlay_address(far);
    format!(
        "pod_cidr = {:?}\n[tunnel]\ndevice = \"nic0\"\n[[peer]]\nname = \"node{far}\"\naddress = {address:?}\npod_cidrs = [{:?}]\n{NO_SYSTEM_PODS}",
        pod_cidr(index),
        pod_cidr(far)
    )
}

fn pod_cidr(index: usize) -> String {
    format!("10.244.{index}.0/24")
}

impl Subject for VpodNodes {
    fn name(&self) -> &'static str {
        self.name
    }

    fn add_pod(&mut self) -> Result<()> {
        let number = self.pods.len();
        let pod = self.daemons[number % 2].create_pod_numbered(number)?;
        self.pods.push(pod);
        Ok(())
    }

    fn limit(&mut self, bandwidth: Bandwidth) -> Result<()> {
        self.daemons.iter_mut().try_for_each(|daemon| daemon.limit(bandwidth))
    }

    fn remove_pod(&mut self) -> Result<()> {
        let number = self.pods.len().checked_sub(1).context("no pod left")?;
        self.daemons[number % 2].delete_pod_numbered(number)?;
        self.pods.pop();
        Ok(())
    }

    fn pods(&self) -> &[Pod] {
        &self.pods
    }

    fn processes(&self) -> Result<Vec<u32>> {
        let each = self.daemons.iter().map(Subject::processes).collect::<Result<Vec<_>>>()?;
        Ok(each.concat())
    }
}
