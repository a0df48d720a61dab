//! Promises about names: what DNS is told and when, how it is run, how pods ask it, and what it answers.
//!
//! Where Kubernetes has a conformance test for a promise, the test says which, as those of services do.

mod answers;
mod feed;
mod resolv_conf;
mod resolvers;
mod system;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use integration::{TestNode, TestPod, wait};
use protocol::object::{ContainerState, Pod};

const STAND_IN: &str = include_str!("stand_in.py");

/// A copy of the stand-in that answers by `version`, and that everybody may run. `wait::until` the switch of one is the test's.
fn stand_in(dir: &Path, version: u8) -> PathBuf {
    let path = dir.join("stand-in");
    let temporary = dir.join("stand-in.new");
    fs::write(&temporary, STAND_IN.replace("VERSION = 1", &format!("VERSION = {version}"))).expect("a file");
    fs::set_permissions(&temporary, fs::Permissions::from_mode(0o755)).expect("its mode");
    fs::rename(&temporary, &path).expect("another name");
    path
}

/// The configuration of a node whose DNS is the program at `path`.
fn dns_by(path: &Path) -> String {
    format!("[dns]\nenabled = true\nprogram = {path:?}\nupstreams = [\"192.0.2.53\"]\n")
}

/// The system pod of a node, once there is a ready one.
#[track_caller]
pub(crate) fn ready_system_pod(node: &TestNode, what: &str) -> Pod {
    let name = format!("{what}-{}", node.name());
    wait::until(&format!("{name} is ready"), || {
        node.pods().into_iter().find(|pod| pod.metadata.name.as_str() == name && pod.status.ready)
    })
}

/// The address that a pod is told by the cluster's DNS, asked with `dig`.
fn dig(pod: &TestPod, words: &str) -> String {
    let ran = pod.sh(&format!("dig +short +tries=1 +time=2 {words}"));
    ran.stdout.trim().to_owned()
}

/// The process of a pod's first container.
#[track_caller]
pub(crate) fn pid(pod: &Pod) -> u32 {
    match pod.status.container_statuses.first().map(|status| &status.state) {
        Some(ContainerState::Running { pid, .. }) => *pid,
        other => panic!("{other:?}"),
    }
}
