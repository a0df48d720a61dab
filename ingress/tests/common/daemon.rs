//! What the program takes for the daemon: the feed of routes on a Unix socket, as the protocol has it.

use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use protocol::codec::{self, CodecError, MAX_ADMIN_FRAME_BYTES};
use protocol::feed::{Changes, Feed, FeedChange, FeedPosition, RouteChange};
use protocol::message::{ReadRequest, Response};

/// Ends with the test; its followers are cut off then.
pub struct Daemon {
    told: Arc<Mutex<Told>>,
}

/// The changes so far; each is a position of the feed.
struct Told {
    instance: u64,
    changes: Vec<RouteChange>,
    streams: Vec<UnixStream>,
}

impl Daemon {
    /// Listens at a path, where another may have listened before.
    pub fn start(path: &Path, instance: u64, changes: Vec<RouteChange>) -> Self {
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path).unwrap();
        let told = Arc::new(Mutex::new(Told { instance, changes, streams: Vec::new() }));
        let shared = Arc::clone(&told);
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                shared.lock().unwrap().streams.push(stream.try_clone().unwrap());
                let told = Arc::clone(&shared);
                std::thread::spawn(move || follow(stream, &told));
            }
        });
        Self { told }
    }

    pub fn tell(&self, change: RouteChange) {
        self.told.lock().unwrap().changes.push(change);
    }

    /// Cuts its followers off, and answers no more.
    pub fn die(self, path: &Path) {
        std::fs::remove_file(path).unwrap();
        for stream in &self.told.lock().unwrap().streams {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

fn follow(mut stream: UnixStream, told: &Mutex<Told>) -> Result<(), CodecError> {
    codec::write_preamble(&mut stream)?;
    codec::read_preamble(&mut stream)?;
    loop {
        let ReadRequest::Follow(request) = codec::read_frame(&mut stream, MAX_ADMIN_FRAME_BYTES)? else {
            continue;
        };
        assert_eq!(request.feed, Feed::Routes);
        let until = Instant::now() + Duration::from_millis(u64::from(request.patience_ms));
        let (from_scratch, changes, position) = loop {
            let found = after(&told.lock().unwrap(), request.after);
            if found.0 || !found.1.is_empty() || Instant::now() > until {
                break found;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        if from_scratch || !changes.is_empty() {
            let changes = changes.into_iter().map(FeedChange::Route).collect();
            let changes = Response::Changes(Changes { from_scratch, changes });
            codec::write_frame(&mut stream, &changes, MAX_ADMIN_FRAME_BYTES)?;
        }
        codec::write_frame(&mut stream, &Response::Followed(position), MAX_ADMIN_FRAME_BYTES)?;
    }
}

/// What has changed after a position, all of it if that is another daemon's.
fn after(told: &Told, position: Option<FeedPosition>) -> (bool, Vec<RouteChange>, FeedPosition) {
    let now = FeedPosition { instance: told.instance, sequence: told.changes.len() as u64 };
    match position.filter(|position| position.instance == told.instance) {
        None => (true, told.changes.clone(), now),
        Some(known) => (false, told.changes[usize::try_from(known.sequence).unwrap()..].to_vec(), now),
    }
}
