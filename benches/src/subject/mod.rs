//! The systems that are measured: each connects as many pods as a workload asks for.

mod bridge;
mod ovs;
mod pod;
mod pump;
mod vde;
mod vpod;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::ValueEnum;

pub(crate) use pod::Pod;
pub(crate) use pump::Sabotage;
pub(crate) use vpod::Vpod;

/// MTU of every subject: what pods get on a 1500-byte underlay (1500 − 50 for VXLAN).
pub(crate) const IP_MTU: u16 = 1450;

/// What vpod is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Peer {
    /// Linux bridge with veth pairs.
    Bridge,
    /// Open vSwitch's userspace datapath.
    Ovs,
    /// VDE's userspace switch.
    Vde,
    /// vpod on TAPs without offload.
    Plain,
    /// The price of two TAPs, without a switch.
    Pump,
    /// Another build of vpod.
    Base,
}

impl Peer {
    pub(crate) const ALL: [Self; 6] =
        [Self::Bridge, Self::Ovs, Self::Vde, Self::Plain, Self::Pump, Self::Base];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Ovs => "ovs",
            Self::Vde => "vde",
            Self::Plain => "plain",
            Self::Pump => "pump",
            Self::Base => "base",
        }
    }

    pub(crate) const fn description(self) -> &'static str {
        match self {
            Self::Bridge => "Linux bridge with a veth pair per pod, as the CNI bridge plugin lays it out",
            Self::Ovs => "Open vSwitch, userspace datapath (netdev) with a TAP per pod",
            Self::Vde => "vde_switch with a vde_plug2tap per pod",
            Self::Plain => "vpod on plain TAPs: what the offloads of its own TAPs bring",
            Self::Pump => "read one TAP, write the other, without a switch: what TAPs cost at least",
            Self::Base => "the vpod build in the directory that --base names",
        }
    }

    fn set_up(self, settings: &Settings) -> Result<Box<dyn Subject>> {
        Ok(match self {
            Self::Bridge => Box::new(bridge::Bridge::set_up()?),
            Self::Ovs => Box::new(ovs::Ovs::set_up()?),
            Self::Vde => Box::new(vde::Vde::set_up()?),
            Self::Plain => Box::new(Vpod::plain()?),
            Self::Pump => Box::new(pump::Pump::new(settings.sabotage)),
            Self::Base => {
                let programs = settings.base.clone().context("--base does not say which build")?;
                Box::new(Vpod::of_build(self.name(), programs)?)
            }
        })
    }
}

/// What setting subjects up needs to know.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    /// Directory of the build that [`Peer::Base`] runs.
    pub(crate) base: Option<PathBuf>,
    /// Makes the pump damage what it carries, to test that the harness notices.
    pub(crate) sabotage: Option<Sabotage>,
}

/// Pods and whatever connects them.
pub(crate) trait Subject {
    fn name(&self) -> &'static str;

    /// Adds a pod that can talk to all others.
    fn add_pod(&mut self) -> Result<()>;

    /// Removes the newest pod.
    fn remove_pod(&mut self) -> Result<()>;

    /// In the order of their creation.
    fn pods(&self) -> &[Pod];

    /// The processes that switch; none where the kernel does.
    fn processes(&self) -> Result<Vec<u32>>;

    /// The pod that begins.
    fn client(&self) -> &Pod {
        &self.pods()[0]
    }

    /// The pod that answers.
    fn server(&self) -> &Pod {
        &self.pods()[1]
    }
}

/// Sets up vpod.
pub(crate) fn ours() -> Result<Box<dyn Subject>> {
    Ok(Box::new(Vpod::start()?))
}

/// Sets up a peer.
pub(crate) fn set_up(peer: Peer, settings: &Settings) -> Result<Box<dyn Subject>> {
    peer.set_up(settings)
}
