//! Why an entry went, counted.

/// Entries that went, by cause. What was ever put in is in the table still or counted here, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FlowEvictions {
    /// Decided under an older configuration; found when its flow came again, or by the sweep.
    pub stale: u64,
    /// Unused for [`crate::Limits::flow_idle`].
    pub idle: u64,
    /// Its port had its share, and wanted another.
    pub share: u64,
    /// The table was full, and its port held most.
    pub full: u64,
    /// Too many flows whose hashes share a cache line of the index.
    pub collision: u64,
}

/// One of the causes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    Stale,
    Idle,
    Share,
    Full,
    Collision,
}

impl FlowEvictions {
    /// Σ over causes.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.stale + self.idle + self.share + self.full + self.collision
    }

    pub(super) const fn count(&mut self, cause: Cause) {
        match cause {
            Cause::Stale => self.stale += 1,
            Cause::Idle => self.idle += 1,
            Cause::Share => self.share += 1,
            Cause::Full => self.full += 1,
            Cause::Collision => self.collision += 1,
        }
    }
}
