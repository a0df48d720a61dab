//! The HTTP ingress. See `docs/design/0009-ingress.md`.

fn main() {}
