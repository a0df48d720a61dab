//! In software, what a device would do: complete checksums, split superframes, merge segments; and what a router does:
//! make fragments.
//!
//! Split and complete only where the destination cannot: between two TAPs with offloads a superframe
//! passes whole. Merge only where it can. Fragments only of what is too large for a link and may be cut.

pub(crate) mod checksum;
pub(crate) mod fragment;
pub(crate) mod gso;
pub(crate) mod merge;
