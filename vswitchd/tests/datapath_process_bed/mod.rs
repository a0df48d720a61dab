//! What the tests of the datapath process need: stations in namespaces, and a link to drive.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use netdev::tap::TapOptions;
use netdev::{Netlink, Netns, Tap, netns, process};
use protocol::link::{ConfigDelta, Epoch, FromDatapath, NodeConfig, PortConfig, ToDatapath};
use protocol::object::{PortKind, PortState};
use protocol::{Mac, PortId};

use crate::datapath_link::{DatapathLink, LinkError, LinkEvent, LinkOptions};

const LIMIT: Duration = Duration::from_secs(10);
const VSWITCHD: &str = env!("CARGO_BIN_EXE_vswitchd");

/// Stations `10.9.0.2` and up, each in its own namespace behind a TAP.
pub(crate) struct Bed {
    run: tempfile::TempDir,
    names: Vec<String>,
    pub(crate) netns: Vec<Netns>,
    pub(crate) taps: Vec<Tap>,
    pub(crate) ports: Vec<PortConfig>,
    subnet: u8,
}

impl Bed {
    pub(crate) fn new() -> Self {
        Self::with_stations(2)
    }

    pub(crate) fn with_stations(count: u8) -> Self {
        Self::in_subnet(0, count)
    }

    /// Stations `10.9.<subnet>.2` and up.
    pub(crate) fn in_subnet(subnet: u8, count: u8) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut bed = Self {
            run: tempfile::tempdir().unwrap(),
            names: Vec::new(),
            netns: Vec::new(),
            taps: Vec::new(),
            ports: Vec::new(),
            subnet,
        };
        for station in 0..count {
            let name = format!("vpdp-{}-{number}-{station}", std::process::id());
            bed.netns.push(netns::create(&name).unwrap());
            bed.names.push(name);
            let (tap, port) = bed.netns[usize::from(station)].run(|| make_station(subnet, station)).unwrap();
            bed.taps.push(tap);
            bed.ports.push(port);
        }
        bed
    }

    pub(crate) fn run_dir(&self) -> &Path {
        self.run.path()
    }

    /// Configuration `epoch` with the node and all stations.
    pub(crate) fn delta(&self, epoch: Epoch) -> ConfigDelta {
        let gateway = IpAddr::V4(Ipv4Addr::new(10, 9, self.subnet, 1));
        let node = NodeConfig {
            pod_cidr: format!("10.9.{}.0/24", self.subnet).parse().unwrap(),
            cluster_cidr: "10.9.0.0/16".parse().unwrap(),
            service_cidr: None,
            gateway_ip: gateway,
            router_mac: Mac::for_router(gateway),
            node_addresses: Vec::new(),
            fdb_ageing_seconds: 300,
            tunnel: None,
            uplink: None,
        };
        ConfigDelta {
            epoch,
            node: Some(node),
            attach: self.ports.clone(),
            commit: true,
            ..ConfigDelta::default()
        }
    }

    pub(crate) fn payload(&self, from: usize, to: usize) -> Vec<u8> {
        format!("from station {from} to station {to} of {}", self.names[0]).into_bytes()
    }

    /// One datagram arrives, within the time limit, however many it takes.
    #[track_caller]
    pub(crate) fn exchange(&self, from: usize, to: usize) {
        let receiver = self.socket(to, 4000);
        receiver.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let until = Instant::now() + LIMIT;
        let mut buffer = [0; 128];
        while Instant::now() < until {
            self.send(from, to);
            if let Ok(len) = receiver.recv(&mut buffer) {
                assert_eq!(buffer[..len], self.payload(from, to));
                return;
            }
        }
        panic!("nothing from station {from} arrived at station {to}");
    }

    /// Sends one datagram, which may be lost.
    pub(crate) fn send(&self, from: usize, to: usize) {
        let target = (address_of(self.subnet, u8::try_from(to).unwrap()), 4000);
        self.socket(from, 0).send_to(&self.payload(from, to), target).unwrap();
    }

    fn socket(&self, station: usize, port: u16) -> UdpSocket {
        self.netns[station].run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))).unwrap().unwrap()
    }

    pub(crate) fn delete_device(&self, station: usize) {
        let delete = || {
            let mut netlink = Netlink::open()?;
            let index = netlink.link_by_name("eth0")?.index;
            netlink.delete_link(index)
        };
        self.netns[station].run(delete).unwrap().unwrap();
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = netns::delete(name);
        }
    }
}

fn address_of(subnet: u8, station: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 9, subnet, 2 + station)
}

fn make_station(subnet: u8, station: u8) -> (Tap, PortConfig) {
    let address = address_of(subnet, station);
    let mac = Mac::for_pod(address.into());
    let options = TapOptions {
        name: "eth0".to_owned(),
        ip_mtu: 1450,
        mac,
        txqueuelen: 1000,
        persistent: false,
        multi_queue: false,
    };
    let tap = Tap::create_best(&options).unwrap();
    let mut netlink = Netlink::open().unwrap();
    let link = netlink.link_by_name("eth0").unwrap();
    netlink.add_address(link.index, format!("{address}/24").parse().unwrap()).unwrap();
    netlink.set_up(link.index).unwrap();
    let port = PortConfig {
        id: PortId(station.into()),
        name: format!("test/station-{station}"),
        kind: PortKind::Pod,
        device: tap.device_kind(),
        offloads: netdev::Device::offloads(&tap),
        mac,
        addresses: vec![address.into()],
        ip_mtu: 1450,
        port_security: true,
        state: PortState::Active,
        bandwidth: protocol::object::Bandwidth::default(),
    };
    (tap, port)
}

/// A link, its events, and the end of its datapath with the test.
pub(crate) struct Link {
    pub(crate) link: DatapathLink,
    pub(crate) events: Receiver<LinkEvent>,
}

impl Link {
    pub(crate) fn start(bed: &Bed) -> Self {
        Self::try_start(bed, VSWITCHD.into(), 1).unwrap()
    }

    /// Its datapaths have several workers.
    pub(crate) fn start_with_workers(bed: &Bed, workers: u8) -> Self {
        Self::try_start(bed, VSWITCHD.into(), workers).unwrap()
    }

    /// Its datapaths panic at the first frame of `port`.
    pub(crate) fn start_crashing(bed: &Bed, port: u32) -> Self {
        let (text, script) = (bed.run_dir().join("script"), bed.run_dir().join("crashing-vswitchd"));
        fs::write(&text, format!("#!/bin/sh\nexec {VSWITCHD} \"$@\" --crash-on-port {port}\n")).unwrap();
        // By a program, not by us: a file that a sibling just forked has open for writing cannot be run ("text file busy").
        let installed = Command::new("install").args(["-m", "755"]).args([&text, &script]).status().unwrap();
        assert!(installed.success());
        Self::try_start(bed, script, 2).unwrap()
    }

    pub(crate) fn try_start(bed: &Bed, program: PathBuf, workers: u8) -> Result<Self, LinkError> {
        let (sender, events) = crossbeam_channel::unbounded();
        let options = LinkOptions {
            run_dir: bed.run_dir().to_owned(),
            program: Some(program),
            workers,
            log_filter: "warn".to_owned(),
            log_json: false,
            run_as: None,
            sandbox: true,
        };
        Ok(Self { link: DatapathLink::start(options, sender)?, events })
    }

    pub(crate) fn pid(&self) -> u32 {
        let status = self.link.status();
        assert!(status.started.is_some());
        status.pid.expect("a datapath runs")
    }

    #[track_caller]
    pub(crate) fn request(&self, body: ToDatapath, fds: &[BorrowedFd<'_>]) -> (FromDatapath, Vec<OwnedFd>) {
        self.link.request(body, fds).unwrap()
    }

    /// Applies the bed's configuration with the bed's devices.
    #[track_caller]
    pub(crate) fn attach(&self, bed: &Bed, epoch: Epoch) {
        let fds: Vec<_> = bed.taps.iter().map(AsFd::as_fd).collect();
        let (answer, _) = self.request(ToDatapath::Apply(bed.delta(epoch)), &fds);
        assert_eq!(answer, FromDatapath::Applied { epoch });
    }

    #[track_caller]
    fn event(&self) -> LinkEvent {
        self.events.recv_timeout(LIMIT).expect("an event")
    }

    #[track_caller]
    pub(crate) fn expect_connected(&self, wanted: Epoch, by_takeover: bool) {
        match self.event() {
            LinkEvent::Connected { epoch, taken_over } => {
                assert_eq!((epoch, taken_over), (wanted, by_takeover))
            }
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn expect_lost(&self) -> (String, Option<PortId>) {
        match self.event() {
            LinkEvent::Lost { cause, culprit } => (cause, culprit),
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn expect_detached(&self) -> (PortId, String) {
        match self.event() {
            LinkEvent::PortDetached { port, cause } => (port, cause),
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn wait_for(&self, done: impl Fn(&Self) -> bool) {
        let until = Instant::now() + LIMIT;
        while !done(self) {
            assert!(Instant::now() < until, "it did not happen in time");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn signal(pid: u32, signal: i32) {
        let pidfd = process::pidfd_open(pid).unwrap();
        process::pidfd_send_signal(pidfd.as_fd(), signal).unwrap();
    }

    /// A process that was taken over is init's to bury.
    pub(crate) fn is_zombie(pid: u32) -> bool {
        stat(pid).is_some_and(|fields| fields[0] == "Z")
    }

    /// CPU time of the datapath so far.
    pub(crate) fn cpu_ticks(&self) -> u64 {
        let fields = stat(self.pid()).unwrap();
        [&fields[11], &fields[12]].into_iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.link.stop();
    }
}

/// The fields of `/proc/<pid>/stat` from the state on (`proc_pid_stat(5)`, field 3).
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(text.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}
