//! Services in vpod: objects written over its admin socket, and when its datapath runs them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use protocol::client::Client;
use protocol::message::{AdminRequest, Outcome, ReadRequest, Response};
use serde_json::Value;

use super::Programmed;
use super::services::Services;
use super::vpod::Vpod;
use crate::host::{check_stop, wait_for};

/// Bytes of objects in one request; a frame of the socket has room for twice as many.
const REQUEST_BYTES: usize = 500_000;
/// Tens of thousands of objects, each durable before the next.
const LOAD_LIMIT: Duration = Duration::from_secs(300);
/// The daemon answers after a second at most; then it is asked again.
const PATIENCE_MS: u32 = 1000;
/// What the daemon measures from hearing of a change to the datapath running it.
const HEARD: &str = "kubeproxy_network_programming_duration_seconds";

impl Vpod {
    /// Writes all services and waits until the datapath runs them.
    pub(super) fn publish_services(&self, services: &Services) -> Result<()> {
        let of = |number| {
            std::iter::once(services.manifest(number, Self::NAMESPACE))
                .chain(services.slices(number, Self::NAMESPACE))
        };
        self.write_all(services.all().flat_map(of))
    }

    /// Writes objects, some at a time, and waits until the datapath runs them.
    pub(super) fn write_all(&self, objects: impl Iterator<Item = Value>) -> Result<()> {
        let mut client = Client::connect(&self.socket())?;
        let (mut few, mut bytes) = (Vec::new(), 0);
        for object in objects {
            let text = object.to_string();
            if bytes + text.len() > REQUEST_BYTES {
                check_stop()?;
                apply(&mut client, std::mem::take(&mut few))?;
                bytes = 0;
            }
            bytes += text.len();
            few.push(text);
        }
        apply(&mut client, few)?;
        wait_until_active(&mut client, None)
    }

    /// Kills the datapath; the new one has to be told everything. How long until it runs all of it.
    pub(super) fn replace_datapath(&self) -> Result<Duration> {
        let before = self.datapath()?.pid;
        let started = Instant::now();
        kill(Pid::from_raw(i32::try_from(before)?), Signal::SIGKILL).context("killing the datapath")?;
        wait_for(LOAD_LIMIT, || {
            check_stop()?;
            // Ports and services are one transaction, so the first epoch has them all.
            Ok(self.datapath().is_ok_and(|now| now.pid != before && now.epoch > 0))
        })
        .context("the datapath does not come back")?;
        Ok(started.elapsed())
    }

    /// Ends the daemon and starts it again; how long from its start until it runs all services.
    pub(super) fn start_again(&mut self) -> Result<Duration> {
        self.stop();
        let started = Instant::now();
        self.launch_daemon()?;
        wait_until_active(&mut Client::connect(&self.socket())?, None)?;
        Ok(started.elapsed())
    }

    /// Writes the slices of the moving service, as they are now.
    pub(super) fn write_moving(&self, services: &Services) -> Result<Programmed> {
        let slices = services.slices(services.moving(), Self::NAMESPACE);
        let slices = slices.iter().map(Value::to_string).collect();
        let before = self.heard()?;
        let mut client = Client::connect(&self.socket())?;
        let started = Instant::now();
        let revision = apply(&mut client, slices)?;
        wait_until_active(&mut client, revision)?;
        let asked = started.elapsed();
        // The daemon notes it just after it has said so.
        let mut after = before;
        wait_for(Duration::from_secs(5), || {
            after = self.heard()?;
            Ok(after.0 > before.0)
        })
        .with_context(|| format!("{HEARD} does not grow"))?;
        let heard = Duration::from_secs_f64((after.1 - before.1) / (after.0 - before.0));
        Ok(Programmed { asked, heard })
    }

    /// Writes one service and waits until the datapath runs it.
    pub(crate) fn write_service(&self, services: &Services, number: u32) -> Result<()> {
        let mut client = Client::connect(&self.socket())?;
        let revision = apply(&mut client, vec![services.manifest(number, Self::NAMESPACE).to_string()])?;
        wait_until_active(&mut client, revision)
    }

    /// How many changes the datapath has run, and the seconds that took altogether.
    fn heard(&self) -> Result<(f64, f64)> {
        let mut client = Client::connect(&self.socket())?;
        client.send(&AdminRequest::Read(ReadRequest::Metrics))?;
        let mut text = Vec::new();
        loop {
            match client.receive()? {
                Response::Bytes(bytes) => text.extend(bytes),
                Response::Done => break,
                other => bail!("unexpected answer {other:?}"),
            }
        }
        let text = String::from_utf8(text)?;
        let value = |suffix: &str| {
            let name = format!("{HEARD}_{suffix} ");
            let line = text.lines().find_map(|line| line.strip_prefix(&name));
            line.with_context(|| format!("no metric {name}"))?.trim().parse::<f64>().context(HEARD)
        };
        Ok((value("count")?, value("sum")?))
    }
}

/// Fails with the first object that is refused; else the last revision.
fn apply(client: &mut Client, manifests: Vec<String>) -> Result<Option<u64>> {
    let applied = match client.request(&AdminRequest::Apply { manifests, dry_run: false })? {
        Response::Applied(applied) => applied,
        other => bail!("unexpected answer {other:?}"),
    };
    let refused = applied.iter().find_map(|one| match &one.outcome {
        Outcome::Failed(error) => Some(format!("{}: {error}", one.object)),
        Outcome::Created | Outcome::Configured | Outcome::Unchanged => None,
    });
    ensure!(refused.is_none(), "{}", refused.unwrap_or_default());
    Ok(applied.iter().filter_map(|one| one.revision).max())
}

/// Until the datapath runs a revision of the store; the newest without.
fn wait_until_active(client: &mut Client, revision: Option<u64>) -> Result<()> {
    let deadline = Instant::now() + LOAD_LIMIT;
    loop {
        check_stop()?;
        let question = ReadRequest::Programming { revision, patience_ms: PATIENCE_MS };
        match client.request(&AdminRequest::Read(question))? {
            Response::Programming(found) if found.is_complete() => return Ok(()),
            Response::Programming(found) => {
                ensure!(Instant::now() < deadline, "revision {} is not active", found.revision);
            }
            other => bail!("unexpected answer {other:?}"),
        }
    }
}
