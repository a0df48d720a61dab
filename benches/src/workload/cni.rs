//! How long a container runtime waits for ADD and DEL, sixteen at a time, beside the reference plugins `bridge` and `host-local`:
//! the whole program, from its start to its end, in namespaces that are there already.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::Options;
use crate::host::{Netns, check_stop, in_netns, own_directory, progress, temporary_directory};
use crate::metric::{Better, Metric, VPOD, quantile};
use crate::subject::Vpod;

pub(super) const NAME: &str = "cni";

/// As kubelets start pods when a node comes up.
const PARALLEL: usize = 16;
/// Of one round and subject.
const CONTAINERS: usize = 64;
/// The plugins of the specification's authors.
const REFERENCE: &str = "bridge-host-local";
/// Where Debian has them.
const REFERENCE_DIRECTORY: &str = "/usr/lib/cni";
const VERBS: [&str; 2] = ["ADD", "DEL"];

/// Plugins, and what they are told.
struct Subject {
    name: &'static str,
    node: String,
    program: PathBuf,
    config: Value,
}

pub(super) fn run(options: &Options) -> Result<Vec<Metric>> {
    let vpod = Vpod::with_many_addresses()?;
    let directory = temporary_directory()?;
    let node = Netns::create("vb-cni-")?;
    let mut subjects = Vec::new();
    if !options.only_peers {
        subjects.push(ours(&vpod)?);
    }
    subjects.push(reference(&node, directory.path())?);
    let containers: Vec<Netns> = (0..CONTAINERS).map(|_| Netns::create("vb-con-")).collect::<Result<_>>()?;
    let mut samples = vec![[const { Vec::new() }; 4]; subjects.len()];
    for round in 1..=options.rounds {
        for (subject, samples) in subjects.iter().zip(&mut samples) {
            for (verb, pair) in VERBS.into_iter().zip(samples.chunks_mut(2)) {
                let times = calls(subject, verb, round, &containers)?;
                for (values, q) in pair.iter_mut().zip([0.5, 0.99]) {
                    values.extend(quantile(&times, q));
                }
            }
            let p50 = samples[0].last().copied().unwrap_or_default();
            progress(&format!(
                "{NAME}, round {round}/{}: {} ADD p50 {p50:.1} ms",
                options.rounds, subject.name
            ));
        }
    }
    let names = ["ADD p50", "ADD p99", "DEL p50", "DEL p99"];
    let metric = |(index, name): (usize, &str)| {
        let of = |(subject, samples): (&Subject, &[Vec<f64>; 4])| {
            (subject.name.to_owned(), samples[index].clone())
        };
        Metric::new(NAME, name, "ms", Better::Lower, subjects.iter().zip(&samples).map(of))
            .with_param("parallel", PARALLEL)
    };
    Ok(names.into_iter().enumerate().map(metric).collect())
}

fn ours(vpod: &Vpod) -> Result<Subject> {
    let program = own_directory()?.join("vpod-cni");
    if !program.exists() {
        bail!("{} is missing: build it first (make bench does)", program.display());
    }
    let config = json!({"cniVersion": "1.0.0", "name": "bench", "type": "vpod-cni", "socket": vpod.socket()});
    Ok(Subject { name: VPOD, node: vpod.node().to_owned(), program, config })
}

/// Without masquerading, so that it writes no rules.
fn reference(node: &Netns, directory: &Path) -> Result<Subject> {
    let program = Path::new(REFERENCE_DIRECTORY).join("bridge");
    if !program.exists() {
        bail!("{} is missing: make bench-setup installs it", program.display());
    }
    let config = json!({
        "cniVersion": "1.0.0",
        "name": "bench",
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": true,
        "ipam": {
            "type": "host-local",
            "dataDir": directory,
            "ranges": [[{"subnet": "10.22.0.0/16"}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    });
    Ok(Subject { name: REFERENCE, node: node.0.clone(), program, config })
}

/// Milliseconds of each call, in the order of their ends.
fn calls(subject: &Subject, verb: &str, round: u32, containers: &[Netns]) -> Result<Vec<f64>> {
    check_stop()?;
    let next = AtomicUsize::new(0);
    let work = || -> Result<Vec<f64>> {
        let mut times = Vec::new();
        while let Some(container) = containers.get(next.fetch_add(1, Ordering::Relaxed)) {
            let id = format!("{}-{round}", container.0);
            times.push(call(subject, verb, &id, container)?);
        }
        Ok(times)
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..PARALLEL).map(|_| scope.spawn(work)).collect();
        let mut times = Vec::new();
        for worker in workers {
            match worker.join() {
                Ok(own) => times.extend(own?),
                Err(_) => bail!("a thread of the measurement panicked"),
            }
        }
        Ok(times)
    })
}

fn call(subject: &Subject, verb: &str, id: &str, container: &Netns) -> Result<f64> {
    let mut command = in_netns(&subject.node, &subject.program);
    command
        .env("CNI_COMMAND", verb)
        .env("CNI_CONTAINERID", id)
        .env("CNI_NETNS", format!("/run/netns/{}", container.0))
        .env("CNI_IFNAME", "eth0")
        .env("CNI_PATH", REFERENCE_DIRECTORY)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let began = Instant::now();
    let mut child = command.spawn().with_context(|| subject.program.display().to_string())?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(subject.config.to_string().as_bytes())?;
    }
    let output = child.wait_with_output()?;
    let milliseconds = began.elapsed().as_secs_f64() * 1e3;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        bail!("{} {verb} {id}: {}", subject.name, String::from_utf8_lossy(&said));
    }
    Ok(milliseconds)
}
