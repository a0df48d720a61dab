//! Whose an address is.

use std::net::IpAddr;

use super::{Claims, Compiler};
use protocol::link::policy::Owner;

impl Compiler {
    pub(super) fn unclaim(&mut self, address: IpAddr, remove: impl FnOnce(&mut Claims) -> bool) {
        if let Some(claims) = self.claims.get_mut(&address) {
            remove(claims);
            if claims.pods.is_empty() && claims.nodes.is_empty() {
                self.claims.remove(&address);
            }
        }
        self.dirty.addresses.insert(address);
    }

    /// The address and whose it is now, for those where that has changed.
    pub(super) fn changed_addresses(&mut self) -> Vec<(IpAddr, Option<Owner>)> {
        // A pod with another identity at the same address claims it anew, so that it is here too.
        let dirty = std::mem::take(&mut self.dirty.addresses);
        let owners = dirty.into_iter().map(|address| (address, self.owner_of(address)));
        owners.filter(|(address, owner)| self.tables.owner(*address) != *owner).collect()
    }

    fn owner_of(&self, address: IpAddr) -> Option<Owner> {
        let claims = self.claims.get(&address)?;
        let pod = claims.pods.first().and_then(|name| self.pods.get(name));
        let pod = pod.map(|state| Owner::Pod { pod: state.id, identity: state.identity, node: state.node });
        pod.or_else(|| self.nodes.id(claims.nodes.first()?).map(Owner::Node))
    }
}
