//! Checks of servers: whether they answer again, and whether they ask us.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::upstream::Upstream;
use super::{Question, exchange};
use crate::wire::name::Name;
use crate::wire::record::kind;

/// Between checks of a server that does not answer, as CoreDNS has it.
const INTERVAL: Duration = Duration::from_millis(500);
/// Between looks whether a server leads to us, where it was reached and did not.
const LATER: Duration = Duration::from_secs(300);
/// The same, where it was not reached, or did.
const SOON: Duration = Duration::from_secs(10);
/// For an answer to a check.
const PATIENCE: Duration = Duration::from_secs(1);

/// Checks a server until it answers. Any answer will do: it is about the server, not about what it knows.
pub(super) fn check_until_healthy(upstream: &Arc<Upstream>) {
    if upstream.is_checked.swap(true, Ordering::Relaxed) {
        return;
    }
    let upstream = Arc::clone(upstream);
    tokio::spawn(async move {
        loop {
            let question =
                Question { name: Name::root(), kind: kind::NS, dnssec_ok: false, checking_disabled: false };
            let answered =
                matches!(timeout(PATIENCE, exchange::ask(upstream.address(), &question)).await, Ok(Ok(_)));
            upstream.on_check(answered);
            if answered {
                break;
            }
            sleep(INTERVAL).await;
        }
        upstream.is_checked.store(false, Ordering::Relaxed);
    });
}

/// Asks a server, now and then, for a name that nobody else knows. If the question comes to us, [`Upstream::caught`] sees it. One that
/// was not reached is asked again soon, and so is one that led to us: somebody may have mended that.
pub(super) async fn look_for_loops(upstream: Arc<Upstream>) {
    loop {
        let question = Question {
            name: upstream.begin_probe(),
            kind: kind::HINFO,
            dnssec_ok: false,
            checking_disabled: false,
        };
        // Whatever it answers: what counts is who asks.
        let answered =
            matches!(timeout(PATIENCE, exchange::ask(upstream.address(), &question)).await, Ok(Ok(_)));
        let is_loop = upstream.end_probe(answered);
        sleep(if answered && !is_loop { LATER } else { SOON }).await;
    }
}
