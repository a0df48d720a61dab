//! `exec`: this process enters the pod and becomes the command.
//!
//! The daemon only says where the pod is. Nothing is streamed through it, so the terminal, job
//! control, signals, pipes and the exit status are the command's own, and a restart of the daemon
//! does not end the session (`docs/design/0001-containers-by-shim-and-exec-by-entry.md`).

use std::io;
use std::path::PathBuf;

use netdev::process::PodCommand;
use protocol::message::{AdminRequest, PodEntry, PodRef, Response};

use crate::cli::Target;
use crate::cli::args::ExecArgs;
use crate::connection::{Connection, unexpected};
use crate::error::CliError;

pub(crate) fn run(target: &Target, args: ExecArgs) -> Result<(), CliError> {
    let pod = args.pod.reference();
    let mut daemon = Connection::admin(target, "exec")?;
    if let Some(container) = &args.container {
        check_container(&mut daemon, &pod, container.as_str())?;
    }
    let entry = match daemon.request(&AdminRequest::EnterPod(pod.clone()))? {
        Response::Entry(entry) => entry,
        other => return Err(unexpected(&other)),
    };
    let program = args.command.first().cloned().unwrap_or_default();
    let source = command(entry, args.command).exec();
    let pod = pod.to_string();
    // What concerns the program keeps the kind exec gave it; whatever came before is `Other`.
    Err(match source.kind() {
        io::ErrorKind::Other | io::ErrorKind::InvalidInput => CliError::Enter { pod, source },
        _ => CliError::Program { program, pod, source },
    })
}

fn check_container(daemon: &mut Connection, pod: &PodRef, container: &str) -> Result<(), CliError> {
    let found = daemon.pod(pod.clone())?;
    let names: Vec<&str> = found.spec.containers.iter().map(|c| c.name.as_str()).collect();
    if names.contains(&container) {
        return Ok(());
    }
    let have = match names.as_slice() {
        [] => "it has none (leave out -c)".to_owned(),
        names => format!("it has {}", names.join(", ")),
    };
    Err(CliError::NoContainer { container: container.to_owned(), pod: pod.to_string(), have })
}

fn command(entry: PodEntry, argv: Vec<String>) -> PodCommand {
    let mut command = PodCommand::new(entry.netns, argv);
    command.hostname = Some(entry.hostname);
    command.binds = entry.binds.into_iter().map(|(from, to)| (from.into(), to.into())).collect();
    command.cgroup_procs = entry.cgroup_procs.into_iter().map(PathBuf::from).collect();
    command
}
