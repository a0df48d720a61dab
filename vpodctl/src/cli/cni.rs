//! `cni`: what concerns container runtimes.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `cni`.
#[derive(Debug, Args)]
pub(crate) struct CniCommandArgs {
    #[command(subcommand)]
    pub(crate) command: CniCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CniCommand {
    /// Check the installation of the CNI plugin on this node
    ///
    /// Says of each part whether it is as it should be, and what to do if not: the plugin's programs, the configuration that runtimes take,
    /// the daemon behind its socket, and whether a pod would be given its network now. Exits with 1 if anything is wrong.
    Check(CheckArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vpodctl cni check
  vpodctl cni check --bin-dir /usr/lib/cni --conf-dir /etc/cni/net.d")]
pub(crate) struct CheckArgs {
    /// Where runtimes look for configurations
    #[arg(long, value_name = "PATH", default_value = "/etc/cni/net.d")]
    pub(crate) conf_dir: PathBuf,
    /// Where runtimes look for plugins
    #[arg(long, value_name = "PATH", default_value = "/opt/cni/bin")]
    pub(crate) bin_dir: PathBuf,
}
