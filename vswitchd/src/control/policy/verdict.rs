//! `policy test`: what policies say of a flow, from the tables that the datapath decides by.

use std::net::IpAddr;

use ::policy::{Explanation, Flow, Protocol};
use protocol::link::Transport;
use protocol::message::{ApiError, ErrorCode, PodRef, PolicyEnd, PolicyTest};
use protocol::object::{PolicyDecision, PolicyFlow, PolicyVerdict};

use super::super::node::Control;
use super::super::services;

/// What is decided about a flow; of a service about that with each backend.
pub(crate) fn test(control: &Control, request: &PolicyTest) -> Result<Vec<PolicyVerdict>, ApiError> {
    let refuse = |code, text: String| Err(ApiError::new(code, text));
    let source = match &request.from {
        PolicyEnd::Pod(pod) => pod_address(control, pod)?,
        PolicyEnd::Address(address) => *address,
        PolicyEnd::Service { name, .. } => {
            return refuse(
                ErrorCode::Invalid,
                format!("service {name} asks nobody; name a pod or an address"),
            );
        }
    };
    let places = match &request.to {
        PolicyEnd::Pod(pod) => vec![(pod_address(control, pod)?, request.port)],
        PolicyEnd::Address(address) => vec![(*address, request.port)],
        PolicyEnd::Service { namespace, name, port } => {
            let transport = transport(request.protocol)?;
            let backends = services::backends_of(control, namespace, name, port.as_deref(), transport);
            let backends = backends.map_err(|problem| ApiError::new(ErrorCode::NotFound, problem))?;
            if backends.is_empty() {
                return refuse(
                    ErrorCode::NotFound,
                    format!("service {namespace}/{name} has no ready endpoint"),
                );
            }
            backends
        }
    };
    let flows = places.into_iter().map(|(destination, port)| Flow {
        source,
        destination,
        protocol: Protocol(request.protocol),
        port,
    });
    let state = control.switch.policies();
    Ok(flows.map(|flow| verdict(&flow, &state.explain(&flow))).collect())
}

/// A decision in the words of the control socket.
pub(super) fn verdict(flow: &Flow, explanation: &Explanation) -> PolicyVerdict {
    let decision = |decision: &::policy::Decision| PolicyDecision {
        allowed: decision.allowed,
        reason: decision.to_string(),
    };
    PolicyVerdict {
        flow: PolicyFlow {
            source: flow.source,
            source_pod: explanation.source.as_ref().map(ToString::to_string),
            destination: flow.destination,
            destination_pod: explanation.destination.as_ref().map(ToString::to_string),
            protocol: flow.protocol.0,
            port: flow.port,
        },
        allowed: explanation.allowed(),
        egress: decision(&explanation.egress),
        ingress: decision(&explanation.ingress),
    }
}

fn pod_address(control: &Control, pod: &PodRef) -> Result<IpAddr, ApiError> {
    let own = control.inventory.lock().get(pod).and_then(|entry| entry.record.spec.pod_ips.first().copied());
    let missing = || ApiError::new(ErrorCode::NotFound, format!("pod {pod} is not known here"));
    own.or_else(|| services::pod_address(control, pod)).ok_or_else(missing)
}

fn transport(protocol: u8) -> Result<Transport, ApiError> {
    let known = [Transport::Tcp, Transport::Udp, Transport::Sctp];
    let refuse =
        || ApiError::new(ErrorCode::Invalid, format!("services have no ports of protocol {protocol}"));
    known.into_iter().find(|transport| transport.number() == protocol).ok_or_else(refuse)
}
