//! Containers of a pod: each has its own supervisor process, the shim, which outlives this one.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use protocol::ObjectName;
use protocol::message::{ApiError, ErrorCode, PodRef};
use protocol::object::{Container, ContainerState, ContainerStatus, Pod, RestartPolicy};
use store::Transaction;
use store::record::PodRecord;

use super::super::inventory::Life;
use super::super::node::Control;
use super::super::system;
use super::create::{store_error, validate_command};
use super::{not_found, view};
use crate::container_shim::{ContainerDir, SUCCEED, ShimSpec};
use crate::process_identity::ProcessIdentity;

/// Between `SIGTERM` and `SIGKILL`, as `docker stop` has it.
const GRACE: Duration = Duration::from_secs(10);
/// A shim reports within milliseconds; this is for a machine that swaps.
const START_LIMIT: Duration = Duration::from_secs(10);
/// What a shim needs beyond the grace period to record the end.
const STOP_MARGIN: Duration = Duration::from_secs(3);

/// Files of one container.
pub(crate) fn dir(control: &Control, record: &PodRecord, name: &ObjectName) -> ContainerDir {
    ContainerDir::new(control.pod_dir(record).join(name.as_str()))
}

/// Starts a container and waits until its command runs, or could not be started.
pub(crate) fn start(control: &Control, record: &PodRecord, container: &Container) -> Result<(), ApiError> {
    start_again(control, record, container, 0)
}

/// As [`start`], for a container that was started `restarts` times before.
fn start_again(
    control: &Control,
    record: &PodRecord,
    container: &Container,
    restarts: u32,
) -> Result<(), ApiError> {
    let object = format!("container {} of pod {}", container.name, record.metadata.key());
    let internal =
        |what: &str, e: std::io::Error| ApiError::new(ErrorCode::Internal, format!("{object}: {what}: {e}"));
    let dir = dir(control, record, &container.name);
    let spec = shim_spec(control, record, container, restarts);
    dir.create(&spec).map_err(|e| internal("its directory", e))?;
    let errors = File::create(dir.path().join("shim.log")).map_err(|e| internal("its directory", e))?;
    let child = Command::new("/proc/self/exe")
        .arg("container-shim")
        .arg(dir.path())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(errors)
        .spawn()
        .map_err(|e| internal("its supervisor", e))?;
    let pid = child.id();
    control.shims.lock().push(child);
    wait_for_start(&dir, pid, &object)
}

fn shim_spec(control: &Control, record: &PodRecord, container: &Container, restarts: u32) -> ShimSpec {
    ShimSpec {
        name: container.name.clone(),
        command: container.command.clone(),
        pod: view::entry(control, record),
        run_as: system::run_as(control, record),
        restart_policy: record.spec.restart_policy,
        grace: GRACE,
        restarts,
    }
}

fn wait_for_start(dir: &ContainerDir, pid: u32, object: &str) -> Result<(), ApiError> {
    let deadline = Instant::now() + START_LIMIT;
    let mut pause = Duration::from_micros(500);
    loop {
        if let Ok(Some(file)) = dir.read_status() {
            return match file.start_error {
                None => Ok(()),
                Some(error) => Err(ApiError::new(ErrorCode::Invalid, format!("{object}: {error}"))),
            };
        }
        let ended = ProcessIdentity::of(pid).is_none();
        if ended && dir.read_status().ok().flatten().is_none() {
            let said = std::fs::read_to_string(dir.path().join("shim.log")).unwrap_or_default();
            let text = format!("{object}: its supervisor ended at once: {}", said.trim());
            return Err(ApiError::new(ErrorCode::Internal, text));
        }
        if Instant::now() > deadline {
            let text = format!("{object}: its supervisor does not report");
            return Err(ApiError::new(ErrorCode::Internal, text));
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(5));
    }
}

/// `run-container`: one more container in a pod that exists.
pub(crate) fn run(
    control: &Control,
    pod: &PodRef,
    name: ObjectName,
    command: Vec<String>,
) -> Result<Pod, ApiError> {
    if command.is_empty() {
        let text = format!("container {name} of pod {pod}: no command given; write it after --");
        return Err(ApiError::new(ErrorCode::Invalid, text));
    }
    validate_command(pod, &command)?;
    let operation = {
        let inventory = control.inventory.lock();
        inventory.get(pod).ok_or_else(|| not_found(pod))?.operation.clone()
    };
    let _held = operation.lock();
    let mut record = usable(control, pod)?;
    if let Some(attachment) = &record.attachment {
        let text = format!("pod {pod} is {}: its containers are its runtime's to start", attachment.key);
        return Err(ApiError::new(ErrorCode::Forbidden, text));
    }
    if record.spec.containers.iter().any(|c| c.name == name) {
        let text = format!("pod {pod} has a container {name} already; choose another name");
        return Err(ApiError::new(ErrorCode::AlreadyExists, text));
    }
    let container = Container { name, command };
    record.spec.containers.push(container.clone());
    let object = format!("pod {pod}");
    // Recorded first: what runs is always known, and a start that fails is taken back.
    control
        .commit(Transaction::new().put(record.key(), &record, None))
        .map_err(|e| store_error(&object, &e))?;
    if let Err(error) = start(control, &record, &container) {
        if let Some(shim) = signal(&dir(control, &record, &container.name)) {
            let _ = wait_for_end(shim, Instant::now() + GRACE + STOP_MARGIN);
        }
        let _ = std::fs::remove_dir_all(dir(control, &record, &container.name).path());
        record.spec.containers.pop();
        if let Err(store) = control.commit(Transaction::new().put(record.key(), &record, None)) {
            tracing::error!(%pod, "taking back a container: {store}");
        }
        return Err(error);
    }
    if let Some(entry) = control.inventory.lock().get_mut(pod) {
        entry.record.spec.containers = record.spec.containers;
    }
    view::show(control, pod)
}

/// Ends what runs in a pod, and starts one container with another command instead.
pub(crate) fn replace(control: &Control, pod: &PodRef, command: Vec<String>) -> Result<(), ApiError> {
    let operation = {
        let inventory = control.inventory.lock();
        inventory.get(pod).ok_or_else(|| not_found(pod))?.operation.clone()
    };
    let _held = operation.lock();
    let mut record = usable(control, pod)?;
    if let Err(error) = stop_all(control, &record) {
        tracing::warn!(%pod, "stopping what is to be replaced: {error}");
    }
    record
        .spec
        .containers
        .iter()
        .for_each(|container| dir(control, &record, &container.name).forget_status());
    let container = Container { name: pod.name.clone(), command };
    record.spec.containers = vec![container.clone()];
    control
        .commit(Transaction::new().put(record.key(), &record, None))
        .map_err(|e| store_error(&format!("pod {pod}"), &e))?;
    if let Some(entry) = control.inventory.lock().get_mut(pod) {
        entry.record.spec.containers.clone_from(&record.spec.containers);
    }
    start(control, &record, &container)
}

/// Starts one container with a command beside the one that runs, which is left to end by itself: it gives what it serves to its successor.
pub(crate) fn succeed(control: &Control, pod: &PodRef, command: Vec<String>) -> Result<(), ApiError> {
    let operation = {
        let inventory = control.inventory.lock();
        inventory.get(pod).ok_or_else(|| not_found(pod))?.operation.clone()
    };
    let held = operation.lock();
    let mut record = usable(control, pod)?;
    let running = match record.spec.containers.as_slice() {
        [only] if only.name == pod.name => dir(control, &record, &only.name).read_status().ok().flatten(),
        _ => None,
    };
    let shim = running
        .filter(|file| file.process.is_some_and(|process| process.is_alive()))
        .map(|file| file.shim)
        .filter(|shim| shim.is_alive());
    let Some(shim) = shim else {
        // Nobody is there to be succeeded.
        drop(held);
        return replace(control, pod, command);
    };
    let container = Container { name: pod.name.clone(), command };
    record.spec.containers = vec![container.clone()];
    let object = format!("pod {pod}");
    control
        .commit(Transaction::new().put(record.key(), &record, None))
        .map_err(|e| store_error(&object, &e))?;
    if let Some(entry) = control.inventory.lock().get_mut(pod) {
        entry.record.spec.containers.clone_from(&record.spec.containers);
    }
    let dir = dir(control, &record, &container.name);
    dir.create(&shim_spec(control, &record, &container, 0))
        .map_err(|e| ApiError::new(ErrorCode::Internal, format!("{object}: its directory: {e}")))?;
    kill(pid_of(shim), SUCCEED)
        .map_err(|e| ApiError::new(ErrorCode::Internal, format!("{object}: its supervisor: {e}")))
}

/// The record of a pod that is ready and has its network.
pub(crate) fn usable(control: &Control, pod: &PodRef) -> Result<PodRecord, ApiError> {
    let inventory = control.inventory.lock();
    let entry = inventory.get(pod).ok_or_else(|| not_found(pod))?;
    let unavailable = |why: &str| Err(ApiError::new(ErrorCode::Unavailable, format!("pod {pod} {why}")));
    match (entry.life, &entry.failure) {
        (Life::Creating, _) => unavailable("is being created"),
        (Life::Deleting, _) => unavailable("is being deleted"),
        (Life::Ready, Some(failure)) => unavailable(&format!("has failed: {failure}")),
        (Life::Ready, None) => Ok(entry.record.clone()),
    }
}

/// What a container is doing.
pub(crate) fn status(control: &Control, record: &PodRecord, name: &ObjectName) -> ContainerStatus {
    let waiting = |reason: String| ContainerStatus {
        name: name.clone(),
        state: ContainerState::Waiting { reason },
        restart_count: 0,
        last_exit: None,
    };
    match dir(control, record, name).observe() {
        Ok(Some(file)) => file.status,
        Ok(None) => waiting("ContainerCreating".to_owned()),
        Err(error) => waiting(format!("its status cannot be read: {error}")),
    }
}

/// Stops all containers of a pod, together.
pub(crate) fn stop_all(control: &Control, record: &PodRecord) -> Result<(), String> {
    let result = stop_shims(&control.pod_dir(record), record);
    reap(control);
    result
}

/// Stops what still runs of a pod whose namespace is gone, so that [`mend`] starts it in the new one.
pub(crate) fn stop_for_new_netns(control: &Control, record: &PodRecord) {
    let dirs = record.spec.containers.iter().map(|container| dir(control, record, &container.name));
    let is_supervised =
        |dir: &ContainerDir| matches!(dir.read_status(), Ok(Some(file)) if file.shim.is_alive());
    let running: Vec<_> = dirs.filter(is_supervised).collect();
    if let Err(error) = stop_all(control, record) {
        tracing::warn!(pod = %record.metadata.key(), "stopping what ran in a lost namespace: {error}");
    }
    if record.spec.restart_policy != RestartPolicy::Never {
        // Being stopped is an end that stands; this one was not the user's.
        running.iter().for_each(ContainerDir::forget_status);
    }
}

/// Stops the containers whose files are in `pod_dir`.
pub(crate) fn stop_shims(pod_dir: &Path, record: &PodRecord) -> Result<(), String> {
    let names = record.spec.containers.iter().map(|container| &container.name);
    let shims: Vec<_> = names
        .filter_map(|name| Some((name, signal(&ContainerDir::new(pod_dir.join(name.as_str())))?)))
        .collect();
    let deadline = Instant::now() + GRACE + STOP_MARGIN;
    let mut errors = Vec::new();
    for (name, shim) in shims {
        if let Err(error) = wait_for_end(shim, deadline) {
            errors.push(format!("container {name}: {error}"));
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(errors.join("; ")) }
}

/// Tells a living shim to stop.
fn signal(dir: &ContainerDir) -> Option<ProcessIdentity> {
    let shim = dir.read_status().ok()??.shim;
    if !shim.is_alive() {
        return None;
    }
    let _ = kill(pid_of(shim), Signal::SIGTERM);
    Some(shim)
}

fn wait_for_end(shim: ProcessIdentity, deadline: Instant) -> Result<(), String> {
    let mut pause = Duration::from_millis(1);
    while shim.is_alive() {
        if Instant::now() > deadline {
            let _ = kill(pid_of(shim), Signal::SIGKILL);
            return Err("its supervisor did not end and was killed".to_owned());
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
    Ok(())
}

fn pid_of(shim: ProcessIdentity) -> Pid {
    // Process ids fit: the kernel's limit is 2^22.
    Pid::from_raw(i32::try_from(shim.pid).unwrap_or(i32::MAX))
}

/// Waits for shims that have ended, so that they do not stay as zombies.
pub(crate) fn reap(control: &Control) {
    control.shims.lock().retain_mut(|child| matches!(child.try_wait(), Ok(None)));
}

/// Starts supervisors again that ended without their doing: after a reboot, or killed. What a killed
/// one left running is ended first, so that no container runs twice.
pub(crate) fn mend(control: &Control) {
    let pods: Vec<PodRef> = {
        let inventory = control.inventory.lock();
        let ready = inventory.iter().filter(|(_, e)| e.life == Life::Ready && e.failure.is_none());
        ready.filter(|(_, e)| !e.record.spec.containers.is_empty()).map(|(pod, _)| pod.clone()).collect()
    };
    for pod in pods {
        let Some(operation) = control.inventory.lock().get(&pod).map(|e| e.operation.clone()) else {
            continue;
        };
        // Somebody changes the pod right now; the next round looks again.
        let Some(_held) = operation.try_lock() else { continue };
        let Ok(record) = usable(control, &pod) else { continue };
        for container in &record.spec.containers {
            mend_one(control, &record, container);
        }
    }
}

fn mend_one(control: &Control, record: &PodRecord, container: &Container) {
    let dir = dir(control, record, &container.name);
    let old = match dir.read_status() {
        Ok(Some(file)) if file.shim.is_alive() => return,
        Ok(file) => file,
        Err(error) => {
            tracing::error!(container = %container.name, "status of a container: {error}");
            None
        }
    };
    let mut restarts = 0;
    if let Some(file) = old {
        if matches!(file.status.state, ContainerState::Terminated { .. }) {
            return;
        }
        if let (ContainerState::Running { .. }, Some(process)) = (&file.status.state, file.process)
            && process.is_alive()
        {
            let _ = kill(Pid::from_raw(-pid_of(process).as_raw()), Signal::SIGKILL);
        }
        restarts = file.status.restart_count + 1;
    }
    if record.spec.restart_policy == RestartPolicy::Never && restarts > 0 {
        // Its end was not seen; `observe` reports it as killed.
        return;
    }
    tracing::warn!(pod = %record.metadata.key(), container = %container.name, "supervisor is gone; starting it again");
    dir.forget_status();
    if let Err(error) = start_again(control, record, container, restarts) {
        tracing::error!("{error}");
    }
}
