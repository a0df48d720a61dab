//! `/health`, `/ready` and `/metrics`, each at its own address, as CoreDNS has them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Shared;
use crate::metrics::render;

/// Where what is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// The process lives.
    Health,
    /// The cluster's names are known, and the end is not announced.
    Ready,
    /// Numbers.
    Metrics,
}

impl Page {
    fn path(self) -> &'static str {
        match self {
            Self::Health => "/health",
            Self::Ready => "/ready",
            Self::Metrics => "/metrics",
        }
    }

    /// The page's status and text.
    #[must_use]
    pub fn text(self, shared: &Arc<Shared>) -> (u16, String) {
        match self {
            Self::Health => (200, "OK".to_owned()),
            Self::Ready if shared.leaving.load(Ordering::Relaxed) => (503, "leaving\n".to_owned()),
            Self::Ready if shared.names.load().is_none() => (503, "kubernetes\n".to_owned()),
            Self::Ready => (200, "OK".to_owned()),
            Self::Metrics => (200, render::text(shared)),
        }
    }
}

/// Serves a page at `address`, on a thread of its own.
///
/// # Errors
/// If the address is taken or not ours.
pub fn serve(page: Page, address: SocketAddr, shared: Arc<Shared>) -> anyhow::Result<()> {
    let server = tiny_http::Server::http(address)
        .map_err(|error| anyhow::anyhow!("cannot serve {} at {address}: {error}", page.path()))?;
    std::thread::Builder::new().name(page.path().to_owned()).spawn(move || {
        for request in server.incoming_requests() {
            let (status, text) =
                if request.url() == page.path() { page.text(&shared) } else { (404, "404\n".to_owned()) };
            // A client that does not wait for its answer needs none.
            let _ = request.respond(tiny_http::Response::from_string(text).with_status_code(status));
        }
    })?;
    Ok(())
}
