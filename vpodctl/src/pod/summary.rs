//! READY, STATUS and RESTARTS of a pod, as kubectl's printer derives them from the containers.

use protocol::object::{ContainerState, Pod, PodPhase, Timestamp};

use crate::output::age;

/// Running containers and all containers; a pod without any counts as one that is its network.
pub(crate) fn ready_containers(pod: &Pod) -> (usize, usize) {
    if pod.spec.containers.is_empty() {
        return (usize::from(pod.status.phase == PodPhase::Running && pod.status.ready), 1);
    }
    let running = |state: &ContainerState| matches!(state, ContainerState::Running { .. });
    let mut ready = pod.status.container_statuses.iter().filter(|status| running(&status.state)).count();
    // Its probe is the first container's.
    if ready == pod.spec.containers.len() && !pod.status.ready {
        ready -= 1;
    }
    (ready, pod.spec.containers.len())
}

/// The pod can talk and all its containers run.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    let (ready, of) = ready_containers(pod);
    pod.status.phase == PodPhase::Running && ready == of
}

/// The phase, or what keeps a container from running; of several containers, the first one's.
pub(crate) fn status(pod: &Pod) -> String {
    let mut text = phase(pod.status.phase).to_owned();
    let mut any_running = false;
    for container in pod.status.container_statuses.iter().rev() {
        match &container.state {
            ContainerState::Waiting { reason } => text.clone_from(reason),
            ContainerState::Terminated { exit } => {
                text = if exit.code == 0 { "Completed" } else { "Error" }.to_owned();
            }
            ContainerState::Running { .. } => any_running = true,
        }
    }
    // One of several containers being done does not make the pod done.
    if text == "Completed" && any_running { phase(PodPhase::Running).to_owned() } else { text }
}

/// All restarts, and how long ago the last one's cause was.
pub(crate) fn restarts(pod: &Pod, now: Timestamp) -> String {
    let count: u64 = pod.status.container_statuses.iter().map(|c| u64::from(c.restart_count)).sum();
    let last = pod
        .status
        .container_statuses
        .iter()
        .filter(|c| c.restart_count > 0)
        .filter_map(|c| c.last_exit)
        .map(|exit| exit.at)
        .max();
    match last {
        Some(at) => format!("{count} ({} ago)", age::human(at.until(now))),
        None => count.to_string(),
    }
}

pub(crate) const fn phase(phase: PodPhase) -> &'static str {
    match phase {
        PodPhase::Pending => "Pending",
        PodPhase::Running => "Running",
        PodPhase::Succeeded => "Succeeded",
        PodPhase::Failed => "Failed",
    }
}
