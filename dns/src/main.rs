//! The cluster DNS. See `docs/design/0008-names.md`.

fn main() {}
