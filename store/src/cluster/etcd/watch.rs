//! A watch: a task on the runtime that reads the stream and fills a bounded queue.
//!
//! The task notices a server that is silent though connected: after [`EtcdConfig::probe`] without a message it asks
//! for a progress report, and gives up after as long again without an answer. A reader that does not keep up
//! stops the task from reading, and the stream's flow control the server from sending.
//!
//! [`EtcdConfig::probe`]: super::EtcdConfig::probe

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError};
use etcd_client::{EventType, WatchOptions, WatchResponse, WatchStream};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, sleep, timeout};

use super::connection::Connection;
use super::failure::{EtcdFailure, Verdict};
use super::{MAX_MESSAGE_BYTES, entry_of, revision_of};
use crate::cluster::entry::{Batch, Event, Revision, end_of};
use crate::cluster::error::{ClusterError, WatchEnd};
use crate::cluster::{Prober, Watch};

/// Batches between the task and its reader.
const QUEUE: usize = 256;
/// How often the task looks whether the reader has made room.
const ROOM_POLL: Duration = Duration::from_millis(5);

type Message = Result<Batch, WatchEnd>;

/// The reader's end.
pub(super) struct EtcdWatch {
    messages: Receiver<Message>,
    task: AbortHandle,
    asked: Arc<Notify>,
}

impl Watch for EtcdWatch {
    fn next(&mut self, timeout: Duration) -> Result<Option<Batch>, WatchEnd> {
        match self.messages.recv_timeout(timeout) {
            Ok(message) => message.map(Some),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(WatchEnd::Closed),
        }
    }

    fn prober(&self) -> Prober {
        let asked = Arc::clone(&self.asked);
        Box::new(move || asked.notify_one())
    }
}

impl Drop for EtcdWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Returns when the server has accepted the watch.
pub(super) async fn start(
    connection: &Arc<Connection>,
    prefix: &str,
    from: Revision,
) -> Result<EtcdWatch, ClusterError> {
    let deadline = Instant::now() + connection.config().call_timeout;
    let session =
        connection.session(deadline).await.map_err(|(endpoint, source, verdict)| match verdict {
            Verdict::Refused => ClusterError::Refused { endpoint, source },
            Verdict::NotMade | Verdict::Unknown => ClusterError::Unreachable { endpoint, source },
        })?;
    let limit = deadline.saturating_duration_since(Instant::now());
    let opened = timeout(limit, open(&session.client, prefix, from)).await;
    let (stream, created) = match opened.unwrap_or(Err(EtcdFailure::Silent(limit))) {
        Ok(opened) => opened,
        Err(source) => {
            let endpoint = session.endpoint;
            if source.verdict() == Verdict::Refused {
                return Err(ClusterError::Refused { endpoint, source });
            }
            connection.failed(session.generation).await;
            return Err(ClusterError::Unreachable { endpoint, source });
        }
    };
    let (sender, messages) = crossbeam_channel::bounded(QUEUE);
    let asked = Arc::new(Notify::new());
    let reader = Reader {
        stream,
        sender,
        from,
        endpoint: session.endpoint,
        probe: connection.config().probe,
        asked: Arc::clone(&asked),
        owes: false,
    };
    let generation = session.generation;
    let connection = Arc::clone(connection);
    let task = tokio::spawn(async move {
        if reader.run(created).await.is_lost() {
            connection.failed(generation).await;
        }
    });
    Ok(EtcdWatch { messages, task: task.abort_handle(), asked })
}

/// The stream and the server's first answer.
async fn open(
    client: &etcd_client::Client,
    prefix: &str,
    from: Revision,
) -> Result<(WatchStream, WatchResponse), EtcdFailure> {
    let options = WatchOptions::new().with_range(end_of(prefix)).with_start_revision(from.cast_signed());
    let mut watch = client.watch_client().max_decoding_message_size(MAX_MESSAGE_BYTES);
    let mut stream = watch.watch(prefix, Some(options)).await?;
    let created = stream.message().await?;
    let created = created.ok_or_else(|| EtcdFailure::Ended("before the watch began".to_owned()))?;
    if created.canceled() && created.compact_revision() == 0 {
        return Err(EtcdFailure::Ended(created.cancel_reason().to_owned()));
    }
    Ok((stream, created))
}

struct Reader {
    stream: WatchStream,
    sender: Sender<Message>,
    from: Revision,
    endpoint: String,
    probe: Duration,
    /// Somebody wants to know how far it is.
    asked: Arc<Notify>,
    /// The next report of progress is for them.
    owes: bool,
}

/// A message of the stream, or its end, or none in time.
type Heard = Result<Result<Option<WatchResponse>, etcd_client::Error>, Elapsed>;

/// How the task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// The connection is of no more use.
    Lost,
    /// The store has not what was asked for.
    Answered,
}

impl Ended {
    fn is_lost(self) -> bool {
        self == Self::Lost
    }
}

impl Reader {
    async fn run(mut self, created: WatchResponse) -> Ended {
        let end = match self.check_revision(&created) {
            Some(end) => end,
            None => self.read(created).await,
        };
        let ended = if matches!(end, WatchEnd::Lost { .. }) { Ended::Lost } else { Ended::Answered };
        self.send(Err(end)).await;
        ended
    }

    /// A server waits without a word for a revision that it has not reached.
    fn check_revision(&self, created: &WatchResponse) -> Option<WatchEnd> {
        let store = created.header().map_or(0, |header| revision_of(header.revision()));
        (store + 1 < self.from).then_some(WatchEnd::Behind { from: self.from, store })
    }

    async fn read(&mut self, first: WatchResponse) -> WatchEnd {
        let mut response = first;
        loop {
            if let Some(end) = self.deliver(&response).await {
                return end;
            }
            response = match self.receive().await {
                Ok(response) => response,
                Err(source) => return WatchEnd::Lost { endpoint: self.endpoint.clone(), source },
            };
        }
    }

    /// The next message, however long nothing happens, as long as the server answers.
    async fn receive(&mut self) -> Result<WatchResponse, EtcdFailure> {
        let mut asked = false;
        loop {
            let heard = self.hear().await;
            match heard {
                Some(Ok(Ok(Some(response)))) => return Ok(response),
                Some(Ok(Ok(None))) => return Err(EtcdFailure::Ended("end of stream".to_owned())),
                Some(Ok(Err(error))) => return Err(error.into()),
                Some(Err(_)) if asked => return Err(EtcdFailure::Silent(self.probe)),
                Some(Err(_)) | None => {
                    asked |= heard.is_some();
                    self.owes |= heard.is_none();
                    // Its queue is empty unless the connection takes nothing, which is silence too.
                    if let Ok(Err(error)) = timeout(self.probe, self.stream.request_progress()).await {
                        return Err(error.into());
                    }
                }
            }
        }
    }

    /// The next message, or silence for as long as that may be; `None`: somebody wants to know how far the watch is.
    async fn hear(&mut self) -> Option<Heard> {
        // Dropped unfinished, it loses nothing: what is half read stays in the stream.
        let mut message = pin!(timeout(self.probe, self.stream.message()));
        let mut asked = pin!(self.asked.notified());
        poll_fn(|context| match message.as_mut().poll(context) {
            Poll::Ready(heard) => Poll::Ready(Some(heard)),
            Poll::Pending => asked.as_mut().poll(context).map(|()| None),
        })
        .await
    }

    async fn deliver(&mut self, response: &WatchResponse) -> Option<WatchEnd> {
        if response.compact_revision() != 0 {
            return Some(WatchEnd::Compacted { oldest: revision_of(response.compact_revision()) });
        }
        if response.canceled() {
            let source = EtcdFailure::Ended(response.cancel_reason().to_owned());
            return Some(WatchEnd::Lost { endpoint: self.endpoint.clone(), source });
        }
        for batch in batches(response) {
            self.send(Ok(batch)).await;
        }
        // A report of progress: what has happened up to its revision was sent before it.
        if response.events().is_empty() && !response.created() && std::mem::take(&mut self.owes) {
            let revision = response.header().map_or(0, |header| revision_of(header.revision()));
            self.send(Ok(Batch { revision, events: Vec::new() })).await;
        }
        None
    }

    /// Waits for room. The task is ended when the reader is gone.
    async fn send(&self, message: Message) {
        let mut message = message;
        loop {
            match self.sender.try_send(message) {
                Ok(()) | Err(TrySendError::Disconnected(_)) => return,
                Err(TrySendError::Full(unsent)) => message = unsent,
            }
            sleep(ROOM_POLL).await;
        }
    }
}

/// A message holds the changes of one or several whole revisions, in order.
fn batches(response: &WatchResponse) -> Vec<Batch> {
    let mut batches: Vec<Batch> = Vec::new();
    for event in response.events() {
        let Some((revision, event)) = event_of(event) else { continue };
        match batches.last_mut() {
            Some(batch) if batch.revision == revision => batch.events.push(event),
            _ => batches.push(Batch { revision, events: vec![event] }),
        }
    }
    batches
}

fn event_of(event: &etcd_client::Event) -> Option<(Revision, Event)> {
    let kv = event.kv()?;
    let entry = entry_of(kv)?;
    let event = match event.event_type() {
        EventType::Put => Event::Put(entry),
        EventType::Delete => Event::Delete { key: entry.key },
    };
    Some((revision_of(kv.mod_revision()), event))
}
