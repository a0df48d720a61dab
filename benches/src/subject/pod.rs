//! A pod as the generators of traffic see it, and how pods of peers are made.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};

use super::IP_MTU;
use crate::host::{Netns, ip_batch};

/// A namespace with an address.
pub(crate) struct Pod {
    pub(crate) netns: String,
    pub(crate) ip: Ipv4Addr,
    /// Where the harness made the namespace, and not the subject.
    _guard: Option<Netns>,
}

impl Pod {
    /// A pod of a subject that makes and deletes its namespaces itself.
    pub(crate) fn managed(netns: String, ip: Ipv4Addr) -> Self {
        Self { netns, ip, _guard: None }
    }

    /// A namespace without a device, for the pod number `index` of a subject.
    pub(crate) fn create(index: usize) -> Result<Self> {
        Self::create_at(address(index)?)
    }

    /// A namespace without a device, for the pod with this address.
    pub(crate) fn create_at(ip: Ipv4Addr) -> Result<Self> {
        Ok(Self::of_netns(Netns::create("vb-pod-")?, ip))
    }

    /// A namespace that has this address, or will have.
    pub(crate) fn of_netns(guard: Netns, ip: Ipv4Addr) -> Self {
        Self { netns: guard.0.clone(), ip, _guard: Some(guard) }
    }

    /// Gives its device the pod's address and starts it.
    pub(crate) fn configure(&self, device: &str) -> Result<()> {
        self.configure_in(device, GATEWAY, PREFIX_LEN)
    }

    /// The same in a network of another node.
    pub(crate) fn configure_in(&self, device: &str, gateway: Ipv4Addr, prefix_len: u8) -> Result<()> {
        let Self { netns, ip, .. } = self;
        ip_batch(
            netns,
            &format!(
                "address add {ip}/{prefix_len} dev {device}\nlink set {device} mtu {IP_MTU} up\n\
                 route add default via {gateway}\n"
            ),
        )
    }
}

/// Address of the node in every peer's network; each network is in namespaces of its own, so all
/// peers use the same one.
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 97, 0, 1);
/// Room for more than 253 pods.
pub(crate) const PREFIX_LEN: u8 = 16;

fn address(index: usize) -> Result<Ipv4Addr> {
    let index = u16::try_from(index).ok().and_then(|i| i.checked_add(2)).context("too many pods")?;
    let [high, low] = index.to_be_bytes();
    Ok(Ipv4Addr::new(10, 97, high, low))
}
