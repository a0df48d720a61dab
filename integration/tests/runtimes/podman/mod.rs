//! podman 4.3 with its CNI back-end and `runc`.

mod addresses;
mod basics;
mod many;
mod names;
mod ports;
mod restarts;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use integration::{Background, Ran, TestNode, command, wait};
use serde_json::{Value, json};

use crate::bed;
use crate::image::{IMAGE, need, root_archive};

/// podman on a node. Dropping it removes all containers, and checks that nothing of them is left.
pub(crate) struct Podman {
    dir: PathBuf,
    node: String,
}

impl Podman {
    /// With an image in its store, and the plugin's usual configuration.
    #[track_caller]
    pub(crate) fn on(node: &TestNode) -> Self {
        Self::configured(node, &json!({}))
    }

    /// With further keys in the plugin's configuration.
    #[track_caller]
    pub(crate) fn configured(node: &TestNode, extra: &Value) -> Self {
        for program in ["podman", "runc", "conmon"] {
            need(program);
        }
        // cleanup.sh knows the names of this directory and its files, too.
        let dir = node.dir().join("podman");
        bed::configure_plugin(node, &dir.join("net.d"), extra);
        let this = Self { dir, node: node.name().to_owned() };
        fs::write(this.dir.join("containers.conf"), this.containers_conf()).expect("a new file");
        fs::write(this.dir.join("storage.conf"), this.storage_conf()).expect("a new file");
        this.write_runc();
        let command = "--change CMD=[\\\"/bin/sleep\\\",\\\"3600\\\"]";
        this.podman(&format!("import --quiet {command} {} {IMAGE}", root_archive(&this.dir).display())).ok();
        this
    }

    fn containers_conf(&self) -> String {
        let dir = self.dir.display();
        let plugins = bed::plugin_dir();
        // Wants neither systemd nor the right to raise limits: tests run in containers, too.
        format!(
            "[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\nruntime = \"runc\"\nlock_type = \"file\"\n\
             infra_image = \"{IMAGE}\"\ntmp_dir = \"{dir}/tmp\"\n\
             [containers]\nlog_driver = \"k8s-file\"\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n\
             [engine.runtimes]\nrunc = [\"{dir}/runc\"]\n\
             [network]\nnetwork_backend = \"cni\"\nnetwork_config_dir = \"{dir}/net.d\"\ncni_plugin_dirs = [{plugins:?}]\n\
             default_network = \"{}\"\n",
            bed::NETWORK
        )
    }

    /// `runc` with its state below this directory: podman does not say where it should be.
    fn write_runc(&self) {
        let script = format!(
            "#!/bin/sh\nexec {} --root {}/state \"$@\"\n",
            need("runc").display(),
            self.dir.display()
        );
        let path = self.dir.join("runc");
        fs::write(&path, script).expect("a new file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its mode");
    }

    fn storage_conf(&self) -> String {
        let dir = self.dir.display();
        format!("[storage]\ndriver = \"vfs\"\nrunroot = \"{dir}/run\"\ngraphroot = \"{dir}/root\"\n")
    }

    /// The image as other runtimes import it, in a file that is gone with the node.
    #[track_caller]
    pub(crate) fn image_archive(&self) -> PathBuf {
        let archive = self.dir.with_extension("oci");
        self.podman(&format!("save --quiet --format oci-archive --output {} {IMAGE}", archive.display()))
            .ok();
        archive
    }

    /// Runs podman with the words of a shell's line.
    #[track_caller]
    pub(crate) fn podman(&self, line: &str) -> Ran {
        command::run(self.command(line))
    }

    /// With one more variable in its environment.
    #[track_caller]
    pub(crate) fn podman_with(&self, variable: &str, value: &str, line: &str) -> Ran {
        let mut command = self.command(line);
        command.env(variable, value);
        command::run(command)
    }

    /// Starts it.
    #[track_caller]
    pub(crate) fn spawn(&self, line: &str) -> Background {
        Background::start(self.command(line))
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.node)).args(["sh", "-c"]);
        command.arg(format!("exec podman {line}"));
        command.env("CONTAINERS_CONF", self.dir.join("containers.conf"));
        command.env("CONTAINERS_STORAGE_CONF", self.dir.join("storage.conf"));
        command
    }

    /// What containers' cgroups are below; `TestNode` and cleanup.sh look for such.
    fn cgroup(&self) -> String {
        format!("/pod-{}-podman", self.node)
    }

    /// What starts container `name` in the background: `options` of `podman run`, and a script for its shell.
    pub(crate) fn line(&self, name: &str, options: &str, script: &str) -> String {
        // Containers of a podman pod have the pod's cgroup.
        let cgroup = if options.contains("--pod ") {
            String::new()
        } else {
            format!("--cgroup-parent {}", self.cgroup())
        };
        format!("run --detach --name {name} {cgroup} {options} {IMAGE} /bin/sh -c '{script}'")
    }

    /// Starts it, and returns when podman says that it runs.
    #[track_caller]
    pub(crate) fn start(&self, name: &str, options: &str, script: &str) {
        self.podman(&self.line(name, options, script)).ok();
    }

    /// Makes podman pod `name`, whose containers share a network namespace.
    #[track_caller]
    pub(crate) fn create_pod(&self, name: &str, options: &str) {
        let cgroup = self.cgroup();
        self.podman(&format!(
            "pod create --name {name} --infra-name {name}-infra --cgroup-parent {cgroup} {options}"
        ))
        .ok();
    }

    /// What a script says in a container.
    #[track_caller]
    pub(crate) fn exec(&self, name: &str, script: &str) -> Ran {
        self.podman(&format!("exec {name} /bin/sh -c '{script}'"))
    }

    /// Removes it as a user would who has no patience.
    #[track_caller]
    pub(crate) fn remove(&self, name: &str) {
        self.podman(&format!("rm --force --time 0 {name}")).ok();
    }

    fn namespaces(&self) -> Vec<PathBuf> {
        let format = "{{.NetworkSettings.SandboxKey}}";
        let ids = self.podman("ps --all --quiet").stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        if ids.is_empty() {
            return Vec::new();
        }
        let paths = self.podman(&format!("inspect --format \"{format}\" {ids}")).stdout;
        paths.lines().filter(|line| !line.is_empty()).map(PathBuf::from).collect()
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let namespaces = self.namespaces();
        let removed =
            [self.podman("pod rm --all --force --time 0"), self.podman("rm --all --force --time 0")];
        let ended = ended(&self.dir);
        remove_cgroups(&self.cgroup());
        if std::thread::panicking() {
            return;
        }
        for ran in removed {
            ran.ok();
        }
        assert!(ended, "processes of podman still run on {}", self.node);
        let left: Vec<_> = namespaces.iter().filter(|path| path.exists()).collect();
        assert!(left.is_empty(), "left behind: {left:?}");
    }
}

/// Waits for podman's own helpers, which end after their containers.
pub(crate) fn ended(dir: &std::path::Path) -> bool {
    let deadline = std::time::Instant::now() + wait::PATIENCE;
    loop {
        let mut pgrep = Command::new("pgrep");
        pgrep.args(["-f", &format!("{}/", dir.display())]);
        let found = command::run(pgrep).stdout;
        // The question itself is among them: timeout(1) has it as an argument.
        let others = found.lines().filter(|pid| is_helper(pid)).count();
        if others == 0 || std::time::Instant::now() > deadline {
            return others == 0;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

fn is_helper(pid: &str) -> bool {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    ["conmon", "podman", "runc", "containerd-shim", "containerd"]
        .iter()
        .any(|helper| name.trim().starts_with(helper))
}

/// Removes the empty cgroups of that name, which runtimes leave for the next container.
pub(crate) fn remove_cgroups(parent: &str) {
    let mut find = Command::new("find");
    find.args(["/sys/fs/cgroup", "-depth", "-type", "d", "-path", &format!("*{parent}*"), "-delete"]);
    drop(command::run(find));
}
