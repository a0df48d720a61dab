//! containerd 1.6 with `runc`: by `ctr`, and by CRI.

mod by_cri;
mod by_ctr;
mod cri;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use integration::{Ran, TestNode, command, wait};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::bed;
use crate::image::{IMAGE, need};
use crate::podman::{Podman, ended, remove_cgroups};
use cri::{Cri, LinuxPodSandboxConfig, PodSandboxConfig, PodSandboxMetadata};

/// The plugin that gives a namespace its `lo`, which CRI calls by itself.
const LOOPBACK: &str = "/usr/lib/cni/loopback";

/// containerd on a node. Dropping it removes all containers and pods, and ends it.
pub(crate) struct Containerd {
    dir: PathBuf,
    node: String,
    daemon: Child,
}

impl Containerd {
    /// With an image in its store, for `ctr` and for CRI.
    #[track_caller]
    pub(crate) fn on(node: &TestNode) -> Self {
        for program in ["containerd", "ctr", "containerd-shim-runc-v2", "runc", LOOPBACK] {
            need(program);
        }
        let dir = node.dir().join("containerd");
        bed::configure_plugin(node, &dir.join("net.d"), &json!({}));
        furnish(&dir);
        let daemon = start(&dir, node.name());
        let this = Self { dir, node: node.name().to_owned(), daemon };
        let serves = || this.ctr("version").succeeded().then_some(());
        wait::until("containerd serves", serves);
        let archive = Podman::on(node).image_archive();
        for namespace in ["default", "k8s.io"] {
            this.ctr(&format!("-n {namespace} images import {}", archive.display())).ok();
        }
        this
    }

    fn socket(&self) -> PathBuf {
        self.dir.join("sock")
    }

    /// Runs `ctr` with the words of a line. It has one place for configurations and one for plugins, so it is given a view of the
    /// machine in which ours are there.
    #[track_caller]
    pub(crate) fn ctr(&self, line: &str) -> Ran {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.node)).args(["unshare", "--mount", "sh", "-c"]);
        let dir = self.dir.display();
        command.arg(format!(
            "mount --bind {dir}/opt /opt && mount --bind {dir}/net.d /etc/cni/net.d && mount --bind {dir}/var /var/lib && \
             exec ctr --address {} {line}",
            self.socket().display()
        ));
        command::run(command)
    }

    /// What starts container `name`: a script for its shell.
    pub(crate) fn line(&self, name: &str, options: &str, script: &str) -> String {
        let cgroup = format!("{}/{name}", self.cgroup());
        format!(
            "run --cni --snapshotter native --cgroup {cgroup} {options} {IMAGE} {name} /bin/sh -c '{script}'"
        )
    }

    fn cgroup(&self) -> String {
        format!("/pod-{}-containerd", self.node)
    }

    /// A script in a running container.
    #[track_caller]
    pub(crate) fn exec(&self, name: &str, script: &str) -> Ran {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.ctr(&format!("task exec --exec-id e{number} {name} /bin/sh -c '{script}'"))
    }

    pub(crate) fn cri(&self) -> Cri {
        Cri::connect(&self.socket())
    }

    /// A pod as a kubelet describes it.
    pub(crate) fn sandbox(&self, name: &str) -> PodSandboxConfig {
        let metadata = PodSandboxMetadata {
            name: name.to_owned(),
            uid: format!("uid-of-{name}"),
            namespace: "shop".to_owned(),
            attempt: 0,
        };
        PodSandboxConfig {
            metadata: Some(metadata),
            hostname: name.to_owned(),
            linux: Some(LinuxPodSandboxConfig { cgroup_parent: self.cgroup() }),
            ..PodSandboxConfig::default()
        }
    }

    /// It is stopped and started, as for an upgrade; containers go on.
    #[track_caller]
    pub(crate) fn restart(&mut self) {
        self.stop();
        self.daemon = start(&self.dir, &self.node);
        wait::until("containerd serves again", || self.ctr("version").succeeded().then_some(()));
    }

    fn stop(&mut self) {
        let pid = i32::try_from(self.daemon.id()).expect("a process id is positive");
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        let _ = self.daemon.wait();
    }

    fn remove_all(&self) {
        for task in self.ctr("task ls --quiet").stdout.lines() {
            let _ = self.ctr(&format!("task rm --force {task}"));
        }
        for container in self.ctr("container ls --quiet").stdout.lines() {
            let _ = self.ctr(&format!("container rm {container}"));
        }
        let cri = self.cri();
        for sandbox in cri.sandboxes() {
            let _ = cri.stop_sandbox(&sandbox);
            let _ = cri.remove_sandbox(&sandbox);
        }
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        self.remove_all();
        self.stop();
        let ended = ended(&self.dir);
        remove_cgroups(&self.cgroup());
        if std::thread::panicking() {
            let log = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
            eprintln!("--- log of containerd\n{log}");
            return;
        }
        assert!(ended, "processes of containerd still run on {}", self.node);
    }
}

/// Its configuration, and the directories that it and `ctr` look for plugins in.
fn furnish(dir: &Path) {
    let plugins = dir.join("opt/cni/bin");
    for new in [&plugins, &dir.join("var")] {
        fs::create_dir_all(new).expect("the node's directory can be written to");
    }
    symlink(LOOPBACK, plugins.join("loopback")).expect("a link");
    symlink(bed::plugin_dir().join("vpod-cni"), plugins.join("vpod-cni")).expect("a link");
    let place = dir.display();
    let text = format!(
        "version = 2\nroot = \"{place}/root\"\nstate = \"{place}/state\"\n\
         disabled_plugins = [\"io.containerd.internal.v1.opt\"]\n\
         [grpc]\naddress = \"{place}/sock\"\n[ttrpc]\naddress = \"{place}/ttrpc\"\n\
         [plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = {IMAGE:?}\nrestrict_oom_score_adj = true\n\
         netns_mounts_under_state_dir = true\n\
         [plugins.\"io.containerd.grpc.v1.cri\".cni]\nbin_dir = {plugins:?}\nconf_dir = \"{place}/net.d\"\n\
         [plugins.\"io.containerd.grpc.v1.cri\".containerd]\nsnapshotter = \"native\"\n"
    );
    fs::write(dir.join("config.toml"), text).expect("a new file");
}

#[track_caller]
fn start(dir: &Path, node: &str) -> Child {
    let log = fs::OpenOptions::new().create(true).append(true).open(dir.join("log")).expect("a log");
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--net=/run/netns/{node}"))
        .arg("containerd")
        .arg("--config")
        .arg(dir.join("config.toml"));
    command.stdin(Stdio::null()).stdout(log.try_clone().expect("a file can be cloned")).stderr(log);
    command.spawn().unwrap_or_else(|error| panic!("cannot start containerd: {error}"))
}
