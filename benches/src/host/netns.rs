//! Network namespaces that end with their guard.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Running, clean_up, run, unique};

/// A network namespace, deleted with its devices when dropped.
pub(crate) struct Netns(pub(crate) String);

impl Netns {
    /// Without IPv6, as vpod's pods are: router solicitations of idle pods are no part of a
    /// measurement.
    pub(crate) fn create(prefix: &str) -> Result<Self> {
        let ns = Self(unique(prefix));
        run(&format!("ip netns add {}", ns.0))?;
        netdev::netns::open(&ns.0)?
            .run(|| netdev::sysctl::write("net.ipv6.conf.default.disable_ipv6", "1"))??;
        ip_batch(&ns.0, "link set lo up\n")?;
        Ok(ns)
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        clean_up(&format!("ip netns delete {}", self.0));
    }
}

/// A command that runs inside the namespace `netns`. Not by `ip netns exec`, which gives it a mount
/// namespace of its own: the namespaces that a daemon makes in there would be visible to it alone.
pub(crate) fn in_netns(netns: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/{netns}")).arg(program);
    command
}

/// Runs lines of `ip` commands in a namespace: one process, however many devices.
pub(crate) fn ip_batch(netns: &str, lines: &str) -> Result<()> {
    let mut ip = Running::start(Command::new("ip").args(["-n", netns, "-batch", "-"]))?;
    ip.write(lines)?;
    ip.finish(Duration::from_secs(30)).with_context(|| format!("ip -n {netns} -batch:\n{lines}"))?;
    Ok(())
}

/// Frames that the devices of a namespace have dropped, both ways.
pub(crate) fn drops(netns: &str) -> Result<u64> {
    let text = netdev::netns::open(netns)?.run(|| fs::read_to_string("/proc/thread-self/net/dev"))??;
    let dropped = |line: &str| {
        let (_, counters) = line.split_once(':')?;
        let counters: Vec<u64> = counters.split_ascii_whitespace().filter_map(|c| c.parse().ok()).collect();
        // Columns of proc_pid_net(5): received packets that were dropped are the fourth, sent ones
        // the twelfth.
        Some(counters.get(3)? + counters.get(11)?)
    };
    Ok(text.lines().filter_map(dropped).sum())
}
