//! An etcd server of our own on the underlay's bridge, where every node reaches it.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::command;
use crate::underlay::{SWITCH_ADDRESS, Underlay};
use crate::wait;

/// Where clients find it.
const CLIENT_PORT: u16 = 2379;

/// A running server, killed when dropped; its data goes with the underlay's directory.
pub struct Etcd {
    server: Option<Child>,
    netns: String,
    dir: PathBuf,
}

impl Etcd {
    /// Starts a server without data on the bridge and waits until it serves.
    #[track_caller]
    #[must_use]
    pub fn start(underlay: &Underlay) -> Self {
        let netns = underlay.netns_name().to_owned();
        let mut etcd = Self { server: None, netns, dir: underlay.dir().join("etcd") };
        etcd.start_again();
        etcd
    }

    /// What a daemon's configuration names.
    #[must_use]
    pub fn endpoint() -> String {
        format!("http://{SWITCH_ADDRESS}:{CLIENT_PORT}")
    }

    /// Starts it on the data it had.
    ///
    /// # Panics
    /// When it does not come up.
    #[track_caller]
    pub fn start_again(&mut self) {
        assert!(self.server.is_none(), "etcd runs already");
        fs::create_dir_all(&self.dir).expect("our directory can be written to");
        let log = fs::File::create(self.dir.join("log")).expect("our directory can be written to");
        let peer = "http://127.0.0.1:2380";
        let mut command = crate::netns::enter(&self.netns, "etcd");
        command.arg("--data-dir").arg(self.dir.join("data"));
        command.args([
            "--listen-client-urls",
            &Self::endpoint(),
            "--advertise-client-urls",
            &Self::endpoint(),
        ]);
        command.args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]);
        command.args(["--initial-cluster", &format!("default={peer}"), "--logger", "zap"]);
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a file can be cloned")).stderr(log);
        self.server = Some(command.spawn().unwrap_or_else(|e| panic!("cannot start etcd: {e}")));
        wait::until("etcd serves", || self.etcdctl("endpoint health").status().ok()?.success().then_some(()));
    }

    /// SIGKILL, as a machine that lost its power.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }

    /// It holds its connections and says nothing any more.
    #[track_caller]
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// It goes on after [`Etcd::freeze`].
    #[track_caller]
    pub fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Loses everything it knew, as after a restore of an empty backup. It must not run.
    pub fn forget_everything(&self) {
        assert!(self.server.is_none(), "etcd runs");
        let _ = fs::remove_dir_all(self.dir.join("data"));
    }

    /// Keys below `prefix` with their values.
    #[track_caller]
    #[must_use]
    pub fn entries(&self, prefix: &str) -> Vec<(String, String)> {
        let output = command::run(self.etcdctl(&format!("get --prefix {prefix}"))).ok();
        let lines: Vec<&str> = output.lines().collect();
        lines.chunks_exact(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned())).collect()
    }

    fn etcdctl(&self, words: &str) -> Command {
        let mut command = crate::netns::enter(&self.netns, "etcdctl");
        command.env("ETCDCTL_API", "3").arg("--endpoints").arg(Self::endpoint());
        command.args(["--command-timeout", "2s", "--dial-timeout", "1s"]).args(words.split_whitespace());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    #[track_caller]
    fn signal(&self, signal: Signal) {
        let server = self.server.as_ref().expect("etcd runs");
        let pid = i32::try_from(server.id()).expect("a process id is positive");
        // The command that enters the namespace became etcd itself.
        kill(Pid::from_raw(pid), signal).expect("etcd can be signalled");
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
    }
}
