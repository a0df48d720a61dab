//! What container runtimes are promised: the programs `vpod-cni` and `vpod-ipam`, called as a runtime calls them, with network
//! namespaces that are not vpod's.

mod away;
mod chains;
mod churn;
mod inputs;
mod installed;
mod ipam;
mod verbs;

use std::io::Write;
use std::net::IpAddr;
use std::process::Command;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use integration::{Background, Ran, TestNode, TestPod, binary, command, programs};
use serde_json::{Value, json};

/// Where plugins look for others.
const CNI_PATH: &str = "/opt/cni/bin:/usr/lib/cni";

/// Counts containers of this process, so that their names differ.
static CONTAINERS: AtomicU32 = AtomicU32::new(0);

/// A container as its runtime sees it: an id and a network namespace, which goes with this.
struct Container {
    id: String,
    netns: String,
}

impl Container {
    /// Makes the namespace.
    fn start(node: &TestNode) -> Self {
        let number = CONTAINERS.fetch_add(1, Ordering::Relaxed);
        let netns = format!("{}-c{number}", node.name());
        let mut ip = Command::new("ip");
        ip.args(["netns", "add", &netns]);
        command::run(ip).ok();
        Self { id: format!("container-{number}"), netns }
    }

    fn path(&self) -> String {
        format!("/run/netns/{}", self.netns)
    }

    fn sh(&self, script: &str) -> Ran {
        let mut nsenter = Command::new("nsenter");
        nsenter.args([&format!("--net={}", self.path()), "--", "sh", "-c", script]);
        command::run(nsenter)
    }

    fn spawn(&self, script: &str) -> Background {
        let mut nsenter = Command::new("nsenter");
        nsenter.args([&format!("--net={}", self.path()), "--", "sh", "-c", script]);
        Background::start(nsenter)
    }

    fn pings(&self, target: IpAddr) -> bool {
        self.sh(&format!("ping -n -c 1 -W 1 {target}")).succeeded()
    }

    /// Deletes the namespace, without a word to anybody.
    fn vanish(&self) {
        let mut ip = Command::new("ip");
        ip.args(["netns", "delete", &self.netns]);
        command::run(ip).ok();
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.netns]).output();
    }
}

/// A call as a runtime makes it.
#[derive(Clone)]
struct Call {
    program: &'static str,
    variables: Vec<(&'static str, String)>,
    config: Value,
}

impl Call {
    /// `verb` for `eth0` of a container, in the newest version.
    fn new(node: &TestNode, verb: &str, container: &Container) -> Self {
        let variables = vec![
            ("CNI_COMMAND", verb.to_owned()),
            ("CNI_CONTAINERID", container.id.clone()),
            ("CNI_NETNS", container.path()),
            ("CNI_IFNAME", "eth0".to_owned()),
            ("CNI_PATH", CNI_PATH.to_owned()),
        ];
        Self { program: "vpod-cni", variables, config: config(node) }
    }

    /// Replaces a variable, or adds it.
    fn with(mut self, name: &'static str, value: &str) -> Self {
        self = self.without(name);
        self.variables.push((name, value.to_owned()));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.variables.retain(|(known, _)| *known != name);
        self
    }

    /// Replaces a key of the configuration.
    fn set(mut self, key: &str, value: Value) -> Self {
        self.config[key] = value;
        self
    }

    fn spawn(&self, node: &TestNode) -> Background {
        static FRESH: Once = Once::new();
        FRESH.call_once(|| ["vpod-cni", "vpod-ipam"].into_iter().for_each(programs::assert_fresh));
        let mut program = node.command(binary(self.program).to_str().expect("the path is UTF-8"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CNI_")) {
            program.env_remove(name);
        }
        program.envs(self.variables.iter().map(|(name, value)| (name, value)));
        let mut running = Background::start(program);
        // Whoever is refused for its variables has not read this.
        let _ = running.stdin().write_all(self.config.to_string().as_bytes());
        running
    }

    #[track_caller]
    fn run(&self, node: &TestNode) -> Ran {
        self.spawn(node).wait()
    }

    /// Its answer, if it succeeded.
    #[track_caller]
    fn ok(&self, node: &TestNode) -> Value {
        let text = self.run(node).ok();
        if text.is_empty() { Value::Null } else { serde_json::from_str(&text).expect("the answer is JSON") }
    }

    /// The error's code and message, if it failed.
    #[track_caller]
    fn fails(&self, node: &TestNode) -> (u64, String) {
        error(&self.run(node))
    }
}

#[track_caller]
fn error(ran: &Ran) -> (u64, String) {
    assert!(!ran.succeeded(), "{ran}");
    let error: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{e}: {ran}"));
    let text = format!(
        "{}\n{}",
        error["msg"].as_str().expect("an error has a message"),
        error["details"].as_str().unwrap_or_default()
    );
    (error["code"].as_u64().expect("an error has a code"), text)
}

/// A network that has every capability.
fn config(node: &TestNode) -> Value {
    json!({
        "cniVersion": "1.1.0",
        "name": "pods",
        "type": "vpod-cni",
        "socket": node.socket(),
    })
}

/// ADD, and the container as a pod.
#[track_caller]
fn add(node: &TestNode, container: &Container) -> Value {
    Call::new(node, "ADD", container).ok(node)
}

#[track_caller]
fn del(node: &TestNode, container: &Container) {
    Call::new(node, "DEL", container).run(node).ok();
}

/// The first address of a result, without its prefix.
#[track_caller]
fn address(result: &Value) -> IpAddr {
    let text = result["ips"][0]["address"].as_str().unwrap_or_else(|| panic!("no address: {result}"));
    text.split('/').next().and_then(|ip| ip.parse().ok()).unwrap_or_else(|| panic!("{text}"))
}

/// How many pods there are.
fn pods(node: &TestNode) -> Vec<TestPod> {
    node.pods().iter().map(TestPod::of).collect()
}
