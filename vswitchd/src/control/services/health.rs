//! `healthCheckNodePort`, as kube-proxy serves it: a load balancer outside asks each node whether it has endpoints of a service,
//! and sends only to those that say yes.
//!
//! One thread and one poll serve all ports. A request is read to its empty line and not looked at: whatever is asked, the
//! answer is the service's. Who says nothing, or too much, is hung up on; so slow clients cost a descriptor and no thread.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
use parking_lot::Mutex;
use store::services::Health;

use super::super::node::Control;

/// Longest request.
const MAX_REQUEST: usize = 4096;
/// Clients at once; one more waits in the backlog.
const MAX_CLIENTS: usize = 256;
/// For a whole exchange.
const PATIENCE: Duration = Duration::from_secs(3);
/// A port that somebody else has is tried again so often.
const RETRY: Duration = Duration::from_secs(5);
const WAKER: Token = Token(usize::MAX);
/// Ports have their number as token; clients those behind.
const FIRST_CLIENT: usize = 1 << 16;

/// What is to be answered, and the way to say that it has changed.
#[derive(Default)]
pub(super) struct HealthChecks {
    wanted: Mutex<BTreeMap<u16, Health>>,
    waker: Mutex<Option<Arc<Waker>>>,
    /// Ports that could not be opened, and why.
    problems: Mutex<BTreeMap<u16, String>>,
}

impl HealthChecks {
    /// These are served from now on.
    pub(super) fn set(&self, all: Vec<Health>) {
        let all: BTreeMap<u16, Health> = all.into_iter().map(|health| (health.port, health)).collect();
        let mut wanted = self.wanted.lock();
        let moved = !wanted.keys().eq(all.keys());
        *wanted = all;
        drop(wanted);
        if moved && let Some(waker) = &*self.waker.lock() {
            // Without it, the next tick sees it.
            let _ = waker.wake();
        }
    }

    /// What is wrong, for `status`.
    pub(super) fn problems(&self) -> Vec<String> {
        self.problems.lock().values().cloned().collect()
    }
}

/// Serves until the daemon ends.
pub(super) fn serve(control: &Arc<Control>) -> io::Result<()> {
    let poll = Poll::new()?;
    let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
    *control.services.health.waker.lock() = Some(waker);
    let control = Arc::clone(control);
    let mut server =
        Server { poll, ports: BTreeMap::new(), clients: BTreeMap::new(), next: FIRST_CLIENT, tried: None };
    std::thread::Builder::new().name("health".to_owned()).spawn(move || {
        let mut events = Events::with_capacity(128);
        loop {
            server.follow(&control.services.health);
            if let Err(error) = server.poll.poll(&mut events, Some(Duration::from_secs(1)))
                && error.kind() != io::ErrorKind::Interrupted
            {
                tracing::error!("health checks are no longer answered: {error}");
                return;
            }
            for event in &events {
                server.on_event(&control, event.token());
            }
            server.clients.retain(|_, client| client.since.elapsed() < PATIENCE);
        }
    })?;
    Ok(())
}

struct Server {
    poll: Poll,
    ports: BTreeMap<u16, TcpListener>,
    clients: BTreeMap<usize, Client>,
    next: usize,
    /// When ports that somebody else has were last tried.
    tried: Option<Instant>,
}

struct Client {
    stream: TcpStream,
    port: u16,
    read: Vec<u8>,
    since: Instant,
}

impl Server {
    /// Opens and closes ports as they are wanted.
    fn follow(&mut self, checks: &HealthChecks) {
        let wanted: Vec<u16> = checks.wanted.lock().keys().copied().collect();
        self.ports.retain(|port, _| wanted.binary_search(port).is_ok());
        let mut problems = checks.problems.lock();
        problems.retain(|port, _| wanted.binary_search(port).is_ok());
        let again = self.tried.is_none_or(|tried| tried.elapsed() > RETRY);
        for port in wanted {
            let failed = problems.contains_key(&port);
            if self.ports.contains_key(&port) || (failed && !again) {
                continue;
            }
            match self.open(port) {
                Ok(()) => _ = problems.remove(&port),
                Err(error) => {
                    self.tried = Some(Instant::now());
                    let text = format!(
                        "health checks at port {port} (healthCheckNodePort) are not answered: {error}"
                    );
                    if problems.insert(port, text.clone()).is_none() {
                        tracing::warn!("{text}");
                    }
                }
            }
        }
    }

    fn open(&mut self, port: u16) -> io::Result<()> {
        let mut listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))?;
        self.poll.registry().register(&mut listener, Token(port.into()), Interest::READABLE)?;
        self.ports.insert(port, listener);
        Ok(())
    }

    fn on_event(&mut self, control: &Control, token: Token) {
        match u16::try_from(token.0) {
            Ok(port) => self.accept(port),
            Err(_) if token == WAKER => {}
            Err(_) => {
                let done = self.clients.get_mut(&token.0).is_none_or(|client| client.go_on(control));
                if done {
                    self.clients.remove(&token.0);
                }
            }
        }
    }

    /// Takes all that wait: the poll tells once.
    fn accept(&mut self, port: u16) {
        let Some(listener) = self.ports.get(&port) else { return };
        while let Ok((mut stream, _)) = listener.accept() {
            if self.clients.len() >= MAX_CLIENTS {
                continue;
            }
            let token = self.next;
            self.next = self.next.wrapping_add(1).clamp(FIRST_CLIENT, WAKER.0 - 1);
            if self.poll.registry().register(&mut stream, Token(token), Interest::READABLE).is_ok() {
                let client = Client { stream, port, read: Vec::new(), since: Instant::now() };
                self.clients.insert(token, client);
            }
        }
    }
}

impl Client {
    /// True when there is nothing more to do with it.
    fn go_on(&mut self, control: &Control) -> bool {
        let mut buffer = [0; 512];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return true,
                Ok(read) => self.read.extend(buffer.iter().take(read)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return true,
            }
            if self.read.len() > MAX_REQUEST {
                return true;
            }
        }
        if !self.read.windows(4).any(|end| end == b"\r\n\r\n") {
            return false;
        }
        // It fits the socket's buffer; a client that takes less than that gets nothing.
        let _ = self.stream.write_all(answer(control, self.port).as_bytes());
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
        true
    }
}

/// Status line, headers and body as kube-proxy has them.
fn answer(control: &Control, port: u16) -> String {
    let health = control.services.health.wanted.lock().get(&port).cloned();
    response(health.as_ref(), super::healthz::is_healthy(control))
}

fn response(health: Option<&Health>, is_healthy: bool) -> String {
    let Some(Health { service, local_endpoints, .. }) = health else {
        return "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned();
    };
    let status = if *local_endpoints > 0 && is_healthy { "200 OK" } else { "503 Service Unavailable" };
    let body = format!(
        "{{\n\t\"service\": {{\n\t\t\"namespace\": \"{}\",\n\t\t\"name\": \"{}\"\n\t}},\n\t\"localEndpoints\": {local_endpoints},\n\t\"serviceProxyHealthy\": {is_healthy}\n}}",
        service.namespace, service.name
    );
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nX-Content-Type-Options: nosniff\r\nX-Load-Balancing-Endpoint-Weight: {local_endpoints}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

#[cfg(test)]
mod tests {
    use store::services::ObjectRef;

    use super::*;

    #[test]
    fn answers_are_kube_proxys() {
        let service = ObjectRef::parse("prod/web").unwrap();
        let health = |local_endpoints| Health { port: 30_000, service: service.clone(), local_endpoints };
        let good = response(Some(&health(2)), true);
        assert!(good.starts_with("HTTP/1.1 200 OK\r\n"), "{good}");
        assert!(good.contains("X-Load-Balancing-Endpoint-Weight: 2\r\n"));
        let (_, body) = good.split_once("\r\n\r\n").unwrap();
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["service"], serde_json::json!({ "namespace": "prod", "name": "web" }));
        assert_eq!((&body["localEndpoints"], &body["serviceProxyHealthy"]), (&2.into(), &true.into()));
        assert!(response(Some(&health(0)), true).starts_with("HTTP/1.1 503 "));
        assert!(response(Some(&health(2)), false).starts_with("HTTP/1.1 503 "));
        assert!(response(None, true).starts_with("HTTP/1.1 404 "));
    }
}
