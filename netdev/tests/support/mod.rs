//! Namespaces of their own for every test, removed whatever happens.
#![allow(dead_code, reason = "every test file uses a part of it")]

pub(crate) mod tap;

use std::process::{self, Command};
use std::sync::atomic::{AtomicU32, Ordering};

use netdev::tap::TapOptions;
use netdev::{Netlink, Netns, netns};
use protocol::Mac;

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// A name nobody else uses, also in another run of the tests.
pub(crate) fn unique_name(what: &str) -> String {
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!("ndtest-{}-{number}-{what}", process::id())
}

/// A named namespace with `lo` up.
pub(crate) struct TestNetns {
    pub(crate) name: String,
    pub(crate) netns: Option<Netns>,
}

impl TestNetns {
    #[track_caller]
    pub(crate) fn new(what: &str) -> Self {
        let name = unique_name(what);
        let netns = netns::create(&name).expect("these tests need root");
        let this = Self { name, netns: Some(netns) };
        this.run(|| {
            let mut netlink = Netlink::open().expect("netlink");
            let lo = netlink.link_by_name("lo").expect("lo");
            netlink.set_up(lo.index).expect("lo up");
        });
        this
    }

    #[track_caller]
    pub(crate) fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.netns.as_ref().expect("not released").run(work).expect("enter namespace")
    }

    /// Takes the name away and gives up the reference.
    pub(crate) fn release(&mut self) {
        netns::delete(&self.name).expect("delete namespace");
        self.netns = None;
    }
}

impl Drop for TestNetns {
    fn drop(&mut self) {
        if self.netns.take().is_some() {
            // Some tests delete it themselves.
            let _ = netns::delete(&self.name);
        }
    }
}

/// An ordinary pod TAP.
pub(crate) fn tap_options(name: &str) -> TapOptions {
    TapOptions {
        name: name.to_owned(),
        ip_mtu: 1450,
        mac: Mac([0x0a, 0x58, 10, 9, 0, 1]),
        txqueuelen: 500,
        persistent: false,
        multi_queue: false,
    }
}

/// Standard output of a command that must succeed.
#[track_caller]
pub(crate) fn output_of(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program} must be installed (make setup): {error}"));
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("UTF-8")
}
