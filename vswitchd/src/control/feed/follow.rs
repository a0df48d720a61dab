//! Answering followers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::codec::{CodecError, MAX_ADMIN_FRAME_BYTES};
use protocol::feed::{CHANGES_PER_RESPONSE, Changes, Feed, FeedChange, FollowRequest, MAX_PATIENCE_MS};
use protocol::message::{ApiError, ErrorCode, Response};

use super::super::node::Control;
use super::super::server::Client;
use super::table::News;
use super::{FeedTable, MAX_FOLLOWERS};

/// Answers one request to follow, with an error at most.
pub(crate) fn follow(
    control: &Control,
    client: &mut Client,
    request: &FollowRequest,
) -> Result<(), CodecError> {
    match news(control, client.uid(), request) {
        Ok(news) => tell(client, news),
        Err(error) => client.send(&Response::Error(error)),
    }
}

fn news(control: &Control, uid: u32, request: &FollowRequest) -> Result<News, ApiError> {
    let table = table(control, uid, request.feed)?;
    let Some(_place) = table.admit(uid) else {
        let text =
            format!("too many follow the feed {:?}: at most {MAX_FOLLOWERS} may at a time", request.feed);
        return Err(ApiError::new(ErrorCode::Exhausted, text));
    };
    let patience = Duration::from_millis(request.patience_ms.min(MAX_PATIENCE_MS).into());
    table.news(request.after, patience).ok_or_else(|| {
        let text = format!("the feed {:?} is not complete yet: the store has not been read", request.feed);
        ApiError::new(ErrorCode::Unavailable, text)
    })
}

/// The routes contain private keys.
fn table(control: &Control, uid: u32, feed: Feed) -> Result<&FeedTable, ApiError> {
    match feed {
        Feed::Names => Ok(&control.feeds.names),
        Feed::Routes if uid == 0 || control.config.ingress.uid() == Some(uid) => Ok(&control.feeds.routes),
        Feed::Routes => {
            let text = format!("user {uid} may not follow routes; only root and the ingress may");
            Err(ApiError::new(ErrorCode::Forbidden, text))
        }
    }
}

/// In chunks. What is told from scratch begins with an empty one if there is nothing.
fn tell(client: &mut Client, news: News) -> Result<(), CodecError> {
    let News { mut from_scratch, changes, heard, position } = news;
    let changes = if from_scratch { changes } else { with_ages(changes, heard, Instant::now()) };
    if from_scratch && changes.is_empty() {
        client.send(&Response::Changes(Changes { from_scratch, changes: Vec::new() }))?;
    }
    for chunk in changes.chunks(CHANGES_PER_RESPONSE) {
        send(client, from_scratch, chunk)?;
        from_scratch = false;
    }
    client.send(&Response::Followed(position))
}

/// With how long ago each was heard of, before it.
fn with_ages(
    changes: Vec<Arc<FeedChange>>,
    heard: Vec<Option<Instant>>,
    now: Instant,
) -> Vec<Arc<FeedChange>> {
    let age = |heard: Instant| {
        let milliseconds = now.saturating_duration_since(heard).as_millis();
        Arc::new(FeedChange::Heard(u32::try_from(milliseconds).unwrap_or(u32::MAX)))
    };
    changes
        .into_iter()
        .zip(heard)
        .flat_map(|(change, heard)| heard.map(age).into_iter().chain([change]))
        .collect()
}

/// In as many responses as the frame limit needs: a headless service may have thousands of endpoints.
fn send(client: &mut Client, from_scratch: bool, chunk: &[Arc<FeedChange>]) -> Result<(), CodecError> {
    let changes = chunk.iter().map(|change| FeedChange::clone(change)).collect();
    match client.send(&Response::Changes(Changes { from_scratch, changes })) {
        Err(CodecError::TooLarge { .. }) if chunk.len() > 1 => {
            let (first, second) = chunk.split_at(chunk.len() / 2);
            send(client, from_scratch, first)?;
            send(client, false, second)
        }
        // One that no frame holds is left out rather than all the others.
        Err(CodecError::TooLarge { .. }) => {
            tracing::error!("a change of a feed is over {MAX_ADMIN_FRAME_BYTES} bytes and is not told");
            Ok(())
        }
        other => other,
    }
}
