//! Virtual machines: QEMU with Debian's cloud kernel and an initramfs (`scripts/vm-image.sh`), each a
//! node with a kernel of its own. They are joined by a hub inside the first machine's QEMU, to which the
//! others send their Ethernet frames as Unix datagrams, so nothing of the host's network is touched and no
//! privilege is needed.
//!
//! A machine runs the scripts that are sent to the agent in it (`scripts/vm-init.sh`) over a virtio-serial
//! port, one at a time. Every wait has an end, and no machine outlives its [`VmCluster`].

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::command::Ran;
use crate::wait;

/// QEMU without hardware support boots in 5 s on an idle machine, three of them on two cores in 15 s.
const BOOT_PATIENCE: Duration = Duration::from_secs(90);
/// Where the hardware helps, a machine is up and down again in less than 2 s.
const TRIAL_PATIENCE: Duration = Duration::from_secs(8);
/// No script takes longer, unless its sender says so.
const SCRIPT_SECONDS: u64 = 30;
/// Enough for the kernel, the initramfs and two pods.
const MEMORY_MIB: &str = "320";

/// How a machine's instructions are carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Acceleration {
    Kvm,
    Tcg,
}

impl Acceleration {
    /// KVM only where a machine really boots with it: on some hosts `/dev/kvm` opens, and the guest
    /// then never executes an instruction, which `-accel kvm -accel tcg` does not notice.
    fn detect(dir: &Path) -> Self {
        if fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_err() {
            return Self::Tcg;
        }
        let mut trial = Self::Kvm.qemu("vpod.trial=1", &dir.join("trial.log"));
        let Ok(mut child) = trial.spawn() else { return Self::Tcg };
        let deadline = Instant::now() + TRIAL_PATIENCE;
        let booted = loop {
            match child.try_wait() {
                Ok(Some(status)) => break status.success(),
                Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(50)),
                Ok(None) | Err(_) => break false,
            }
        };
        let _ = child.kill();
        let _ = child.wait();
        if booted { Self::Kvm } else { Self::Tcg }
    }

    /// A machine without devices beside its console.
    fn qemu(self, parameters: &str, console: &Path) -> Command {
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(["-machine", "pc", "-nodefaults", "-display", "none", "-no-reboot", "-m", MEMORY_MIB]);
        match self {
            Self::Kvm => qemu.args(["-accel", "kvm", "-cpu", "host"]),
            // "max" has RDRAND, so that the guest does not wait for entropy.
            Self::Tcg => qemu.args(["-accel", "tcg", "-cpu", "max"]),
        };
        qemu.arg("-kernel").arg(image("vmlinuz")).arg("-initrd").arg(image("initramfs"));
        qemu.arg("-append").arg(format!("console=ttyS0 panic=-1 loglevel=4 {parameters}"));
        qemu.arg("-chardev").arg(format!("file,id=console,path={}", console.display()));
        qemu.args(["-serial", "chardev:console"]);
        qemu.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        qemu
    }
}

/// A file that `scripts/vm-image.sh` made.
fn image(name: &str) -> PathBuf {
    let path = crate::binary("vswitchd").with_file_name("vm").join(name);
    assert!(path.exists(), "{} is missing: run `make vm-test`", path.display());
    path
}

/// Machines on one wire; the number of each is its index and the last byte of its address, less one.
pub struct VmCluster {
    dir: PathBuf,
    vms: Vec<Vm>,
}

impl VmCluster {
    /// Boots `count` machines and waits for all of them.
    ///
    /// # Panics
    /// When one does not come up.
    #[track_caller]
    #[must_use]
    pub fn boot(count: usize) -> Self {
        let dir = PathBuf::from(format!("/tmp/vpod-test.{}-vm", std::process::id()));
        fs::create_dir(&dir).unwrap_or_else(|e| panic!("cannot create {}: {e}", dir.display()));
        let mut cluster = Self { vms: Vec::new(), dir };
        let acceleration = Acceleration::detect(&cluster.dir);
        for number in 0..count {
            let vm = Vm::power_on(acceleration, &cluster.dir, number, count);
            cluster.vms.push(vm);
        }
        let since = Instant::now();
        for vm in &mut cluster.vms {
            vm.connect();
        }
        println!("{count} machines booted with {acceleration:?} in {:.1?}", since.elapsed());
        cluster
    }

    /// The machines.
    pub fn each(&mut self) -> impl Iterator<Item = &mut Vm> {
        self.vms.iter_mut()
    }

    /// One of them.
    pub fn vm(&mut self, number: usize) -> &mut Vm {
        &mut self.vms[number]
    }
}

impl Drop for VmCluster {
    fn drop(&mut self) {
        for vm in &mut self.vms {
            let _ = vm.qemu.kill();
            let _ = vm.qemu.wait();
            if std::thread::panicking() {
                eprintln!("--- console of {}\n{}", vm.name, vm.console());
            }
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// A running machine.
pub struct Vm {
    /// Of the node in it.
    pub name: String,
    /// Of its `eth0`.
    pub address: String,
    qemu: Child,
    dir: PathBuf,
    agent: Option<BufReader<UnixStream>>,
    scripts: u32,
}

impl Vm {
    fn power_on(acceleration: Acceleration, dir: &Path, number: usize, count: usize) -> Self {
        let name = format!("vm{number}");
        let address = format!("192.0.2.{}", number + 1);
        let mut qemu =
            acceleration.qemu(&format!("vpod.address={address}/24"), &dir.join(format!("{name}.log")));
        let agent = dir.join(format!("{name}.agent"));
        qemu.arg("-chardev").arg(format!("socket,id=agent,server=on,wait=off,path={}", agent.display()));
        qemu.args(["-device", "virtio-serial-pci", "-device", "virtserialport,chardev=agent,name=agent"]);
        for netdev in netdevs(dir, number, count) {
            qemu.arg("-netdev").arg(netdev);
        }
        let mac = format!("52:54:00:00:00:{number:02x}");
        qemu.arg("-device").arg(format!("virtio-net-pci,netdev=nic,mac={mac},romfile="));
        let qemu =
            qemu.spawn().unwrap_or_else(|e| panic!("cannot start QEMU (make vm-test installs it): {e}"));
        Self { name, address, qemu, dir: dir.to_owned(), agent: None, scripts: 0 }
    }

    /// Waits for the agent.
    #[track_caller]
    fn connect(&mut self) {
        let path = self.dir.join(format!("{}.agent", self.name));
        let stream = wait::until("QEMU listens", || UnixStream::connect(&path).ok());
        stream.set_read_timeout(Some(BOOT_PATIENCE)).expect("the timeout is not zero");
        let mut agent = BufReader::new(stream);
        let mut line = String::new();
        let read = agent.read_line(&mut line);
        assert!(line == "ready\n", "{} does not come up: {read:?} {line:?}\n{}", self.name, self.console());
        self.agent = Some(agent);
    }

    /// Runs a shell script in the machine to its end.
    #[track_caller]
    #[must_use]
    pub fn sh(&mut self, script: &str) -> Ran {
        self.sh_within(SCRIPT_SECONDS, script)
    }

    /// As [`Vm::sh`]; the machine kills the script after `seconds`.
    ///
    /// # Panics
    /// When the machine does not answer.
    #[track_caller]
    #[must_use]
    pub fn sh_within(&mut self, seconds: u64, script: &str) -> Ran {
        self.scripts += 1;
        let agent = self.agent.as_mut().expect("the machine was waited for");
        let patience = Duration::from_secs(seconds + 15);
        agent.get_ref().set_read_timeout(Some(patience)).expect("the timeout is not zero");
        let request = format!("{} {seconds} {}\n", self.scripts, base64::encode(script.as_bytes()));
        agent.get_ref().write_all(request.as_bytes()).expect("QEMU takes the script");
        let mut answer = String::new();
        let read = agent.read_line(&mut answer);
        let words: Vec<&str> = answer.split_whitespace().collect();
        let (id, status, output) = match words.as_slice() {
            [id, status] => (*id, *status, ""),
            [id, status, output] => (*id, *status, *output),
            _ => panic!("{}: no answer to {script:?}: {read:?} {answer:?}\n{}", self.name, self.console()),
        };
        assert_eq!(id, self.scripts.to_string(), "{}: an answer to another script", self.name);
        let code: i32 = status.parse().expect("the agent sends a number");
        Ran {
            command: format!("{}: {script}", self.name),
            status: ExitStatus::from_raw(code << 8),
            stdout: String::from_utf8_lossy(&base64::decode(output)).into_owned(),
            stderr: String::new(),
        }
    }

    fn console(&self) -> String {
        let bytes = fs::read(self.dir.join(format!("{}.log", self.name))).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// The first machine's QEMU holds the hub, with a socket for each of the others.
fn netdevs(dir: &Path, number: usize, count: usize) -> Vec<String> {
    let wire = |id: &str, from: String, to: String| {
        let path = |name: String| dir.join(name).display().to_string();
        format!(
            "dgram,id={id},local.type=unix,local.path={},remote.type=unix,remote.path={}",
            path(from),
            path(to)
        )
    };
    if number > 0 {
        return vec![wire("nic", format!("vm{number}.wire"), format!("hub{number}.wire"))];
    }
    let mut netdevs = vec!["hubport,id=nic,hubid=0".to_owned()];
    for other in 1..count {
        netdevs.push(wire(&format!("wire{other}"), format!("hub{other}.wire"), format!("vm{other}.wire")));
        netdevs.push(format!("hubport,id=port{other},hubid=0,netdev=wire{other}"));
    }
    netdevs
}

/// RFC 4648 §4, because a script has line ends and the agent reads lines.
mod base64 {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    pub(super) fn encode(bytes: &[u8]) -> String {
        let mut text = String::new();
        for group in bytes.chunks(3) {
            let word = group.iter().fold(0_u32, |word, &byte| word << 8 | u32::from(byte));
            let word = word << (8 * (3 - group.len()));
            for digit in 0..4 {
                let six_bits = (word >> (18 - 6 * digit) & 63) as usize;
                let is_padding = digit > group.len();
                text.push(if is_padding { '=' } else { char::from(ALPHABET[six_bits]) });
            }
        }
        text
    }

    /// What is no digit is left out.
    pub(super) fn decode(text: &str) -> Vec<u8> {
        let digits = text.bytes().filter_map(|byte| ALPHABET.iter().position(|&digit| digit == byte));
        let (mut bytes, mut word, mut bits) = (Vec::new(), 0_usize, 0);
        for digit in digits {
            word = (word << 6 | digit) & 0xffff;
            bits += 6;
            if bits >= 8 {
                bits -= 8;
                bytes.push(u8::try_from(word >> bits & 0xff).expect("masked to eight bits"));
            }
        }
        bytes
    }

    #[cfg(test)]
    mod tests {
        #[test]
        fn any_length_comes_back() {
            assert_eq!(super::encode(b"any carnal pleas"), "YW55IGNhcm5hbCBwbGVhcw==");
            for length in 0..70 {
                let bytes: Vec<u8> = (0..length).map(|n: u8| n.wrapping_mul(37)).collect();
                assert_eq!(super::decode(&super::encode(&bytes)), bytes);
            }
        }
    }
}
