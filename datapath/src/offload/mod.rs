//! In software, what a device would do: complete checksums, split superframes, merge segments.
//!
//! Split and complete only where the destination cannot: between two TAPs with offloads a superframe
//! passes whole. Merge only where it can.

pub(crate) mod checksum;
pub(crate) mod gso;
pub(crate) mod merge;
