//! What kube-proxy makes of services, without kube-proxy: the bridge of the CNI bridge plugin, and the
//! rules that kube-proxy would write, loaded by the program it would call. Bridged frames go through the
//! node's rules (`bridge-nf-call-iptables`), as Kubernetes demands of nodes with a bridge. All of it is in
//! the namespace that plays the node.
//!
//! A change is written as kube-proxy writes it: the mode with iptables sends the list of all services with
//! the chains of those that changed, the one with nftables the chains that changed and nothing else.

mod iptables;
mod nft;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::bridge::Bridge;
use super::services::Services;
use super::{Pod, Programmed, Subject};
use crate::host::{Running, in_netns, installed};

/// Loading 100,000 endpoints takes minutes in either mode.
const LOAD_LIMIT: Duration = Duration::from_secs(900);
/// Pods of the node; what comes from elsewhere is masqueraded.
const CLUSTER_CIDR: &str = "10.97.0.0/16";

/// Who holds the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The kernel's own tables for iptables ("legacy"), the ones that kube-proxy's figures are known of.
    Iptables,
    /// nftables.
    Nft,
}

impl Mode {
    /// The program that kube-proxy would call, and what makes it take rules from stdin.
    const fn program(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::Iptables => ("iptables-legacy-restore", &[]),
            Self::Nft => ("nft", &["-f", "-"]),
        }
    }
}

/// See the module's text.
pub(crate) struct KubeProxy {
    mode: Mode,
    bridge: Bridge,
    services: Option<Services>,
}

impl KubeProxy {
    pub(crate) fn set_up(mode: Mode) -> Result<Self> {
        installed(&[mode.program().0])?;
        let bridge = Bridge::set_up()?;
        let forwarding = || {
            netdev::sysctl::write("net.ipv4.ip_forward", "1")?;
            netdev::sysctl::write("net.bridge.bridge-nf-call-iptables", "1")
        };
        netdev::netns::open(bridge.node())?
            .run(forwarding)?
            .context("bridged frames do not go through the node's rules (kernel module br_netfilter)")?;
        Ok(Self { mode, bridge, services: None })
    }

    /// Gives rules to the kernel; how long that takes.
    fn load(&self, rules: &str, more: &[&str]) -> Result<Duration> {
        let (program, arguments) = self.mode.program();
        let mut command = in_netns(self.bridge.node(), program);
        command.args(arguments).args(more);
        let started = Instant::now();
        let mut running = Running::start(&mut command)?;
        // A program that refuses the beginning ends before it has read the rest, and says why.
        let written = running.write(rules);
        running.finish(LOAD_LIMIT).with_context(|| format!("{command:?}"))?;
        written.with_context(|| format!("{command:?}"))?;
        Ok(started.elapsed())
    }

    fn services(&self) -> Result<&Services> {
        self.services.as_ref().context("no services yet")
    }
}

impl Subject for KubeProxy {
    fn name(&self) -> &'static str {
        match self.mode {
            Mode::Iptables => "kube-proxy-iptables",
            Mode::Nft => "kube-proxy-nft",
        }
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

    fn publish(&mut self, services: &Services) -> Result<()> {
        self.services = Some(services.clone());
        self.reload().map(drop)
    }

    fn reload(&mut self) -> Result<Duration> {
        let services = self.services()?;
        let (none, all) = match self.mode {
            Mode::Iptables => (iptables::NONE, iptables::all(services)),
            Mode::Nft => (nft::NONE, nft::all(services)),
        };
        self.load(none, &[])?;
        self.load(&all, &[])
    }

    fn move_endpoint(&mut self, server: usize) -> Result<Programmed> {
        self.services.as_mut().context("no services yet")?.move_to(server);
        let services = self.services()?;
        let changed = services.moving();
        let (change, more): (_, &[&str]) = match self.mode {
            Mode::Iptables => (iptables::change(services, changed), &["--noflush"]),
            Mode::Nft => (nft::change(services, changed), &[]),
        };
        let asked = self.load(&change, more)?;
        // kube-proxy's own work before it is not there to be measured.
        Ok(Programmed { asked, heard: asked })
    }
}
