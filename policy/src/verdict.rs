//! What is decided about a flow, and why.

use std::fmt;

use protocol::ObjectRef;
use serde::{Deserialize, Serialize};

use crate::model::{Direction, PolicyName};

/// A rule, where people find it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RuleName {
    /// Whose.
    pub policy: PolicyName,
    /// In `ingress` or `egress`.
    pub direction: Direction,
    /// The how-manieth there, from 0.
    pub index: u32,
    /// If its author gave it one.
    pub name: Option<String>,
}

impl fmt::Display for RuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}[{}]", self.policy, self.direction, self.index)?;
        self.name.as_ref().map_or(Ok(()), |name| write!(f, " \"{name}\""))
    }
}

/// Why a direction is decided as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// There is no pod at this end, so that no policy is asked.
    NoPod,
    /// A pod always reaches itself.
    Itself,
    /// A pod and its own node always reach each other (networking/v1, `NetworkPolicyPeer.ipBlock`; probes need it).
    OwnNode,
    /// A rule says so.
    Rule(RuleName),
    /// These `NetworkPolicy` objects select the pod, and none of them allows it.
    Isolated(Vec<PolicyName>),
    /// No rule matches, and nothing isolates the pod.
    Unrestricted,
}

/// One end's decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Whether the flow may be.
    pub allowed: bool,
    /// Why, or why not.
    pub reason: Reason,
}

impl Decision {
    pub(crate) fn allowed(reason: Reason) -> Self {
        Self { allowed: true, reason }
    }

    pub(crate) fn denied(reason: Reason) -> Self {
        Self { allowed: false, reason }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.allowed { "allowed: " } else { "denied: " })?;
        match &self.reason {
            Reason::NoPod => f.write_str("no pod at this end"),
            Reason::Itself => f.write_str("a pod always reaches itself"),
            Reason::OwnNode => f.write_str("a pod and its own node always reach each other"),
            Reason::Rule(rule) => rule.fmt(f),
            Reason::Isolated(policies) => {
                f.write_str("no rule allows it, and the pod is isolated by ")?;
                policies.iter().enumerate().try_for_each(|(index, policy)| {
                    write!(f, "{}{policy}", if index == 0 { "" } else { ", " })
                })
            }
            Reason::Unrestricted => f.write_str("no policy restricts it"),
        }
    }
}

/// Both ends: the source's egress and the destination's ingress must allow a flow. Answers are part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The pod that asks, if it is one.
    pub source: Option<ObjectRef>,
    /// The pod that is asked, if it is one.
    pub destination: Option<ObjectRef>,
    /// At the source.
    pub egress: Decision,
    /// At the destination.
    pub ingress: Decision,
}

impl Explanation {
    /// Whether the flow may be.
    #[must_use]
    pub fn allowed(&self) -> bool {
        self.egress.allowed && self.ingress.allowed
    }
}
