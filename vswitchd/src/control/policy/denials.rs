//! What policies have refused.

use std::collections::BTreeMap;

use ::policy::PolicyName;
use protocol::object::Denial;

use super::super::node::Control;
use super::super::switch::SwitchError;

pub(crate) fn denials(_control: &Control) -> Result<Vec<Denial>, SwitchError> {
    Ok(Vec::new())
}

pub(super) fn counted(_control: &Control) -> BTreeMap<PolicyName, u64> {
    BTreeMap::new()
}

pub(crate) fn log() {}
