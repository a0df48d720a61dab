//! The server, and the proxies before it, each with one worker.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tempfile::TempDir;

use super::{READY_WITHIN, feed, idle};
use crate::host::{Background, own_directory, temporary_directory, wait_for};
use crate::metric::VPOD;

/// The server's port; each proxy has ten of its own.
const SERVER: u16 = 19_000;
/// A proxy's ports, from its first.
pub(super) const HTTP: u16 = 0;
pub(super) const HTTPS: u16 = 1;

/// Files that are served, and the certificate they are served with.
pub(super) struct Site {
    directory: TempDir,
}

/// A proxy that runs.
pub(super) struct Proxy {
    pub(super) name: &'static str,
    pub(super) port: u16,
    process: Background,
    /// Of nginx: the server behind all of them ends with the first proxy.
    _server: Option<Background>,
}

impl Proxy {
    pub(super) fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub(super) fn check_running(&mut self) -> Result<()> {
        self.process.check_running().context(self.name)
    }
}

impl Site {
    pub(super) fn new() -> Result<Self> {
        let directory = temporary_directory()?;
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(vec!["bench.example".to_owned()])?.self_signed(&key)?;
        let (certificate, key) = (certificate.pem(), key.serialize_pem());
        let site = Self { directory };
        for bytes in [1 << 10, 100 << 10] {
            fs::write(site.path(&bytes.to_string()), vec![b'x'; bytes])?;
        }
        fs::write(site.path("crt"), &certificate)?;
        fs::write(site.path("key"), &key)?;
        fs::write(site.path("pem"), format!("{certificate}{key}"))?;
        feed::serve(&site.feed(), local(SERVER), &certificate, &key)?;
        Ok(site)
    }

    pub(super) fn certificate(&self) -> Result<CertificateDer<'static>> {
        CertificateDer::from_pem_file(self.path("crt")).context("the site's certificate")
    }

    /// The socket that tells vpod of the site.
    fn feed(&self) -> PathBuf {
        self.path("ro.sock")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn nginx(&self, name: &str, http: &str) -> Result<Background> {
        let path = self.path(name);
        let pid = self.path(&format!("{name}.pid"));
        let text = format!(
            "daemon off; master_process off; pid {}; error_log stderr crit; events {{ worker_connections 16384; }}\n\
             http {{ access_log off; keepalive_requests 100000000; client_body_temp_path {dir}/b; proxy_temp_path {dir}/p;\n\
             fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s; {http} }}\n",
            pid.display(),
            dir = self.directory.path().display(),
        );
        fs::write(&path, text)?;
        quiet(Command::new("nginx").arg("-c").arg(&path))
    }
}

fn quiet(command: &mut Command) -> Result<Background> {
    Background::spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))
}

pub(super) fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Starts the server and the proxies, and waits until each answers.
pub(super) fn start(site: &Site, only_peers: bool) -> Result<Vec<Proxy>> {
    let root = site.directory.path().display();
    let server = format!(
        "open_file_cache max=16; sendfile on; tcp_nopush on; server {{ listen {} backlog=4096; root {root}; }}",
        local(SERVER)
    );
    let server = site.nginx("server", &server)?;
    let mut proxies = vec![nginx(site, SERVER + 10, server)?, haproxy(site, SERVER + 20)?];
    if !only_peers {
        proxies.push(vpod(site, SERVER + 30)?);
    }
    for proxy in &mut proxies {
        let port = proxy.port + HTTP;
        wait_for(READY_WITHIN, || {
            proxy.check_running()?;
            Ok(asks(local(port)).is_ok_and(|status| status == "200"))
        })
        .with_context(|| format!("{} does not answer", proxy.name))?;
    }
    Ok(proxies)
}

fn nginx(site: &Site, port: u16, server: Background) -> Result<Proxy> {
    let directory = site.directory.path().display();
    let text = format!(
        "upstream u {{ server {}; keepalive 320; keepalive_requests 100000000; }}\n\
         server {{ listen {} backlog=4096; listen {} ssl http2 backlog=4096;\n\
         ssl_certificate {directory}/crt; ssl_certificate_key {directory}/key; ssl_protocols TLSv1.2 TLSv1.3;\n\
         location / {{ proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host;\n\
         proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Real-IP $remote_addr;\n\
         proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Host $host;\n\
         proxy_set_header X-Forwarded-Port $server_port; proxy_set_header X-Request-ID $request_id; }} }}",
        local(SERVER),
        local(port + HTTP),
        local(port + HTTPS),
    );
    Ok(Proxy { name: "nginx", port, process: site.nginx("nginx", &text)?, _server: Some(server) })
}

fn haproxy(site: &Site, port: u16) -> Result<Proxy> {
    let path = site.path("haproxy");
    let text = format!(
        "global\n  nbthread 1\n  maxconn 9900\n\
         defaults\n  mode http\n  timeout client 75s\n  timeout server 60s\n  timeout connect 5s\n  http-reuse always\n\
         frontend f\n  bind {}\n  bind {} ssl crt {} alpn h2,http/1.1\n\
         \x20 http-request set-header X-Forwarded-For %[src]\n  http-request set-header X-Real-IP %[src]\n\
         \x20 http-request set-header X-Forwarded-Proto http\n  http-request set-header X-Forwarded-Host %[req.hdr(host)]\n\
         \x20 http-request set-header X-Forwarded-Port %[dst_port]\n  http-request set-header X-Request-ID %[uuid()]\n\
         \x20 default_backend b\nbackend b\n  server s {}\n",
        local(port + HTTP),
        local(port + HTTPS),
        site.path("pem").display(),
        local(SERVER),
    );
    fs::write(&path, text)?;
    let process = quiet(Command::new("haproxy").args(["-db", "-f"]).arg(&path))?;
    Ok(Proxy { name: "haproxy", port, process, _server: None })
}

fn vpod(site: &Site, port: u16) -> Result<Proxy> {
    let (socket, path) = (site.feed(), site.path("ingress.toml"));
    let text = format!(
        "socket = {socket:?}\nhttp = \"{}\"\nhttps = \"{}\"\nworkers = 1\n",
        local(port + HTTP),
        local(port + HTTPS)
    );
    fs::write(&path, text)?;
    let process = quiet(Command::new(own_directory()?.join("vpod-ingress")).arg("--config").arg(&path))?;
    Ok(Proxy { name: VPOD, port, process, _server: None })
}

/// The server itself, for what a proxy adds.
pub(super) const DIRECT: u16 = SERVER;

/// The status of one request on a connection of its own.
fn asks(address: SocketAddr) -> Result<String> {
    idle::ask(&mut idle::connect(address)?)
}
