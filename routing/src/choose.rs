//! Which backend a request of a rule goes to. Chance comes from outside.

use crate::request::RequestView;
use crate::rule::{Backend, Canary, Rule};

impl Rule {
    /// The backend for a request; `draw` is any number, evenly spread. `None` is 500: there are none, or none has a weight.
    #[must_use]
    pub fn backend(&self, request: &RequestView<'_>, draw: u64) -> Option<&Backend> {
        if let Some(canary) = self.canary.as_ref().filter(|canary| canary.takes(request, draw)) {
            return Some(&canary.backend);
        }
        let total: u64 = self.backends.iter().map(|backend| u64::from(backend.weight)).sum();
        // The upper half, since the canary's weight has used the lower one.
        let mut left = (draw >> 32).checked_rem(total)?;
        self.backends.iter().find(|backend| {
            let weight = u64::from(backend.weight);
            let is_chosen = left < weight;
            left = left.saturating_sub(weight);
            is_chosen
        })
    }
}

impl Canary {
    fn takes(&self, request: &RequestView<'_>, draw: u64) -> bool {
        if let Some((name, wanted)) = &self.header {
            match (request.fields.field(name), wanted) {
                (Some(value), Some(wanted)) if value == wanted => return true,
                (Some("always"), None) => return true,
                (Some("never"), None) => return false,
                _ => {}
            }
        }
        match self.cookie.as_deref().and_then(|name| request.cookie(name)) {
            Some("always") => return true,
            Some("never") => return false,
            _ => {}
        }
        (draw & u64::from(u32::MAX)) % u64::from(self.weight_total.max(1)) < u64::from(self.weight)
    }
}
