//! Addresses of load balancers: which pools there are, what a service asks of them, and what it gets.
//!
//! Pools are configuration, the same on all nodes. Which service has which address is in the store, one entry an address
//! ([`Tenants`]), written in the transaction that writes the service: two nodes that give away the same address at the same
//! time cannot both succeed, even if their pools differ.
//!
//! Several services may share an address, as `MetalLB` has it: all name the same sharing key, no port is
//! there twice, and either all send to all nodes, or all send to the same pods.

mod assignment;
mod pool;
mod range;
mod request;
mod tenants;

pub(super) use assignment::{Applicant, Assignment, Refusal, addresses_of};
pub use assignment::{CONDITION, LOAD_BALANCER_IPS, pending_reason};
pub use pool::{AddressPool, AddressPools, PoolsError};
pub use range::{AddressRange, RangeError};
pub use request::{Request, Requested};
pub use tenants::{Tenant, Tenants};

#[cfg(test)]
mod tests;
