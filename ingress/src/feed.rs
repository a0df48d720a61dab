//! Follows the daemon's feed of routes, on a thread of its own: its client blocks.
//!
//! What was learned stays in use while the daemon is away; it is followed again from where it was left, and a daemon
//! that does not know that place tells everything from scratch.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use protocol::client::{Client, ClientError};
use protocol::feed::{Feed, FeedPosition, FollowRequest, MAX_PATIENCE_MS};
use protocol::message::{ReadRequest, Response};

use crate::ingress::Ingress;

/// The daemon answers within its patience, and a little more.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// Between two tries to reach it.
const TRY_AGAIN: Duration = Duration::from_millis(500);

/// Begins to follow.
///
/// # Errors
/// When there can be no more threads.
pub fn follow(socket: &Path, ingress: Arc<Ingress>) -> std::io::Result<JoinHandle<()>> {
    let socket = socket.to_owned();
    std::thread::Builder::new().name("feed".to_owned()).spawn(move || {
        let mut after = None;
        let mut told = false;
        loop {
            match follow_once(&socket, &ingress, &mut after) {
                Ok(()) => return,
                Err(error) if told => tracing::debug!(%error, "the feed is interrupted"),
                Err(error) => {
                    told = true;
                    tracing::warn!(%error, "the feed is interrupted; routes stay as they are");
                }
            }
            std::thread::sleep(TRY_AGAIN);
        }
    })
}

/// Until the connection breaks; `Ok` when the process ends.
fn follow_once(
    socket: &Path,
    ingress: &Ingress,
    after: &mut Option<FeedPosition>,
) -> Result<(), ClientError> {
    let mut client = Client::connect(socket)?;
    // Zero is the only bad value.
    let _ = client.set_timeout(Some(ANSWER_TIMEOUT));
    loop {
        let request = FollowRequest { feed: Feed::Routes, after: *after, patience_ms: MAX_PATIENCE_MS };
        client.send_read(&ReadRequest::Follow(request))?;
        let mut any = false;
        loop {
            match client.receive()? {
                Response::Changes(changes) => {
                    any = true;
                    ingress.apply(changes, false);
                }
                Response::Followed(position) => {
                    if any || after.is_none() {
                        let nothing = protocol::feed::Changes { from_scratch: false, changes: Vec::new() };
                        ingress.apply(nothing, true);
                    }
                    *after = Some(position);
                    break;
                }
                other => return Err(ClientError::Unexpected(format!("{other:?}"))),
            }
        }
        if *ingress.draining().borrow() {
            return Ok(());
        }
    }
}
