//! Limits of time for waits that mostly are short.
//!
//! A timer is only made when something is waited for, and is left armed when it comes: when it goes off too early, it is armed
//! again for what is left. So a wait costs no timer, and many waits cost one.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Sleep;

use crate::clock::now_ms;

/// See the module.
#[derive(Debug)]
pub(crate) struct Patience {
    limit: Duration,
    /// When the wait began; `None` while nothing is waited for.
    since_ms: Option<u64>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Default for Patience {
    /// Without a limit.
    fn default() -> Self {
        Self::new(Duration::MAX)
    }
}

impl Patience {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, since_ms: None, timer: None }
    }

    /// Waits begin anew, with this limit.
    pub(crate) fn limit(&mut self, limit: Duration) {
        // A timer that would go off too late is of no use.
        if limit < self.limit {
            self.timer = None;
        }
        self.limit = limit;
        self.since_ms = None;
    }

    /// What was waited for has come.
    pub(crate) fn calm(&mut self) {
        self.since_ms = None;
    }

    /// Ready when it was waited for too long. `progress_ms` is when something else showed that the wait is not in vain.
    pub(crate) fn poll_over(&mut self, cx: &mut Context<'_>, progress_ms: u64) -> Poll<()> {
        loop {
            let since = (*self.since_ms.get_or_insert_with(now_ms)).max(progress_ms);
            let limit = self.limit;
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
            ready!(timer.as_mut().poll(cx));
            let waited = Duration::from_millis(now_ms().saturating_sub(since));
            match limit.checked_sub(waited) {
                None | Some(Duration::ZERO) => return Poll::Ready(()),
                Some(left) => self.timer = Some(Box::pin(tokio::time::sleep(left))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    #[test]
    fn only_a_wait_that_is_too_long_is_over() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut patience = Patience::new(Duration::from_millis(80));
            for _ in 0..3 {
                let short =
                    tokio::time::timeout(Duration::from_millis(1), poll_fn(|cx| patience.poll_over(cx, 0)));
                assert!(short.await.is_err());
                patience.calm();
            }
            let began = now_ms();
            poll_fn(|cx| patience.poll_over(cx, 0)).await;
            assert!(now_ms() - began >= 79);
            let began = now_ms();
            patience.limit(Duration::from_millis(40));
            poll_fn(|cx| patience.poll_over(cx, began + 20)).await;
            assert!(now_ms() - began >= 59);
        });
    }
}
