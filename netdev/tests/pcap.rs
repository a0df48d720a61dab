//! Captures, read back by tshark.

mod support;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use netdev::pcap::{self, Direction, Packet, Writer};
use netdev::{Device, Loopback, PcapDevice, Sent, VNET_HDR_LEN};
use protocol::Offloads;
use support::output_of;

/// Virtio-net header and an Ethernet frame of `len` bytes from 02:00:00:00:00:<tag>.
fn frame(tag: u8, len: usize) -> Vec<u8> {
    let mut frame = vec![0; VNET_HDR_LEN];
    frame.extend_from_slice(&[0xff; 6]);
    frame.extend_from_slice(&[2, 0, 0, 0, 0, tag]);
    // IEEE 802 local experimental.
    frame.extend_from_slice(&[0x88, 0xb5]);
    frame.resize(VNET_HDR_LEN + len, tag);
    frame
}

fn tshark(path: &Path, fields: &[&str]) -> Vec<String> {
    let path = path.to_str().expect("UTF-8");
    let mut arguments = vec!["-r", path, "-T", "fields", "-E", "separator=|"];
    for field in fields {
        arguments.extend(["-e", field]);
    }
    output_of("tshark", &arguments).lines().map(String::from).collect()
}

#[test]
fn tshark_reads_interfaces_times_directions_and_lengths() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("capture.pcapng");
    let mut writer = Writer::new(File::create(&path).expect("file"), 100).expect("header");
    let eth0 = writer.add_interface("default/web").expect("interface");
    let gateway = writer.add_interface("gateway").expect("interface");
    let time = 1_700_000_000_123_456_789;
    writer.packet(eth0, time, Direction::Inbound, &frame(1, 61)).expect("packet");
    writer.packet(gateway, time + 1, Direction::Outbound, &frame(2, 1000)).expect("packet");
    drop(writer);
    let fields = [
        "frame.interface_name",
        "frame.time_epoch",
        "frame.packet_flags_direction",
        "frame.cap_len",
        "frame.len",
        "eth.src",
    ];
    let rows = tshark(&path, &fields);
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert_eq!(rows[0], "default/web|1700000000.123456789|0x00000001|61|61|02:00:00:00:00:01");
    assert_eq!(rows[1], "gateway|1700000000.123456790|0x00000002|100|1000|02:00:00:00:00:02");
}

#[test]
fn tshark_reads_comments() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("capture.pcapng");
    let mut bytes = Vec::new();
    pcap::section_header(&mut bytes);
    pcap::interface_description(&mut bytes, "eth0", 0);
    for comment in ["dropped: source_mac", "dropped: no_route"] {
        let packet = Packet {
            interface: 0,
            timestamp_ns: 1,
            direction: None,
            comment: Some(comment),
            frame: &frame(1, 60),
            snaplen: 0,
        };
        pcap::enhanced_packet(&mut bytes, &packet);
    }
    fs::write(&path, bytes).expect("write");
    assert_eq!(tshark(&path, &["frame.comment"]), ["dropped: source_mac", "dropped: no_route"]);
}

#[test]
fn device_records_what_passes_and_nothing_else() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("capture.pcapng");
    let (near, mut far) = Loopback::pair(1, Offloads::NONE);
    let mut device = PcapDevice::new(near, File::create(&path).expect("file"), "eth0", 0).expect("capture");
    assert_eq!(device.send(&frame(1, 60)).expect("send"), Sent::Sent);
    assert_eq!(device.send(&frame(2, 60)).expect("send"), Sent::Full);
    far.send(&frame(3, 60)).expect("send");
    let mut buf = [0; 2000];
    assert_eq!(device.recv(&mut buf).expect("recv"), Some(72));
    assert_eq!(device.recv(&mut buf).expect("recv"), None);
    let rows = tshark(&path, &["frame.packet_flags_direction", "eth.src"]);
    assert_eq!(rows, ["0x00000002|02:00:00:00:00:01", "0x00000001|02:00:00:00:00:03"]);
}

/// Takes a number of bytes, then fails.
struct FullDisk(usize);

impl Write for FullDisk {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self.0.min(buf.len()) {
            0 => Err(io::ErrorKind::StorageFull.into()),
            len => {
                self.0 -= len;
                Ok(len)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn device_goes_on_when_the_capture_cannot_be_written() {
    let (near, mut far) = Loopback::pair(8, Offloads::NONE);
    let mut device = PcapDevice::new(near, FullDisk(250), "eth0", 0).expect("capture");
    for tag in 1..=4 {
        assert_eq!(device.send(&frame(tag, 60)).expect("send"), Sent::Sent);
    }
    assert_eq!(device.error().map(io::Error::kind), Some(io::ErrorKind::StorageFull));
    let mut buf = [0; 2000];
    for _ in 1..=4 {
        assert_eq!(far.recv(&mut buf).expect("recv"), Some(72));
    }
}
