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
mod container_logs;
pub(crate) mod datapath_link;
pub(crate) mod error;
mod events;
mod gateway;
mod inventory;
mod lock;
mod metrics;
mod node;
mod pods;
mod preflight;
mod purge;
mod quarantine;
mod server;
mod switch;
mod tables;
mod throttle;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
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
use self::server::{Access, Gate};
use self::switch::Switch;
use crate::config::{Config, ConfigError, LogFormat};
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
    let (control, events) = start(config, logs)?;
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
fn start(config: Config, logs: Logs) -> anyhow::Result<(Arc<Control>, Receiver<LinkEvent>)> {
    let store = Store::open(&config.store_path())?;
    let (inventory, unreadable) = pods::recover::load(&config, &store)?;
    for problem in &unreadable {
        tracing::error!("{problem}");
    }
    let pod_mtu = config.effective_pod_mtu(gateway::underlay_mtu()?);
    let (sender, events) = crossbeam_channel::unbounded();
    let link = DatapathLink::start(link_options(&config), sender)?;
    let control = Arc::new(Control {
        pod_mtu,
        logs,
        store,
        inventory: Mutex::new(inventory),
        switch: Switch::new(link),
        shims: Mutex::default(),
        doomed: Mutex::default(),
        gate: Gate::default(),
        store_problem: Mutex::default(),
        switch_problem: Mutex::default(),
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
    let configured = u32::from(control.config.workers);
    if let Ok(summary) = tables::summary(control)
        && summary.workers != configured
    {
        let running = summary.workers;
        tracing::info!(running, configured, "another number of workers takes effect with the next datapath");
    }
}

/// Gateway, pods, and a datapath that knows them all.
fn connect(control: &Control) -> anyhow::Result<()> {
    let config = &control.config;
    let (gateway, origin) = gateway::open(config, control.pod_mtu, &control.switch)?;
    let result = (|| {
        control.switch.set_facts(NodeFacts {
            pod_cidr: config.pod_cidr,
            cluster_cidr: config.cluster_cidr,
            gateway_ip: config.gateway(),
            node_addresses: gateway::node_addresses(config)?,
            fdb_ageing_seconds: config.fdb_ageing_seconds,
            gateway,
        });
        pods::recover::reconcile(control);
        control.switch.sync(&control.inventory)?;
        pods::recover::finish(control);
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

/// Sockets, last of all.
fn open_to_the_world(control: &Arc<Control>) -> anyhow::Result<()> {
    events::follow_addresses(control)?;
    metrics::serve(control)?;
    server::serve(control, &control.config.read_socket(), Access::ReadOnly)?;
    server::serve(control, &control.config.admin_socket(), Access::Admin)?;
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

/// The log filter is the one setting that can change while running.
fn on_hangup(control: &Control, reload: &dyn Fn() -> Result<Config, ConfigError>) {
    let new = match reload() {
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
    let unchanged = Config { log_filter: control.config.log_filter.clone(), ..new };
    if unchanged != control.config {
        tracing::warn!("SIGHUP: other settings have changed too; they need a restart");
    }
}

fn stop(control: &Control) {
    tracing::info!("stopping; pods stay");
    let config = &control.config;
    for path in [config.admin_socket(), config.read_socket(), config.metrics_socket()] {
        // Clients then hear that nobody listens, instead of that their request is refused.
        let _ = fs::remove_file(path);
    }
    if !control.gate.close(DRAIN_LIMIT) {
        tracing::warn!("changes under way did not finish; the next start completes or undoes them");
    }
    control.switch.link().stop();
    tracing::info!("stopped");
}
