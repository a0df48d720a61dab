//! The systems that are measured: two connected namespaces each, "client" and "server".

mod bridge;
mod vpod;

use std::process::Command;

use anyhow::Result;
use clap::ValueEnum;

pub(crate) use bridge::Bridge;
pub(crate) use vpod::Vpod;

/// MTU of every subject: what pods get on a 1500-byte underlay (1500 − 50 for VXLAN).
pub(crate) const IP_MTU: u32 = 1450;

/// What vpod is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Peer {
    /// Linux bridge with veth pairs.
    Bridge,
}

impl Peer {
    pub(crate) const ALL: [Self; 1] = [Self::Bridge];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
        }
    }

    pub(crate) const fn description(self) -> &'static str {
        match self {
            Self::Bridge => "Linux bridge with a veth pair per pod, as the CNI bridge plugin lays it out",
        }
    }
}

/// Two namespaces with a network between them.
pub(crate) trait Subject {
    fn name(&self) -> &'static str;
    fn client_netns(&self) -> &str;
    fn server_netns(&self) -> &str;
    fn server_ip(&self) -> &str;
}

/// A command that runs inside the namespace `netns`. Not by `ip netns exec`, which gives it a mount
/// namespace of its own: the namespaces that a daemon makes in there would be visible to it alone.
pub(crate) fn in_netns(netns: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/{netns}")).arg(program);
    command
}

/// Sets up vpod and the peers, vpod first.
pub(crate) fn set_up(peers: &[Peer]) -> Result<Vec<Box<dyn Subject>>> {
    let mut subjects: Vec<Box<dyn Subject>> = vec![Box::new(Vpod::with_pair()?)];
    for peer in peers {
        subjects.push(match peer {
            Peer::Bridge => Box::new(Bridge::set_up()?),
        });
    }
    Ok(subjects)
}
