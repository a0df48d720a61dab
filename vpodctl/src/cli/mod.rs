//! The command line's definition: help, completion, man pages and `docs/cli.md` come from it.

pub(crate) mod args;
pub(crate) mod cni;
pub(crate) mod dns;
pub(crate) mod kind;
pub(crate) mod quantity;
pub(crate) mod selector;
pub(crate) mod service;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use args::{
    ApplyArgs, CaptureArgs, CompletionArgs, CreatePodArgs, CreateServiceArgs, DeleteArgs, DeletePodArgs,
    DeleteServiceArgs, DescribeArgs, ExecArgs, GetArgs, LogLevelArgs, LogsArgs, ManArgs, RunContainerArgs,
    StatusArgs, TraceArgs, WaitArgs, parse_duration,
};

/// Controls vpod: pods on this machine and the userspace switch that connects them.
///
/// vpodctl asks the daemon, vswitchd, over its control socket. It follows kubectl's habits: kinds
/// and their short names, -n and -A, -o, -w, and exit codes (0 done, 1 refused or failed, 2 wrong
/// usage).
#[derive(Debug, Parser)]
#[command(
    name = "vpodctl",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_long_help = "Examples:
  vpodctl create-pod web -l app=web -- python3 -m http.server 80
  vpodctl create-pod client
  vpodctl get pods -o wide
  vpodctl exec client -- curl http://10.244.0.2/
  vpodctl delete-pod web client"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Which daemon to talk to.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Target {
    /// Control socket of the daemon [default: /run/vswitchd/admin.sock]
    ///
    /// A path that ends in ro.sock is the read-only socket: it answers get, describe, status, wait
    /// and metrics. Who may not open the admin socket is served by the ro.sock beside it.
    #[arg(long, global = true, env = protocol::client::SOCKET_VARIABLE, hide_env_values = true, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// Give up when the daemon is silent for this long; 0 waits for ever
    #[arg(long, global = true, value_name = "DURATION", default_value = "60s", value_parser = parse_duration)]
    pub(crate) request_timeout: Duration,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a pod, and start a program in it
    ///
    /// Returns when the pod can talk. Without a command the pod is a bare network namespace; enter
    /// it with 'vpodctl exec', 'vpodctl run-container' or 'ip netns exec'.
    CreatePod(CreatePodArgs),
    /// Delete pods, and stop what runs in them
    ///
    /// Returns when nothing of them is left. Goes on after a pod that cannot be deleted, and exits
    /// with 1 if there was one.
    DeletePod(DeletePodArgs),
    /// Create a service
    ///
    /// Its endpoints are the ready pods that its selector matches, on all nodes.
    CreateService(CreateServiceArgs),
    /// Delete services
    DeleteService(DeleteServiceArgs),
    /// Create or change objects as manifests say
    ///
    /// Takes Kubernetes' Services, EndpointSlices, Namespaces and Pods, in YAML or JSON, several in a file. Goes on after an
    /// object that is refused, and exits with 1 if there was one.
    Apply(ApplyArgs),
    /// Delete objects of a kind, or those of manifests
    ///
    /// A node is deleted when it will not come back: its Pod CIDR may then be given to another node.
    /// Its daemon must not be running. Needs a cluster with a store; a node of the configuration file
    /// is taken out there.
    Delete(DeleteArgs),
    /// Run a command in a pod
    ///
    /// vpodctl enters the pod (its network, host name, /etc/hosts, /etc/resolv.conf and resource
    /// limits) and becomes the command. So terminal, pipes, signals and exit status are those of
    /// the command itself: 127 if there is no such program, 126 if it cannot be run.
    Exec(ExecArgs),
    /// Start one more container in a pod
    ///
    /// The containers of a pod share its address, ports and localhost. The daemon watches the
    /// process, keeps its output for 'vpodctl logs', and restarts it by the pod's restart policy.
    RunContainer(RunContainerArgs),
    /// Print the output of a container
    Logs(LogsArgs),
    /// List objects of a kind
    #[command(after_help = args::KINDS_HELP)]
    Get(GetArgs),
    /// Show everything about one object
    Describe(DescribeArgs),
    /// Show how the daemon is doing
    Status(StatusArgs),
    /// Wait until a pod is ready or gone, or a change of services active on all nodes
    ///
    /// Exits with 1 when the time is over, and says what is missing.
    Wait(WaitArgs),
    /// Show what the switch would do with a packet of a pod, and why
    ///
    /// The datapath decides about a packet that nobody sends, as it would about a real one, and changes nothing.
    Trace(TraceArgs),
    /// Ask the cluster's DNS
    Dns(dns::DnsCommandArgs),
    /// Container runtimes: is the CNI plugin installed as it should be?
    Cni(cni::CniCommandArgs),
    /// Record the frames of a pod as pcapng
    ///
    /// Records what the switch receives from the pod and sends to it, until Ctrl-C or the end of
    /// --duration. The file is complete at any moment: it holds whole frames only.
    Capture(CaptureArgs),
    /// Change what the daemon logs, without a restart
    LogLevel(LogLevelArgs),
    /// Print the daemon's metrics in Prometheus' text format
    Metrics,
    /// Print the completion script for a shell
    #[command(after_help = "Examples:
  source <(vpodctl completion bash)
  vpodctl completion zsh > \"${fpath[1]}/_vpodctl\"")]
    Completion(CompletionArgs),
    /// Print the manual page, or write one per command
    Man(ManArgs),
    /// Print the versions of vpodctl and of the daemon
    Version,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }
}
