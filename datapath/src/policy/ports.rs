//! Who is behind which port, and what is asked of whom. Made anew with each configuration that changes either.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use protocol::PortId;
use protocol::link::PortConfig;
use protocol::link::policy::{DeniedBy, Owner, Table, TableRule};
use protocol::object::{PolicyDirection, PortKind};

use super::draft::Draft;
use super::shared::SharedPolicies;
use super::tables::Tables;
use crate::limits::Limits;
use crate::rewrite::Tuple;
use crate::time::Instant;
use crate::token_bucket::TokenBucket;

/// One worker's view.
#[derive(Debug)]
pub(crate) struct Policies {
    pub(crate) tables: Arc<Tables>,
    is_enforced: bool,
    gates: Vec<Gate>,
    /// Denials that may still be noted.
    pub(super) notes: TokenBucket,
    /// What was decided, while a decision is only tried.
    pub(crate) told: Option<Vec<Asked>>,
}

/// Who is asked about what passes a port.
#[derive(Debug, Clone, Default)]
pub(super) enum Gate {
    /// Nobody: no pod is behind it.
    #[default]
    Open,
    /// Nothing passes: nothing is known of the pod.
    Closed,
    /// A pod.
    Pod(Subject),
}

/// A pod with its tables.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    pod: u32,
    node: Option<u32>,
    /// It is of this node.
    is_here: bool,
    ingress: Arc<Table>,
    egress: Arc<Table>,
}

/// A flow, as its first packet says it after a service's address became a backend's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PolicyFlow {
    pub(crate) protocol: u8,
    pub(crate) tuple: Tuple,
}

/// What one end says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Nobody is asked.
    NotAsked,
    /// It is the pod itself, or its own node.
    Exempt,
    /// No rule says anything.
    Unrestricted,
    Rule(TableRule),
    /// Nothing is known of the pod.
    NotReady,
}

/// What was asked, for a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) direction: PolicyDirection,
    pub(crate) answer: Answer,
}

impl Policies {
    pub(crate) fn new(shared: &SharedPolicies, limits: &Limits) -> Self {
        Self {
            tables: shared.none(),
            is_enforced: false,
            gates: Vec::new(),
            notes: TokenBucket::new(limits.denials_noted_per_second, limits.denials_noted_burst),
            told: None,
        }
    }

    pub(crate) const fn is_enforced(&self) -> bool {
        self.is_enforced
    }

    /// Makes a draft the active tables. The numbers of policies that are gone may come again, so what they counted goes.
    pub(crate) fn install(&mut self, draft: Draft, shared: &SharedPolicies) {
        if draft.is_reset {
            shared.notes.forget_all();
        }
        draft.gone.iter().for_each(|policy| shared.notes.forget(*policy));
        if let Some(tables) = draft.tables {
            self.tables = tables;
        }
    }

    /// Finds out anew who is behind each port.
    pub(crate) fn bind<'a>(&mut self, is_enforced: bool, ports: impl Iterator<Item = &'a PortConfig>) {
        self.is_enforced = is_enforced;
        self.gates.clear();
        for port in ports.filter(|port| is_enforced && port.kind == PortKind::Pod) {
            let index = port.id.index();
            if self.gates.len() <= index {
                self.gates.resize(index + 1, Gate::Open);
            }
            let subject = port.addresses.iter().find_map(|address| match address {
                IpAddr::V4(v4) => self.subject(*v4, true),
                IpAddr::V6(_) => None,
            });
            if let Some(gate) = self.gates.get_mut(index) {
                *gate = subject.map_or(Gate::Closed, Gate::Pod);
            }
        }
    }

    pub(super) fn gate(&self, port: PortId) -> &Gate {
        self.gates.get(port.index()).unwrap_or(&Gate::Open)
    }

    /// Who is asked for the pod of another node that has an address.
    pub(super) fn gate_elsewhere(&self, address: Ipv4Addr) -> Gate {
        self.subject(address, false).map_or(Gate::Closed, Gate::Pod)
    }

    fn subject(&self, address: Ipv4Addr, is_here: bool) -> Option<Subject> {
        let Some(Owner::Pod { pod, identity, node }) = self.tables.owner(address) else { return None };
        let both = self.tables.of(identity)?;
        let (ingress, egress) = (Arc::clone(both.ingress), Arc::clone(both.egress));
        Some(Subject { pod, node, is_here, ingress, egress })
    }

    /// Whether the end says anything about `peer`, now or about its answers.
    pub(super) fn concerns(&self, gate: &Gate, peer: Ipv4Addr, is_own_node: bool) -> bool {
        match gate {
            Gate::Open => false,
            Gate::Closed => true,
            Gate::Pod(subject) => {
                let has_rules = !subject.ingress.is_empty() || !subject.egress.is_empty();
                has_rules && !self.is_exempt(subject, peer, is_own_node)
            }
        }
    }

    /// What the end says about a flow. `is_own_node`: the peer is, by an address that only the switch knows.
    pub(super) fn ask(
        &self,
        gate: &Gate,
        direction: PolicyDirection,
        flow: &PolicyFlow,
        is_own_node: bool,
    ) -> Answer {
        let subject = match gate {
            Gate::Open => return Answer::NotAsked,
            Gate::Closed => return Answer::NotReady,
            Gate::Pod(subject) => subject,
        };
        let (peer, table) = match direction {
            PolicyDirection::Egress => (flow.tuple.destination, &subject.egress),
            PolicyDirection::Ingress => (flow.tuple.source, &subject.ingress),
        };
        if self.is_exempt(subject, peer, is_own_node) {
            return Answer::Exempt;
        }
        let identity = match self.tables.owner(peer) {
            Some(Owner::Pod { identity, .. }) => Some(identity),
            Some(Owner::Node(_)) | None => None,
        };
        let rule = table.lookup(IpAddr::V4(peer), identity, flow.protocol, flow.tuple.destination_port);
        rule.map_or(Answer::Unrestricted, |rule| Answer::Rule(*rule))
    }

    fn is_exempt(&self, subject: &Subject, peer: Ipv4Addr, is_own_node: bool) -> bool {
        match self.tables.owner(peer) {
            Some(Owner::Pod { pod, .. }) => pod == subject.pod,
            Some(Owner::Node(node)) => is_own_node && subject.is_here || subject.node == Some(node),
            None => is_own_node && subject.is_here,
        }
    }

    /// Whether a denial may be noted.
    pub(super) fn may_note(&mut self, now: Instant) -> bool {
        self.notes.take(now)
    }
}

impl Answer {
    /// What denied, if the flow may not be.
    pub(crate) fn denial(self) -> Option<Option<DeniedBy>> {
        match self {
            Self::NotAsked | Self::Exempt | Self::Unrestricted => None,
            Self::Rule(rule) if rule.allows() => None,
            Self::Rule(rule) => Some(Some(DeniedBy { policy: rule.policy, rule: rule.index })),
            Self::NotReady => Some(None),
        }
    }
}
