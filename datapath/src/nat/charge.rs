//! Which backend a connection's packets are counted for.

use crate::conntrack::{Direction, Hit, Key};
use crate::service::FrontendHit;
use crate::slow_path::SlowPath;

impl SlowPath {
    /// The service that packets with this key are for.
    pub(crate) fn frontend_of(&self, key: &Key) -> Option<FrontendHit> {
        self.frontend(key)
    }

    /// The slot of the backend that the connection is with, if it is a service's and still is a backend of it. Not remembered
    /// in the connection: a predecessor's slots were others.
    pub(crate) fn backend_of(&self, hit: Hit) -> Option<u32> {
        let connections = &self.shared.connections;
        let original = connections.key(hit.id, Direction::Original)?;
        let frontend = self.frontend(&original)?;
        let server = connections.translation(hit.id, Direction::Original)?.to();
        self.services.slot(frontend.service, server.destination, server.destination_port)
    }
}
