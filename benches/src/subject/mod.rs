//! The systems that are measured: each connects as many pods as a workload asks for.

mod bridge;
mod flannel;
mod nodes;
mod ovs;
mod ovs_nodes;
mod pod;
mod pump;
mod vde;
mod vpod;
mod vpod_nodes;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::host::own_directory;
use crate::metric::VPOD;

pub(crate) use nodes::Offloads;
pub(crate) use pod::Pod;
pub(crate) use pump::Sabotage;
pub(crate) use vpod::Vpod;
use vpod_nodes::VpodNodes;

/// MTU of every subject: what pods get on a 1500-byte underlay (1500 − 50 for VXLAN).
pub(crate) const IP_MTU: u16 = 1450;

/// What vpod is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Peer {
    /// Linux bridge with veth pairs.
    Bridge,
    /// The kernel's VXLAN, as Flannel lays it out.
    Flannel,
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
    pub(crate) const ALL: [Self; 7] =
        [Self::Bridge, Self::Flannel, Self::Ovs, Self::Vde, Self::Plain, Self::Pump, Self::Base];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Flannel => "flannel",
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
            Self::Flannel => "two nodes with kernel VXLAN, bridges and routes, as Flannel lays them out",
            Self::Ovs => "Open vSwitch, userspace datapath (netdev) with a TAP per pod; VXLAN between nodes",
            Self::Vde => "vde_switch with a vde_plug2tap per pod",
            Self::Plain => "vpod on plain TAPs: what the offloads of its own TAPs bring",
            Self::Pump => "read one TAP, write the other, without a switch: what TAPs cost at least",
            Self::Base => "the vpod build in the directory that --base names",
        }
    }

    /// Whether it can be measured in this place; what cannot is no failure.
    pub(crate) const fn lives_in(self, place: Place) -> bool {
        match (self, place) {
            (Self::Ovs | Self::Base, _) | (Self::Flannel, Place::TwoNodes(_)) => true,
            (Self::Flannel, Place::OneNode) => false,
            (Self::Bridge | Self::Vde | Self::Plain | Self::Pump, place) => matches!(place, Place::OneNode),
        }
    }

    fn set_up(self, settings: &Settings, place: Place) -> Result<Box<dyn Subject>> {
        match place {
            Place::OneNode => self.on_one_node(settings),
            Place::TwoNodes(offloads) => self.on_two_nodes(settings, offloads),
        }
    }

    fn on_two_nodes(self, settings: &Settings, offloads: Offloads) -> Result<Box<dyn Subject>> {
        Ok(match self {
            Self::Flannel => Box::new(flannel::Flannel::set_up(offloads)?),
            Self::Ovs => Box::new(ovs_nodes::OvsNodes::set_up(offloads)?),
            Self::Base => Box::new(VpodNodes::start(self.name(), settings.base()?, offloads)?),
            Self::Bridge | Self::Vde | Self::Plain | Self::Pump => bail!("it connects one node's pods only"),
        })
    }

    fn on_one_node(self, settings: &Settings) -> Result<Box<dyn Subject>> {
        Ok(match self {
            Self::Flannel => bail!("on one node it is the bridge"),
            Self::Bridge => Box::new(bridge::Bridge::set_up()?),
            Self::Ovs => Box::new(ovs::Ovs::set_up()?),
            Self::Vde => Box::new(vde::Vde::set_up()?),
            Self::Plain => Box::new(Vpod::plain()?),
            Self::Pump => Box::new(pump::Pump::new(settings.sabotage)),
            Self::Base => Box::new(Vpod::of_build(self.name(), settings.base()?.to_owned())?),
        })
    }
}

/// Where the pods of a workload are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// On one node.
    OneNode,
    /// Every other pod on the second of two nodes, whose NICs have these offloads.
    TwoNodes(Offloads),
}

/// What setting subjects up needs to know.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    /// Directory of the build that [`Peer::Base`] runs.
    pub(crate) base: Option<PathBuf>,
    /// Makes the pump damage what it carries, to test that the harness notices.
    pub(crate) sabotage: Option<Sabotage>,
}

impl Settings {
    fn base(&self) -> Result<&Path> {
        self.base.as_deref().context("--base does not say which build")
    }
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
pub(crate) fn ours(place: Place) -> Result<Box<dyn Subject>> {
    Ok(match place {
        Place::OneNode => Box::new(Vpod::start()?),
        Place::TwoNodes(offloads) => Box::new(VpodNodes::start(VPOD, &own_directory()?, offloads)?),
    })
}

/// Sets up a peer.
pub(crate) fn set_up(peer: Peer, settings: &Settings, place: Place) -> Result<Box<dyn Subject>> {
    peer.set_up(settings, place)
}
