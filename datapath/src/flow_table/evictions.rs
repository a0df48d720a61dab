//! Why an entry went, counted.

use protocol::link::FlowEvictions;

/// One of the causes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    Stale,
    Idle,
    Share,
    Full,
    Collision,
}

impl Cause {
    /// One more entry went for this.
    pub(super) const fn count(self, evictions: &mut FlowEvictions) {
        match self {
            Self::Stale => evictions.stale += 1,
            Self::Idle => evictions.idle += 1,
            Self::Share => evictions.share += 1,
            Self::Full => evictions.full += 1,
            Self::Collision => evictions.collision += 1,
        }
    }
}
