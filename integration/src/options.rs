//! What a node is started with.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::netns::NodeNetns;
use crate::node::TestNode;
use crate::{privilege, programs};

/// Counts nodes of this process, so that their names differ.
static NODES: AtomicU32 = AtomicU32::new(0);

/// What a node is started with.
pub struct NodeOptions {
    pod_cidr: String,
    state_dir: Option<PathBuf>,
    extra: String,
    allowed_log: Vec<&'static str>,
}

impl Default for NodeOptions {
    fn default() -> Self {
        Self {
            pod_cidr: "10.244.0.0/24".to_owned(),
            state_dir: None,
            extra: String::new(),
            allowed_log: Vec::new(),
        }
    }
}

impl NodeOptions {
    /// Another range for the pods.
    #[must_use]
    pub fn pod_cidr(mut self, cidr: &str) -> Self {
        cidr.clone_into(&mut self.pod_cidr);
        self
    }

    /// Another place for the state.
    #[must_use]
    pub fn state_dir(mut self, path: &Path) -> Self {
        self.state_dir = Some(path.to_owned());
        self
    }

    /// One more line of configuration.
    #[must_use]
    pub fn config(mut self, line: &str) -> Self {
        self.extra.push_str(line);
        self.extra.push('\n');
        self
    }

    /// A warning or error that contains `part` is what the test is about.
    #[must_use]
    pub fn allow_log(mut self, part: &'static str) -> Self {
        self.allowed_log.push(part);
        self
    }

    /// Starts the daemon and waits until it serves.
    #[track_caller]
    #[must_use]
    pub fn start(self) -> TestNode {
        let mut node = self.prepare();
        node.start_daemon();
        node
    }

    /// A node whose daemon does not run yet.
    ///
    /// # Panics
    /// When the machine refuses.
    #[track_caller]
    #[must_use]
    pub fn prepare(self) -> TestNode {
        privilege::require_root();
        static FRESH: Once = Once::new();
        FRESH.call_once(|| ["vswitchd", "vpodctl"].into_iter().for_each(programs::assert_fresh));
        let number = NODES.fetch_add(1, Ordering::Relaxed);
        // Short, because the prefix of pods' namespaces has 11 characters at most.
        let name = format!("vt{}-{}", base36(std::process::id()), base36(number));
        let dir = PathBuf::from(format!("/tmp/vpod-test.{}-{number}", std::process::id()));
        fs::create_dir(&dir).unwrap_or_else(|e| panic!("cannot create {}: {e}", dir.display()));
        // For scripts/cleanup.sh, should this process be killed.
        fs::write(dir.join("name"), &name).expect("the new directory can be written to");
        let state_dir = self.state_dir.unwrap_or_else(|| dir.join("state"));
        let config = format!(
            "node = {name:?}\nstate_dir = {state_dir:?}\nrun_dir = {:?}\nnetns_prefix = \"{name}-\"\npod_cidr = {:?}\n{}",
            dir.join("run"),
            self.pod_cidr,
            self.extra
        );
        fs::write(dir.join("vswitchd.toml"), config).expect("the new directory can be written to");
        let netns = NodeNetns::create(&name);
        TestNode { name, dir, netns, daemon: None, allowed_log: self.allowed_log }
    }
}

fn base36(mut number: u32) -> String {
    let mut digits = Vec::new();
    loop {
        digits.push(char::from_digit(number % 36, 36).expect("a remainder is a digit"));
        number /= 36;
        if number == 0 {
            return digits.iter().rev().collect();
        }
    }
}
