//! Packet sockets inside a pod, through a few lines of Python: what a hostile program with
//! CAP_NET_RAW can send, and everything the pod's `eth0` really receives.

use std::io::Write;

use crate::command::Background;
use crate::frames::CANARY;
use crate::pod::TestPod;

const PYTHON: &str = "/usr/bin/python3";

const SEND: &str = r#"
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(("eth0", 0))
for line in sys.stdin:
    s.send(bytes.fromhex(line.strip()))
"#;

// SOL_PACKET is 263, PACKET_VNET_HDR 15: each frame then starts with a 10-byte virtio_net_hdr of the
// sender's choice. The kernel refuses some itself (EINVAL).
const SEND_WITH_OFFLOAD_HEADER: &str = r#"
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.setsockopt(263, 15, 1)
s.bind(("eth0", 0))
sent = 0
for line in sys.stdin:
    try:
        s.send(bytes.fromhex(line.strip()))
        sent += 1
    except OSError:
        pass
print(sent)
"#;

// PACKET_OUTGOING is 4: what the pod sends itself is not of interest.
const SNIFF: &str = r#"
import socket, sys
canary = bytes.fromhex(sys.argv[1])
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
s.bind(("eth0", 3))
print("ready", flush=True)
while True:
    frame, address = s.recvfrom(70000)
    if address[2] == 4:
        continue
    print(frame.hex(), flush=True)
    if canary in frame:
        break
"#;

/// Sends `frames` from the pod's `eth0`, in order, exactly as they are.
///
/// # Panics
/// When the pod's kernel refuses one.
#[track_caller]
pub fn send(pod: &TestPod, frames: &[Vec<u8>]) {
    run_sender(pod, SEND, frames);
}

/// As [`send`], each frame with a 10-byte `virtio_net_hdr` in front; returns how many of them the
/// pod's kernel let out.
///
/// # Panics
/// When the program fails.
#[track_caller]
#[must_use]
pub fn send_with_offload_header(pod: &TestPod, frames: &[Vec<u8>]) -> usize {
    let sent = run_sender(pod, SEND_WITH_OFFLOAD_HEADER, frames);
    sent.trim().parse().expect("the sender prints a number")
}

#[track_caller]
fn run_sender(pod: &TestPod, program: &str, frames: &[Vec<u8>]) -> String {
    let mut command = pod.command(PYTHON);
    command.args(["-c", program]);
    let mut sender = Background::start(command);
    let mut input = sender.stdin();
    for frame in frames {
        writeln!(input, "{}", hex(frame)).expect("the sender reads its input");
    }
    drop(input);
    sender.wait().ok()
}

/// Records what a pod's `eth0` receives until the canary comes.
pub struct Sniffer {
    program: Background,
}

impl Sniffer {
    /// Returns once it listens.
    #[track_caller]
    #[must_use]
    pub fn start(pod: &TestPod) -> Self {
        let mut command = pod.command(PYTHON);
        command.args(["-c", SNIFF, &hex(CANARY)]);
        let mut program = Background::start(command);
        program.wait_for_output("ready\n");
        Self { program }
    }

    /// All frames up to the canary; blocks until it comes.
    ///
    /// # Panics
    /// When it never comes.
    #[track_caller]
    #[must_use]
    pub fn frames(self) -> Vec<Vec<u8>> {
        self.program.wait().ok().lines().map(unhex).collect()
    }
}

/// `needle` occurs in `frame`.
#[must_use]
pub fn contains(frame: &[u8], needle: &[u8]) -> bool {
    frame.windows(needle.len()).any(|window| window == needle)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(line: &str) -> Vec<u8> {
    line.as_bytes()
        .chunks(2)
        .map(|pair| {
            let pair = std::str::from_utf8(pair).expect("hexadecimal is ASCII");
            u8::from_str_radix(pair, 16).expect("the sniffer writes hexadecimal")
        })
        .collect()
}
