//! The systems that are measured: each connects as many pods as a workload asks for.

mod bridge;
mod flannel;
mod kube_proxy;
mod masquerade;
mod nodes;
mod ovs;
mod ovs_nodes;
mod pod;
mod pump;
pub(crate) mod services;
mod vde;
mod vpod;
mod vpod_nodes;
mod vpod_outside;
mod vpod_policies;
mod vpod_services;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use protocol::object::Bandwidth;

use self::kube_proxy::{KubeProxy, Mode};
use self::services::Services;
use crate::host::own_directory;
use crate::metric::VPOD;

pub(crate) use nodes::Offloads;
pub(crate) use pod::Pod;
pub(crate) use pump::Sabotage;
pub(crate) use vpod::Vpod;
use vpod_nodes::VpodNodes;
use vpod_outside::VpodOutside;

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
    /// Services by netfilter, one rule after the other.
    KubeProxyIptables,
    /// Services by netfilter's maps.
    KubeProxyNft,
    /// The way out of a node by netfilter.
    KernelMasquerade,
    /// Another build of vpod.
    Base,
}

impl Peer {
    pub(crate) const ALL: [Self; 10] = [
        Self::Bridge,
        Self::Flannel,
        Self::Ovs,
        Self::Vde,
        Self::Plain,
        Self::Pump,
        Self::KubeProxyIptables,
        Self::KubeProxyNft,
        Self::KernelMasquerade,
        Self::Base,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Flannel => "flannel",
            Self::Ovs => "ovs",
            Self::Vde => "vde",
            Self::Plain => "plain",
            Self::Pump => "pump",
            Self::KubeProxyIptables => "kube-proxy-iptables",
            Self::KubeProxyNft => "kube-proxy-nft",
            Self::KernelMasquerade => "kernel-masquerade",
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
            Self::KubeProxyIptables => {
                "bridge, and kube-proxy's rules in iptables mode (iptables-legacy-restore)"
            }
            Self::KubeProxyNft => "bridge, and kube-proxy's rules in nftables mode",
            Self::KernelMasquerade => {
                "bridge, forwarding and nftables' masquerade, as CNI plugins let pods out"
            }
            Self::Base => "the vpod build in the directory that --base names",
        }
    }

    /// Whether it can be measured in this place; what cannot is no failure.
    pub(crate) const fn lives_in(self, place: Place) -> bool {
        match place {
            Place::OneNode => {
                matches!(self, Self::Bridge | Self::Ovs | Self::Vde | Self::Plain | Self::Pump | Self::Base)
            }
            Place::TwoNodes(_) => matches!(self, Self::Ovs | Self::Flannel | Self::Base),
            Place::Services => matches!(self, Self::KubeProxyIptables | Self::KubeProxyNft | Self::Base),
            Place::Outside => matches!(self, Self::KernelMasquerade | Self::Base),
        }
    }

    fn set_up(self, settings: &Settings, place: Place) -> Result<Box<dyn Subject>> {
        match place {
            Place::OneNode => self.on_one_node(settings),
            Place::TwoNodes(offloads) => self.on_two_nodes(settings, offloads),
            Place::Services => self.balancing(settings),
            Place::Outside => self.letting_out(settings),
        }
    }

    fn balancing(self, settings: &Settings) -> Result<Box<dyn Subject>> {
        Ok(match self {
            Self::KubeProxyIptables => Box::new(KubeProxy::set_up(Mode::Iptables)?),
            Self::KubeProxyNft => Box::new(KubeProxy::set_up(Mode::Nft)?),
            Self::Base => self.on_one_node(settings)?,
            _ => bail!("it knows no services"),
        })
    }

    fn letting_out(self, settings: &Settings) -> Result<Box<dyn Subject>> {
        Ok(match self {
            Self::KernelMasquerade => Box::new(masquerade::Masquerade::set_up()?),
            Self::Base => Box::new(VpodOutside::start(self.name(), settings.base()?)?),
            _ => bail!("it lets nobody out"),
        })
    }

    fn on_two_nodes(self, settings: &Settings, offloads: Offloads) -> Result<Box<dyn Subject>> {
        Ok(match self {
            Self::Flannel => Box::new(flannel::Flannel::set_up(offloads)?),
            Self::Ovs => Box::new(ovs_nodes::OvsNodes::set_up(offloads)?),
            Self::Base => Box::new(VpodNodes::start(self.name(), settings.base()?, offloads)?),
            _ => bail!("it connects one node's pods only"),
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
            Self::KubeProxyIptables | Self::KubeProxyNft => bail!("it is measured with services"),
            Self::KernelMasquerade => bail!("it is measured with a way out"),
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
    /// On one node, which balances services.
    Services,
    /// On one node; what answers is outside, on its underlay, and sees the node's address.
    Outside,
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

/// How long a change of one endpoint took until packets followed it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Programmed {
    /// Since it was asked for, with all that makes it durable.
    pub(crate) asked: Duration,
    /// Since whoever programs the datapath heard of it.
    pub(crate) heard: Duration,
}

/// Pods and whatever connects them.
pub(crate) trait Subject {
    fn name(&self) -> &'static str;

    /// Adds a pod that can talk to all others.
    fn add_pod(&mut self) -> Result<()>;

    /// Pods added from now on have these limits.
    fn limit(&mut self, _bandwidth: Bandwidth) -> Result<()> {
        bail!("it limits no pod")
    }

    /// Removes the newest pod.
    fn remove_pod(&mut self) -> Result<()>;

    /// In the order of their creation.
    fn pods(&self) -> &[Pod];

    /// The processes that switch; none where the kernel does.
    fn processes(&self) -> Result<Vec<u32>>;

    /// Balances these from now on, in place of whatever it balanced.
    fn publish(&mut self, _services: &Services) -> Result<()> {
        bail!("it balances no services")
    }

    /// Forgets what was published and takes it up again, from nothing; how long the taking up takes.
    fn reload(&mut self) -> Result<Duration> {
        bail!("it balances no services")
    }

    /// Ends the programs and starts them again; how long until all services are balanced. Where there are
    /// no programs there is nothing to start.
    fn restart(&mut self) -> Result<Option<Duration>> {
        Ok(None)
    }

    /// The moving service leads to this server from now on.
    fn move_endpoint(&mut self, _server: usize) -> Result<Programmed> {
        bail!("it balances no services")
    }

    /// Enforces so many network policies from now on, which let its pods pass.
    fn restrict(&mut self, _policies: u32) -> Result<()> {
        bail!("it has no network policies")
    }

    /// The pod that begins.
    fn client(&self) -> &Pod {
        &self.pods()[0]
    }

    /// The pod that answers.
    fn server(&self) -> &Pod {
        &self.pods()[1]
    }
}

/// The node's address towards the outside, in [`Place::Outside`].
pub(crate) fn node_address() -> String {
    nodes::underlay_address(0)
}

/// Sets up vpod.
pub(crate) fn ours(place: Place) -> Result<Box<dyn Subject>> {
    Ok(match place {
        Place::OneNode | Place::Services => Box::new(Vpod::start()?),
        Place::Outside => Box::new(VpodOutside::start(VPOD, &own_directory()?)?),
        Place::TwoNodes(offloads) => Box::new(VpodNodes::start(VPOD, &own_directory()?, offloads)?),
    })
}

/// Sets up a peer.
pub(crate) fn set_up(peer: Peer, settings: &Settings, place: Place) -> Result<Box<dyn Subject>> {
    peer.set_up(settings, place)
}
