//! Ports of this node that pods ask for: `hostPort`, `create-pod --publish`.
//!
//! A port is one pod's, by address and protocol; one without an address is at all of them. While a pod has it, this process has it bound in the
//! node's network, so that the kernel gives it to no program of the node, nor to a connection that the node makes: these would
//! get what is the pod's, or it theirs. Nobody listens there: the switch takes what arrives.
//!
//! A pod of a container runtime has its ports bound while it is attached only, which says whether a program of the node has them: podman
//! binds them itself afterwards, for as long as the container runs, and would be refused.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::ops::RangeInclusive;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, socket};
use protocol::link::Transport;
use protocol::message::{ApiError, ErrorCode, PodRef};
use protocol::object::{ContainerPort, Serving};
use store::services::{HostPort, transport_word};

use super::super::inventory::{Inventory, Life};
use super::super::node::Control;

/// Ports of one pod on its node; a manifest that asks for more is a mistake.
const MAX_HOST_PORTS: usize = 256;

/// Those that `serving` asks for, as services know them. What is not IPv4 is refused when the pod is created.
pub(crate) fn of(serving: &Serving) -> Vec<HostPort> {
    let wanted = |port: &ContainerPort| {
        let address = match port.host_address() {
            None => None,
            Some(IpAddr::V4(address)) => Some(address),
            Some(IpAddr::V6(_)) => return None,
        };
        Some(HostPort { transport: port.transport, address, number: port.host_port?, target: port.number })
    };
    serving.ports.iter().filter_map(wanted).collect()
}

/// What `serving` asks for, if a pod of this node can have it as far as other pods let it. Asks switch and uplink, so it must not be called
/// with the inventory's lock held: whoever has theirs may wait for that.
pub(super) fn check(control: &Control, pod: &PodRef, serving: &Serving) -> Result<Vec<HostPort>, ApiError> {
    let refuse = |code, what: String| Err(ApiError::new(code, format!("pod {pod}: {what}")));
    if let Some(ip) = serving.ports.iter().filter_map(ContainerPort::host_address).find(IpAddr::is_ipv6) {
        return refuse(
            ErrorCode::Invalid,
            format!("host address {ip} is not IPv4, which is all this version forwards"),
        );
    }
    let wanted = of(serving);
    if wanted.len() > MAX_HOST_PORTS {
        return refuse(
            ErrorCode::Invalid,
            format!("{} host ports, the limit is {MAX_HOST_PORTS}", wanted.len()),
        );
    }
    let own = control.switch.node_addresses();
    for (index, port) in wanted.iter().enumerate() {
        if let Some(problem) = unfit(control, port, &own) {
            return refuse(ErrorCode::Invalid, format!("host port {} {problem}", shown(port)));
        }
        if wanted.iter().take(index).any(|other| overlap(port, other)) {
            return refuse(ErrorCode::Invalid, format!("host port {} is asked for twice", shown(port)));
        }
    }
    Ok(wanted)
}

/// Takes what was checked, for a pod that is no member of `inventory` yet.
pub(super) fn take(
    wanted: &[HostPort],
    inventory: &Inventory,
    pod: &PodRef,
) -> Result<Vec<OwnedFd>, ApiError> {
    let refuse = |code, what: String| Err(ApiError::new(code, format!("pod {pod}: {what}")));
    for port in wanted {
        let has = |serving: &Serving| of(serving).iter().any(|other| overlap(port, other));
        let mut others =
            inventory.iter().filter(|(_, entry)| entry.life != Life::Deleting || !entry.held.is_empty());
        if let Some((other, _)) = others.find(|(_, entry)| has(&entry.record.spec.serving)) {
            return refuse(
                ErrorCode::HostPortTaken,
                format!("host port {} is that of pod {other}", shown(port)),
            );
        }
    }
    hold(wanted).map_err(|(port, errno)| {
        let what = match errno {
            Errno::EADDRINUSE => "is used by a program of the node".to_owned(),
            other => format!("cannot be had: {}", other.desc()),
        };
        let code = if errno == Errno::EADDRINUSE { ErrorCode::HostPortTaken } else { ErrorCode::Internal };
        ApiError::new(code, format!("pod {pod}: host port {} {what}", shown(&port)))
    })
}

/// Takes the ports of a pod that exists; what cannot be had is served nevertheless.
pub(super) fn take_again(pod: &PodRef, serving: &Serving) -> Vec<OwnedFd> {
    let mut held = Vec::new();
    for port in of(serving) {
        match hold(std::slice::from_ref(&port)) {
            Ok(one) => held.extend(one),
            Err((port, errno)) => {
                tracing::warn!(%pod, "host port {} is not kept from the node: {}", shown(&port), errno.desc());
            }
        }
    }
    held
}

/// Why nobody can have this port here.
fn unfit(control: &Control, port: &HostPort, own: &[IpAddr]) -> Option<String> {
    let within = |range: &RangeInclusive<u16>, key: &str| {
        let why = || format!("is in {key} {}-{}; choose another one", range.start(), range.end());
        range.contains(&port.number).then(why)
    };
    if port.number == 0 || port.target == 0 {
        return Some("is not between 1 and 65535".to_owned());
    }
    if let Some(address) = port.address
        && address != Ipv4Addr::LOCALHOST
        && !own.contains(&IpAddr::V4(address))
    {
        return Some("is at no address of this node".to_owned());
    }
    let source_ports = control.uplink.lock().configured.as_ref().map(|uplink| uplink.source_ports.clone());
    within(&control.config.services.node_ports.0, "services.node_ports")
        .or_else(|| within(&source_ports?, "uplink.source_ports"))
}

fn overlap(a: &HostPort, b: &HostPort) -> bool {
    let same_place = match (a.address, b.address) {
        (Some(a), Some(b)) => a == b,
        (None, _) | (_, None) => true,
    };
    a.transport == b.transport && a.number == b.number && same_place
}

fn hold(ports: &[HostPort]) -> Result<Vec<OwnedFd>, (HostPort, Errno)> {
    let mut held = Vec::new();
    for port in ports {
        let kind = match port.transport {
            Transport::Tcp => SockType::Stream,
            Transport::Udp => SockType::Datagram,
            // The kernel may not have it, and then nobody else does.
            Transport::Sctp => continue,
        };
        let bound = socket(AddressFamily::Inet, kind, SockFlag::SOCK_CLOEXEC, None).and_then(|socket| {
            let address = SocketAddrV4::new(port.address.unwrap_or(Ipv4Addr::UNSPECIFIED), port.number);
            bind(socket.as_raw_fd(), &SockaddrIn::from(address)).map(|()| socket)
        });
        held.push(bound.map_err(|errno| (port.clone(), errno))?);
    }
    Ok(held)
}

fn shown(port: &HostPort) -> String {
    let at = port.address.map(|address| format!("{address}:")).unwrap_or_default();
    format!("{at}{}/{}", port.number, transport_word(port.transport))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(address: Option<[u8; 4]>, number: u16, transport: Transport) -> HostPort {
        HostPort { transport, address: address.map(Ipv4Addr::from), number, target: 80 }
    }

    #[test]
    fn ports_overlap_by_number_protocol_and_address() {
        let (one, other) = (Some([192, 0, 2, 1]), Some([127, 0, 0, 1]));
        let tcp = |address| port(address, 80, Transport::Tcp);
        assert!(overlap(&tcp(one), &tcp(one)) && overlap(&tcp(None), &tcp(None)));
        assert!(overlap(&tcp(None), &tcp(other)) && overlap(&tcp(one), &tcp(None)));
        assert!(!overlap(&tcp(one), &tcp(other)));
        assert!(!overlap(&tcp(one), &port(one, 81, Transport::Tcp)));
        assert!(!overlap(&tcp(None), &port(None, 80, Transport::Udp)));
    }

    #[test]
    fn port_that_is_held_is_nobody_elses() {
        let other = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let number = other.local_addr().unwrap().port();
        let wanted = port(Some([127, 0, 0, 1]), number, Transport::Udp);
        assert_eq!(hold(std::slice::from_ref(&wanted)).unwrap_err().1, Errno::EADDRINUSE);
        drop(other);
        let held = hold(&[wanted]).unwrap();
        assert!(std::net::UdpSocket::bind(("127.0.0.1", number)).is_err());
        drop(held);
    }

    #[test]
    fn ports_are_shown_with_what_tells_them_apart() {
        assert_eq!(shown(&port(None, 80, Transport::Tcp)), "80/TCP");
        assert_eq!(shown(&port(Some([192, 0, 2, 1]), 53, Transport::Udp)), "192.0.2.1:53/UDP");
    }
}
