//! Hashed TCP streams and echoed datagrams between any two places, shared by several promises.

use std::net::IpAddr;

use integration::underlay::ForeignNode;
use integration::{Background, TestNode, TestPod, binary};

/// A place where programs run: a pod, the node itself, or a machine that is no node.
#[derive(Clone, Copy)]
pub(crate) enum Place<'a> {
    Pod(&'a TestPod),
    Node(&'a TestNode),
    Foreign(&'a ForeignNode),
}

impl Place<'_> {
    #[track_caller]
    pub(crate) fn spawn(self, script: &str) -> Background {
        match self {
            Self::Pod(pod) => pod.spawn(script),
            Self::Node(node) => node.spawn(script),
            Self::Foreign(node) => node.spawn(script),
        }
    }
}

/// A stream under way.
pub(crate) struct Stream {
    receiver: Background,
    sender: Background,
}

impl Stream {
    /// Sends `bytes` from `from` to `to`, where `address` is, as fast as it goes or at
    /// `bytes_per_second`.
    #[track_caller]
    pub(crate) fn start(
        from: Place<'_>,
        to: Place<'_>,
        address: IpAddr,
        bytes: u64,
        bytes_per_second: Option<u64>,
    ) -> Self {
        let program = binary("stream");
        let program = program.display();
        let mut receiver = to.spawn(&format!("exec {program} serve {address}:7000"));
        receiver.wait_for_output("ready\n");
        let rate = bytes_per_second.map(|rate| rate.to_string()).unwrap_or_default();
        let sender = from.spawn(&format!("exec {program} send {address}:7000 {bytes} {rate}"));
        Self { receiver, sender }
    }

    /// Waits for both ends, which must have seen the same bytes.
    #[track_caller]
    pub(crate) fn complete(self) {
        let sent = self.sender.wait().ok();
        let received = self.receiver.wait().ok();
        assert_eq!(sent, received, "the receiver's length and hash differ from the sender's");
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.sender.is_running()
    }
}

/// `count` datagrams of `size` bytes go from `from` to `to` and come back unchanged.
#[track_caller]
pub(crate) fn datagrams(from: Place<'_>, to: Place<'_>, address: IpAddr, size: usize, count: u32) {
    let program = binary("stream");
    let program = program.display();
    let mut echo = to.spawn(&format!("exec {program} echo {address}:7001"));
    echo.wait_for_output("ready\n");
    from.spawn(&format!("exec {program} datagrams {address}:7001 {size} {count}")).wait().ok();
}
