//! The floor: a process that reads one TAP and writes the other, and does nothing else. What a
//! switch on TAPs costs beyond this is its own doing.

use anyhow::{Result, bail};
use clap::ValueEnum;

use super::{IP_MTU, Pod, Subject};
use crate::host::Running;
use crate::load::command;

/// How the pump damages what it carries, so that a test can see the harness notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sabotage {
    /// Changes a byte of each payload, in a way no checksum shows.
    Corrupt,
    /// Delivers each frame twice.
    Duplicate,
}

pub(crate) struct Pump {
    // Dropped first: its descriptors keep the pods' namespaces alive.
    process: Option<Running>,
    pods: Vec<Pod>,
    sabotage: Option<Sabotage>,
}

impl Pump {
    pub(crate) const fn new(sabotage: Option<Sabotage>) -> Self {
        Self { process: None, pods: Vec::new(), sabotage }
    }

    fn start(&mut self) -> Result<()> {
        let mut command = command(None)?;
        command.arg("pump").args(["--mtu", &IP_MTU.to_string()]);
        if let Some(value) = self.sabotage.and_then(|s| s.to_possible_value()) {
            command.arg("--sabotage").arg(value.get_name());
        }
        command.args(self.pods.iter().map(|pod| &pod.netns));
        self.process = Some(Running::start_server(&mut command)?);
        self.pods.iter().try_for_each(|pod| pod.configure("eth0"))
    }
}

impl Subject for Pump {
    fn name(&self) -> &'static str {
        "pump"
    }

    fn add_pod(&mut self) -> Result<()> {
        if self.pods.len() == 2 {
            bail!("the pump connects two pods, no more");
        }
        self.pods.push(Pod::create(self.pods.len())?);
        if self.pods.len() == 2 { self.start() } else { Ok(()) }
    }

    fn remove_pod(&mut self) -> Result<()> {
        bail!("the pump's pods stay")
    }

    fn pods(&self) -> &[Pod] {
        &self.pods
    }

    fn processes(&self) -> Result<Vec<u32>> {
        Ok(self.process.iter().map(Running::pid).collect())
    }
}
