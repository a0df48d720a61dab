//! What this crate knows, in the words that plugin and daemon share, and back.

use protocol::attachment::{self as wire, AddressRange, Attach, AttachmentRole};
use protocol::link::Transport;
use protocol::message::{ApiError, ErrorCode, PodRef};
use protocol::object::{self, ContainerPort};

use crate::attached::Attached;
use crate::attachment::Attachment;
use crate::config::{Bandwidth, IpRange, L4Protocol, PortMapping, Rate, Resolver, Role};
use crate::error::{Code, Error};
use crate::status::Readiness;

impl Attachment {
    /// What the daemon is asked. `netns_identity` is device and inode of the namespace.
    #[must_use]
    pub fn request(&self, role: Role, netns_identity: (u64, u64)) -> Attach {
        Attach {
            key: self.key.clone(),
            role: match role {
                Role::Interface => AttachmentRole::Interface,
                Role::Ipam => AttachmentRole::Address,
            },
            netns: self.netns.clone(),
            netns_identity,
            netns_override: self.netns_override,
            pod: PodRef { namespace: self.pod.object.namespace.clone(), name: self.pod.object.name.clone() },
            labels: self.labels.clone(),
            addresses: self.addresses.clone(),
            ranges: self.ranges.iter().map(|set| set.iter().map(range).collect()).collect(),
            mac: self.mac,
            ip_mtu: self.mtu,
            ports: self.port_mappings.iter().map(port).collect(),
            bandwidth: limits(self.bandwidth),
            resolver: wire::Resolver {
                nameservers: self.resolver.nameservers.clone(),
                domain: self.resolver.domain.clone(),
                searches: self.resolver.searches.clone(),
                options: self.resolver.options.clone(),
            },
            aliases: self.aliases.clone(),
        }
    }
}

fn range(range: &IpRange) -> AddressRange {
    let (start, end) = range.bounds();
    AddressRange { subnet: range.subnet, start, end, gateway: range.gateway }
}

fn port(mapping: &PortMapping) -> ContainerPort {
    ContainerPort {
        name: String::new(),
        number: mapping.container_port,
        transport: match mapping.protocol {
            L4Protocol::Tcp => Transport::Tcp,
            L4Protocol::Udp => Transport::Udp,
            L4Protocol::Sctp => Transport::Sctp,
        },
        host_port: Some(mapping.host_port),
        host_ip: mapping.host_ip,
    }
}

fn limits(bandwidth: Bandwidth) -> object::Bandwidth {
    let rate = |limit: Option<Rate>| limit.map(|limit| limit.bits_per_second);
    let burst = |limit: Option<Rate>| limit.map(|limit| limit.burst_bits);
    object::Bandwidth {
        ingress_rate: rate(bandwidth.ingress),
        ingress_burst: burst(bandwidth.ingress),
        egress_rate: rate(bandwidth.egress),
        egress_burst: burst(bandwidth.egress),
    }
}

impl From<wire::Attached> for Attached {
    fn from(attached: wire::Attached) -> Self {
        let resolver = attached.resolver;
        Self {
            mac: attached.mac,
            mtu: attached.ip_mtu,
            addresses: attached.addresses,
            resolver: Resolver {
                nameservers: resolver.nameservers,
                domain: resolver.domain,
                searches: resolver.searches,
                options: resolver.options,
            },
        }
    }
}

impl From<wire::Readiness> for Readiness {
    fn from(readiness: wire::Readiness) -> Self {
        match readiness {
            wire::Readiness::Ready => Self::Ready,
            wire::Readiness::Refusing { why } => Self::Refusing { why },
            wire::Readiness::Exhausted { pool, held } => Self::Exhausted { pool, held },
            wire::Readiness::NotForwarding { why } => Self::NotForwarding { why },
        }
    }
}

impl From<ApiError> for Error {
    /// What the daemon refused, as the runtime is told.
    fn from(error: ApiError) -> Self {
        let code = match error.code {
            ErrorCode::NotFound => Code::UnknownContainer,
            ErrorCode::AlreadyExists => Code::AlreadyAttached,
            ErrorCode::Invalid => Code::InvalidConfiguration,
            ErrorCode::Conflict | ErrorCode::Exhausted => Code::NoAddress,
            ErrorCode::HostPortTaken => Code::HostPortTaken,
            ErrorCode::Unavailable => Code::TryAgain,
            ErrorCode::Forbidden | ErrorCode::Internal => Code::Switch,
        };
        Self::new(code, error.message)
    }
}
