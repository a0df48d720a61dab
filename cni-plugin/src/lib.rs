//! The programs that container runtimes call, around the library `cni`, which decides everything that needs no machine.
//!
//! A call reads its variables and standard input, asks the daemon once over the admin socket, and answers on standard
//! output; what a person should know goes to standard error. It keeps nothing: state is the daemon's. Without a daemon only DEL succeeds,
//! by leaving a note ([`note`]).

#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod call;
mod daemon;
mod found;
pub mod note;

use std::io::{self, Read, Write};
use std::process::ExitCode;

use cni::{Asked, Error, MAX_CONFIG_BYTES, Role, Variables};

/// Longest text of standard input that is read: one more byte than may be, so that too much is noticed.
const STDIN_LIMIT: usize = MAX_CONFIG_BYTES + 1;

/// Does what the environment asks. The exit status is 0, or 1 with an error object on standard output.
#[must_use]
pub fn run(role: Role) -> ExitCode {
    let variables = Variables::read(std::env::var_os);
    let answer = cni::read(role, &variables, read_stdin).and_then(|asked| match asked {
        Asked::About => {
            complain(&cni::about(role));
            Ok(None)
        }
        Asked::Version => Ok(Some(cni::version::answer())),
        Asked::Call(call) => call::answer(role, &call),
    });
    match answer {
        Ok(answer) => say(answer.as_deref()),
        Err(error) => {
            complain(&format!("{}: {error}", name_of(role)));
            // Nobody listens if this fails, and the status says it.
            let _ = say(Some(&error.to_json()));
            ExitCode::FAILURE
        }
    }
}

fn read_stdin() -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(STDIN_LIMIT).unwrap_or(u64::MAX);
    io::stdin().lock().take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// On standard output. A runtime that does not read it does not learn of the result, so that is a failure.
fn say(answer: Option<&str>) -> ExitCode {
    let Some(answer) = answer else { return ExitCode::SUCCESS };
    let mut out = io::stdout().lock();
    match writeln!(out, "{answer}").and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("cannot write the answer: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// On standard error; nothing depends on it.
fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

const fn name_of(role: Role) -> &'static str {
    match role {
        Role::Interface => "vpod-cni",
        Role::Ipam => cni::IPAM_TYPE,
    }
}

/// An I/O failure about an object.
fn io_failure(what: &dyn std::fmt::Display, error: &io::Error) -> Error {
    Error::new(cni::Code::Io, format!("{what}: {error}"))
}
