//! What workers tell each other: stations they heard, and devices that are gone.
//!
//! Each worker has one bounded inbox. Nothing waits for room in it, and everything in it may be lost:
//! a station is told again ([`datapath::Switch::take_learned`]), and who reads a port finds out by
//! itself that its device is gone. What a frame needs never takes this way.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};
use datapath::{Instant, Learned, Switch};
use mio::Waker;
use protocol::PortId;

use super::bearer::Bearer;
use super::share::Share;

/// Messages that wait for a worker: a second's share of one port.
const INBOX_LEN: usize = 1024;
/// Messages a worker hears in one turn; about 30 µs of work.
const HEARD_PER_TURN: usize = 256;

/// Said by one worker to another.
#[derive(Debug)]
pub(super) enum Message {
    /// For the other's switch.
    Learned(Learned),
    /// The device of a port is gone.
    Gone {
        port: PortId,
        /// Which device: the number may be another one's by the time this is heard.
        device: Arc<Bearer>,
        cause: String,
    },
}

/// A worker's inbox, as the others see it.
#[derive(Clone)]
pub(super) struct Mailbox {
    inbox: Sender<Message>,
    waker: Arc<Waker>,
}

/// A mailbox for the worker that `waker` wakes, and what comes out of it.
pub(super) fn mailbox(waker: Arc<Waker>) -> (Mailbox, Receiver<Message>) {
    let (inbox, messages) = crossbeam_channel::bounded(INBOX_LEN);
    (Mailbox { inbox, waker }, messages)
}

/// The other workers, as one worker sees them.
pub(super) struct Peers {
    share: Share,
    /// By worker number; the own place is empty.
    others: Vec<Option<Mailbox>>,
    messages: Receiver<Message>,
    /// Something was said since the others were woken.
    spoke: bool,
}

impl Peers {
    /// Of worker number `own`; `all` holds everybody's mailbox.
    pub(super) fn new(own: usize, all: &[Mailbox], messages: Receiver<Message>) -> Self {
        let other = |(number, mailbox): (usize, &Mailbox)| (number != own).then(|| mailbox.clone());
        let others = all.iter().enumerate().map(other).collect();
        Self { share: Share::new(own, all.len()), others, messages, spoke: false }
    }

    pub(super) const fn share(&self) -> Share {
        self.share
    }

    /// There are others at all.
    pub(super) fn exist(&self) -> bool {
        self.others.len() > 1
    }

    /// Somebody has said something that is not heard yet.
    pub(super) fn wait_to_be_heard(&self) -> bool {
        self.exist() && !self.messages.is_empty()
    }

    /// What the others have said, within a turn's budget.
    pub(super) fn hear(&self) -> impl Iterator<Item = Message> + use<> {
        let messages = self.messages.clone();
        std::iter::from_fn(move || messages.try_recv().ok()).take(HEARD_PER_TURN)
    }

    /// Tells everybody what `switch` has learned.
    pub(super) fn tell_learned(&mut self, switch: &mut Switch, now: Instant) {
        while let Some(learned) = switch.take_learned(now) {
            for other in self.others.iter().flatten() {
                let _ = other.inbox.try_send(Message::Learned(learned));
            }
            self.spoke = true;
        }
    }

    /// Tells that the device of `port` is gone: its owner tells everybody, the others tell its owner.
    pub(super) fn tell_gone(&mut self, port: PortId, device: &Arc<Bearer>, cause: &str) {
        let owner = self.share.owner(port);
        let is_owner = self.share.owns(port);
        for (number, other) in self.others.iter().enumerate() {
            if let Some(other) = other
                && (is_owner || number == owner)
            {
                let device = Arc::clone(device);
                let _ = other.inbox.try_send(Message::Gone { port, device, cause: cause.to_owned() });
            }
        }
        self.spoke = true;
    }

    /// Wakes whom something was said to; once a turn, because it is a system call each.
    pub(super) fn wake(&mut self) {
        if std::mem::take(&mut self.spoke) {
            for other in self.others.iter().flatten() {
                // Fails only when the counter is full, and then the worker is awake anyway.
                let _ = other.waker.wake();
            }
        }
    }
}
