//! Whatever is asked wrongly gets an error that names the object, and changes nothing.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use integration::{NodeOptions, Ran, TestNode};
use protocol::message::{Items, Kind};

/// `ran` was refused with `code`, and the message has all of `parts`.
#[track_caller]
fn refused(ran: Ran, code: i32, parts: &[&str]) {
    let shown = ran.to_string();
    let message = ran.fails(code);
    for part in parts {
        assert!(message.contains(part), "no {part:?} in: {shown}");
    }
    assert!(!message.contains("panicked"), "{shown}");
}

#[test]
fn a_duplicate_pod_is_refused() {
    let node = TestNode::start();
    let pod = node.create_pod("web");
    refused(node.vpodctl("create-pod web"), 1, &["default/web", "exists"]);
    assert_eq!(node.pods().len(), 1);
    assert!(node.sh(&format!("ping -n -c 1 -W 1 {}", pod.ip)).succeeded(), "the first one is unharmed");
    // The same name elsewhere is another pod.
    node.vpodctl("create-pod web -n other").ok();
}

#[test]
fn bad_names_are_refused_before_anything_happens() {
    let node = TestNode::start();
    let long = "a".repeat(300);
    for name in ["Web", "we_b", "-web", "web-", "../web", "a..b", "wéb", &long] {
        refused(node.vpodctl_words(&["create-pod", "--", name]), 2, &[]);
        refused(node.vpodctl_words(&["create-pod", name]), 2, &[]);
        if !name.starts_with('-') {
            refused(node.vpodctl_words(&["create-pod", "ok", "-n", name]), 2, &[]);
        }
    }
    refused(node.vpodctl_words(&["create-pod", "ok", "-l", "no-equals"]), 2, &["no-equals"]);
    assert_eq!(node.pods().len(), 0);
}

#[test]
fn an_address_that_cannot_be_given_is_refused_by_name() {
    let node = TestNode::start();
    let first = node.create_pod("first");
    let taken = first.ip.to_string();
    for (ip, why) in [
        ("10.244.1.5", "10.244.0.0/24"),
        ("192.168.1.1", "10.244.0.0/24"),
        ("10.244.0.0", "network"),
        ("10.244.0.1", "gateway"),
        ("10.244.0.255", "broadcast"),
        (&taken, "first"),
    ] {
        refused(node.vpodctl(&format!("create-pod second --ip {ip}")), 1, &[ip, why]);
    }
    refused(node.vpodctl("create-pod second --ip 10.244.0.05"), 2, &["10.244.0.05"]);
    refused(node.vpodctl(&format!("create-pod second --mac {}", first.mac)), 1, &["default/first"]);
    refused(node.vpodctl("create-pod second --mac 0a:58:0a:f4:00:01"), 1, &["the node's gateway"]);
    refused(node.vpodctl("create-pod second --mac 01:00:5e:00:00:01"), 1, &["group address"]);
    assert_eq!(node.pods().len(), 1);
    assert_eq!(node.ports().len(), 2, "the gateway and one pod");
    node.vpodctl("create-pod second --ip 10.244.0.77").ok();
}

#[test]
fn an_unknown_pod_is_named() {
    let node = TestNode::start();
    for command in [
        "delete-pod ghost",
        "exec ghost -- true",
        "logs ghost",
        "describe pod ghost",
        "get pod ghost",
        "capture ghost -w /dev/null --duration 1s",
    ] {
        refused(node.vpodctl(command), 1, &["ghost"]);
    }
    refused(node.vpodctl("run-container ghost c -- true"), 1, &["default/ghost"]);
    node.vpodctl("delete-pod ghost --ignore-not-found").ok();
}

#[test]
fn wrong_usage_ends_with_status_two() {
    let node = TestNode::start();
    for command in
        ["get gadgets", "create-pod", "frobnicate", "create-pod a --cpu lots", "create-pod a --memory -1"]
    {
        refused(node.vpodctl(command), 2, &[]);
    }
}

#[test]
fn a_daemon_that_does_not_run_is_said_to() {
    let mut node = TestNode::start();
    node.stop_daemon();
    let socket = node.socket().display().to_string();
    refused(node.vpodctl("get pods"), 1, &[&socket, "is the daemon running"]);
}

#[test]
fn a_user_without_rights_is_told_so() {
    let node = TestNode::start();
    // World-readable up to the socket, so that only its own permissions refuse.
    let program = integration::binary("vpodctl");
    let copy = node.dir().join("vpodctl");
    // By a program, not by us: a file that a sibling just forked has open for writing cannot be run ("text file busy").
    node.sh(&format!("install -m 755 {} {}", program.display(), copy.display())).ok();
    node.sh(&format!("chmod 755 {0} {0}/run", node.dir().display())).ok();
    let script = format!(
        "VPOD_SOCKET={} setpriv --reuid=65534 --regid=65534 --clear-groups {} get pods",
        node.socket().display(),
        copy.display()
    );
    refused(node.sh(&script), 1, &["ermission denied", "root"]);
}

#[test]
fn a_second_daemon_on_the_same_directories_is_refused() {
    let node = TestNode::start();
    let output = node.vswitchd().output().expect("the program can be started");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let message =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(message.contains(&node.dir().display().to_string()), "{message}");
    let _ = node.create_pod("still-works");
}

#[test]
fn an_exhausted_pool_is_said_to_be_and_recovers() {
    // A /29 holds 8 addresses; without network, gateway and broadcast 5 pods.
    let node = NodeOptions::default().pod_cidr("10.244.0.0/29").start();
    let pods: Vec<_> = (0..5).map(|n| node.create_pod(&format!("p{n}"))).collect();
    refused(node.vpodctl("create-pod one-too-many"), 1, &["10.244.0.0/29"]);
    assert_eq!(node.ports().len(), 6, "nothing is left of the refused pod");
    node.delete_pod(&pods[2]);
    // The cool-down: peers still know the address as the old pod's.
    refused(node.vpodctl("create-pod too-early"), 1, &["10.244.0.0/29"]);
    sleep(Duration::from_secs(31));
    let reused = node.create_pod("in-time");
    assert_eq!(reused.ip, pods[2].ip);
    assert!(reused.pings(pods[0].ip));
}

#[test]
fn a_full_disk_fails_cleanly_and_recovers() {
    let place = tmpfs("8m");
    let mut node = NodeOptions::default().state_dir(&place.0.join("state")).start();
    node.allow_log("No space left");
    let first = node.create_pod("first");
    let filler = place.0.join("filler");
    node.sh(&format!("dd if=/dev/zero of={} bs=4k 2>/dev/null; true", filler.display())).ok();
    let ports = node.ports().len();
    let mut refusals = 0;
    for n in 0..20 {
        // Space inside the state file itself may serve a few.
        let ran = node.vpodctl(&format!("create-pod full{n}"));
        if !ran.succeeded() {
            refused(ran, 1, &[&format!("full{n}")]);
            refusals += 1;
        }
    }
    assert!(refusals > 0, "the disk is full");
    assert_eq!(node.ports().len(), ports + 20 - refusals, "nothing is left of the refused pods");
    assert!(node.sh(&format!("ping -n -c 1 -W 1 {}", first.ip)).succeeded(), "pods are unaffected");
    fs::remove_file(&filler).expect("the filler can be removed");
    let after = node.create_pod("after");
    assert!(first.pings(after.ip), "works again without a restart");
    let listed = node.pods().len();
    node.stop_daemon();
    node.start_daemon();
    assert_eq!(node.pods().len(), listed, "what was answered is what was written");
}

#[test]
fn drops_are_listed_with_their_meaning() {
    let node = TestNode::start();
    let pod = node.create_pod("a");
    let _ = pod.sh(&format!("ping -n -c 1 -W 1 -t 1 {}", node.address()));
    let rows: Vec<_> = node
        .list(Kind::Drops)
        .into_iter()
        .flat_map(|items| if let Items::Drops(rows) = items { rows } else { Vec::new() })
        .collect();
    let row = rows
        .iter()
        .find(|row| row.port == pod.port && row.reason == "ttl_expired")
        .expect("the drop is listed");
    assert_eq!(row.port_name, "default/a");
    assert!(row.description.contains("time to live"), "{row:?}");
}

/// A small file system, unmounted when dropped.
struct Tmpfs(std::path::PathBuf);

fn tmpfs(size: &str) -> Tmpfs {
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let path = Path::new("/tmp").join(format!("vpod-test.{}-disk{number}", std::process::id()));
    fs::create_dir(&path).expect("the directory is new");
    let data = format!("size={size}");
    nix::mount::mount(Some("tmpfs"), &path, Some("tmpfs"), nix::mount::MsFlags::empty(), Some(data.as_str()))
        .expect("root can mount a tmpfs");
    Tmpfs(path)
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(&self.0, nix::mount::MntFlags::MNT_DETACH);
        let _ = fs::remove_dir(&self.0);
    }
}
