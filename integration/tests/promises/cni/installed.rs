//! What `make install` puts on a machine, and what `vpodctl cni check` says of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use integration::{Ran, TestNode, binary, command};
use serde_json::{Value, json};

/// Directories of an installation that is this test's.
struct Machine {
    root: PathBuf,
    built: PathBuf,
}

impl Machine {
    /// With programs in the place where release builds are.
    fn new(node: &TestNode) -> Self {
        let machine = Self { root: node.dir().join("root"), built: node.dir().join("target/release") };
        fs::create_dir_all(&machine.built).unwrap();
        for name in ["vswitchd", "vpodctl", "vpod-cni", "vpod-ipam"] {
            std::os::unix::fs::symlink(binary(name), machine.built.join(name)).unwrap();
        }
        // What they are does not matter here, and tests do not need them built.
        for name in ["vpod-dns", "vpod-ingress"] {
            std::os::unix::fs::symlink("/bin/true", machine.built.join(name)).unwrap();
        }
        machine
    }

    fn script(&self, verb: &str) -> Ran {
        let mut script = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/install.sh"));
        script.arg(verb).env("DESTDIR", &self.root).env("CARGO_TARGET_DIR", self.built.parent().unwrap());
        command::run(script)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    fn conflist(&self) -> PathBuf {
        self.path("etc/cni/net.d/10-vpod.conflist")
    }

    fn check(&self, node: &TestNode) -> Ran {
        let (conf, bin) = (self.path("etc/cni/net.d"), self.path("opt/cni/bin"));
        let words =
            ["cni", "check", "--conf-dir", conf.to_str().unwrap(), "--bin-dir", bin.to_str().unwrap()];
        node.vpodctl_words(&words)
    }

    /// The configuration leads to the test's daemon.
    fn lead_to(&self, node: &TestNode) {
        let text = fs::read_to_string(self.conflist()).unwrap();
        let mut list: Value = serde_json::from_str(&text).unwrap();
        list["plugins"][0]["socket"] = json!(node.socket());
        fs::write(self.conflist(), list.to_string()).unwrap();
    }
}

#[test]
fn installed_parts_are_where_runtimes_look_and_check_says_so() {
    let mut node = TestNode::start();
    let machine = Machine::new(&node);
    machine.script("install").ok();
    for path in
        ["usr/local/bin/vswitchd", "usr/local/bin/vpodctl", "opt/cni/bin/vpod-cni", "opt/cni/bin/vpod-ipam"]
    {
        assert!(machine.path(path).is_file(), "{path}");
    }
    machine.lead_to(&node);
    let text = machine.check(&node).ok();
    assert_eq!(text.lines().filter(|line| line.starts_with("ok ")).count(), 5, "{text}");
    node.stop_daemon();
    let ran = machine.check(&node);
    assert_eq!(ran.status.code(), Some(1));
    assert!(ran.stdout.contains("is the daemon running?") && ran.stdout.contains("start vswitchd"), "{ran}");
    assert!(ran.stdout.contains("STATUS, code 50"), "{ran}");
}

#[test]
fn check_names_each_part_that_is_wrong() {
    let node = TestNode::start();
    let machine = Machine::new(&node);
    let complaint = || {
        let ran = machine.check(&node);
        assert_eq!(ran.status.code(), Some(1), "{ran}");
        ran.stdout
    };
    assert!(complaint().contains("install it: make install"));
    machine.script("install").ok();
    machine.lead_to(&node);
    let other = machine.path("etc/cni/net.d/05-bridge.conf");
    fs::write(&other, r#"{"cniVersion": "1.0.0", "name": "x", "type": "bridge"}"#).unwrap();
    assert!(complaint().contains("05-bridge.conf comes first"));
    fs::write(&other, "{").unwrap();
    assert!(complaint().contains("05-bridge.conf: EOF"));
    fs::remove_file(&other).unwrap();
    let plugin = machine.path("opt/cni/bin/vpod-ipam");
    fs::write(&plugin, "#!/bin/sh\necho 'CNI plugin vpod-ipam 0.0.1' >&2\n").unwrap();
    assert!(complaint().contains("is of version 0.0.1, vpodctl of"));
    let mut plain = fs::metadata(&plugin).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut plain, 0o644);
    fs::set_permissions(&plugin, plain).unwrap();
    assert!(complaint().contains("chmod 0755"));
}

#[test]
fn changed_configuration_is_neither_overwritten_nor_removed() {
    let node = TestNode::start();
    let machine = Machine::new(&node);
    machine.script("install").ok();
    machine.script("uninstall").ok();
    assert!(!machine.conflist().exists() && !machine.path("opt/cni/bin/vpod-cni").exists());
    machine.script("install").ok();
    fs::write(machine.conflist(), "mine").unwrap();
    let said = machine.script("install");
    assert!(said.succeeded() && format!("{said}").contains("was changed and stays"), "{said}");
    assert_eq!(fs::read_to_string(machine.conflist()).unwrap(), "mine");
    let said = machine.script("uninstall");
    assert!(said.succeeded() && format!("{said}").contains("was changed and stays"), "{said}");
    assert!(machine.conflist().exists());
}
