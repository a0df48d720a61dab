//! For tests, of this crate and of whoever enforces policies. Only with the feature `testing`.

pub mod suite;
