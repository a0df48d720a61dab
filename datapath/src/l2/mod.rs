//! Layer 2: who is where (`fdb`), who has which address (`neighbor`), ARP, and flooding.

pub(crate) mod arp;
pub(crate) mod fdb;
pub(crate) mod flood;
pub(crate) mod neighbor;
