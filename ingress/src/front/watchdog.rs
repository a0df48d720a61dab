//! Ends connections from outside: those that have used up their time, and all of them when the process ends.
//!
//! How it works: a worker looks at all of its connections a few times in their shortest limit, and rings those that something has
//! happened to. A connection so costs no timer of its own, which would be armed and disarmed with every request.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::Notify;

use super::connection::{Activity, Expired, Limits};

/// How often connections are looked at, at most and at least.
const SHORTEST_LOOK: Duration = Duration::from_millis(10);
const LONGEST_LOOK: Duration = Duration::from_millis(500);
/// Looks in the shortest limit.
const LOOKS_PER_LIMIT: u32 = 8;

/// What happens to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// The process ends.
    Drain,
    /// Its time is over.
    Expired(Expired),
}

/// The connections of a worker. No larger than the number of connections that there may be.
#[derive(Debug)]
pub(crate) struct Watchdog {
    limits: Limits,
    entries: RefCell<Vec<Option<Rc<Bell>>>>,
    free: RefCell<Vec<usize>>,
    /// The first connection after none.
    any: Notify,
}

/// How a connection is rung.
#[derive(Debug)]
struct Bell {
    activity: Arc<Activity>,
    event: Cell<Option<Event>>,
    waker: RefCell<Option<Waker>>,
    knows_of_drain: Cell<bool>,
}

/// A connection that is watched until this is dropped.
#[derive(Debug)]
pub(crate) struct Watched {
    bell: Rc<Bell>,
    watchdog: Rc<Watchdog>,
    at: usize,
}

impl Watchdog {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, entries: RefCell::default(), free: RefCell::default(), any: Notify::new() }
    }

    pub(crate) fn watch(self: &Rc<Self>, activity: Arc<Activity>) -> Watched {
        let bell = Rc::new(Bell {
            activity,
            event: Cell::new(None),
            waker: RefCell::new(None),
            knows_of_drain: Cell::new(false),
        });
        let mut entries = self.entries.borrow_mut();
        if entries.len() == self.free.borrow().len() {
            self.any.notify_one();
        }
        let at = self.free.borrow_mut().pop().unwrap_or_else(|| {
            entries.push(None);
            entries.len() - 1
        });
        if let Some(entry) = entries.get_mut(at) {
            *entry = Some(Rc::clone(&bell));
        }
        Watched { bell, watchdog: Rc::clone(self), at }
    }

    /// Waits until it is time to look again; for ever while there is no connection.
    pub(crate) async fn next_look(&self) {
        if self.entries.borrow().len() == self.free.borrow().len() {
            self.any.notified().await;
        }
        let shortest = self.limits.header.min(self.limits.keep_alive);
        tokio::time::sleep((shortest / LOOKS_PER_LIMIT).clamp(SHORTEST_LOOK, LONGEST_LOOK)).await;
    }

    /// Looks at all connections. `drain` is whether they are to be told that the process ends.
    pub(crate) fn look(&self, drain: bool) {
        for bell in self.entries.borrow().iter().flatten() {
            let event = match bell.activity.expired(self.limits) {
                Some(expired) => Event::Expired(expired),
                None if drain && !bell.knows_of_drain.replace(true) => Event::Drain,
                None => continue,
            };
            bell.event.set(Some(event));
            if let Some(waker) = bell.waker.borrow_mut().take() {
                waker.wake();
            }
        }
    }
}

impl Watched {
    pub(crate) fn activity(&self) -> &Arc<Activity> {
        &self.bell.activity
    }

    /// Waits for something to happen.
    pub(crate) async fn event(&self) -> Event {
        poll_fn(|cx| self.poll_event(cx)).await
    }

    /// As [`Watched::event`].
    pub(crate) fn poll_event(&self, cx: &mut Context<'_>) -> Poll<Event> {
        if let Some(event) = self.bell.event.take() {
            return Poll::Ready(event);
        }
        let mut waker = self.bell.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(entry) = self.watchdog.entries.borrow_mut().get_mut(self.at) {
            *entry = None;
            self.watchdog.free.borrow_mut().push(self.at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { header: Duration::from_millis(40), keep_alive: Duration::from_secs(600) };

    fn now(watched: &Watched) -> Option<Event> {
        let mut cx = Context::from_waker(Waker::noop());
        match std::pin::pin!(watched.event()).poll(&mut cx) {
            Poll::Ready(event) => Some(event),
            Poll::Pending => None,
        }
    }

    #[test]
    fn each_is_told_what_concerns_it() {
        let watchdog = Rc::new(Watchdog::new(LIMITS));
        let idle = watchdog.watch(Arc::new(Activity::idle()));
        let slow = watchdog.watch(Arc::new(Activity::in_head()));
        watchdog.look(false);
        assert_eq!((now(&idle), now(&slow)), (None, None));
        std::thread::sleep(LIMITS.header);
        watchdog.look(false);
        assert_eq!((now(&idle), now(&slow)), (None, Some(Event::Expired(Expired::Head))));
        drop(slow);
        watchdog.look(true);
        assert_eq!(now(&idle), Some(Event::Drain));
        watchdog.look(true);
        assert_eq!(now(&idle), None, "it knows already");
        let again = watchdog.watch(Arc::new(Activity::idle()));
        assert_eq!(watchdog.entries.borrow().len(), 2, "places are used again");
        drop((idle, again));
        assert_eq!(watchdog.free.borrow().len(), 2);
    }
}
