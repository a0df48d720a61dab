//! Pods with a TAP, and what the TAP hands out.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use netdev::{Device, Netlink, PlainTap, Tap, TapError, TapOptions, VnetTap};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use protocol::link::DeviceKind;

use super::{TestNetns, output_of, tap_options};

/// Long enough for a loaded machine; nothing here waits that long when it works.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A pod-like namespace: `eth0` up with 10.9.0.1/24, silent but for what the test sends, and a
/// neighbour 10.9.0.2.
pub(crate) fn pod(ns: &TestNetns, make: impl FnOnce(&TapOptions) -> Result<Tap, TapError> + Send) -> Tap {
    let tap = ns.run(|| {
        netdev::sysctl::write("net.ipv6.conf.default.disable_ipv6", "1").expect("sysctl");
        let tap = make(&tap_options("eth0")).expect("TAP");
        let mut netlink = Netlink::open().expect("netlink");
        let link = netlink.link_by_name("eth0").expect("eth0");
        netlink.add_address(link.index, "10.9.0.1/24".parse::<IpNet>().expect("net")).expect("address");
        netlink.set_up(link.index).expect("up");
        tap
    });
    let neighbor =
        ["-n", &ns.name, "neigh", "replace", "10.9.0.2", "lladdr", "0a:58:0a:09:00:02", "dev", "eth0"];
    output_of("ip", &neighbor);
    tap
}

/// [`vnet`] or [`plain`].
pub(crate) type MakeTap = fn(&TapOptions) -> Result<Tap, TapError>;

pub(crate) fn vnet(options: &TapOptions) -> Result<Tap, TapError> {
    VnetTap::create(options).map(Tap::Vnet)
}

pub(crate) fn plain(options: &TapOptions) -> Result<Tap, TapError> {
    PlainTap::create(options).map(Tap::Plain)
}

/// The next frame.
#[track_caller]
pub(crate) fn next_frame(tap: &mut Tap) -> Vec<u8> {
    let mut buf = vec![0xaa; 80_000];
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(len) = tap.recv(&mut buf).expect("recv") {
            buf.truncate(len);
            return buf;
        }
        assert!(Instant::now() < deadline, "no frame");
        wait_readable(tap);
    }
}

pub(crate) fn wait_readable(tap: &Tap) -> PollFlags {
    let mut fds = [PollFd::new(tap.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::from(1000_u16)).expect("poll");
    fds[0].revents().unwrap_or(PollFlags::empty())
}

/// Attaches as soon as no copy of the last descriptor is left; see [`assert_vanishes`].
#[track_caller]
pub(crate) fn attach_when_free(kind: DeviceKind, options: &TapOptions) -> Tap {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match Tap::attach(kind, options) {
            Err(TapError::Busy { .. }) => assert!(Instant::now() < deadline, "still busy"),
            result => return result.expect("attach"),
        }
    }
}

/// The interface goes. Not always at once: a program that another test is just starting holds a
/// copy of every descriptor between fork and exec.
#[track_caller]
pub(crate) fn assert_vanishes(name: &str) {
    let mut netlink = Netlink::open().expect("netlink");
    let deadline = Instant::now() + PATIENCE;
    while netlink.find_link(name).expect("find").is_some() {
        assert!(Instant::now() < deadline, "{name} stays");
        std::thread::yield_now();
    }
}
