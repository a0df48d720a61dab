//! Stores to test on: an embedded one in a directory of its own, an etcd server of its own, and a TCP proxy
//! that can go silent.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use store::Store;
use store::cluster::embedded::HistoryLimits;
use store::cluster::{ClusterStore, Embedded, Etcd, EtcdConfig, Revision};

/// A store to test.
pub(crate) trait Bed: Sync {
    /// The store, as one client sees it.
    fn store(&self) -> Arc<dyn ClusterStore>;
    /// Another client's view of it; the same one where there can be only one.
    fn another(&self) -> Arc<dyn ClusterStore>;
    /// Makes it forget changes before `revision`.
    fn compact(&self, revision: Revision);
}

/// The history of embedded stores under test, so that a test can overrun it.
const HISTORY: usize = 4096;

pub(crate) struct EmbeddedBed {
    pub(crate) dir: tempfile::TempDir,
    store: Arc<Embedded>,
}

impl EmbeddedBed {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(open_embedded(dir.path()));
        Self { dir, store }
    }

    /// As after a restart of the process.
    pub(crate) fn reopened(self) -> Self {
        let Self { dir, store } = self;
        drop(Arc::into_inner(store).expect("somebody still uses the store"));
        let store = Arc::new(open_embedded(dir.path()));
        Self { dir, store }
    }
}

fn open_embedded(dir: &Path) -> Embedded {
    let file = Arc::new(Store::open(&dir.join("state.redb")).unwrap());
    Embedded::with_history(file, HistoryLimits { events: HISTORY, bytes: 8 << 20 }).unwrap()
}

impl Bed for EmbeddedBed {
    fn store(&self) -> Arc<dyn ClusterStore> {
        Arc::clone(&self.store) as Arc<dyn ClusterStore>
    }

    fn another(&self) -> Arc<dyn ClusterStore> {
        self.store()
    }

    /// Overruns the history, in few commits.
    fn compact(&self, _: Revision) {
        let store = self.store();
        for round in 0..=HISTORY / 128 {
            let txn = (0..128).fold(store::cluster::Txn::new(), |txn, n| {
                txn.put(&format!("/filler/{n}"), round.to_string().as_bytes())
            });
            store.commit(&txn).unwrap();
        }
    }
}

pub(crate) struct EtcdBed {
    pub(crate) server: EtcdServer,
    store: Arc<Etcd>,
}

impl EtcdBed {
    pub(crate) fn new() -> Self {
        let server = EtcdServer::start();
        let store = Arc::new(Etcd::new(quick(vec![server.endpoint()])).unwrap());
        Self { server, store }
    }
}

/// A configuration that notices silence after a second instead of four.
pub(crate) fn quick(endpoints: Vec<String>) -> EtcdConfig {
    EtcdConfig { probe: Duration::from_millis(500), ..EtcdConfig::new(endpoints) }
}

impl Bed for EtcdBed {
    fn store(&self) -> Arc<dyn ClusterStore> {
        Arc::clone(&self.store) as Arc<dyn ClusterStore>
    }

    fn another(&self) -> Arc<dyn ClusterStore> {
        Arc::new(Etcd::new(quick(vec![self.server.endpoint()])).unwrap())
    }

    fn compact(&self, revision: Revision) {
        self.server.etcdctl(&["compaction", &revision.to_string()]);
    }
}

/// An etcd server; killed at the end.
pub(crate) struct EtcdServer {
    dir: tempfile::TempDir,
    client_port: u16,
    peer_port: u16,
    tls: Option<TlsFiles>,
    child: Mutex<Option<Child>>,
    /// `name:password` for etcdctl.
    user: Mutex<Option<String>>,
}

/// Files of a server that demands client certificates.
#[derive(Clone)]
pub(crate) struct TlsFiles {
    pub(crate) ca: PathBuf,
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

impl EtcdServer {
    pub(crate) fn start() -> Self {
        Self::start_with(None)
    }

    pub(crate) fn start_with(tls: Option<TlsFiles>) -> Self {
        // Somebody else may take a free port before etcd does.
        for _ in 0..5 {
            let (client_port, peer_port) = free_ports();
            let dir = tempfile::tempdir().unwrap();
            let server = Self {
                dir,
                client_port,
                peer_port,
                tls: tls.clone(),
                child: Mutex::default(),
                user: Mutex::default(),
            };
            if server.run() {
                return server;
            }
        }
        panic!("etcd does not start: install Debian's etcd-server (make setup)");
    }

    pub(crate) fn endpoint(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.client_port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.client_port
    }

    /// Starts it on the data it has. Returns whether it came up.
    pub(crate) fn run(&self) -> bool {
        let peer = format!("http://127.0.0.1:{}", self.peer_port);
        let mut command = Command::new("etcd");
        command
            .args(["--name", "test", "--logger", "zap", "--log-level", "error"])
            .arg("--data-dir")
            .arg(self.dir.path().join("data"))
            .args(["--listen-client-urls", &self.endpoint(), "--advertise-client-urls", &self.endpoint()])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("test={peer}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if let Some(tls) = &self.tls {
            command.arg("--cert-file").arg(&tls.cert).arg("--key-file").arg(&tls.key);
            command.arg("--trusted-ca-file").arg(&tls.ca).arg("--client-cert-auth");
        }
        let child = command.spawn().expect("cannot run etcd: install Debian's etcd-server (make setup)");
        *self.child.lock().unwrap() = Some(child);
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline {
            if self.try_etcdctl(&["endpoint", "health"]) {
                return true;
            }
            let exited = self.child.lock().unwrap().as_mut().is_none_or(|c| c.try_wait().unwrap().is_some());
            if exited {
                return false;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        false
    }

    pub(crate) fn kill(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// As when an operator loses the data: killed, emptied, started.
    pub(crate) fn empty(&self) {
        self.kill();
        std::fs::remove_dir_all(self.dir.path().join("data")).unwrap();
        assert!(self.run(), "etcd does not start on an empty directory");
    }

    pub(crate) fn etcdctl(&self, arguments: &[&str]) {
        assert!(self.try_etcdctl(arguments), "etcdctl {} failed", arguments.join(" "));
    }

    /// From now on `etcdctl` is that user.
    pub(crate) fn log_in(&self, user: &str) {
        *self.user.lock().unwrap() = Some(user.to_owned());
    }

    fn try_etcdctl(&self, arguments: &[&str]) -> bool {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").args(["--endpoints", &self.endpoint(), "--dial-timeout", "2s"]);
        if let Some(tls) = &self.tls {
            command.arg("--cacert").arg(&tls.ca).arg("--cert").arg(&tls.cert).arg("--key").arg(&tls.key);
        }
        if let Some(user) = &*self.user.lock().unwrap() {
            command.args(["--user", user]);
        }
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().expect("cannot run etcdctl: install Debian's etcd-client (make setup)").success()
    }
}

impl Drop for EtcdServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn free_ports() -> (u16, u16) {
    let [a, b] = [(), ()].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    (a.local_addr().unwrap().port(), b.local_addr().unwrap().port())
}

/// Forwards TCP connections until told to be silent: then they stay open and nothing passes.
pub(crate) struct Proxy {
    port: u16,
    silent: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    pub(crate) fn start(to: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (silent, stop) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let flags = (Arc::clone(&silent), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut pumps = Vec::new();
            while !flags.1.load(Ordering::Acquire) {
                let Ok((near, _)) = listener.accept() else {
                    std::thread::sleep(Duration::from_millis(5));
                    continue;
                };
                let Ok(far) = TcpStream::connect((Ipv4Addr::LOCALHOST, to)) else { continue };
                for (from, into) in [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)] {
                    let flags = flags.clone();
                    pumps.push(std::thread::spawn(move || pump(from, into, &flags.0, &flags.1)));
                }
            }
            pumps.into_iter().for_each(|pump| pump.join().unwrap());
        });
        Self { port, silent, stop, thread: Some(thread) }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn silence(&self, silent: bool) {
        self.silent.store(silent, Ordering::Release);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.thread.take().unwrap().join().unwrap();
    }
}

fn pump(mut from: TcpStream, mut into: TcpStream, silent: &AtomicBool, stop: &AtomicBool) {
    from.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
    let mut buffer = [0; 16 << 10];
    while !stop.load(Ordering::Acquire) {
        if silent.load(Ordering::Acquire) {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        }
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) if into.write_all(&buffer[..n]).is_err() => break,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
    }
    let _ = into.shutdown(Shutdown::Both);
}

/// Waits until `happened`, and says what did not.
pub(crate) fn eventually(what: &str, limit: Duration, mut happened: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !happened() {
        assert!(began.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
    began.elapsed()
}
