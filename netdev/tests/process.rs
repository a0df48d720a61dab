//! Programs in pods.

mod support;

use std::fs;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, process};

use netdev::PodCommand;
use netdev::netns;
use netdev::process::{SetupError, pidfd_open, pidfd_send_signal};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use support::{TestNetns, tap_options, unique_name};

fn shell(ns: &TestNetns, script: &str) -> PodCommand {
    let argv = ["sh", "-c", script].map(String::from).to_vec();
    PodCommand {
        stdin: Stdio::null(),
        stdout: Stdio::piped(),
        ..PodCommand::new(netns::path_of(&ns.name), argv)
    }
}

/// What it prints; it must succeed.
#[track_caller]
fn output(command: PodCommand) -> String {
    let output = command.spawn().expect("spawn").wait_with_output().expect("wait");
    assert!(output.status.success(), "{}", output.status);
    String::from_utf8(output.stdout).expect("UTF-8").trim_end().to_owned()
}

#[track_caller]
fn setup_error(result: io::Result<process::Child>) -> String {
    let error = result.expect_err("must fail");
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<SetupError>());
    inner.unwrap_or_else(|| panic!("not a SetupError: {error:?}")).to_string()
}

/// A cgroup of its own in the first hierarchy this machine has.
struct TestCgroup(PathBuf);

impl TestCgroup {
    fn new() -> Self {
        let roots = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup/pids", "/sys/fs/cgroup"];
        let root = roots.iter().map(Path::new).find(|root| root.join("cgroup.procs").exists());
        let path = root.expect("a cgroup hierarchy").join(unique_name("cgroup"));
        fs::create_dir(&path).expect("make a cgroup");
        Self(path)
    }
}

impl Drop for TestCgroup {
    fn drop(&mut self) {
        // Empty once its processes have been waited for.
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn program_sees_the_pods_network_and_nothing_else() {
    let ns = TestNetns::new("net");
    let tap = ns.run(|| netdev::VnetTap::create(&tap_options("eth0")).expect("TAP"));
    assert_eq!(output(shell(&ns, "ls /sys/class/net | sort | tr '\\n' ' '")), "eth0 lo");
    drop(tap);
}

#[test]
fn program_sees_the_pods_host_name_and_the_node_keeps_its_own() {
    let ns = TestNetns::new("host");
    let before = fs::read_to_string("/proc/sys/kernel/hostname").expect("hostname");
    let command =
        PodCommand { hostname: Some(String::from("web-0")), ..shell(&ns, "cat /proc/sys/kernel/hostname") };
    assert_eq!(output(command), "web-0");
    assert_eq!(fs::read_to_string("/proc/sys/kernel/hostname").expect("hostname"), before);
}

#[test]
fn program_sees_the_pods_files_and_the_node_its_own() {
    let ns = TestNetns::new("bind");
    let directory = tempfile::tempdir().expect("directory");
    let (source, target) = (directory.path().join("pod"), directory.path().join("node"));
    fs::write(&source, "of the pod").expect("write");
    fs::write(&target, "of the node").expect("write");
    let command = PodCommand {
        binds: vec![(source, target.clone())],
        ..shell(&ns, &format!("cat {}", target.display()))
    };
    assert_eq!(output(command), "of the pod");
    assert_eq!(fs::read_to_string(&target).expect("read"), "of the node");
}

#[test]
fn program_runs_in_its_cgroup_and_sees_the_hierarchy() {
    let ns = TestNetns::new("cgroup");
    let cgroup = TestCgroup::new();
    let name = cgroup.0.file_name().expect("name").to_string_lossy().into_owned();
    let command = PodCommand {
        cgroup_procs: vec![cgroup.0.join("cgroup.procs")],
        ..shell(&ns, &format!("cat /proc/self/cgroup; test -d {} && echo visible", cgroup.0.display()))
    };
    let text = output(command);
    assert!(text.contains(&name), "{text}");
    assert!(text.ends_with("visible"), "/sys/fs/cgroup survives the new /sys: {text}");
}

#[test]
fn exit_status_and_signal_come_back() {
    let ns = TestNetns::new("status");
    let wait = |script| shell(&ns, script).spawn().expect("spawn").wait().expect("wait");
    assert_eq!(wait("exit 7").code(), Some(7));
    assert_eq!(wait("kill -9 $$").signal(), Some(9));
}

#[test]
fn missing_program_and_missing_permission_are_told_apart() {
    let ns = TestNetns::new("enoent");
    let mut command = shell(&ns, "");
    command.argv = vec![String::from("no-such-program")];
    assert_eq!(command.spawn().expect_err("no such program").kind(), io::ErrorKind::NotFound);
    let mut command = shell(&ns, "");
    command.argv = vec![String::from("/etc/passwd")];
    assert_eq!(command.spawn().expect_err("not a program").kind(), io::ErrorKind::PermissionDenied);
}

#[test]
fn program_is_looked_up_in_the_path_it_will_have() {
    let ns = TestNetns::new("path");
    let directory = tempfile::tempdir().expect("directory");
    let script = directory.path().join("only-here");
    // A link, not a copy: a program that is open for writing in a sibling just forked cannot be run ("text file busy").
    std::os::unix::fs::symlink("/bin/true", &script).expect("link");
    let mut command = shell(&ns, "");
    command.argv = vec![String::from("only-here")];
    command.env = vec![(String::from("PATH"), directory.path().display().to_string())];
    assert!(command.spawn().expect("spawn").wait().expect("wait").success());
}

#[test]
fn environment_is_added_to_or_replaced() {
    let ns = TestNetns::new("env");
    let variable = |name: &str, value: &str| (String::from(name), String::from(value));
    let command =
        PodCommand { env: vec![variable("POD", "web")], ..shell(&ns, "echo $POD ${PATH:+inherited}") };
    assert_eq!(output(command), "web inherited");
    let command = PodCommand {
        clear_env: true,
        env: vec![variable("PATH", "/usr/bin:/bin"), variable("POD", "web")],
        current_dir: Some(PathBuf::from("/tmp")),
        ..shell(&ns, "env | grep -v -e PWD -e SHLVL -e '^_=' | sort | tr '\\n' ' '; pwd")
    };
    assert_eq!(output(command), "PATH=/usr/bin:/bin POD=web /tmp");
}

#[test]
fn failure_before_the_program_names_step_and_object() {
    let ns = TestNetns::new("setup");
    let mut missing_netns = shell(&ns, "true");
    missing_netns.netns = PathBuf::from("/run/netns/ndtest-nosuch");
    assert_eq!(setup_error(missing_netns.spawn()), "cannot enter namespace /run/netns/ndtest-nosuch");

    let mut missing_target = shell(&ns, "true");
    missing_target.binds = vec![
        (PathBuf::from("/etc/passwd"), PathBuf::from("/etc/passwd")),
        (PathBuf::from("/etc/passwd"), PathBuf::from("/nosuch")),
    ];
    assert_eq!(setup_error(missing_target.spawn()), "cannot bind /etc/passwd on /nosuch");

    let mut missing_cgroup = shell(&ns, "true");
    missing_cgroup.cgroup_procs = vec![PathBuf::from("/sys/fs/cgroup/nosuch/cgroup.procs")];
    assert_eq!(setup_error(missing_cgroup.spawn()), "cannot join cgroup /sys/fs/cgroup/nosuch/cgroup.procs");

    let mut no_words = shell(&ns, "true");
    no_words.argv.clear();
    assert_eq!(setup_error(no_words.spawn()), "cannot run a command without words");
}

#[test]
fn program_inherits_no_descriptor_and_no_signal_disposition() {
    let ns = TestNetns::new("clean");
    let (reader, _writer) = io::pipe().expect("pipe");
    // Without close-on-exec, as a careless library would leave it.
    let leaked = nix::unistd::dup(reader.as_fd()).expect("dup");
    // 3 is the directory that ls itself reads.
    assert_eq!(output(shell(&ns, "exec ls /proc/self/fd | tr '\\n' ' '")), "0 1 2 3");
    drop(leaked);
    // Rust programs, this one included, ignore SIGPIPE.
    let text = output(shell(&ns, "exec grep -E 'SigIgn|SigBlk' /proc/self/status"));
    assert_eq!(text.matches("0000000000000000").count(), 2, "{text}");
}

#[test]
fn new_session_has_no_terminal_and_its_own_leader() {
    let ns = TestNetns::new("session");
    let command = PodCommand { new_session: true, ..shell(&ns, "echo $$; cut -d' ' -f6 /proc/self/stat") };
    let text = output(command);
    let (pid, session) = text.split_once('\n').expect("two lines");
    assert_eq!(pid, session);
}

#[test]
fn running_pod_follows_what_the_node_mounts_and_unmounts() {
    let ns = TestNetns::new("running");
    let mut before = TestNetns::new("before");
    let command = PodCommand { stdin: Stdio::piped(), ..shell(&ns, "echo ready; read line") };
    let mut child = command.spawn().expect("spawn");
    child.stdout.take().expect("pipe").read_exact(&mut [0; 5]).expect("ready");
    let mountinfo = format!("/proc/{}/mountinfo", child.id());
    let sees = |name: &str| fs::read_to_string(&mountinfo).expect("mountinfo").contains(name);
    assert!(sees(&before.name));
    before.release();
    assert!(!sees(&before.name));
    let mut after = TestNetns::new("after");
    assert!(sees(&after.name));
    after.release();
    assert!(!sees(&after.name));
    drop(child.stdin.take());
    child.wait().expect("wait");
}

#[test]
fn pidfd_signals_and_tells_the_end() {
    let ns = TestNetns::new("pidfd");
    let mut child = shell(&ns, "exec sleep 1000").spawn().expect("spawn");
    let pidfd = pidfd_open(child.id()).expect("pidfd");
    let ended = |timeout: PollTimeout| {
        let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, timeout).expect("poll") == 1
    };
    assert!(!ended(PollTimeout::ZERO));
    pidfd_send_signal(pidfd.as_fd(), libc::SIGTERM).expect("signal");
    assert!(ended(PollTimeout::from(20_000_u16)));
    assert_eq!(child.wait().expect("wait").signal(), Some(libc::SIGTERM));
    let error = pidfd_send_signal(pidfd.as_fd(), libc::SIGTERM).expect_err("it has ended");
    assert_eq!(error.raw_os_error(), Some(libc::ESRCH));
}

/// Runs itself a second time, and that run becomes the program.
#[test]
fn exec_replaces_the_calling_process() {
    const NETNS: &str = "NETDEV_TEST_EXEC_NETNS";
    if let Ok(netns) = env::var(NETNS) {
        let argv = ["sh", "-c", "cat /proc/sys/kernel/hostname; exit 7"].map(String::from).to_vec();
        let error =
            PodCommand { hostname: Some(String::from("execed")), ..PodCommand::new(netns, argv) }.exec();
        panic!("exec: {error}");
    }
    let ns = TestNetns::new("exec");
    let output = Command::new(env::current_exe().expect("this program"))
        .args(["--exact", "--nocapture", "exec_replaces_the_calling_process"])
        .env(NETNS, netns::path_of(&ns.name))
        .output()
        .expect("run itself");
    assert_eq!(output.status.code(), Some(7), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("execed\n"));
}

#[test]
fn program_without_rights_has_none_and_can_get_none() {
    let ns = TestNetns::new("rights");
    let script =
        "id -u; id -G; grep -E '^(CapEff|CapBnd|CapAmb|NoNewPrivs)' /proc/self/status | tr -d '\\t\\n'";
    let command = PodCommand { run_as: Some((98_053, 98_054)), ..shell(&ns, script) };
    let none = "0000000000000000";
    let expected = format!("98053\n98054\nCapEff:{none}CapBnd:{none}CapAmb:{none}NoNewPrivs:1");
    assert_eq!(output(command), expected);
}
