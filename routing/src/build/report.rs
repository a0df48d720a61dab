//! What is to be said about each object: in its status, and by `describe`.

use std::collections::BTreeMap;

use protocol::ObjectRef;
use protocol::problem::Problem;

use super::{Refused, ServiceState};
use crate::gateway_api::ParentRef;
use crate::rule::ServicePort;

/// By object; what vpod does not serve is not here.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// Ingresses.
    pub ingresses: BTreeMap<ObjectRef, Verdict>,
    /// Gateways.
    pub gateways: BTreeMap<ObjectRef, Verdict>,
    /// HTTPRoutes.
    pub routes: BTreeMap<ObjectRef, Verdict>,
    /// What was refused as a whole, by plural and name: what was known of it before is in force.
    pub refused: BTreeMap<(&'static str, String), String>,
}

/// About one object.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Verdict {
    /// Parts that are not in force, and why.
    pub problems: Vec<Problem>,
    /// Of a Gateway.
    pub conditions: Vec<StatusCondition>,
    /// Of a Gateway.
    pub listeners: Vec<ListenerVerdict>,
    /// Of an HTTPRoute.
    pub parents: Vec<ParentVerdict>,
}

/// `status.conditions[]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusCondition {
    /// `Accepted`, `ResolvedRefs`, `Programmed`, `Conflicted`.
    pub type_: &'static str,
    /// True or false.
    pub holds: bool,
    /// One word.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

impl StatusCondition {
    pub(super) fn new(
        type_: &'static str,
        holds: bool,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self { type_, holds, reason, message: message.into() }
    }
}

/// `status.listeners[]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerVerdict {
    /// Its name.
    pub name: String,
    /// Routes at it.
    pub attached: usize,
    /// What is true of it.
    pub conditions: Vec<StatusCondition>,
}

/// `status.parents[]`.
#[derive(Debug, Clone, PartialEq)]
pub struct ParentVerdict {
    /// As the route has it.
    pub parent: ParentRef,
    /// What is true of it.
    pub conditions: Vec<StatusCondition>,
}

impl Report {
    pub(super) fn refuse(&mut self, plural: &'static str, name: &str, refused: &Refused) {
        self.refused.insert((plural, name.to_owned()), refused.to_string());
    }
}

/// What a service that cannot serve is said to be.
pub(super) fn missing(
    target: &ServicePort,
    services: &dyn Fn(&ServicePort) -> ServiceState,
) -> Option<String> {
    match services(target) {
        ServiceState::Known(_) => None,
        ServiceState::NoService => Some(format!("service {} not found", target.service)),
        ServiceState::NoPort => Some(format!("service {} has no TCP port {}", target.service, target.port)),
    }
}
