//! A future that is polled only when it has something to say.
//!
//! A connection's task waits for its requests, for the end of the process and for its time to run out. The last two are woken a few
//! times in a connection's life, but would be polled, with a lock each, whenever a byte comes. This gives them a waker of their own.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use parking_lot::Mutex;

/// See the module.
pub(crate) struct Rarely<F> {
    future: Pin<Box<F>>,
    bell: Arc<Bell>,
    waker: Waker,
}

/// Rung by what the future waits for.
struct Bell {
    rung: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        if let Some(task) = &*self.task.lock() {
            task.wake_by_ref();
        }
    }
}

impl<F: Future> Rarely<F> {
    pub(crate) fn new(future: F) -> Self {
        let bell = Arc::new(Bell { rung: AtomicBool::new(true), task: Mutex::new(None) });
        Self { future: Box::pin(future), waker: Waker::from(Arc::clone(&bell)), bell }
    }
}

impl<F: Future> Future for Rarely<F> {
    type Output = F::Output;

    /// INVARIANT: always polled by the same task, whose waker is asked for only when the bell has rung.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        if !self.bell.rung.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        *self.bell.task.lock() = Some(cx.waker().clone());
        self.bell.rung.store(false, Ordering::Release);
        let this = &mut *self;
        this.future.as_mut().poll(&mut Context::from_waker(&this.waker))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::rc::Rc;

    #[test]
    fn it_is_polled_when_it_was_woken_and_not_else() {
        let polls = Rc::new(Cell::new(0));
        let (wake, mut woken) = tokio::sync::oneshot::channel::<u8>();
        let counted = Rc::clone(&polls);
        let mut rarely = Rarely::new(std::future::poll_fn(move |cx| {
            counted.set(counted.get() + 1);
            Pin::new(&mut woken).poll(cx)
        }));
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..5 {
            assert!(Pin::new(&mut rarely).poll(&mut cx).is_pending());
        }
        assert_eq!(polls.get(), 1);
        wake.send(7).unwrap();
        assert_eq!(Pin::new(&mut rarely).poll(&mut cx), Poll::Ready(Ok(7)));
        assert_eq!(polls.get(), 2);
    }
}
