//! Endpoints and clients of the L7 ingress, for promises about it.
//!
//! ```text
//! web serve NAME PORT …                          HTTP/1.1, h2c and gRPC at each port, until SIGTERM and a little longer; every answer
//!                                                says who gives it, and what it was asked
//! web load ADDRESS:PORT HOST PATH CLIENTS        asks without a pause until its input ends; prints what became of it, as JSON
//! web grpc ADDRESS:PORT AUTHORITY COUNT          a unary call and a conversation of COUNT messages; prints who answered
//! ```

mod grpc;
mod load;
mod serve;

use anyhow::bail;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve", names @ ..] => run(serve::serve(names)),
        ["load", address, host, path, clients] => load::load(address, host, path, clients.parse()?),
        ["grpc", address, authority, count] => run(grpc::call(address, authority, count.parse()?)),
        _ => bail!("usage: web serve|load|grpc …"),
    }
}

fn run(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, work)
}
