//! A node: a network namespace with a real `vswitchd` in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use protocol::client::{Client, ClientError};
use protocol::message::{AdminRequest, CreatePod, Items, Kind, PodRef, ReadRequest, Response, Status};
use protocol::object::{DropEntry, Pod, Port, Resources, RestartPolicy};

use crate::command::{self, Background, Ran};
use crate::netns::NodeNetns;
use crate::options::NodeOptions;
use crate::pod::TestPod;
use crate::programs::binary;
use crate::{checks, wait};

/// A running node. Dropping it stops the daemon, purges it, and checks what every test promises.
pub struct TestNode {
    pub(crate) name: String,
    pub(crate) dir: PathBuf,
    pub(crate) netns: NodeNetns,
    pub(crate) daemon: Option<Child>,
    pub(crate) allowed_log: Vec<&'static str>,
}

impl TestNode {
    /// With the defaults.
    #[track_caller]
    #[must_use]
    pub fn start() -> Self {
        NodeOptions::default().start()
    }

    /// Its name, which is also that of its network namespace.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its configuration, state and log are.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The address of the node's own NIC.
    #[must_use]
    pub fn address(&self) -> &str {
        self.netns.address()
    }

    /// The admin socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.join("run/admin.sock")
    }

    /// From now on a warning or error that contains `part` is expected.
    pub fn allow_log(&mut self, part: &'static str) {
        self.allowed_log.push(part);
    }

    /// Starts the daemon, again if need be, and waits until it serves.
    ///
    /// # Panics
    /// When it does not come up.
    #[track_caller]
    pub fn start_daemon(&mut self) {
        assert!(self.daemon.is_none(), "the daemon of {} runs already", self.name);
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_path())
            .expect("the log can be created");
        let child = self
            .vswitchd()
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be cloned"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start vswitchd: {e}"));
        self.daemon = Some(child);
        let deadline = Instant::now() + wait::PATIENCE;
        while !self.serves() {
            let ended = self.daemon.as_mut().and_then(|child| child.try_wait().ok().flatten());
            assert!(ended.is_none(), "vswitchd ended at start: {ended:?}\n{}", self.log());
            assert!(Instant::now() < deadline, "vswitchd does not serve\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn serves(&self) -> bool {
        let Ok(mut client) = Client::connect(&self.socket()) else { return false };
        let _ = client.set_timeout(Some(wait::PATIENCE));
        match client.request(&AdminRequest::Read(ReadRequest::Status)) {
            Ok(Response::Status(status)) => status.datapath.is_some() && status.node.ready == Some(true),
            Ok(_) | Err(_) => false,
        }
    }

    /// `vswitchd` with this node's configuration, in its namespace.
    #[must_use]
    pub fn vswitchd(&self) -> Command {
        let mut command = self.netns.command(binary("vswitchd").to_str().expect("the path is UTF-8"));
        command.arg("--config").arg(self.dir.join("vswitchd.toml"));
        command
    }

    /// Sends `signal` to the daemon's control process.
    ///
    /// # Panics
    /// When it does not run.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        kill(self.control_pid(), signal).expect("the daemon can be signalled");
    }

    /// The daemon's control process.
    ///
    /// # Panics
    /// When it does not run.
    #[track_caller]
    #[must_use]
    pub fn control_pid(&self) -> Pid {
        let child = self.daemon.as_ref().expect("the daemon runs");
        Pid::from_raw(i32::try_from(child.id()).expect("a process id is positive"))
    }

    /// The datapath process.
    ///
    /// # Panics
    /// When it does not run.
    #[track_caller]
    #[must_use]
    pub fn datapath_pid(&self) -> Pid {
        let datapath = self.status().datapath.expect("the datapath runs");
        Pid::from_raw(i32::try_from(datapath.pid).expect("a process id is positive"))
    }

    /// Waits until the daemon ends.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn wait_for_end(&mut self) -> ExitStatus {
        let child = self.daemon.as_mut().expect("the daemon runs");
        let status = wait::until("vswitchd ends", || child.try_wait().expect("a child can be asked"));
        self.daemon = None;
        status
    }

    /// SIGTERM, and waits for a clean end.
    ///
    /// # Panics
    /// When it does not end with status 0.
    #[track_caller]
    pub fn stop_daemon(&mut self) {
        self.signal(Signal::SIGTERM);
        let status = self.wait_for_end();
        assert!(status.success(), "vswitchd ended with {status}\n{}", self.log());
    }

    /// Everything of the node that is not on its disk is gone at once: processes, namespaces, devices.
    pub(crate) fn lose_power(&mut self) {
        if let Some(mut child) = self.daemon.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        checks::sweep(&self.name);
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).status();
        let _ = fs::remove_dir_all(self.dir.join("run"));
    }

    /// It boots, with its NIC in the new namespace `netns`, and finds what is on its disk.
    #[track_caller]
    pub(crate) fn regain_power(&mut self, netns: NodeNetns) {
        // The old guard's namespace is gone, and the new one bears its name.
        std::mem::forget(std::mem::replace(&mut self.netns, netns));
        // As it should say.
        self.allowed_log.push("its network namespace is gone, as after a reboot");
        self.start_daemon();
    }

    /// A connection to the admin socket.
    ///
    /// # Panics
    /// When the daemon does not serve.
    #[track_caller]
    #[must_use]
    pub fn client(&self) -> Client {
        let mut client = Client::connect(&self.socket()).unwrap_or_else(|e| panic!("{e}\n{}", self.log()));
        client.set_timeout(Some(wait::PATIENCE)).expect("the timeout is not zero");
        client
    }

    /// One request on a connection of its own.
    ///
    /// # Errors
    /// What the daemon refused.
    #[track_caller]
    pub fn request(&self, request: &AdminRequest) -> Result<Response, ClientError> {
        self.client().request(request)
    }

    /// A pod in namespace `default`, without containers.
    ///
    /// # Panics
    /// When it cannot be created.
    #[track_caller]
    #[must_use]
    pub fn create_pod(&self, name: &str) -> TestPod {
        self.create(&pod_request(name, &[]))
    }

    /// A pod in namespace `default` with one container.
    ///
    /// # Panics
    /// When it cannot be created.
    #[track_caller]
    #[must_use]
    pub fn create_pod_running(&self, name: &str, command: &[&str]) -> TestPod {
        self.create(&pod_request(name, command))
    }

    /// A pod as described.
    ///
    /// # Panics
    /// When it cannot be created.
    #[track_caller]
    #[must_use]
    pub fn create(&self, request: &CreatePod) -> TestPod {
        match self.request(&AdminRequest::CreatePod(Box::new(request.clone()))) {
            Ok(Response::Pod(pod)) => TestPod::of(&pod),
            other => panic!("creating {}: {other:?}\n{}", request.pod, self.log()),
        }
    }

    /// Deletes a pod.
    ///
    /// # Panics
    /// When that fails.
    #[track_caller]
    pub fn delete_pod(&self, pod: &TestPod) {
        let answer = self.request(&AdminRequest::DeletePod(reference(&pod.namespace, &pod.name)));
        assert!(matches!(answer, Ok(Response::Done)), "deleting {}: {answer:?}", pod.key());
    }

    /// A pod of namespace `default` as the daemon describes it.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    #[must_use]
    pub fn pod(&self, name: &str) -> Pod {
        match self.request(&AdminRequest::Read(ReadRequest::GetPod(reference("default", name)))) {
            Ok(Response::Pod(pod)) => *pod,
            other => panic!("pod {name}: {other:?}"),
        }
    }

    /// All rows of `kind`.
    ///
    /// # Panics
    /// When the daemon does not answer.
    #[track_caller]
    #[must_use]
    pub fn list(&self, kind: Kind) -> Vec<Items> {
        let request = AdminRequest::Read(ReadRequest::List { kind, namespace: None });
        self.client().list(&request).unwrap_or_else(|e| panic!("listing {kind:?}: {e}"))
    }

    /// All pods.
    #[track_caller]
    #[must_use]
    pub fn pods(&self) -> Vec<Pod> {
        let only_pods = |items| if let Items::Pods(rows) = items { rows } else { Vec::new() };
        self.list(Kind::Pods).into_iter().flat_map(only_pods).collect()
    }

    /// All ports with their counters.
    ///
    /// # Panics
    /// When the daemon does not answer.
    #[track_caller]
    #[must_use]
    pub fn ports(&self) -> Vec<Port> {
        self.try_ports().unwrap_or_else(|e| panic!("listing ports: {e}\n{}", self.log()))
    }

    /// How many frames from `pod` were dropped for `reason`.
    #[track_caller]
    #[must_use]
    pub fn drops(&self, pod: &TestPod, reason: &str) -> u64 {
        let of_pod = |row: &DropEntry| row.port == pod.port && row.reason == reason;
        let only_drops = |items| if let Items::Drops(rows) = items { rows } else { Vec::new() };
        let rows = self.list(Kind::Drops).into_iter().flat_map(only_drops);
        rows.filter(of_pod).map(|row| row.frames).sum()
    }

    /// The daemon's state.
    ///
    /// # Panics
    /// When it does not answer.
    #[track_caller]
    #[must_use]
    pub fn status(&self) -> Status {
        match self.request(&AdminRequest::Read(ReadRequest::Status)) {
            Ok(Response::Status(status)) => *status,
            other => panic!("status: {other:?}\n{}", self.log()),
        }
    }

    /// Runs `vpodctl` with the words of `arguments`.
    #[track_caller]
    #[must_use]
    pub fn vpodctl(&self, arguments: &str) -> Ran {
        self.vpodctl_words(&arguments.split_whitespace().collect::<Vec<_>>())
    }

    /// Runs `vpodctl` with `arguments`, some of which may contain spaces.
    #[track_caller]
    #[must_use]
    pub fn vpodctl_words(&self, arguments: &[&str]) -> Ran {
        command::run(self.vpodctl_command(arguments))
    }

    /// Starts `vpodctl` with the words of `arguments`.
    #[track_caller]
    #[must_use]
    pub fn vpodctl_spawn(&self, arguments: &str) -> Background {
        Background::start(self.vpodctl_command(&arguments.split_whitespace().collect::<Vec<_>>()))
    }

    fn vpodctl_command(&self, arguments: &[&str]) -> Command {
        // In the node's namespace, where its user sits.
        let mut command = self.netns.command(binary("vpodctl").to_str().expect("the path is UTF-8"));
        command.args(arguments).env("VPOD_SOCKET", self.socket()).env("NO_COLOR", "1");
        command
    }

    /// A program that will run on the node itself.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        self.netns.command(program)
    }

    /// Runs a shell script on the node itself.
    #[track_caller]
    #[must_use]
    pub fn sh(&self, script: &str) -> Ran {
        let mut command = self.netns.command("sh");
        command.args(["-c", script]);
        command::run(command)
    }

    /// Starts a shell script on the node itself.
    #[track_caller]
    #[must_use]
    pub fn spawn(&self, script: &str) -> Background {
        let mut command = self.netns.command("sh");
        command.args(["-c", script]);
        Background::start(command)
    }

    /// What the daemon has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.dir.join("vswitchd.log")
    }

    /// Counters that add up, at any moment of a test.
    ///
    /// # Panics
    /// When they do not.
    #[track_caller]
    pub fn assert_conservation(&self) {
        let violations = checks::conservation(&self.ports());
        assert!(violations.is_empty(), "the conservation law is broken:\n{}", violations.join("\n"));
    }

    /// Stops, purges, and collects everything that is not as it must be. Never panics: the test may
    /// have failed already.
    fn finish(&mut self) -> Vec<String> {
        let mut problems = Vec::new();
        if let Some(child) = self.daemon.take() {
            match self.try_ports() {
                Ok(ports) => problems.extend(checks::conservation(&ports)),
                Err(error) => problems.push(format!("the counters cannot be read: {error}")),
            }
            problems.extend(terminate(child));
        }
        match self.vswitchd().arg("--purge").output() {
            Ok(output) if output.status.success() => {}
            Ok(output) => problems.push(format!(
                "vswitchd --purge ended with {}: {}",
                output.status,
                String::from_utf8_lossy(&output.stderr)
            )),
            Err(e) => problems.push(format!("vswitchd --purge: {e}")),
        }
        problems.extend(checks::log(&self.log(), &self.allowed_log));
        problems.extend(checks::leftovers(&self.name, &self.dir));
        problems
    }

    fn try_ports(&self) -> Result<Vec<Port>, ClientError> {
        let mut client = Client::connect(&self.socket())?;
        let _ = client.set_timeout(Some(wait::PATIENCE));
        let pages =
            client.list(&AdminRequest::Read(ReadRequest::List { kind: Kind::Ports, namespace: None }))?;
        Ok(pages
            .into_iter()
            .flat_map(|items| if let Items::Ports(rows) = items { rows } else { Vec::new() })
            .collect())
    }
}

/// SIGTERM, SIGKILL if need be; says what was not as it should be.
fn terminate(mut child: Child) -> Option<String> {
    let pid = i32::try_from(child.id()).unwrap_or_default();
    let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    let deadline = Instant::now() + wait::PATIENCE;
    while Instant::now() < deadline {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return None,
            Ok(Some(status)) => return Some(format!("vswitchd ended with {status}")),
            Ok(None) => std::thread::sleep(Duration::from_millis(10)),
            Err(e) => return Some(format!("vswitchd cannot be waited for: {e}")),
        }
    }
    let _ = child.kill();
    let _ = child.wait();
    Some("vswitchd did not end on SIGTERM".to_owned())
}

impl Drop for TestNode {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        if failed {
            eprintln!("--- log of {}\n{}", self.name, self.log());
        }
        let problems = self.finish();
        checks::sweep(&self.name);
        let report = format!(
            "{} at the end of the test:\n{}\n--- log\n{}",
            self.name,
            problems.join("\n"),
            self.log()
        );
        let _ = fs::remove_dir_all(&self.dir);
        if failed {
            eprintln!("{}", problems.join("\n"));
        } else {
            assert!(problems.is_empty(), "{report}");
        }
    }
}

/// The usual request for a pod of namespace `default`.
#[must_use]
pub fn pod_request(name: &str, command: &[&str]) -> CreatePod {
    CreatePod {
        pod: reference("default", name),
        labels: std::collections::BTreeMap::new(),
        ip: None,
        mac: None,
        port_security: true,
        resources: Resources::default(),
        restart_policy: RestartPolicy::Always,
        command: command.iter().map(|&word| word.to_owned()).collect(),
        serving: protocol::object::Serving::default(),
        dns: protocol::object::PodDns::default(),
        hostname: None,
        subdomain: None,
        bandwidth: protocol::object::Bandwidth::default(),
    }
}

/// Names a pod.
///
/// # Panics
/// When a name breaks the rules.
#[must_use]
pub fn reference(namespace: &str, name: &str) -> PodRef {
    PodRef {
        namespace: namespace.parse().unwrap_or_else(|e| panic!("{e}")),
        name: name.parse().unwrap_or_else(|e| panic!("{e}")),
    }
}
