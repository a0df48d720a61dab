//! vpod itself: a `vswitchd` of this build, in a namespace that plays the node.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use protocol::client::Client;
use protocol::message::{AdminRequest, CreatePod, DatapathStatus, PodRef, ReadRequest, Response, Status};
use protocol::object::{Pod, Resources, RestartPolicy};
use tempfile::TempDir;

use super::{IP_MTU, Subject, in_netns};
use crate::host::{Background, Netns, check_stop, run, sibling, unique, wait_for};

/// A running daemon with a directory and a namespace of its own.
pub(crate) struct Vpod {
    prefix: String,
    directory: TempDir,
    daemon: Option<Background>,
    /// Names of the pods' namespaces, in the order of their creation.
    pods: Vec<String>,
    server_ip: String,
    // After the daemon, so that it is dropped last.
    node: Netns,
}

impl Vpod {
    /// Starts a daemon without pods.
    pub(crate) fn start() -> Result<Self> {
        let node = Netns::create("vb-node-")?;
        let directory = tempfile::Builder::new().prefix("vpod-bench-").tempdir()?;
        let mut vpod = Self {
            prefix: unique("vb-"),
            directory,
            daemon: None,
            pods: Vec::new(),
            server_ip: String::new(),
            node,
        };
        fs::write(vpod.config(), vpod.config_text())?;
        let log = fs::File::create(vpod.directory.path().join("log"))?;
        let mut command = in_netns(&vpod.node.0, sibling("vswitchd")?);
        command.arg("--config").arg(vpod.config()).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut daemon = Background::spawn(&mut command)?;
        let up = wait_for(Duration::from_secs(10), || {
            check_stop()?;
            daemon.check_running()?;
            Ok(vpod.status().is_ok_and(|s| s.datapath.is_some()))
        });
        vpod.daemon = Some(daemon);
        up.with_context(|| {
            let log = fs::read_to_string(vpod.directory.path().join("log")).unwrap_or_default();
            format!("vswitchd did not come up; its log:\n{log}")
        })?;
        Ok(vpod)
    }

    /// A daemon with the two pods of a throughput measurement.
    pub(crate) fn with_pair() -> Result<Self> {
        let mut vpod = Self::start()?;
        vpod.create_pod("client")?;
        let server = vpod.create_pod("server")?;
        vpod.server_ip = server.spec.pod_ips.first().context("the server pod has no address")?.to_string();
        Ok(vpod)
    }

    fn config(&self) -> PathBuf {
        self.directory.path().join("vswitchd.toml")
    }

    fn config_text(&self) -> String {
        let directory = self.directory.path().display();
        format!(
            "node = \"bench\"\nstate_dir = \"{directory}/state\"\nrun_dir = \"{directory}/run\"\n\
             netns_prefix = \"{}.\"\npod_mtu = {IP_MTU}\n",
            self.prefix
        )
    }

    /// The admin socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("run/admin.sock")
    }

    fn request(&self, request: &AdminRequest) -> Result<Response> {
        Ok(Client::connect(&self.socket())?.request(request)?)
    }

    pub(crate) fn status(&self) -> Result<Status> {
        match self.request(&AdminRequest::Read(ReadRequest::Status))? {
            Response::Status(status) => Ok(*status),
            other => anyhow::bail!("unexpected answer {other:?}"),
        }
    }

    /// Process ids of control and datapath.
    pub(crate) fn pids(&self) -> Result<[u32; 2]> {
        let status = self.status()?;
        let DatapathStatus { pid, .. } = status.datapath.context("the datapath is not running")?;
        Ok([status.control_pid, pid])
    }

    pub(crate) fn create_pod(&mut self, name: &str) -> Result<Pod> {
        let request = AdminRequest::CreatePod(CreatePod {
            pod: PodRef { namespace: "bench".parse()?, name: name.parse()? },
            labels: Default::default(),
            ip: None,
            mac: None,
            port_security: true,
            resources: Resources::default(),
            restart_policy: RestartPolicy::Never,
            command: Vec::new(),
        });
        match self.request(&request)? {
            Response::Pod(pod) => {
                let netns = pod.status.netns.rsplit('/').next().unwrap_or_default();
                self.pods.push(netns.to_owned());
                Ok(*pod)
            }
            other => anyhow::bail!("unexpected answer {other:?}"),
        }
    }

    /// `vpodctl` of this build, as a user runs it.
    pub(crate) fn vpodctl(&self, arguments: &[&str]) -> Result<()> {
        let output = Command::new(sibling("vpodctl")?)
            .arg("--socket")
            .arg(self.socket())
            .args(arguments)
            .stdin(Stdio::null())
            .output()?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "vpodctl {} failed: {}", arguments.join(" "), error.trim());
        Ok(())
    }
}

impl Drop for Vpod {
    fn drop(&mut self) {
        self.daemon = None;
        if let Ok(vswitchd) = sibling("vswitchd") {
            let purge = format!(
                "nsenter --net=/run/netns/{} {} --config {} --purge",
                self.node.0,
                vswitchd.display(),
                self.config().display()
            );
            if let Err(error) = run(&purge) {
                eprintln!("cleaning up: {error:#}");
            }
        }
    }
}

impl Subject for Vpod {
    fn name(&self) -> &'static str {
        crate::metric::VPOD
    }
    fn client_netns(&self) -> &str {
        &self.pods[0]
    }
    fn server_netns(&self) -> &str {
        &self.pods[1]
    }
    fn server_ip(&self) -> &str {
        &self.server_ip
    }
}
