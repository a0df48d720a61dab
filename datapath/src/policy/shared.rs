//! What all workers of a process know together about policies: what is counted and noted, and what a delta came to.

use std::collections::BTreeSet;
use std::sync::Arc;

use protocol::link::PolicyChange;

use super::notes::Notes;
use super::tables::Tables;
use crate::conntrack::Lock;
use crate::limits::Limits;

/// See the module.
#[derive(Debug)]
pub(crate) struct SharedPolicies {
    none: Arc<Tables>,
    /// The last piece that somebody applied.
    last: Lock<Option<Applied>>,
    pub(crate) notes: Notes,
}

#[derive(Debug)]
struct Applied {
    before: Arc<Tables>,
    change: PolicyChange,
    after: Arc<Tables>,
    touched: BTreeSet<u32>,
}

impl SharedPolicies {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { none: Arc::default(), last: Lock::new(None), notes: Notes::new(limits) }
    }

    /// The tables that everybody begins with.
    pub(crate) fn none(&self) -> Arc<Tables> {
        Arc::clone(&self.none)
    }

    /// What a piece makes of tables, and which of them it touches. The others wait for the first one, and take its result.
    pub(super) fn after(
        &self,
        before: Arc<Tables>,
        change: &PolicyChange,
        limits: &Limits,
    ) -> Result<(Arc<Tables>, BTreeSet<u32>), String> {
        let mut last = self.last.hold();
        if let Some(applied) = last.as_ref()
            && Arc::ptr_eq(&applied.before, &before)
            && applied.change == *change
        {
            return Ok((Arc::clone(&applied.after), applied.touched.clone()));
        }
        let mut after = (*before).clone();
        let mut touched = BTreeSet::new();
        after.apply(change, &mut touched, limits)?;
        let after = Arc::new(after);
        let result = (Arc::clone(&after), touched.clone());
        *last = Some(Applied { before, change: change.clone(), after, touched });
        Ok(result)
    }
}
