//! The servers and where they run.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::cluster;
use super::perf::answers;
use crate::host::{Netns, Running, in_netns, ip_batch, own_directory, run, temporary_directory, wait_for};
use crate::metric::VPOD;

/// Where every server listens.
pub(super) const ADDRESS: &str = "10.98.0.1";
/// For a server to answer: it reads a thousand names first.
const START_LIMIT: Duration = Duration::from_secs(20);

/// A server.
pub(super) struct Server {
    pub(super) name: &'static str,
    /// What has to be installed.
    pub(super) programs: &'static [&'static str],
    /// Processes that share the port, where threads are not to be had.
    processes: u32,
    command: fn(&Bed) -> Result<Command>,
}

pub(super) const SERVERS: &[Server] = &[
    Server { name: VPOD, programs: &[], processes: 1, command: vpod },
    Server { name: "unbound", programs: &["unbound"], processes: 1, command: unbound },
    Server { name: "knot-resolver", programs: &["kresd"], processes: 2, command: knot_resolver },
    Server { name: "dnsmasq", programs: &["dnsmasq"], processes: 1, command: dnsmasq },
];

/// Two namespaces joined by a pair of devices, and a directory for what servers read.
pub(super) struct Bed {
    server: Netns,
    client: Netns,
    directory: TempDir,
    services: u32,
}

impl Bed {
    pub(super) fn set_up(services: u32) -> Result<Self> {
        let bed = Self {
            server: Netns::create("vb-dns-s-")?,
            client: Netns::create("vb-dns-c-")?,
            directory: temporary_directory()?,
            services,
        };
        let (server, client) = (&bed.server.0, &bed.client.0);
        run(&format!("ip link add eth0 netns {server} type veth peer name eth0 netns {client}"))?;
        ip_batch(server, &format!("addr add {ADDRESS}/24 dev eth0\nlink set eth0 up\n"))?;
        ip_batch(client, "addr add 10.98.0.2/24 dev eth0\nlink set eth0 up\n")?;
        cluster::play(&bed.directory().join("ro.sock"), services)?;
        let mut hosts = String::new();
        for service in 0..services {
            // Writing to a string does not fail.
            let _ = writeln!(hosts, "{} s{service}.default.svc.cluster.local", cluster::address(service));
        }
        std::fs::write(bed.directory().join("hosts"), hosts)?;
        Ok(bed)
    }

    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(super) fn client(&self) -> &str {
        &self.client.0
    }

    /// Starts a server and waits until it answers.
    pub(super) fn start(&self, server: &Server) -> Result<Vec<Running>> {
        let start = |_| Running::start(&mut (server.command)(self)?);
        let running = (0..server.processes).map(start).collect::<Result<Vec<_>>>()?;
        wait_for(START_LIMIT, || answers(self.client(), ADDRESS, "s0.default.svc.cluster.local"))
            .context("it does not answer")?;
        Ok(running)
    }

    fn file(&self, name: &str, text: &str) -> Result<String> {
        let path = self.directory().join(name);
        std::fs::write(&path, text)?;
        Ok(path.display().to_string())
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Command {
        let mut command = in_netns(&self.server.0, program);
        command.args(arguments).current_dir(self.directory());
        command
    }
}

fn vpod(bed: &Bed) -> Result<Command> {
    let socket = bed.directory().join("ro.sock");
    let file = bed.file(
        "vpod-dns.toml",
        &format!("socket = {socket:?}\nlisten = [\"{ADDRESS}:53\"]\nlameduck_seconds = 0\nworkers = 2\n"),
    )?;
    Ok(bed.command(own_directory()?.join("vpod-dns"), &["--config", &file]))
}

fn unbound(bed: &Bed) -> Result<Command> {
    let mut text = format!(
        "server:\n interface: {ADDRESS}\n do-daemonize: no\n username: \"\"\n chroot: \"\"\n directory: \".\"\n \
         pidfile: \"\"\n use-syslog: no\n num-threads: 2\n so-reuseport: yes\n access-control: 0.0.0.0/0 allow\n \
         module-config: \"iterator\"\n local-zone: \"cluster.local.\" static\n \
         local-data: \"cluster.local. 5 IN SOA ns.dns.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 5\"\n"
    );
    for service in 0..bed.services {
        let address = cluster::address(service);
        let _ = writeln!(text, " local-data: \"s{service}.default.svc.cluster.local. 5 IN A {address}\"");
    }
    let file = bed.file("unbound.conf", &text)?;
    Ok(bed.command("unbound", &["-d", "-c", &file]))
}

fn knot_resolver(bed: &Bed) -> Result<Command> {
    let directory = bed.directory().join("knot-resolver");
    std::fs::create_dir_all(&directory)?;
    let hosts = bed.directory().join("hosts");
    let file = bed.file(
        "kresd.conf",
        &format!(
            "net.listen('{ADDRESS}', 53, {{ kind = 'dns' }})\n\
             -- Its rules would answer for all of `local`.\nmodules.unload('policy')\ntrust_anchors.remove('.')\n\
             modules = {{ 'hints' }}\nhints.add_hosts('{}')\nhints.ttl(5)\ncache.size = 10 * MB\n",
            hosts.display()
        ),
    )?;
    Ok(bed.command("kresd", &["-n", "-c", &file, &directory.display().to_string()]))
}

fn dnsmasq(bed: &Bed) -> Result<Command> {
    let hosts = format!("--addn-hosts={}", bed.directory().join("hosts").display());
    let listen = format!("--listen-address={ADDRESS}");
    let arguments = [
        "-k",
        "-C",
        "/dev/null",
        "--no-resolv",
        "--no-hosts",
        &hosts,
        "--local=/cluster.local/",
        "--local-ttl=5",
        &listen,
        "--bind-interfaces",
        "--cache-size=10000",
        "-u",
        "root",
    ];
    Ok(bed.command("dnsmasq", &arguments))
}
