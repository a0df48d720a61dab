//! vpod itself: a `vswitchd` of this build, in a namespace that plays the node.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use protocol::client::Client;
use protocol::message::{AdminRequest, CreatePod, DatapathStatus, PodRef, ReadRequest, Response, Status};
use protocol::object::{Bandwidth, Resources, RestartPolicy};
use tempfile::TempDir;

use super::services::Services;
use super::{IP_MTU, Pod, Programmed, Subject};
use crate::host::{
    Background, Netns, Running, check_stop, clean_up, in_netns, own_directory, temporary_directory, wait_for,
};
use crate::metric::VPOD;

/// What most of these have in their configuration: only the switch is measured.
pub(super) const NO_SYSTEM_PODS: &str = "[dns]\nenabled = false\n[ingress]\nenabled = false\n";
/// With tens of thousands of objects to read.
const UP_LIMIT: Duration = Duration::from_secs(30);

/// A running daemon with a directory and a namespace of its own.
pub(crate) struct Vpod {
    name: &'static str,
    /// Where `vswitchd` and `vpodctl` are.
    programs: PathBuf,
    prefix: String,
    /// Lines of the configuration beside those that every daemon here has.
    settings: String,
    bandwidth: Bandwidth,
    directory: TempDir,
    daemon: Option<Background>,
    /// The newest has the highest number in its name.
    pods: Vec<Pod>,
    services: Option<Services>,
    // After the daemon, so that it is dropped last.
    node: Netns,
}

impl Vpod {
    /// Where all its objects are.
    pub(crate) const NAMESPACE: &str = "bench";

    /// The daemon of this build, without pods.
    pub(crate) fn start() -> Result<Self> {
        Self::of_build(VPOD, own_directory()?)
    }

    /// The same on TAPs without offload.
    pub(crate) fn plain() -> Result<Self> {
        Self::launch("plain", own_directory()?, &format!("tap = \"plain\"\n{NO_SYSTEM_PODS}"))
    }

    /// The daemon of this build with a DNS server in a system pod.
    pub(crate) fn with_names() -> Result<Self> {
        Self::launch(VPOD, own_directory()?, "[dns]\nenabled = true\n[ingress]\nenabled = false\n")
    }

    /// The daemon of this build with addresses for pods that come and go while others rest.
    pub(crate) fn with_many_addresses() -> Result<Self> {
        Self::launch(VPOD, own_directory()?, &format!("pod_cidr = \"10.244.0.0/16\"\n{NO_SYSTEM_PODS}"))
    }

    /// The namespace that plays the node.
    pub(crate) fn node(&self) -> &str {
        &self.node.0
    }

    /// The daemon of another build.
    pub(crate) fn of_build(name: &'static str, programs: PathBuf) -> Result<Self> {
        Self::launch(name, programs, NO_SYSTEM_PODS)
    }

    fn launch(name: &'static str, programs: PathBuf, settings: &str) -> Result<Self> {
        let node = Netns::create("vb-node-")?;
        Self::on_node(name, programs, node, settings.to_owned())
    }

    /// A daemon in a namespace that was made for it.
    pub(super) fn on_node(
        name: &'static str,
        programs: PathBuf,
        node: Netns,
        settings: String,
    ) -> Result<Self> {
        for program in ["vswitchd", "vpodctl"] {
            if !programs.join(program).exists() {
                bail!("{} is missing: build it first (make bench does)", programs.join(program).display());
            }
        }
        let directory = temporary_directory()?;
        let mut vpod = Self {
            name,
            programs,
            prefix: netns_prefix(),
            settings,
            bandwidth: Bandwidth::default(),
            directory,
            daemon: None,
            pods: Vec::new(),
            services: None,
            node,
        };
        fs::write(vpod.config(), vpod.config_text())?;
        vpod.launch_daemon()?;
        Ok(vpod)
    }

    /// Starts the daemon; it is there when its datapath is.
    pub(super) fn launch_daemon(&mut self) -> Result<()> {
        let log = fs::File::create(self.directory.path().join("log"))?;
        let mut command = in_netns(&self.node.0, self.programs.join("vswitchd"));
        command.arg("--config").arg(self.config()).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut daemon = Background::spawn(&mut command)?;
        let up = wait_for(UP_LIMIT, || {
            check_stop()?;
            daemon.check_running()?;
            Ok(self.datapath().is_ok())
        });
        self.daemon = Some(daemon);
        up.with_context(|| {
            let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            format!("vswitchd did not come up; its log:\n{log}")
        })
    }

    /// Ends the daemon; its pods stay.
    pub(super) fn stop(&mut self) {
        self.daemon = None;
    }

    fn config(&self) -> PathBuf {
        self.directory.path().join("vswitchd.toml")
    }

    fn config_text(&self) -> String {
        let directory = self.directory.path().display();
        format!(
            "node = \"bench\"\nstate_dir = \"{directory}/state\"\nrun_dir = \"{directory}/run\"\n\
             netns_prefix = \"{}\"\npod_mtu = {IP_MTU}\n{}",
            self.prefix, self.settings
        )
    }

    /// The admin socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("run/admin.sock")
    }

    fn request(&self, request: &AdminRequest) -> Result<Response> {
        Ok(Client::connect(&self.socket())?.request(request)?)
    }

    fn status(&self) -> Result<Status> {
        match self.request(&AdminRequest::Read(ReadRequest::Status))? {
            Response::Status(status) => Ok(*status),
            other => anyhow::bail!("unexpected answer {other:?}"),
        }
    }

    pub(super) fn datapath(&self) -> Result<DatapathStatus> {
        self.status()?.datapath.context("the datapath is not running")
    }

    /// A pod that whoever calls keeps count of.
    pub(super) fn create_pod_numbered(&self, number: usize) -> Result<Pod> {
        self.create_pod(&pod_name(number))
    }

    pub(super) fn delete_pod_numbered(&self, number: usize) -> Result<()> {
        self.request(&AdminRequest::DeletePod(pod_ref(&pod_name(number))?))?;
        Ok(())
    }

    fn create_pod(&self, name: &str) -> Result<Pod> {
        let request = AdminRequest::CreatePod(Box::new(CreatePod {
            pod: pod_ref(name)?,
            labels: Default::default(),
            ip: None,
            mac: None,
            port_security: true,
            resources: Resources::default(),
            restart_policy: RestartPolicy::Never,
            command: Vec::new(),
            serving: protocol::object::Serving::default(),
            dns: protocol::object::PodDns::default(),
            hostname: None,
            subdomain: None,
            bandwidth: self.bandwidth,
        }));
        let pod = match self.request(&request)? {
            Response::Pod(pod) => pod,
            other => bail!("unexpected answer {other:?}"),
        };
        let netns = pod.status.netns.rsplit('/').next().unwrap_or_default();
        match pod.spec.pod_ips.first() {
            Some(IpAddr::V4(ip)) => Ok(Pod::managed(netns.to_owned(), *ip)),
            other => bail!("pod {name} has the address {other:?}"),
        }
    }

    /// `vpodctl` of this build, as a user runs it.
    pub(crate) fn vpodctl(&self, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new(self.programs.join("vpodctl"));
        command.arg("--socket").arg(self.socket()).args(arguments);
        let done = Running::start(&mut command)?.finish(Duration::from_secs(30));
        done.with_context(|| format!("vpodctl {}", arguments.join(" ")))?;
        Ok(())
    }
}

/// For the pods' namespaces: at most the eleven bytes that the daemon allows, with any process id.
fn netns_prefix() -> String {
    static NEXT: AtomicU8 = AtomicU8::new(0);
    format!("v{:x}-{:x}.", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn pod_ref(name: &str) -> Result<PodRef> {
    Ok(PodRef { namespace: Vpod::NAMESPACE.parse()?, name: name.parse()? })
}

fn pod_name(number: usize) -> String {
    format!("pod-{number}")
}

impl Drop for Vpod {
    fn drop(&mut self) {
        self.daemon = None;
        clean_up(&format!(
            "nsenter --net=/run/netns/{} {} --config {} --purge",
            self.node.0,
            self.programs.join("vswitchd").display(),
            self.config().display()
        ));
    }
}

impl Subject for Vpod {
    fn name(&self) -> &'static str {
        self.name
    }

    fn add_pod(&mut self) -> Result<()> {
        let pod = self.create_pod_numbered(self.pods.len())?;
        self.pods.push(pod);
        Ok(())
    }

    fn limit(&mut self, bandwidth: Bandwidth) -> Result<()> {
        self.bandwidth = bandwidth;
        Ok(())
    }

    fn remove_pod(&mut self) -> Result<()> {
        let newest = self.pods.len().checked_sub(1).context("no pod left")?;
        self.delete_pod_numbered(newest)?;
        self.pods.pop();
        Ok(())
    }

    fn pods(&self) -> &[Pod] {
        &self.pods
    }

    fn processes(&self) -> Result<Vec<u32>> {
        let status = self.status()?;
        let DatapathStatus { pid, .. } = status.datapath.context("the datapath is not running")?;
        Ok(vec![status.control_pid, pid])
    }

    fn publish(&mut self, services: &Services) -> Result<()> {
        self.publish_services(services)?;
        self.services = Some(services.clone());
        Ok(())
    }

    fn restrict(&mut self, policies: u32) -> Result<()> {
        self.write_policies(policies)
    }

    fn reload(&mut self) -> Result<Duration> {
        self.replace_datapath()
    }

    fn move_endpoint(&mut self, server: usize) -> Result<Programmed> {
        let mut services = self.services.clone().context("no services yet")?;
        services.move_to(server);
        let programmed = self.write_moving(&services)?;
        self.services = Some(services);
        Ok(programmed)
    }

    fn restart(&mut self) -> Result<Option<Duration>> {
        self.start_again().map(Some)
    }
}
