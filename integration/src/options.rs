//! What a node is started with.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::netns::NodeNetns;
use crate::node::TestNode;
use crate::underlay::Underlay;
use crate::{privilege, programs};

/// Counts nodes and underlays of this process, so that their names differ.
static PLACES: AtomicU32 = AtomicU32::new(0);

/// What a node is started with.
pub struct NodeOptions {
    pod_cidr: Option<String>,
    state_dir: Option<PathBuf>,
    extra: String,
    sections: String,
    allowed_log: Vec<&'static str>,
}

impl Default for NodeOptions {
    fn default() -> Self {
        Self {
            pod_cidr: Some("10.244.0.0/24".to_owned()),
            state_dir: None,
            extra: String::new(),
            sections: String::new(),
            allowed_log: Vec::new(),
        }
    }
}

impl NodeOptions {
    /// Another range for the pods.
    #[must_use]
    pub fn pod_cidr(mut self, cidr: &str) -> Self {
        self.pod_cidr = Some(cidr.to_owned());
        self
    }

    /// The cluster gives the node its range.
    #[must_use]
    pub fn without_pod_cidr(mut self) -> Self {
        self.pod_cidr = None;
        self
    }

    /// Tables of the configuration, which come after all lines.
    #[must_use]
    pub fn sections(mut self, text: &str) -> Self {
        self.sections.push_str(text);
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
        let place = claim_place();
        let netns = NodeNetns::create(&place.name);
        self.furnish(place, netns)
    }

    /// As [`NodeOptions::prepare`], with its NIC on `underlay`.
    #[track_caller]
    pub(crate) fn prepare_on(self, number: usize, underlay: &Underlay) -> TestNode {
        let place = claim_place();
        let netns = underlay.plug(number, &place.name);
        self.furnish(place, netns)
    }

    fn furnish(self, place: Place, netns: NodeNetns) -> TestNode {
        static FRESH: Once = Once::new();
        FRESH.call_once(|| ["vswitchd", "vpodctl"].into_iter().for_each(programs::assert_fresh));
        let Place { name, dir } = place;
        let state_dir = self.state_dir.unwrap_or_else(|| dir.join("state"));
        let pod_cidr = self.pod_cidr.map(|cidr| format!("pod_cidr = {cidr:?}\n")).unwrap_or_default();
        let system: String = ["dns", "ingress"]
            .into_iter()
            .filter(|section| !self.sections.contains(&format!("[{section}]")))
            .map(|section| format!("\n[{section}]\nenabled = false\n"))
            .collect();
        let config = format!(
            "node = {name:?}\nstate_dir = {state_dir:?}\nrun_dir = {:?}\nnetns_prefix = \"{name}-\"\n{pod_cidr}{}{}{system}",
            dir.join("run"),
            self.extra,
            self.sections
        );
        fs::write(dir.join("vswitchd.toml"), config).expect("the new directory can be written to");
        TestNode { name, dir, netns, daemon: None, allowed_log: self.allowed_log }
    }
}

/// A name nobody else has, and the directory that belongs to it.
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) dir: PathBuf,
}

/// Makes the directory; `scripts/cleanup.sh` finds it, and what bears the name, should this process be
/// killed.
pub(crate) fn claim_place() -> Place {
    let number = PLACES.fetch_add(1, Ordering::Relaxed);
    // Short, because the prefix of pods' namespaces has 11 characters at most.
    let name = format!("vt{}-{}", base36(std::process::id()), base36(number));
    let dir = PathBuf::from(format!("/tmp/vpod-test.{}-{number}", std::process::id()));
    fs::create_dir(&dir).unwrap_or_else(|e| panic!("cannot create {}: {e}", dir.display()));
    fs::write(dir.join("name"), &name).expect("the new directory can be written to");
    Place { name, dir }
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
