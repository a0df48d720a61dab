//! What happened lately, for watches: a bounded queue of batches, one for each revision. Pure.

use std::collections::VecDeque;

use super::HistoryLimits;
use crate::cluster::entry::{Batch, Event, Revision};

/// INVARIANT: holds every batch after `compacted`, in order of revision, or evicts.
#[derive(Debug)]
pub(super) struct History {
    limits: HistoryLimits,
    batches: VecDeque<Batch>,
    events: usize,
    bytes: usize,
    /// The last revision whose changes are not here.
    compacted: Revision,
}

/// What comes next for a watch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Batch(Batch),
    None,
    /// It is not here any more; the oldest that is.
    Compacted(Revision),
}

impl History {
    pub(super) fn new(limits: HistoryLimits) -> Self {
        Self { limits, batches: VecDeque::new(), events: 0, bytes: 0, compacted: 0 }
    }

    /// Forgets everything up to `revision`.
    pub(super) fn restart(&mut self, revision: Revision) {
        self.batches.clear();
        (self.events, self.bytes, self.compacted) = (0, 0, revision);
    }

    pub(super) fn push(&mut self, batch: Batch) {
        self.events += batch.events.len();
        self.bytes += bytes_of(&batch);
        self.batches.push_back(batch);
        while self.events > self.limits.events || self.bytes > self.limits.bytes {
            let Some(oldest) = self.batches.pop_front() else { break };
            self.events -= oldest.events.len();
            self.bytes -= bytes_of(&oldest);
            self.compacted = oldest.revision;
        }
    }

    /// The first batch from revision `from` on with changes under `prefix`, cut to those.
    pub(super) fn next(&self, from: Revision, prefix: &str) -> Next {
        if from <= self.compacted {
            return Next::Compacted(self.compacted + 1);
        }
        let start = self.batches.partition_point(|batch| batch.revision < from);
        for batch in self.batches.range(start..) {
            let events: Vec<Event> =
                batch.events.iter().filter(|event| event.key().starts_with(prefix)).cloned().collect();
            if !events.is_empty() {
                return Next::Batch(Batch { revision: batch.revision, events });
            }
        }
        Next::None
    }
}

fn bytes_of(batch: &Batch) -> usize {
    let size = |event: &Event| match event {
        Event::Put(entry) => entry.key.len() + entry.value.len(),
        Event::Delete { key } => key.len(),
    };
    batch.events.iter().map(size).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(revision: Revision, keys: &[&str]) -> Batch {
        let events = keys.iter().map(|key| Event::Delete { key: (*key).to_owned() }).collect();
        Batch { revision, events }
    }

    #[test]
    fn a_watch_gets_only_its_prefix_and_whole_revisions() {
        let mut history = History::new(HistoryLimits::default());
        history.push(batch(1, &["/a/1"]));
        history.push(batch(2, &["/b/1", "/a/2", "/a/3"]));
        assert_eq!(history.next(2, "/a/"), Next::Batch(batch(2, &["/a/2", "/a/3"])));
        assert_eq!(history.next(3, "/a/"), Next::None);
        assert_eq!(history.next(1, "/c/"), Next::None);
    }

    #[test]
    fn what_exceeds_a_limit_is_forgotten_oldest_first_and_said_to_be() {
        let mut history = History::new(HistoryLimits { events: 3, bytes: 1000 });
        for revision in 1..=5 {
            history.push(batch(revision, &["/a/1"]));
        }
        assert_eq!(history.next(2, "/a/"), Next::Compacted(3));
        assert_eq!(history.next(3, "/a/"), Next::Batch(batch(3, &["/a/1"])));
        let large = "/a/".to_owned() + &"x".repeat(2000);
        history.push(batch(6, &[&large]));
        assert_eq!(history.next(6, "/a/"), Next::Compacted(7), "one batch over the limit is not kept at all");
        assert_eq!((history.events, history.bytes), (0, 0));
    }
}
