//! The kernel edge: everything vpod asks of Linux, and all of its unsafe code.
//!
//! One kernel object per module: TAP devices ([`tap`]), the tunnel's UDP
//! sockets ([`udp_tunnel`]), the socket on the node's own interface ([`packet_socket`]), network namespaces ([`netns`]), rtnetlink
//! ([`netlink`]), a UDP server's batches ([`datagrams`]), message sockets that carry descriptors ([`seqpacket`]), memory that outlives a process
//! ([`shared_memory`]), programs started inside a pod ([`process`]), [`sysctl`]s. Beside them the devices that are not the kernel's: an in-memory
//! pair ([`loopback`]), injected faults ([`fault`]) and captures ([`pcap`]), behind the same
//! [`Device`] trait.
//!
//! Nothing here knows what a pod is allowed to do, and nothing logs: what went wrong is returned,
//! naming the device, path or address.
//!
//! Raw system calls live in `sys`, the only module that may contain `unsafe`.

mod buffers;
pub mod datagrams;
pub mod descriptors;
pub mod device;
pub mod fault;
pub mod loopback;
pub mod netlink;
pub mod netns;
pub mod packet_socket;
pub mod pcap;
pub mod process;
pub mod seqpacket;
pub mod shared_memory;
pub mod sysctl;
pub mod tap;
pub mod udp_tunnel;

mod sys;

pub use datagrams::Datagrams;
pub use device::{Device, DeviceError, Sent, VNET_HDR_LEN};
pub use fault::FaultInjector;
pub use loopback::Loopback;
pub use netlink::Netlink;
pub use netns::Netns;
pub use packet_socket::{PacketFilter, PacketSocket, PacketSocketError};
pub use pcap::PcapDevice;
pub use process::PodCommand;
pub use shared_memory::{SharedMemory, SharedMemoryError};
pub use tap::{PlainTap, Tap, TapError, TapOptions, VnetTap};
pub use udp_tunnel::{UdpTunnel, UdpTunnelError, UdpTunnelOptions};
