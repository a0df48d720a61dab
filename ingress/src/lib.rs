//! The HTTP ingress. See `docs/design/0009-ingress.md`.

/// What objects mean for a request: shared with the daemon, which says in their status what is refused.
pub use routing;
