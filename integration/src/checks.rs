//! What holds at the end of every test, whatever it was about.

use std::fs;
use std::path::Path;
use std::process::Command;

use protocol::object::Port;

/// Ports whose counters break `rx_frames == forwarded + Σ drops`.
pub(crate) fn conservation(ports: &[Port]) -> Vec<String> {
    let mut violations = Vec::new();
    for port in ports {
        let counters = &port.counters;
        let dropped: u64 = counters.drops.iter().map(|d| d.frames).sum();
        if counters.rx_frames != counters.forwarded + dropped {
            violations.push(format!("port {} ({}): {counters:?}", port.id, port.name));
        }
    }
    violations
}

/// Warnings, errors and panics in `log` that contain none of `allowed`.
pub(crate) fn log(log: &str, allowed: &[&str]) -> Vec<String> {
    let is_complaint = |line: &&str| {
        let level = line.split_whitespace().take(3).any(|word| word == "WARN" || word == "ERROR");
        level || line.contains("panicked at")
    };
    log.lines()
        .filter(is_complaint)
        .filter(|line| !allowed.iter().any(|part| line.contains(part)))
        .map(|line| format!("unexpected in the log: {line}"))
        .collect()
}

/// Everything that still exists of the node `name` whose files are in `dir`, after its purge.
pub(crate) fn leftovers(name: &str, dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let pods = format!("{name}-");
    for place in ["/run/netns", "/etc/netns"] {
        found.extend(
            entries(Path::new(place))
                .filter(|entry| entry.starts_with(&pods))
                .map(|entry| format!("{place}/{entry}")),
        );
    }
    found.extend(processes(name).iter().map(|pid| format!("process {pid} ({})", command_line(pid))));
    let links = output("ip", &["-n", name, "-o", "link", "show"]);
    for line in links.lines() {
        let link = line.split(':').nth(1).unwrap_or_default().trim();
        let link = link.split('@').next().unwrap_or_default();
        if !matches!(link, "lo" | "nic0" | "nic1") {
            found.push(format!("link {link}"));
        }
    }
    for line in output("ip", &["-n", name, "route", "show"]).lines().filter(|l| !l.contains("dev nic0")) {
        found.push(format!("route {line}"));
    }
    for line in output("ip", &["netns", "exec", name, "nft", "list", "tables"]).lines() {
        if line.contains("vpod") {
            found.push(line.to_owned());
        }
    }
    found.extend(cgroups(name).iter().map(|group| format!("cgroup {group}")));
    found.extend(entries(&dir.join("run")).map(|entry| format!("{}/run/{entry}", dir.display())));
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let ours = [format!("/run/netns/{pods}"), format!("{}/", dir.display())];
    found.extend(
        mounts.lines().filter(|l| ours.iter().any(|o| l.contains(o.as_str()))).map(|l| format!("mount {l}")),
    );
    found.into_iter().map(|what| format!("left behind: {what}")).collect()
}

/// Removes by force what [`leftovers`] would find, so that one failed test does not fail others.
pub(crate) fn sweep(name: &str) {
    for pid in processes(name) {
        let _ = Command::new("kill").args(["-KILL", &pid]).status();
    }
    let pods = format!("{name}-");
    for entry in entries(Path::new("/run/netns")).filter(|entry| entry.starts_with(&pods)) {
        for pid in output("ip", &["netns", "pids", &entry]).split_whitespace() {
            let _ = Command::new("kill").args(["-KILL", pid]).status();
        }
        let _ = Command::new("ip").args(["netns", "delete", &entry]).output();
    }
    for entry in entries(Path::new("/etc/netns")).filter(|entry| entry.starts_with(&pods)) {
        let _ = fs::remove_dir_all(Path::new("/etc/netns").join(entry));
    }
    for group in cgroups(name) {
        let _ = fs::remove_dir(group);
    }
}

/// Process ids in the node's own namespace.
fn processes(name: &str) -> Vec<String> {
    output("ip", &["netns", "pids", name]).split_whitespace().map(str::to_owned).collect()
}

fn command_line(pid: &str) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

/// Directories of any cgroup hierarchy that belong to a pod of the node, deepest first.
fn cgroups(name: &str) -> Vec<String> {
    let pods = format!("*/pod-{name}-*");
    let found = output("find", &["/sys/fs/cgroup", "-depth", "-type", "d", "-path", &pods]);
    found.lines().map(str::to_owned).collect()
}

fn entries(dir: &Path) -> impl Iterator<Item = String> {
    let names = fs::read_dir(dir)
        .map(|all| all.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect());
    names.unwrap_or_else(|_| Vec::new()).into_iter()
}

fn output(program: &str, arguments: &[&str]) -> String {
    let ran = Command::new(program).args(arguments).output();
    ran.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default()
}
