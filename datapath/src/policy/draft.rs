//! Tables on their way to become active: collected from deltas, checked when the last one has come.
//!
//! Workers prepare the same deltas in the same order; what the first one made of a delta, the others take (`shared`), so there is
//! one copy for all.

use std::collections::BTreeSet;
use std::sync::Arc;

use protocol::link::ConfigDelta;

use super::shared::SharedPolicies;
use super::tables::Tables;
use crate::config::ConfigError;
use crate::limits::Limits;

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct Draft {
    /// `None`: as they are.
    pub(super) tables: Option<Arc<Tables>>,
    pub(super) touched: BTreeSet<u32>,
    /// What was counted goes: of all, and of these.
    pub(super) is_reset: bool,
    pub(super) gone: Vec<u32>,
}

impl Draft {
    /// Adds what a delta says about policies.
    pub(crate) fn collect(
        &mut self,
        delta: &ConfigDelta,
        active: &Arc<Tables>,
        shared: &SharedPolicies,
        limits: &Limits,
    ) -> Result<(), ConfigError> {
        if delta.reset_policies {
            *self = Self { tables: Some(shared.none()), is_reset: true, ..Self::default() };
        }
        if delta.policies.is_empty() {
            return Ok(());
        }
        let before = self.tables.take().unwrap_or_else(|| Arc::clone(active));
        self.gone.extend(&delta.policies.gone);
        let (after, touched) =
            shared.after(before, &delta.policies, limits).map_err(ConfigError::BadPolicies)?;
        self.tables = Some(after);
        self.touched.extend(touched);
        Ok(())
    }

    /// What must hold of the whole.
    pub(crate) fn check(&self, limits: &Limits) -> Result<(), ConfigError> {
        let Some(tables) = &self.tables else { return Ok(()) };
        tables.check(&self.touched, limits).map_err(ConfigError::BadPolicies)
    }
}
