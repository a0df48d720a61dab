//! `--purge`: removes everything this configuration has made, state included.

use std::fs;
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use protocol::attachment::NOTES_DIRECTORY;
use store::record::PodRecord;
use store::{Kind, Store};

use super::cgroup::PodCgroup;
use super::datapath_link::saved;
use super::error::chain;
use super::lock::InstanceLock;
use super::pods::{containers, files, network, place};
use super::{cluster, gateway, preflight, uplink};
use crate::config::Config;

/// Threads that remove pods.
const REMOVERS: usize = 8;
/// How long the datapath may take to end.
const END_LIMIT: Duration = Duration::from_secs(3);

/// Removes everything; an error names what is left.
pub(crate) fn purge(config: &Config) -> anyhow::Result<()> {
    preflight::check()?;
    if !config.run_dir.exists() && !config.state_dir.exists() {
        return remove_gateway(config);
    }
    fs::create_dir_all(&config.run_dir).with_context(|| format!("directory {}", config.run_dir.display()))?;
    let lock = InstanceLock::take(&config.lock_path())?;
    let config = &as_last_run(config)?;
    let mut errors = Vec::new();
    if let Err(error) = stop_datapath(&config.datapath_socket()) {
        errors.push(format!("datapath process: {error}"));
    }
    match records(config) {
        Ok(records) => {
            errors.extend(remove_pods(config, &records));
            files::remove_parent();
        }
        Err(error) => errors.push(format!("{error:#}")),
    }
    if let Err(error) = remove_gateway(config) {
        errors.push(format!("{error:#}"));
    }
    uplink::remove();
    PodCgroup::remove_parent();
    if !errors.is_empty() {
        bail!("not everything could be removed, the state is kept: {}", errors.join("; "));
    }
    remove_state(config)?;
    for path in [
        config.admin_socket(),
        config.read_socket(),
        config.metrics_socket(),
        config.datapath_socket(),
        saved::path(&config.run_dir),
    ] {
        remove_file(&path)?;
    }
    remove_directory(&config.run_dir.join(NOTES_DIRECTORY))?;
    if let Some(system) = config.system_dir().parent() {
        remove_directory(system)?;
    }
    lock.remove(&config.lock_path()).with_context(|| format!("{}", config.lock_path().display()))?;
    remove_if_empty(&config.run_dir)
}

/// In a cluster with a store, the Pod CIDR is the one that was given last.
fn as_last_run(config: &Config) -> anyhow::Result<Config> {
    if config.etcd.is_none() || !config.store_path().exists() {
        return Ok(config.clone());
    }
    match cluster::last_pod_cidr(config, &Store::open(&config.store_path())?)? {
        Some(pod_cidr) => Ok(config.clone().with_pod_cidr(pod_cidr)?),
        None => Ok(config.clone()),
    }
}

fn remove_gateway(config: &Config) -> anyhow::Result<()> {
    gateway::remove(config).with_context(|| format!("gateway device {}", config.gateway_device))
}

fn records(config: &Config) -> anyhow::Result<Vec<PodRecord>> {
    let path = config.store_path();
    if !path.exists() {
        return Ok(Vec::new());
    }
    let rows = Store::open(&path)?.list::<PodRecord>(Kind::Pod)?;
    rows.into_iter().map(|(_, record)| Ok(record?.value)).collect()
}

/// A datapath left running by a control process that was killed.
fn stop_datapath(socket: &Path) -> io::Result<()> {
    let Ok(connection) = netdev::seqpacket::connect(socket) else { return Ok(()) };
    let peer = netdev::seqpacket::peer_credentials(std::os::fd::AsFd::as_fd(&connection))?;
    let pid = Pid::from_raw(peer.pid);
    kill(pid, Signal::SIGKILL)?;
    let deadline = Instant::now() + END_LIMIT;
    while kill(pid, None).is_ok() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Several at a time: removing a device is mostly waiting (for an RCU grace period).
fn remove_pods(config: &Config, records: &[PodRecord]) -> Vec<String> {
    let share = records.len().div_ceil(REMOVERS).max(1);
    thread::scope(|scope| {
        let removers: Vec<_> = records
            .chunks(share)
            .map(|share| scope.spawn(|| share.iter().flat_map(|record| remove_pod(config, record)).collect()))
            .collect();
        let ended = |remover: thread::ScopedJoinHandle<'_, Vec<String>>| {
            remover.join().unwrap_or_else(|_| vec!["a thread panicked".to_owned()])
        };
        removers.into_iter().flat_map(ended).collect()
    })
}

fn remove_pod(config: &Config, record: &PodRecord) -> Vec<String> {
    let dir = config.pods_dir().join(&record.metadata.uid);
    let mut errors = Vec::new();
    let mut note = |result: Result<(), String>| {
        errors.extend(result.err().map(|e| format!("pod {}: {e}", record.metadata.key())));
    };
    note(containers::stop_shims(&dir, record));
    note(network::delete_device(record).map_err(|e| chain(&e)));
    if place::is_foreign(record) {
        return errors;
    }
    note(PodCgroup::of(&record.netns).remove().map_err(|e| chain(&e)));
    note(network::delete_netns(&record.netns).map_err(|e| chain(&e)));
    note(files::remove(&record.netns).map_err(|e| format!("files of {}: {e}", record.netns)));
    errors
}

fn remove_state(config: &Config) -> anyhow::Result<()> {
    remove_directory(&config.pods_dir())?;
    remove_file(&config.store_path())?;
    remove_file(&config.memory_path())?;
    remove_if_empty(&config.state_dir)
}

fn remove_directory(path: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => bail!("{}: {e}", path.display()),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn remove_file(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => bail!("{}: {e}", path.display()),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Files that are not ours keep their directory.
fn remove_if_empty(path: &Path) -> anyhow::Result<()> {
    match fs::remove_dir(path) {
        Ok(()) => Ok(()),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => Ok(()),
        Err(e) => bail!("{}: {e}", path.display()),
    }
}
