//! Puts the parts together: sockets first, then threads and tasks; and takes them apart in the reverse order.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use arc_swap::ArcSwapOption;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;

use crate::config::Config;
use crate::feed::Follower;
use crate::forward::{Outside, Settings};
use crate::metrics::{Counters, Health, Programming};
use crate::server::http::{self, Page};
use crate::server::shares::Shares;
use crate::server::{Shared, later, tcp, udp};

/// Queries over UDP that wait for a task to begin; each has 4 KiB at most.
const MAX_JOBS: usize = 4096;
/// For answers under way, at the end.
const DRAIN: Duration = Duration::from_secs(2);
/// Threads that answer UDP, at most.
const MAX_WORKERS: usize = 64;
/// Threads for tasks: TCP and names outside.
const TASK_THREADS: usize = 2;

/// A server that runs.
pub struct Server {
    shared: Arc<Shared>,
    runtime: Runtime,
    threads: Vec<JoinHandle<()>>,
    addresses: Vec<SocketAddr>,
}

impl Server {
    /// Starts all of it.
    ///
    /// # Errors
    /// Which part could not be started, and why.
    pub fn start(config: &Config) -> Result<Self> {
        let zone = Arc::new(config.zone()?);
        let (outside, prefetches) = Outside::new(Settings {
            upstreams: config.upstreams()?,
            policy: config.policy,
            cache_entries: config.cache_entries,
            max_concurrent: config.max_concurrent,
            cluster: config.reverse_cidrs.clone(),
        });
        let workers = match config.workers {
            0 => thread::available_parallelism().map_or(1, usize::from),
            workers => workers,
        }
        .clamp(1, MAX_WORKERS);
        let sockets = open_all(&config.listen, workers)?;
        let threads = sockets.iter().map(|(udp, _)| udp.len()).sum::<usize>();
        let tasks = Arc::new(Counters::default());
        let mut counters: Vec<_> = (0..threads).map(|_| Arc::new(Counters::default())).collect();
        counters.push(Arc::clone(&tasks));
        let shared = Arc::new(Shared {
            zone,
            names: Arc::new(ArcSwapOption::empty()),
            outside,
            log_queries: AtomicBool::new(config.log_queries),
            leaving: AtomicBool::new(false),
            stop: Arc::new(AtomicBool::new(false)),
            counters,
            connections: Shares::new(tcp::MAX_CONNECTIONS, tcp::MAX_OF_ONE, 1),
            waiting: Shares::new(config.max_concurrent, usize::MAX, 1),
            health: Health::default(),
            programming: Programming::default(),
        });
        let runtime = Builder::new_multi_thread().worker_threads(TASK_THREADS).enable_all().build()?;
        for (page, address) in
            [(Page::Health, config.health), (Page::Ready, config.ready), (Page::Metrics, config.metrics)]
        {
            let listener = http::open(page, address)?;
            runtime.spawn(http::serve(page, listener, Arc::clone(&shared)));
        }
        runtime.spawn(http::look_at_health(config.health, Arc::clone(&shared)));
        let addresses = sockets.iter().filter_map(|(udp, _)| udp.first()?.local_addr().ok()).collect();
        let mut server = Self { shared, runtime, threads: Vec::new(), addresses };
        server.start_tasks(prefetches);
        server.start_threads(config, sockets, tasks)?;
        Ok(server)
    }

    fn start_tasks(&self, prefetches: mpsc::Receiver<crate::forward::Question>) {
        let outside = Arc::clone(&self.shared.outside);
        self.runtime.spawn(async move {
            outside.look_for_loops();
            outside.prefetch(prefetches).await;
        });
    }

    fn start_threads(
        &mut self,
        config: &Config,
        sockets: Vec<(Vec<UdpSocket>, TcpListener)>,
        tasks: Arc<Counters>,
    ) -> Result<()> {
        let (jobs, waiting) = mpsc::channel(MAX_JOBS);
        self.runtime.spawn(later::serve(Arc::clone(&self.shared), Arc::clone(&tasks), waiting));
        let follower = Follower::new(
            &config.socket,
            Arc::clone(&self.shared.zone),
            Arc::clone(&self.shared.names),
            Arc::clone(&self.shared.stop),
        );
        // Not joined: it may be waiting for `vswitchd`, and has nothing to finish.
        thread::Builder::new().name("feed".to_owned()).spawn(move || follower.run())?;
        let mut counters = self.shared.counters.clone().into_iter();
        for (udp_sockets, listener) in sockets {
            for socket in udp_sockets {
                let (shared, jobs) = (Arc::clone(&self.shared), jobs.clone());
                let counters = counters.next().unwrap_or_default();
                let run = move || udp::run(&shared, &counters, socket, &jobs);
                self.threads.push(thread::Builder::new().name("udp".to_owned()).spawn(run)?);
            }
            self.runtime.spawn(tcp::run(Arc::clone(&self.shared), Arc::clone(&tasks), listener));
        }
        Ok(())
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What its threads share.
    #[must_use]
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Where its tasks run.
    #[must_use]
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Says that it leaves, and goes on for a while: who has not heard is answered.
    pub fn leave(&self, lameduck: Duration) {
        self.shared.leaving.store(true, Ordering::Relaxed);
        thread::sleep(lameduck);
    }

    /// Takes no more queries, finishes those in hand, and ends.
    pub fn stop(self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            // A thread that panicked has aborted the process.
            let _ = thread.join();
        }
        self.runtime.shutdown_timeout(DRAIN);
    }
}

/// All sockets: for each address one of UDP per worker, and a listener at the same port.
fn open_all(listen: &[SocketAddr], workers: usize) -> Result<Vec<(Vec<UdpSocket>, TcpListener)>> {
    let mut all = Vec::new();
    for address in listen {
        let first = udp::open(*address).with_context(|| format!("cannot listen at {address}/udp"))?;
        // Port 0 is any, but the same for all.
        let address = first.local_addr()?;
        let mut sockets = vec![first];
        for _ in 1..workers {
            sockets.push(udp::open(address).with_context(|| format!("cannot listen at {address}/udp"))?);
        }
        let listener = tcp::open(address).with_context(|| format!("cannot listen at {address}/tcp"))?;
        all.push((sockets, listener));
    }
    Ok(all)
}
