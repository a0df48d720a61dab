//! Follows `vswitchd`: a thread that asks for changes, keeps the [`Register`], and publishes what there is after each answer.
//!
//! # How it works
//! Readers load one pointer ([`ArcSwapOption`]), without a lock, and see all tables as they were at one position of the feed.
//! Publishing copies four roots; the next changes copy what they touch (see `zone::table`), so a change among 10,000 services
//! costs its own size. Left-right (two copies, each change applied twice) would need none of that, but waits for readers and
//! doubles the memory; sharded locks would show a service and its endpoints' addresses of different moments.
//!
//! A feed from scratch is collected beside what there is and replaces it when it is whole: a restart of `vswitchd` is not seen.
//! If `vswitchd` is away, what is known stays.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwapOption;
use protocol::client::{Client, ClientError};
use protocol::feed::{Changes, Feed, FeedChange, FeedPosition, FollowRequest, NameChange, NameTarget};
use protocol::message::{ReadRequest, Response};

use crate::metrics::{Programming, ServiceKind};
use crate::zone::{Names, Register, Zone};

/// How long `vswitchd` may hold an answer back.
const PATIENCE_MS: u32 = 2000;
/// What it may take beyond that; a stopped daemon is noticed then.
const GRACE: Duration = Duration::from_secs(10);
/// Between attempts to reach it: short, because a restart of it takes less than a second.
const RETRY: Duration = Duration::from_millis(250);

/// What the feed is kept for and where it comes from.
pub struct Follower {
    socket: PathBuf,
    zone: Arc<Zone>,
    names: Arc<ArcSwapOption<Names>>,
    programming: Arc<Programming>,
    stop: Arc<AtomicBool>,
}

/// How far a follower is.
#[derive(Default)]
struct Progress {
    register: Register,
    /// A register that is being filled from scratch.
    fresh: Option<Register>,
    position: Option<FeedPosition>,
    serial: u32,
    /// When `vswitchd` heard of what the next change is about.
    next_heard: Option<Instant>,
    /// The same of changes that are not published yet.
    heard: Vec<(ServiceKind, Instant)>,
}

impl Follower {
    /// Publishes in `names` what `vswitchd` says at `socket`, until `stop`.
    #[must_use]
    pub fn new(
        socket: &Path,
        zone: Arc<Zone>,
        names: Arc<ArcSwapOption<Names>>,
        programming: Arc<Programming>,
        stop: Arc<AtomicBool>,
    ) -> Self {
        Self { socket: socket.to_owned(), zone, names, programming, stop }
    }

    /// Follows until told to stop; blocks.
    pub fn run(&self) {
        let mut progress = Progress::default();
        let mut last = String::new();
        while !self.stop.load(Ordering::Relaxed) {
            if let Err(error) = self.follow(&mut progress) {
                let error = error.to_string();
                // Once per cause: `vswitchd` may be away for hours.
                if error != last {
                    tracing::warn!(
                        error,
                        known = self.names.load().is_some(),
                        "no news of the cluster; trying again"
                    );
                    last = error;
                }
            }
            progress.fresh = None;
            std::thread::sleep(RETRY);
        }
    }

    fn follow(&self, progress: &mut Progress) -> Result<(), ClientError> {
        let mut client = Client::connect(&self.socket)?;
        let limit = Duration::from_millis(PATIENCE_MS.into()) + GRACE;
        client
            .set_timeout(Some(limit))
            .map_err(|source| ClientError::Connect { path: self.socket.clone(), source })?;
        tracing::info!(socket = %self.socket.display(), "following vswitchd");
        while !self.stop.load(Ordering::Relaxed) {
            let request =
                FollowRequest { feed: Feed::Names, after: progress.position, patience_ms: PATIENCE_MS };
            client.send_read(&ReadRequest::Follow(request))?;
            let mut changed = self.names.load().is_none();
            loop {
                match client.receive()? {
                    Response::Changes(changes) => {
                        changed = true;
                        progress.take(&self.zone, &changes, Instant::now());
                    }
                    Response::Followed(position) => {
                        progress.complete(position);
                        break;
                    }
                    other => return Err(ClientError::Unexpected(format!("{other:?}"))),
                }
            }
            if changed {
                self.names.store(Some(Arc::new(progress.names(SystemTime::now()))));
                for (kind, heard) in progress.heard.drain(..) {
                    self.programming.observe(kind, heard.elapsed());
                }
            }
        }
        Ok(())
    }
}

impl Progress {
    fn take(&mut self, zone: &Zone, changes: &Changes, now: Instant) {
        if changes.from_scratch && self.fresh.is_none() {
            self.fresh = Some(Register::default());
        }
        let register = self.fresh.as_mut().unwrap_or(&mut self.register);
        for change in &changes.changes {
            match change {
                FeedChange::Name(change) => {
                    register.apply(zone, change);
                    let heard = self.next_heard.take();
                    self.heard.extend(service_kind(change).zip(heard));
                }
                FeedChange::Heard(ago) => {
                    self.next_heard = now.checked_sub(Duration::from_millis((*ago).into()));
                }
                FeedChange::Route(_) => {}
            }
        }
    }

    fn complete(&mut self, position: FeedPosition) {
        if let Some(fresh) = self.fresh.take() {
            self.register = fresh;
        }
        self.position = Some(position);
    }

    /// What there is, with the time as serial number, as CoreDNS has it; never the same for two.
    fn names(&mut self, now: SystemTime) -> Names {
        let seconds = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        // Serial numbers are of 32 bits and wrap (RFC 1982).
        let seconds = u32::try_from(seconds & u64::from(u32::MAX)).unwrap_or_default();
        self.serial = seconds.max(self.serial.wrapping_add(1));
        self.register.names(self.serial)
    }
}

/// What counts by how long it takes.
fn service_kind(change: &NameChange) -> Option<ServiceKind> {
    let NameChange::Service(service) = change else { return None };
    match service.target {
        NameTarget::Cluster { .. } => Some(ServiceKind::ClusterIp),
        NameTarget::Headless { .. } => Some(ServiceKind::Headless),
        NameTarget::External { .. } => None,
    }
}

#[cfg(test)]
mod tests;
