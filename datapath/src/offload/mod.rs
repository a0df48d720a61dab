//! In software, what a device would do: complete checksums, split superframes.
//!
//! Only where the destination cannot: between two TAPs with offloads a superframe passes whole.

pub(crate) mod checksum;
pub(crate) mod gso;
