//! Requests that want their connection to become something else, as a WebSocket.

use std::rc::Rc;

use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue, UPGRADE};
use hyper::upgrade::OnUpgrade;
use hyper::{Response, StatusCode};

use super::attempt::Outcome;
use super::{Forwarding, MAX_TRIES};
use crate::front::hygiene;
use crate::outgoing::{Content, Record};
use crate::pages;
use crate::report::metrics::EndpointError;
use crate::tunnel;
use crate::upstream::balance::Lease;
use crate::upstream::body::{RequestBody, Source};
use crate::upstream::exchange::{self, Received};
use crate::upstream::patience::Patience;

impl Forwarding {
    /// Asks the endpoint to switch, and if it does, switches.
    pub(super) async fn upgrade(&mut self, client: OnUpgrade, record: &mut Record) -> Response<Content> {
        let tries = self.context.shared.settings.options.tries.clamp(1, MAX_TRIES);
        let (lease, stream) = loop {
            record.tries += 1;
            let Some(lease) = self.choose() else { return pages::error(StatusCode::SERVICE_UNAVAILABLE, "") };
            let address = lease.endpoint().address;
            record.endpoint = Some(address);
            match exchange::connect(address, self.limits.connect).await {
                Ok(stream) => break (lease, stream),
                Err(_) => {
                    self.blame(&lease, EndpointError::Connect);
                    self.note_retry(address);
                }
            }
            if record.tries >= tries {
                return pages::error(StatusCode::BAD_GATEWAY, "");
            }
        };
        let request = self.head.request(std::mem::replace(&mut self.body, RequestBody::Empty));
        match exchange::exchange_upgrade(stream, request, self.limits.read, &self.progress).await {
            Err(failure) => match self.lost(&lease, failure, false) {
                Outcome::Unsent(_, error) | Outcome::Lost(error) => self.failed(error),
                Outcome::Response(..) => pages::error(StatusCode::BAD_GATEWAY, ""),
            },
            Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                lease.endpoint().succeeded();
                self.switch(response, client, lease)
            }
            Ok(response) => {
                lease.endpoint().succeeded();
                let (head, body) = response.into_parts();
                let received = Received { status: head.status, headers: head.headers };
                let source = Source::Shared(body, Patience::new(self.limits.read));
                self.respond(received, source, lease, self.deadline, record)
            }
        }
    }

    fn switch(&self, response: Response<Incoming>, client: OnUpgrade, lease: Lease) -> Response<Content> {
        let (mut head, _) = response.into_parts();
        let Some(endpoint) = head.extensions.remove::<OnUpgrade>() else {
            return pages::error(StatusCode::BAD_GATEWAY, "");
        };
        let to = head.headers.get(UPGRADE).cloned();
        hygiene::strip_hop_by_hop(&mut head.headers, false);
        if let Some(to) = to {
            head.headers.insert(UPGRADE, to);
        }
        head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        self.context.connection.activity.on_tunnel();
        // With its place among the connections.
        let context = Rc::clone(&self.context);
        tokio::task::spawn_local(async move {
            context.shared.metrics.upgrades.inc();
            tunnel::run(client, endpoint, lease).await;
            context.shared.metrics.upgrades.dec();
        });
        Response::from_parts(head, Content::Empty)
    }
}
