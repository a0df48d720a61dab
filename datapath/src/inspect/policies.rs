//! What policies did, as rows for the control process. All workers know the same.

use protocol::link::{DeniedFlow, PolicyCounts};

use crate::switch::Switch;

impl Switch {
    /// At most `max` rows of policies of which anything was counted, and the cursor of the next page.
    #[must_use]
    pub fn policies_page(&self, cursor: u64, max: usize) -> (Vec<PolicyCounts>, Option<u64>) {
        self.slow_path.shared.policies.notes.page(cursor, max)
    }

    /// At most `max` of the flows that were denied lately, those with greater numbers than `after`; and how many denied packets are in
    /// none of them.
    #[must_use]
    pub fn denials(&self, after: u64, max: usize) -> (Vec<DeniedFlow>, u64) {
        self.slow_path.shared.policies.notes.after(after, max)
    }
}
