//! Copies of requests for services that shall see them and not be heard.
//!
//! A mirror never delays or fails the request: it is sent by a task of its own, its response is read and thrown
//! away, and beyond a number under way it is left out. Requests with a body are not mirrored: the copy would have to
//! wait for the slower of the two endpoints.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;

use crate::clock::now_ms;
use crate::handler::Context;
use crate::outbound::Head;
use crate::plan::ServiceKey;
use crate::tables::Tables;
use crate::upstream::balance::Policy;
use crate::upstream::body::{RequestBody, ResponseBody, Source};
use crate::upstream::exchange::{Limits, connect};
use crate::upstream::h1::H1;
use crate::upstream::registry::Service;

/// Mirrored requests under way, per worker.
const MAX_UNDER_WAY: u32 = 128;
/// For a mirrored request and its response.
const TIMEOUT: Duration = Duration::from_secs(30);

thread_local! {
    static UNDER_WAY: Cell<u32> = const { Cell::new(0) };
}

/// Sends a copy to each of these services.
pub(crate) fn send(context: &Rc<Context>, tables: &Tables, to: &[Arc<ServiceKey>], head: &Head) {
    for service in to.iter().filter_map(|key| tables.services.lookup(key)) {
        if UNDER_WAY.get() >= MAX_UNDER_WAY {
            return;
        }
        UNDER_WAY.set(UNDER_WAY.get() + 1);
        let (context, service, head) = (Rc::clone(context), Arc::clone(service), head.clone());
        tokio::task::spawn_local(async move {
            let _ = tokio::time::timeout(TIMEOUT, exchange(&context, &service, &head)).await;
            UNDER_WAY.set(UNDER_WAY.get().saturating_sub(1));
        });
    }
}

async fn exchange(context: &Context, service: &Service, head: &Head) -> Option<()> {
    let lease = service.endpoints.choose(Policy::RoundRobin, &[], now_ms())?;
    let pool = &context.pool;
    let address = lease.endpoint().address;
    let mut h1 = match pool.take(address) {
        Some(h1) => h1,
        None => H1::new(connect(address, TIMEOUT).await.ok()?),
    };
    let limits = Limits { connect: TIMEOUT, read: TIMEOUT, send: TIMEOUT };
    h1.exchange(head, RequestBody::Empty, limits).await.ok()?;
    let mut body = ResponseBody::new(Source::H1(h1, Rc::clone(pool)), lease, None);
    while let Some(Ok(_)) = body.frame().await {}
    Some(())
}
