//! `trace`: names become addresses here; everything else is the datapath's to say.

use std::net::{IpAddr, Ipv4Addr};

use protocol::link::{FromDatapath, ToDatapath, TracePacket, TraceProtocol, Transport};
use protocol::message::{ApiError, ErrorCode, TraceDestination, TraceRequest};
use protocol::object::Trace;

use super::error::chain;
use super::node::Control;
use super::services;

/// What the switch would do with the packet.
pub(crate) fn trace(control: &Control, request: &TraceRequest) -> Result<Trace, ApiError> {
    let port = {
        let inventory = control.inventory.lock();
        let entry = inventory.get(&request.pod).ok_or_else(|| {
            ApiError::new(ErrorCode::NotFound, format!("pod {} does not exist on this node", request.pod))
        })?;
        entry.record.port
    };
    let (destination, destination_port) = destination(control, request)?;
    let packet = TracePacket {
        port,
        protocol: request.protocol,
        source: None,
        source_port: request.source_port,
        destination,
        destination_port,
        size: request.size,
    };
    match control.switch.link().request(ToDatapath::Trace(packet), &[]) {
        Ok((FromDatapath::Trace(trace), _)) => Ok(*trace),
        Ok((FromDatapath::Refused { message }, _)) => Err(ApiError::new(ErrorCode::Unavailable, message)),
        Ok((other, _)) => Err(ApiError::new(
            ErrorCode::Internal,
            format!("the datapath answered something else: {other:?}"),
        )),
        Err(error) => Err(ApiError::new(ErrorCode::Unavailable, chain(&error))),
    }
}

fn destination(control: &Control, request: &TraceRequest) -> Result<(Ipv4Addr, u16), ApiError> {
    let (address, port) = match &request.destination {
        TraceDestination::Address { address, port } => (*address, *port),
        TraceDestination::Service { namespace, name, port } => {
            services::place_of(control, namespace, name, port.as_deref(), transport(request.protocol))
                .map_err(|problem| ApiError::new(ErrorCode::NotFound, problem))?
        }
        TraceDestination::Pod { pod, port } => {
            let known = control
                .inventory
                .lock()
                .get(pod)
                .and_then(|entry| entry.record.spec.pod_ips.first().copied());
            let address = known.or_else(|| services::pod_address(control, pod));
            let missing = || ApiError::new(ErrorCode::NotFound, format!("pod {pod} is not known here"));
            (address.ok_or_else(missing)?, *port)
        }
    };
    match address {
        IpAddr::V4(v4) => Ok((v4, port)),
        IpAddr::V6(v6) => Err(ApiError::new(ErrorCode::Invalid, format!("{v6} is not an IPv4 address"))),
    }
}

const fn transport(protocol: TraceProtocol) -> Option<Transport> {
    match protocol {
        TraceProtocol::Tcp => Some(Transport::Tcp),
        TraceProtocol::Udp => Some(Transport::Udp),
        TraceProtocol::Icmp => None,
    }
}
