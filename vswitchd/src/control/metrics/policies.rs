//! Metrics of network policies.

use std::collections::BTreeMap;

use policy::PolicyName;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

/// Policies with a metric of their own, the first by name.
const MAX_SERIES: usize = 2000;

/// What each has refused.
pub(super) fn encode(
    denied: &BTreeMap<PolicyName, u64>,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), std::fmt::Error> {
    let help = "Packets that a network policy has refused on this node";
    let mut family =
        encoder.encode_descriptor("vpod_policy_denied_packets", help, None, MetricType::Counter)?;
    for (policy, packets) in denied.iter().take(MAX_SERIES) {
        let (kind, namespace, name) = match policy {
            PolicyName::Namespaced(object) => {
                ("NetworkPolicy", object.namespace.to_string(), object.name.to_string())
            }
            PolicyName::Cluster(name) => ("ClusterNetworkPolicy", String::new(), name.to_string()),
        };
        let labels = [("kind", kind.to_owned()), ("namespace", namespace), ("name", name)];
        ConstCounter::new(*packets).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}
