//! Kubernetes' own suite by its names (`test/e2e/network/netpol`, 1.34): three namespaces with three pods each, ports 80 and 81, TCP, UDP and
//! SCTP. A case sets policies and labels in some [`Bed`], and says for every pair of pods what may be. Every table has all
//! protocols, so that what the suite repeats for UDP and SCTP is here once.

mod egress;
mod ingress;
mod ports;
mod updates;

use serde_json::{Value, json};

use crate::Protocol;

/// The namespaces, each with the label `ns` of its name.
pub const NAMESPACES: [&str; 3] = ["x", "y", "z"];
/// The pods of each namespace, each with the label `pod` of its name.
pub const PODS: [&str; 3] = ["a", "b", "c"];
/// Where every pod serves, by [`PROTOCOLS`].
pub const PORTS: [u16; 2] = [80, 81];
/// With which every pod serves, at [`PORTS`].
pub const PROTOCOLS: [Protocol; 3] = [Protocol::TCP, Protocol::UDP, Protocol::SCTP];

/// One try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Probe {
    /// Namespace and pod.
    pub from: (&'static str, &'static str),
    /// Namespace and pod.
    pub to: (&'static str, &'static str),
    /// Of the other pod.
    pub port: u16,
    /// With which.
    pub protocol: Protocol,
}

/// Where policies hold.
pub trait Bed {
    /// As at the beginning: no policy, and everybody's first labels.
    fn reset(&mut self);
    /// A pod's.
    fn address(&self, namespace: &str, pod: &str) -> String;
    /// A `NetworkPolicy` with this `spec`, new or instead of another.
    fn set_policy(&mut self, namespace: &str, name: &str, spec: &Value);
    /// It is gone.
    fn delete_policy(&mut self, namespace: &str, name: &str);
    /// All labels that a namespace has from now on.
    fn label_namespace(&mut self, namespace: &str, labels: &[(&str, &str)]);
    /// All labels that a pod has from now on.
    fn label_pod(&mut self, namespace: &str, pod: &str, labels: &[(&str, &str)]);
    /// Tries what may be, for every probe.
    ///
    /// # Panics
    /// When it is not as expected.
    fn check(&mut self, expected: &dyn Fn(&Probe) -> bool);
}

/// A case, and what the suite calls it.
pub type Case = (&'static str, fn(&mut dyn Bed));

macro_rules! cases {
    ($($group:ident: $($case:ident),* $(,)?;)*) => {
        /// All, in an order of no meaning.
        pub const CASES: &[Case] = &[$($((stringify!($case), $group::$case)),*),*];
    };
}

cases! {
    ingress:
        should_support_a_default_deny_ingress_policy,
        should_support_a_default_deny_all_policy,
        should_enforce_policy_to_allow_traffic_from_pods_within_server_namespace_based_on_pod_selector,
        should_enforce_policy_to_allow_ingress_traffic_for_a_target,
        should_enforce_policy_to_allow_ingress_traffic_from_pods_in_all_namespaces,
        should_enforce_policy_to_allow_traffic_only_from_a_different_namespace_based_on_namespace_selector,
        should_enforce_policy_based_on_pod_selector_with_match_expressions,
        should_enforce_policy_based_on_namespace_selector_with_match_expressions,
        should_enforce_policy_based_on_pod_selector_or_namespace_selector,
        should_enforce_policy_based_on_pod_selector_and_namespace_selector,
        should_enforce_policy_based_on_multiple_pod_selectors_and_namespace_selectors,
        should_enforce_policy_based_on_any_pod_selectors,
        should_enforce_policy_to_allow_traffic_only_from_a_pod_in_a_different_namespace_based_on_pod_selector_and_namespace_selector,
        should_enforce_multiple_stacked_policies_with_overlapping_pod_selectors,
        should_support_allow_all_policy,
        should_deny_ingress_from_pods_on_other_namespaces,
        should_enforce_multiple_ingress_policies_with_ingress_allow_all_policy_taking_precedence,
        should_enforce_policy_to_allow_traffic_based_on_namespace_selector_with_match_labels_using_default_ns_label,
        should_enforce_policy_based_on_namespace_selector_with_match_expressions_using_default_ns_label;
    egress:
        should_deny_egress_from_pods_based_on_pod_selector,
        should_deny_egress_from_all_pods_in_a_namespace,
        should_work_with_ingress_egress_specified_together,
        should_support_denying_of_egress_traffic_on_the_client_side_even_if_the_server_explicitly_allows_this_traffic,
        should_enforce_egress_policy_allowing_traffic_to_a_server_in_a_different_namespace_based_on_pod_selector_and_namespace_selector,
        should_enforce_multiple_egress_policies_with_egress_allow_all_policy_taking_precedence,
        should_allow_egress_access_to_server_in_cidr_block,
        should_enforce_except_clause_while_egress_access_to_server_in_cidr_block,
        should_ensure_an_ip_overlapping_both_ip_block_cidr_and_ip_block_except_is_allowed,
        should_enforce_policies_to_check_ingress_and_egress_policies_can_be_controlled_independently_based_on_pod_selector;
    ports:
        should_enforce_policy_based_on_ports,
        should_allow_ingress_access_on_one_named_port,
        should_allow_ingress_access_from_namespace_on_one_named_port,
        should_allow_egress_access_on_one_named_port,
        should_support_creating_network_policy_api_with_endport_field,
        should_enforce_ingress_policy_allowing_any_port_traffic_to_a_server_on_a_specific_protocol,
        should_not_allow_access_by_tcp_when_a_policy_specifies_only_udp,
        should_not_mistakenly_treat_protocol_sctp_as_protocol_tcp,
        should_properly_isolate_pods_that_are_selected_by_a_policy_allowing_sctp,
        should_enforce_policy_to_allow_traffic_only_from_a_pod_in_a_different_namespace_for_udp_and_sctp;
    updates:
        should_enforce_updated_policy,
        should_allow_ingress_access_from_updated_namespace,
        should_allow_ingress_access_from_updated_pod,
        should_deny_ingress_access_to_updated_pod,
        should_stop_enforcing_policies_after_they_are_deleted;
}

/// The name of a port, as the suite has it.
#[must_use]
pub fn port_name(port: u16, protocol: Protocol) -> String {
    format!("serve-{port}-{}", protocol.to_string().to_lowercase())
}

/// Every try but of a pod with itself, which always succeeds.
pub fn probes() -> impl Iterator<Item = Probe> {
    let pods = || NAMESPACES.into_iter().flat_map(|namespace| PODS.map(|pod| (namespace, pod)));
    let pairs = pods().flat_map(move |from| pods().map(move |to| (from, to))).filter(|(from, to)| from != to);
    pairs.flat_map(|(from, to)| {
        PORTS.into_iter().flat_map(move |port| PROTOCOLS.map(|protocol| Probe { from, to, port, protocol }))
    })
}

/// The whole truth table, with these policies in the namespace `x`.
fn holds(bed: &mut dyn Bed, specs: &[Value], expected: impl Fn(&Probe) -> bool) {
    bed.reset();
    for (number, spec) in specs.iter().enumerate() {
        bed.set_policy("x", &format!("p{number}"), spec);
    }
    bed.check(&expected);
}

fn pod(name: &str) -> Value {
    json!({ "matchLabels": { "pod": name } })
}

fn ns(name: &str) -> Value {
    json!({ "matchLabels": { "ns": name } })
}

/// Lets in to `a` from these.
fn to_a(from: &Value) -> Value {
    json!({ "podSelector": pod("a"), "ingress": [{ "from": from }] })
}

fn is_a(end: (&str, &str)) -> bool {
    end == ("x", "a")
}
