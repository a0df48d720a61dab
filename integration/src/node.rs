//! A node: a network namespace with a real `vswitchd` in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use protocol::client::{Client, ClientError};
use protocol::message::{AdminRequest, CreatePod, Items, Kind, PodRef, ReadRequest, Response, Status};
use protocol::object::{DropEntry, Pod, Port, Resources, RestartPolicy};

use crate::command::{self, Background, Ran};
use crate::netns::NodeNetns;
use crate::pod::TestPod;
use crate::{checks, privilege, wait};

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

/// A running node. Dropping it stops the daemon, purges it, and checks what every test promises.
pub struct TestNode {
    name: String,
    dir: PathBuf,
    netns: NodeNetns,
    daemon: Option<Child>,
    allowed_log: Vec<&'static str>,
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
    pub fn address(&self) -> &'static str {
        crate::netns::NODE_ADDRESS
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
        let deadline = std::time::Instant::now() + wait::PATIENCE;
        while !self.serves() {
            let ended = self.daemon.as_mut().and_then(|child| child.try_wait().ok().flatten());
            assert!(ended.is_none(), "vswitchd ended at start: {ended:?}\n{}", self.log());
            assert!(std::time::Instant::now() < deadline, "vswitchd does not serve\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn serves(&self) -> bool {
        let Ok(mut client) = Client::connect(&self.socket()) else { return false };
        let _ = client.set_timeout(Some(wait::PATIENCE));
        match client.request(&AdminRequest::Read(ReadRequest::Status)) {
            Ok(Response::Status(status)) => status.datapath.is_some() && status.node.ready,
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
        let mut child = self.daemon.take().expect("the daemon runs");
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait::until("vswitchd ends", || child.try_wait().expect("a child can be asked"))
        }));
        if ended.is_err() {
            let _ = child.kill();
            let _ = child.wait();
        }
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
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
        match self.request(&AdminRequest::CreatePod(request.clone())) {
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
    #[track_caller]
    #[must_use]
    pub fn ports(&self) -> Vec<Port> {
        let only_ports = |items| if let Items::Ports(rows) = items { rows } else { Vec::new() };
        self.list(Kind::Ports).into_iter().flat_map(only_ports).collect()
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

    /// Stops, purges, and collects everything that is not as it must be.
    fn finish(&mut self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.daemon.is_some() {
            // A test may end with the daemon in any state, so nothing here may panic.
            let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let violations = checks::conservation(&self.ports());
                self.stop_daemon();
                violations
            }));
            match checked {
                Ok(violations) => problems.extend(violations),
                Err(_) => problems.push("the daemon could not be asked and stopped at the end".to_owned()),
            }
        }
        if let Some(mut child) = self.daemon.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let purge = self.vswitchd().arg("--purge").output();
        match purge {
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

/// A program of this workspace, as built beside the running test.
///
/// # Panics
/// When it is missing, or older than a source it was built from: `cargo test -p integration` does
/// not build other packages' programs, and testing yesterday's daemon helps nobody.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a process knows its executable");
    let dir = test.parent().and_then(Path::parent).expect("tests are built into target/<profile>/deps");
    let path = dir.join(name);
    let built = modified(&path).unwrap_or_else(|| {
        panic!("{} is missing: build it with `cargo build --workspace --bins`", path.display())
    });
    let sources = fs::read_to_string(dir.join(format!("{name}.d"))).unwrap_or_default();
    // "target: source source …", as make reads it.
    for source in sources.split_whitespace().skip(1) {
        if modified(Path::new(source)).is_some_and(|time| time > built) {
            panic!(
                "{} is older than {source}: build it with `cargo build --workspace --bins`",
                path.display()
            );
        }
    }
    path
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|m| m.modified()).ok()
}
