//! Established flows that a new policy does not allow are cut; those that it allows go on.

use std::time::{Duration, Instant};

use integration::{Background, Cluster, ClusterOptions, TestPod};

use super::{enforce, isolate, labelled};

/// What is no longer allowed may go on for so long.
const CUT_WITHIN: Duration = Duration::from_secs(1);

/// Answers each line of a TCP connection, and each datagram.
const SERVER: &str = "exec /usr/bin/python3 -c \"
import socket, threading
def serve(c):
    while True:
        d = c.recv(100)
        if not d: break
        c.sendall(d)
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(('', 7100))
def datagrams():
    while True:
        d, a = u.recvfrom(100); u.sendto(d, a)
threading.Thread(target=datagrams, daemon=True).start()
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(('', 7100)); s.listen()
print('ready', flush=True)
while True:
    c, _ = s.accept()
    threading.Thread(target=serve, args=(c,), daemon=True).start()
\"";

/// Asks the same connection or socket for ever, a hundred times a second, and counts answers in a file.
fn asker(protocol: &str, server: &TestPod, file: &std::path::Path) -> String {
    let kind = if protocol == "tcp" { "STREAM" } else { "DGRAM" };
    format!(
        "exec /usr/bin/python3 -c \"
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_{kind}); s.settimeout(0.2); s.connect(('{}', 7100))
count = 0
while True:
    try:
        s.sendall(b'x'); s.recv(100); count += 1
        open('{}', 'w').write(str(count) + ' ')
    except OSError:
        pass
    time.sleep(0.01)
\"",
        server.ip,
        file.display()
    )
}

struct Asker {
    _program: Background,
    file: std::path::PathBuf,
}

impl Asker {
    fn start(cluster: &Cluster, name: &str, protocol: &str, from: &TestPod, to: &TestPod) -> Self {
        let file = cluster.node(0).dir().join(format!("{name}-{protocol}"));
        let this = Self { _program: from.spawn(&asker(protocol, to, &file)), file };
        integration::wait::until("it is answered", || (this.count() > 3).then_some(()));
        this
    }

    fn count(&self) -> u64 {
        std::fs::read_to_string(&self.file).ok().and_then(|text| text.trim().parse().ok()).unwrap_or_default()
    }

    /// Answers still come.
    #[track_caller]
    fn goes_on(&self) {
        let before = self.count();
        integration::wait::until("answers go on", || (self.count() > before + 3).then_some(()));
    }
}

#[test]
fn flows_that_are_no_longer_allowed_are_cut_within_a_second() {
    let cluster = ClusterOptions::new(2).on_etcd().start();
    let server = labelled(cluster.node(0), "server", "server");
    let mut program = server.spawn(SERVER);
    program.wait_for_output("ready\n");
    let clients: Vec<(TestPod, &str)> = [(0, "near"), (1, "far")]
        .iter()
        .flat_map(|&(on, place)| {
            ["friend", "stranger"]
                .map(|app| (labelled(cluster.node(on), &format!("{app}-{place}"), app), app))
        })
        .collect();
    let askers: Vec<(Asker, &str)> = clients
        .iter()
        .flat_map(|(pod, app)| {
            ["tcp", "udp"].map(|protocol| (Asker::start(&cluster, &pod.name, protocol, pod, &server), *app))
        })
        .collect();
    let policy = isolate("guard", "server", "Ingress")
        + "  ingress: [{from: [{podSelector: {matchLabels: {app: friend}}}]}]\n";
    enforce(cluster.node(0), &policy);
    let since = Instant::now();
    std::thread::sleep(CUT_WITHIN);
    let counts: Vec<u64> = askers.iter().map(|(asker, _)| asker.count()).collect();
    for (asker, app) in &askers {
        if *app == "friend" {
            asker.goes_on();
        }
    }
    std::thread::sleep(Duration::from_millis(500));
    for ((asker, app), count) in askers.iter().zip(counts) {
        let after = since.elapsed();
        let name = asker.file.file_name().unwrap_or_default();
        assert!(*app == "friend" || asker.count() == count, "{} is answered after {after:?}", name.display());
    }
    // Deleted, what waits goes on: nothing of the cut flows is remembered.
    cluster.node(1).vpodctl("delete networkpolicy guard").ok();
    askers.iter().for_each(|(asker, _)| asker.goes_on());
}
