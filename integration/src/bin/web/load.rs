//! Clients that ask one after the other without a pause: every other one keeps its connection, as browsers do, the rest connect for each
//! request. A kept connection that was closed before anything of an answer came is no failure, but asked again once on a new one, as every
//! client does (RFC 9110 §9.2.2): a server may end an idle connection at any time.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::json;

/// A request that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(20);
/// Failures that are told.
const MOST_TOLD: usize = 20;

#[derive(Default)]
struct Seen {
    requests: u64,
    failed: u64,
    reconnected: u64,
    failures: Vec<String>,
    names: BTreeMap<String, u64>,
    slowest: Duration,
    last_good: Option<Instant>,
    longest_gap: Duration,
}

struct Target<'a> {
    address: SocketAddr,
    request: String,
    seen: Mutex<Seen>,
    stop: &'a AtomicBool,
    began: Instant,
}

pub(crate) fn load(address: &str, host: &str, path: &str, clients: usize) -> anyhow::Result<()> {
    let stop = AtomicBool::new(false);
    let target = Target {
        address: address.parse().with_context(|| format!("{address} is no address and port"))?,
        request: format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: load\r\n"),
        seen: Mutex::default(),
        stop: &stop,
        began: Instant::now(),
    };
    std::thread::scope(|scope| {
        for number in 0..clients {
            let target = &target;
            scope.spawn(move || target.ask_on(number % 2 == 0));
        }
        println!("ready");
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        stop.store(true, Ordering::Relaxed);
    });
    let seen = target.seen.into_inner().unwrap_or_default();
    let said = json!({
        "requests": seen.requests,
        "failed": seen.failed,
        "reconnected": seen.reconnected,
        "failures": seen.failures,
        "names": seen.names,
        "slowest_ms": u64::try_from(seen.slowest.as_millis())?,
        "longest_gap_ms": u64::try_from(seen.longest_gap.as_millis())?,
    });
    println!("{said}");
    Ok(())
}

impl Target<'_> {
    fn ask_on(&self, keeps: bool) {
        let mut kept = None;
        while !self.stop.load(Ordering::Relaxed) {
            let began = Instant::now();
            let outcome = self.ask(&mut kept, keeps);
            let Ok(mut seen) = self.seen.lock() else { return };
            seen.requests += 1;
            seen.slowest = seen.slowest.max(began.elapsed());
            match outcome {
                Ok((name, reconnected)) => {
                    let now = Instant::now();
                    let gap = seen.last_good.map_or(Duration::ZERO, |last| now - last);
                    seen.longest_gap = seen.longest_gap.max(gap);
                    seen.last_good = Some(now);
                    seen.reconnected += u64::from(reconnected);
                    *seen.names.entry(name).or_default() += 1;
                }
                Err(error) => {
                    seen.failed += 1;
                    if seen.failures.len() < MOST_TOLD {
                        let kind = if keeps { "kept" } else { "new" };
                        let (at, took) = (self.began.elapsed().as_millis(), began.elapsed().as_millis());
                        seen.failures.push(format!("after {at} ms, {kind}, {took} ms: {error:#}"));
                    }
                    drop(seen);
                    // Not to fail a thousand times in a row.
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        }
    }

    fn ask(&self, kept: &mut Option<BufReader<TcpStream>>, keeps: bool) -> anyhow::Result<(String, bool)> {
        let mut reconnected = false;
        if let Some(connection) = kept.take() {
            match self.ask_by(connection, kept, keeps) {
                Err(error) if error.downcast_ref::<Closed>().is_some() => reconnected = true,
                other => return Ok((other?, false)),
            }
        }
        let stream = TcpStream::connect_timeout(&self.address, PATIENCE).context("connecting")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok((self.ask_by(BufReader::new(stream), kept, keeps)?, reconnected))
    }

    /// The name that the answer gives.
    fn ask_by(
        &self,
        mut connection: BufReader<TcpStream>,
        kept: &mut Option<BufReader<TcpStream>>,
        keeps: bool,
    ) -> anyhow::Result<String> {
        let connection_field = if keeps { "" } else { "Connection: close\r\n" };
        let request = format!("{}{connection_field}\r\n", self.request);
        connection.get_mut().write_all(request.as_bytes()).map_err(|_| Closed)?;
        let mut line = String::new();
        match connection.read_line(&mut line) {
            Ok(0) => return Err(Closed.into()),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Err(Closed.into()),
            other => other.context("reading the status")?,
        };
        let status = line.trim_end().to_owned();
        let (mut len, mut stays) = (0, keeps);
        loop {
            line.clear();
            ensure!(
                connection.read_line(&mut line).context("reading a field")? > 0,
                "it ended within the head"
            );
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => len = value.trim().parse()?,
                "connection" if value.trim().eq_ignore_ascii_case("close") => stays = false,
                _ => {}
            }
        }
        let mut body = vec![0; len];
        connection.read_exact(&mut body).context("reading the body")?;
        if stays {
            *kept = Some(connection);
        }
        if !status.starts_with("HTTP/1.1 200") {
            bail!("{status}: {}", String::from_utf8_lossy(&body).trim());
        }
        let said: serde_json::Value = serde_json::from_slice(&body).context("the answer is no JSON")?;
        Ok(said["name"].as_str().unwrap_or_default().to_owned())
    }
}

/// Before anything of an answer came.
#[derive(Debug)]
struct Closed;

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the connection was closed without an answer")
    }
}

impl std::error::Error for Closed {}
