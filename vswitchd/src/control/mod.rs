//! The control process: desired state in, kernel objects and datapath configuration out.
//!
//! Start, in order: rights and devices ([`preflight`]), directories, the lock that makes this the
//! only daemon of its run directory ([`lock`]), the store, the datapath ([`datapath_link`]: a running
//! one is taken over), the gateway ([`gateway`]), pods that exist ([`pods::recover`]), and at last the
//! sockets ([`server`]): nobody is answered before everything is in place. A failure undoes what was
//! new. At the end, on SIGTERM or SIGINT: no new changes, those under way finish, the datapath stops;
//! pods, namespaces and persistent TAPs stay.

mod capture;
mod cgroup;
mod cluster;
mod container_logs;
pub(crate) mod datapath_link;
mod device;
pub(crate) mod error;
mod events;
mod feed;
mod gateway;
mod ingress;
mod inventory;
mod label;
mod lock;
mod metrics;
mod mtu;
mod node;
mod peers;
mod pods;
mod policy;
mod preflight;
mod purge;
mod quarantine;
mod routes;
mod server;
mod services;
mod switch;
mod system;
mod tables;
mod throttle;
mod trace;
mod tunnel;
mod underlay;
mod uplink;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use crossbeam_channel::Receiver;
use parking_lot::Mutex;
use protocol::object::Timestamp;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use store::Store;
use store::desired::{GATEWAY_PORT, NodeFacts};

use self::datapath_link::{DatapathLink, LinkEvent, LinkOptions};
use self::gateway::Origin;
use self::lock::InstanceLock;
use self::node::Control;
use self::peers::Peers;
use self::server::{Access, Gate};
use self::switch::Switch;
use self::tunnel::TunnelState;
use self::uplink::UplinkState;
use crate::config::{self, Config, ConfigError, LogFormat};
use crate::log::Logs;

pub(crate) use purge::purge;

/// For the datapath's first words.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// For changes under way when the daemon is told to stop.
const DRAIN_LIMIT: Duration = Duration::from_secs(15);

/// Runs the daemon until it is told to stop. `reload` reads the configuration again.
pub(crate) fn run(
    config: Config,
    logs: Logs,
    reload: &dyn Fn() -> Result<Config, ConfigError>,
) -> anyhow::Result<()> {
    preflight::check()?;
    // Before anything exists that would have to be removed.
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).context("signals")?;
    make_directory(&config.state_dir, 0o700)?;
    make_directory(&config.run_dir, 0o755)?;
    let _lock = InstanceLock::take(&config.lock_path())?;
    let mut interrupted = || signals.pending().any(|signal| signal != SIGHUP);
    let (control, events) = start(config, logs, &mut interrupted)?;
    let follower = Arc::clone(&control);
    thread::Builder::new().name("events".to_owned()).spawn(move || events::follow(&follower, &events))?;
    if let Err(error) = open_to_the_world(&control) {
        give_up(&control);
        return Err(error);
    }
    tracing::info!(
        node = %control.config.node,
        pod_cidr = %control.config.pod_cidr,
        pods = control.inventory.lock().len(),
        socket = %control.config.admin_socket().display(),
        "vswitchd is ready"
    );
    for signal in signals.forever() {
        match signal {
            SIGHUP => on_hangup(&control, reload),
            _ => break,
        }
    }
    stop(&control);
    Ok(())
}

/// Everything up to a datapath that forwards for all pods.
fn start(
    config: Config,
    logs: Logs,
    interrupted: &mut dyn FnMut() -> bool,
) -> anyhow::Result<(Arc<Control>, Receiver<LinkEvent>)> {
    let store = Arc::new(Store::open(&config.store_path())?);
    let peers = Peers::load(&store, config.peers.clone(), config.etcd.is_some())?;
    let vni = config.tunnel.as_ref().map_or(1, |tunnel| tunnel.vni);
    let (config, cluster) = cluster::join(config, &store, peers.cluster_nodes(vni), interrupted)?;
    let shared = cluster.as_ref().map(cluster::Cluster::store);
    let services = services::Services::open(&config, &store, shared)?;
    let ingress = ingress::Ingress::open(&config, &services)?;
    let (inventory, unreadable) = pods::recover::load(&config, &store)?;
    for problem in &unreadable {
        tracing::error!("{problem}");
    }
    let pod_mtu = config.effective_pod_mtu(underlay_mtu(&config)?);
    let tunnel = TunnelState { configured: config.tunnel.clone(), problem: None };
    let (sender, events) = crossbeam_channel::unbounded();
    let link = DatapathLink::start(link_options(&config), sender)?;
    let control = Arc::new(Control {
        pod_mtu: AtomicU16::new(pod_mtu),
        workers: AtomicU8::new(config.workers),
        tunnel: Mutex::new(tunnel),
        uplink: Mutex::new(UplinkState::of(config.uplink.clone())),
        peers: Mutex::new(peers),
        cluster,
        services,
        ingress,
        feeds: feed::Feeds::new().context("a random number")?,
        denials: Mutex::default(),
        logs,
        store,
        inventory: Mutex::new(inventory),
        switch: Switch::new(link),
        shims: Mutex::default(),
        doomed: Mutex::default(),
        notes: Mutex::default(),
        gate: Gate::default(),
        store_problem: Mutex::default(),
        switch_problem: Mutex::default(),
        system_problems: Mutex::default(),
        unreadable,
        started: Timestamp::now(),
        clock: Instant::now(),
        config,
    });
    match greet(&control, &events) {
        Ok(()) => {}
        Err(failure) => {
            control.switch.link().stop();
            return Err(failure);
        }
    }
    match connect(&control) {
        Ok(()) => Ok((control, events)),
        Err(failure) => {
            give_up(&control);
            Err(failure)
        }
    }
}

fn underlay_mtu(config: &Config) -> anyhow::Result<Option<u32>> {
    Ok(match &config.tunnel {
        Some(tunnel) => underlay::find(&tunnel.underlay)?.map(|found| found.ip_mtu.into()),
        None => underlay::default_mtu()?,
    })
}

/// A start that fails leaves a datapath that ran before running, and ends one that it started.
fn give_up(control: &Control) {
    let link = control.switch.link();
    if control.switch.was_taken_over() { link.detach() } else { link.stop() }
}

fn link_options(config: &Config) -> LinkOptions {
    LinkOptions {
        run_dir: config.run_dir.clone(),
        program: None,
        workers: config.workers,
        log_filter: config.log_filter.clone(),
        log_json: config.log_format == LogFormat::Json,
        run_as: Some((config.datapath_user.uid, config.datapath_user.gid)),
        sandbox: true,
    }
}

/// Waits for the datapath's first words, and learns what it runs.
fn greet(control: &Control, events: &Receiver<LinkEvent>) -> anyhow::Result<()> {
    match events.recv_timeout(CONNECT_LIMIT).context("the datapath process does not report")? {
        LinkEvent::Connected { epoch, taken_over: true } => {
            tracing::info!(epoch, "taking over the running datapath");
            control.switch.on_taken_over()?;
            note_workers(control);
        }
        LinkEvent::Connected { epoch, taken_over: false } => control.switch.on_fresh(epoch),
        LinkEvent::Lost { cause, .. } => bail!("the datapath process cannot run: {cause}"),
        LinkEvent::PortDetached { .. } => bail!("the datapath process reported a port before it was greeted"),
    }
    Ok(())
}

/// A running datapath keeps its workers, whatever is configured now.
fn note_workers(control: &Control) {
    let configured = control.config.workers;
    let Ok(summary) = tables::summary(control) else { return };
    let running = u8::try_from(summary.workers).unwrap_or(configured);
    control.workers.store(running, Ordering::Relaxed);
    if running != configured {
        tracing::info!(running, configured, "another number of workers takes effect with the next datapath");
    }
}

/// Gateway, pods, and a datapath that knows them all.
fn connect(control: &Control) -> anyhow::Result<()> {
    let config = &control.config;
    let (gateway, origin) = gateway::open(config, control.pod_mtu(), &control.switch)?;
    let result = (|| {
        control.switch.set_facts(NodeFacts {
            pod_cidr: config.pod_cidr,
            cluster_cidr: config.cluster_cidr,
            service_cidr: Some(config.service_cidr),
            gateway_ip: config.gateway(),
            node_addresses: gateway::node_addresses(config)?,
            fdb_ageing_seconds: config.fdb_ageing_seconds,
            gateway,
            tunnel: None,
            uplink: None,
            announced: Vec::new(),
            announced_by_lease: control.services.is_shared(),
            peers: BTreeMap::new(),
            services: None,
        });
        open_tunnel(control)?;
        peers::decide(control);
        uplink::refresh(control);
        system::prepare(control).context("the directories of system pods")?;
        pods::recover::reconcile(control);
        pods::attach::take_up(control);
        services::prime(control)?;
        control.switch.sync(&control.inventory)?;
        pods::recover::finish(control);
        mtu::follow(control);
        anyhow::Ok(())
    })();
    if result.is_err() && origin == Origin::Created {
        drop(control.switch.take_device(GATEWAY_PORT));
        if let Err(error) = gateway::remove(config) {
            tracing::error!("undoing the start: {}", error::chain(&error));
        }
    }
    result
}

/// Peers without a way to them are an error of configuration; a tunnel that nobody needs yet may wait
/// for its underlay.
fn open_tunnel(control: &Control) -> anyhow::Result<()> {
    let result = tunnel::refresh(control);
    let own = control.own();
    config::check_peers(&own, &control.config.peers)?;
    match result {
        Err(error) if !control.config.peers.is_empty() => Err(error).context("peers cannot be reached"),
        Err(error) => {
            tracing::warn!("no tunnel for now: {}", error::chain(&error));
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// Sockets, last of all.
fn open_to_the_world(control: &Arc<Control>) -> anyhow::Result<()> {
    events::follow_network(control)?;
    cluster::follow(control).context("following the cluster's store")?;
    services::follow(control).context("following services")?;
    ingress::follow(control).context("following routes")?;
    policy::follow(control).context("following what policies refuse")?;
    metrics::serve(control)?;
    services::serve_health(control)?;
    server::serve(control, &control.config.read_socket(), Access::ReadOnly)?;
    if system::is_wanted(&control.config) {
        server::serve(control, &control.config.system_socket(), Access::System)?;
    }
    server::serve(control, &control.config.admin_socket(), Access::Admin)?;
    pods::attach::follow(control).context("following attachments")?;
    system::follow(control).context("following system pods")?;
    Ok(())
}

fn make_directory(path: &Path, mode: u32) -> anyhow::Result<()> {
    let created = !path.exists();
    fs::create_dir_all(path).with_context(|| format!("directory {}", path.display()))?;
    if created {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
            .with_context(|| format!("directory {}", path.display()))?;
    }
    Ok(())
}

/// The log filter, the tunnel, the uplink and the peers are what can change while running.
fn on_hangup(control: &Control, reload: &dyn Fn() -> Result<Config, ConfigError>) {
    let reloaded = reload().and_then(|new| {
        config::check_peers(&control.own(), &new.peers)?;
        Ok(new)
    });
    let new = match reloaded {
        Ok(new) => new,
        Err(error) => {
            tracing::error!("SIGHUP: the configuration stays as it is: {}", error::chain(&error));
            return;
        }
    };
    match control.set_log_filter(&new.log_filter) {
        Ok(()) => tracing::info!(filter = new.log_filter, "SIGHUP: log filter reloaded"),
        Err(error) => tracing::error!("SIGHUP: {error}"),
    }
    control.tunnel.lock().configured.clone_from(&new.tunnel);
    tunnel::follow(control);
    tracing::info!(peers = new.peers.len(), "SIGHUP: peers reloaded");
    peers::replace_static(control, new.peers.clone());
    control.uplink.lock().configured.clone_from(&new.uplink);
    if uplink::refresh(control) {
        control.sync();
    }
    mtu::follow(control);
    let running = &control.config;
    let unchanged = Config {
        log_filter: running.log_filter.clone(),
        tunnel: running.tunnel.clone(),
        uplink: running.uplink.clone(),
        peers: running.peers.clone(),
        // What the store gave is not in the file.
        pod_cidr: if new.etcd.is_some() { running.pod_cidr } else { new.pod_cidr },
        ..new
    };
    if unchanged != control.config {
        tracing::warn!("SIGHUP: other settings have changed too; they need a restart");
    }
}

fn stop(control: &Control) {
    tracing::info!("stopping; pods stay");
    let config = &control.config;
    let sockets =
        [config.admin_socket(), config.read_socket(), config.system_socket(), config.metrics_socket()];
    for path in sockets {
        // Clients then hear that nobody listens, instead of that their request is refused.
        let _ = fs::remove_file(path);
    }
    if !control.gate.close(DRAIN_LIMIT) {
        tracing::warn!("changes under way did not finish; the next start completes or undoes them");
    }
    control.services.leave();
    if let Some(cluster) = &control.cluster {
        cluster.leave();
    }
    control.switch.link().stop();
    uplink::leave(control);
    tracing::info!("stopped");
}
