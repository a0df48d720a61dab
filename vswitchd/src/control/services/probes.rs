//! Readiness probes: tries from inside of the pods, each on a thread of its own, as kubelet does.
//!
//! A pod with a probe is not ready before its first success; one that is there when the daemon starts has served already,
//! and is ready until its probe fails. A pod that is gone, or was made again, ends its thread.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use netdev::Netns;
use parking_lot::Mutex;
use protocol::message::PodRef;
use protocol::object::{Check, Pod, Probe};

use super::super::node::Control;
use super::Wake;

/// Of an answer; a status line is shorter.
const MAX_STATUS_LINE: u64 = 256;
/// Between two looks at a program that runs.
const EXEC_PAUSE: Duration = Duration::from_millis(10);

/// All probes of this node.
pub(super) struct Probes {
    wake: Wake,
    running: Mutex<BTreeMap<PodRef, Running>>,
    /// The pods that were there at the start are known.
    has_begun: AtomicBool,
}

struct Running {
    uid: String,
    ready: Arc<AtomicBool>,
    /// Dropping it ends the thread.
    _stop: Sender<()>,
}

impl Probes {
    pub(super) const fn new(wake: Wake) -> Self {
        Self { wake, running: Mutex::new(BTreeMap::new()), has_begun: AtomicBool::new(false) }
    }

    /// True without a probe.
    pub(super) fn is_ready(&self, pod: &PodRef, has_probe: bool) -> bool {
        match self.running.lock().get(pod) {
            Some(probe) => probe.ready.load(Ordering::Acquire),
            // Not tried yet: what was there at the start is taken to be as it was.
            None => !has_probe || !self.has_begun.load(Ordering::Acquire),
        }
    }

    /// Exactly these pods are probed from now on.
    pub(super) fn follow(&self, control: &Control, pods: &[Pod]) {
        let mut running = self.running.lock();
        let was_there = !self.has_begun.swap(true, Ordering::AcqRel);
        let mut kept = BTreeSet::new();
        for pod in pods {
            let Some(probe) = &pod.spec.serving.readiness else { continue };
            let name = PodRef { namespace: pod.metadata.namespace.clone(), name: pod.metadata.name.clone() };
            let is_same = running.get(&name).is_some_and(|known| known.uid == pod.metadata.uid);
            if !is_same && let Some(started) = self.start(control, &name, (pod, probe), was_there) {
                running.insert(name.clone(), started);
            }
            kept.insert(name);
        }
        running.retain(|name, _| kept.contains(name));
    }

    fn start(
        &self,
        control: &Control,
        name: &PodRef,
        (pod, probe): (&Pod, &Probe),
        was_there: bool,
    ) -> Option<Running> {
        let ready = Arc::new(AtomicBool::new(was_there));
        let (stop, stopped) = bounded(0);
        let target = Target {
            netns: control.netns_name(name),
            address: pod.spec.pod_ips.first().copied()?,
            check: probe.check.clone(),
            timeout: Duration::from_secs(probe.timeout_seconds.max(1).into()),
        };
        let (probe, set, wake) = (probe.clone(), Arc::clone(&ready), self.wake.clone());
        let work = move || run(&target, &probe, &set, &wake, &stopped);
        match std::thread::Builder::new().name("probe".to_owned()).spawn(work) {
            Ok(_) => Some(Running { uid: pod.metadata.uid.clone(), ready, _stop: stop }),
            Err(error) => {
                tracing::error!(pod = %name, "its readiness cannot be probed: {error}");
                None
            }
        }
    }
}

/// Until the pod is gone.
fn run(target: &Target, probe: &Probe, ready: &AtomicBool, wake: &Wake, stopped: &Receiver<()>) {
    let mut judge = Judge::new(probe, ready.load(Ordering::Acquire));
    let mut pause = Duration::from_secs(probe.initial_delay_seconds.into());
    loop {
        match stopped.recv_timeout(pause) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
        let result = target.attempt();
        if let Err(problem) = &result {
            tracing::debug!(netns = target.netns, "readiness probe: {problem}");
        }
        if let Some(now) = judge.see(result.is_ok()) {
            ready.store(now, Ordering::Release);
            wake.pods();
        }
        pause = Duration::from_secs(probe.period_seconds.max(1).into());
    }
}

/// Counts results in a row.
struct Judge {
    ready: bool,
    in_a_row: u32,
    to_ready: u32,
    to_unready: u32,
}

impl Judge {
    fn new(probe: &Probe, ready: bool) -> Self {
        let (to_ready, to_unready) = (probe.success_threshold.max(1), probe.failure_threshold.max(1));
        Self { ready, in_a_row: 0, to_ready, to_unready }
    }

    /// The new state, if this result makes one.
    fn see(&mut self, success: bool) -> Option<bool> {
        if success == self.ready {
            self.in_a_row = 0;
            return None;
        }
        self.in_a_row += 1;
        let enough = if success { self.to_ready } else { self.to_unready };
        if self.in_a_row < enough {
            return None;
        }
        self.in_a_row = 0;
        self.ready = success;
        Some(success)
    }
}

struct Target {
    netns: String,
    address: IpAddr,
    check: Check,
    timeout: Duration,
}

impl Target {
    fn attempt(&self) -> io::Result<()> {
        let netns: Netns = netdev::netns::open(&self.netns).map_err(io::Error::other)?;
        let work = || match &self.check {
            Check::Tcp { port } => self.connect(*port).map(drop),
            Check::Http { port, path } => self.ask(*port, path),
            Check::Exec { command } => self.execute(command),
        };
        netns.run(work).map_err(io::Error::other)?
    }

    fn connect(&self, port: u16) -> io::Result<TcpStream> {
        TcpStream::connect_timeout(&SocketAddr::new(self.address, port), self.timeout)
    }

    fn ask(&self, port: u16, path: &str) -> io::Result<()> {
        let mut stream = self.connect(port)?;
        stream.set_read_timeout(Some(self.timeout))?;
        stream.set_write_timeout(Some(self.timeout))?;
        let host = SocketAddr::new(self.address, port);
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: kube-probe/vpod\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes())?;
        let mut line = Vec::new();
        BufReader::new(stream.take(MAX_STATUS_LINE)).read_until(b'\n', &mut line)?;
        let line = String::from_utf8_lossy(&line);
        let status: Option<u16> = line.split_ascii_whitespace().nth(1).and_then(|word| word.parse().ok());
        match status {
            Some(200..=399) if line.starts_with("HTTP/1.") => Ok(()),
            _ => Err(io::Error::other(format!("answered \"{}\"", line.trim_end()))),
        }
    }

    /// In the pod's network, with the node's files, as all its programs.
    fn execute(&self, command: &[String]) -> io::Result<()> {
        let (program, arguments) =
            command.split_first().ok_or_else(|| io::Error::other("no command to probe with"))?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let deadline = Instant::now() + self.timeout;
        loop {
            match child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(io::Error::other(format!("{program}: {status}"))),
                None if Instant::now() > deadline => {
                    child.kill()?;
                    child.wait()?;
                    return Err(io::Error::other(format!("{program} did not end in time")));
                }
                None => std::thread::sleep(EXEC_PAUSE),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_count_results_in_a_row() {
        let check = Check::Tcp { port: 1 };
        let probe = Probe { success_threshold: 2, failure_threshold: 3, ..Probe::new(check) };
        let mut judge = Judge::new(&probe, false);
        let results = [true, false, true, true, false, false, true, false, false, false, false, true, true];
        let seen: Vec<Option<bool>> = results.iter().map(|result| judge.see(*result)).collect();
        let (up, down) = (Some(true), Some(false));
        assert_eq!(seen, [None, None, None, up, None, None, None, None, None, down, None, None, up]);
    }
}
