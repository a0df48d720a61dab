//! Pods as clients see them.

use protocol::message::{ApiError, PodEntry as Entry, PodRef};
use protocol::name::Namespace;
use protocol::object::{ContainerState, ContainerStatus, Pod, PodPhase, PodStatus};
use store::record::PodRecord;

use super::super::cgroup::PodCgroup;
use super::super::inventory::{Life, PodEntry};
use super::super::node::Control;
use super::super::system;
use super::{containers, files, not_found, place};

/// One pod.
pub(crate) fn show(control: &Control, pod: &PodRef) -> Result<Pod, ApiError> {
    let entry = control.inventory.lock().get(pod).cloned().ok_or_else(|| not_found(pod))?;
    Ok(view(control, entry))
}

/// All pods, of one namespace if given.
pub(crate) fn list(control: &Control, namespace: Option<&Namespace>) -> Vec<Pod> {
    let entries: Vec<PodEntry> = {
        let inventory = control.inventory.lock();
        let wanted = inventory.iter().filter(|(pod, _)| namespace.is_none_or(|n| pod.namespace == *n));
        wanted.map(|(_, entry)| entry.clone()).collect()
    };
    entries.into_iter().map(|entry| view(control, entry)).collect()
}

/// How to enter a pod.
pub(crate) fn entry(control: &Control, record: &PodRecord) -> Entry {
    let pod = super::super::inventory::reference(record);
    let procs =
        if place::is_foreign(record) { Vec::new() } else { PodCgroup::of(&record.netns).procs_files() };
    // A runtime's pod has files and limits from its runtime.
    let binds = if place::is_foreign(record) { Vec::new() } else { files::binds(&record.netns) };
    Entry {
        netns: place::path(record).display().to_string(),
        hostname: files::Named::of(&record.spec).hostname(&pod),
        binds: system::binds(control, &pod).into_iter().chain(binds).collect(),
        cgroup_procs: procs.into_iter().map(|path| path.display().to_string()).collect(),
    }
}

fn view(control: &Control, entry: PodEntry) -> Pod {
    let PodEntry { record, life, failure, .. } = entry;
    let container_statuses: Vec<ContainerStatus> = record
        .spec
        .containers
        .iter()
        .map(|container| containers::status(control, &record, &container.name))
        .collect();
    let reference = super::super::inventory::reference(&record);
    let (phase, message) = match (life, failure) {
        (_, Some(failure)) => (PodPhase::Failed, Some(failure)),
        (Life::Creating, None) => (PodPhase::Pending, Some("being created".to_owned())),
        (Life::Deleting, None) => (PodPhase::Pending, Some("being deleted".to_owned())),
        (Life::Ready, None) => (phase(&container_statuses), None),
    };
    let runs = |status: &ContainerStatus| matches!(status.state, ContainerState::Running { .. });
    let ready = phase == PodPhase::Running
        && container_statuses.iter().all(runs)
        && control.services.is_probed_ready(&reference, record.spec.serving.readiness.is_some());
    Pod {
        status: PodStatus {
            ready,
            phase,
            message,
            netns: place::path(&record).display().to_string(),
            port: Some(record.port),
            container_statuses,
        },
        metadata: record.metadata,
        spec: record.spec,
    }
}

/// Kubernetes' rule: running as long as one container runs or will; then by their exit codes.
fn phase(containers: &[ContainerStatus]) -> PodPhase {
    let mut failed = false;
    for container in containers {
        match &container.state {
            ContainerState::Waiting { .. } | ContainerState::Running { .. } => return PodPhase::Running,
            ContainerState::Terminated { exit } => failed |= exit.code != 0,
        }
    }
    match (containers.is_empty(), failed) {
        (true, _) => PodPhase::Running,
        (false, false) => PodPhase::Succeeded,
        (false, true) => PodPhase::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::object::{Exit, Timestamp};

    fn container(state: ContainerState) -> ContainerStatus {
        ContainerStatus { name: "c".parse().unwrap(), state, restart_count: 0, last_exit: None }
    }

    fn ended(code: i32) -> ContainerStatus {
        let exit = Exit { code, signal: None, at: Timestamp(0) };
        container(ContainerState::Terminated { exit })
    }

    fn running() -> ContainerStatus {
        container(ContainerState::Running { pid: 1, since: Timestamp(0) })
    }

    #[test]
    fn phase_follows_the_containers() {
        assert_eq!(phase(&[]), PodPhase::Running);
        assert_eq!(phase(&[ended(1), running()]), PodPhase::Running);
        assert_eq!(phase(&[ended(0), ended(0)]), PodPhase::Succeeded);
        assert_eq!(phase(&[ended(0), ended(3)]), PodPhase::Failed);
    }
}
