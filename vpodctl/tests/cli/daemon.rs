//! A daemon that speaks the real protocol over a real socket and answers as the test says.

use std::io::Write as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use assert_cmd::Command;
use protocol::codec::{self, MAX_ADMIN_FRAME_BYTES};
use protocol::message::{AdminRequest, ReadRequest, Response};
use serde::de::DeserializeOwned;

/// A directory of its own, with the sockets in it; gone with the test.
pub(crate) struct RunDir(PathBuf);

impl RunDir {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("vpodctl-test-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A fake daemon; its threads end with the test's process.
pub(crate) struct Daemon {
    pub(crate) dir: RunDir,
    socket: PathBuf,
    seen: Arc<Mutex<Vec<AdminRequest>>>,
}

impl Daemon {
    /// Answers each request on the admin socket with what `answer` says.
    pub(crate) fn admin(answer: impl FnMut(&AdminRequest) -> Vec<Response> + Send + 'static) -> Self {
        Self::start("admin.sock", |request: AdminRequest| request, answer)
    }

    /// Answers on a read-only socket, where nothing but [`ReadRequest`]s decode.
    pub(crate) fn read_only(answer: impl FnMut(&AdminRequest) -> Vec<Response> + Send + 'static) -> Self {
        Self::start("ro.sock", AdminRequest::Read, answer)
    }

    fn start<T: DeserializeOwned>(
        name: &str,
        wrap: impl Fn(T) -> AdminRequest + Send + 'static,
        mut answer: impl FnMut(&AdminRequest) -> Vec<Response> + Send + 'static,
    ) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&seen);
        Self::raw(name, seen, move |stream| {
            hello(stream);
            while let Ok(request) = codec::read_frame::<T>(stream, MAX_ADMIN_FRAME_BYTES) {
                let request = wrap(request);
                record.lock().unwrap().push(request.clone());
                for response in answer(&request) {
                    if codec::write_frame(stream, &response, MAX_ADMIN_FRAME_BYTES).is_err() {
                        return;
                    }
                }
            }
        })
    }

    /// Says hello, takes one request, writes `bytes`, and hangs up.
    pub(crate) fn broken(bytes: &'static [u8]) -> Self {
        Self::raw("admin.sock", Arc::default(), move |stream| {
            hello(stream);
            let _ = codec::read_frame::<AdminRequest>(stream, MAX_ADMIN_FRAME_BYTES);
            let _ = stream.write_all(bytes);
        })
    }

    fn raw(
        name: &str,
        seen: Arc<Mutex<Vec<AdminRequest>>>,
        mut serve: impl FnMut(&mut UnixStream) + Send + 'static,
    ) -> Self {
        let dir = RunDir::new();
        let socket = dir.path(name);
        let listener = UnixListener::bind(&socket).unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                serve(&mut stream.unwrap());
            }
        });
        Self { dir, socket, seen }
    }

    /// `vpodctl` with `arguments`, talking to this daemon.
    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        vpodctl(&self.socket, arguments)
    }

    /// What it was asked so far.
    pub(crate) fn seen(&self) -> Vec<AdminRequest> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }
}

fn hello(stream: &mut UnixStream) {
    codec::write_preamble(stream).unwrap();
    codec::read_preamble(stream).unwrap();
}

/// What a run of `vpodctl` printed, and how it ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Run {
    /// It failed with `status`, and its one complaint holds all of `parts`.
    #[track_caller]
    pub(crate) fn fails(&self, status: i32, parts: &[&str]) {
        assert_eq!(self.status, status, "{self:?}");
        assert!(self.err.starts_with("error: "), "{self:?}");
        for part in parts {
            assert!(self.err.contains(part), "no {part:?} in {}", self.err);
        }
        assert_eq!(self.out, "", "failures say nothing on standard output");
    }

    /// It succeeded, printed `out`, and complained of nothing.
    #[track_caller]
    pub(crate) fn prints(&self, out: &str) {
        assert_eq!((self.status, &*self.out, &*self.err), (0, out, ""));
    }
}

pub(crate) fn vpodctl(socket: &Path, arguments: &[&str]) -> Run {
    let output = Command::new(env!("CARGO_BIN_EXE_vpodctl"))
        .env_remove("VPOD_SOCKET")
        .arg("--socket")
        .arg(socket)
        .args(arguments)
        .output()
        .unwrap();
    Run {
        status: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A wrapped read request, as it appears in [`Daemon::seen`].
pub(crate) fn read(request: ReadRequest) -> AdminRequest {
    AdminRequest::Read(request)
}
