//! The configuration file: TOML as typed ([`raw`]), then proved valid ([`checked`]).
//!
//! Everything else in the daemon sees only [`Config`], in which no value needs another look.
//! `--print-config` writes a [`Config`] back as TOML that would be read as the same one.

mod checked;
mod load_balancer;
mod nodes;
mod raw;
mod services;
mod system;
mod uplink;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub(crate) use checked::{Config, ConfigError, LogFormat, TapKind};
pub(crate) use nodes::{Etcd, Tunnel, Underlay, check_peers};
pub(crate) use raw::RawConfig;
pub(crate) use system::Program;
pub(crate) use uplink::Uplink;

/// Read when no `--config` is given, if it exists.
pub(crate) const DEFAULT_PATH: &str = "/etc/vswitchd.toml";

/// Reads the file, applies what the command line overrides, and checks everything.
///
/// # Errors
/// Names the file and the key, and says what is wrong.
pub(crate) fn load(path: Option<&Path>, node: Option<String>) -> Result<Config, ConfigError> {
    let mut raw = match path {
        Some(path) => read(path)?,
        None => match read(Path::new(DEFAULT_PATH)) {
            Err(ConfigError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                RawConfig::default()
            }
            other => other?,
        },
    };
    raw.node = node.or(raw.node);
    Config::check(raw)
}

fn read(path: &Path) -> Result<RawConfig, ConfigError> {
    let text =
        fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    parse(path, &text)
}

fn parse(path: &Path, text: &str) -> Result<RawConfig, ConfigError> {
    toml::from_str(text).map_err(|source| ConfigError::Syntax { path: path.to_owned(), source })
}

/// The paths of everything the daemon keeps or makes.
impl Config {
    /// Held by the running daemon.
    pub(crate) fn lock_path(&self) -> PathBuf {
        self.run_dir.join("vswitchd.lock")
    }

    /// Control socket for root.
    pub(crate) fn admin_socket(&self) -> PathBuf {
        self.run_dir.join("admin.sock")
    }

    /// Control socket without mutations.
    pub(crate) fn read_socket(&self) -> PathBuf {
        self.run_dir.join("ro.sock")
    }

    /// What system pods see of the daemon; on the node only root comes this far.
    pub(crate) fn system_dir(&self) -> PathBuf {
        self.run_dir.join("system/pods")
    }

    /// Control socket without mutations for system pods.
    pub(crate) fn system_socket(&self) -> PathBuf {
        self.system_dir().join("ro.sock")
    }

    /// Prometheus text over HTTP.
    pub(crate) fn metrics_socket(&self) -> PathBuf {
        self.run_dir.join("metrics.sock")
    }

    /// The datapath listens here.
    pub(crate) fn datapath_socket(&self) -> PathBuf {
        self.run_dir.join("datapath.sock")
    }

    /// The store.
    pub(crate) fn store_path(&self) -> PathBuf {
        self.state_dir.join("state.redb")
    }

    /// What the cluster's store last said.
    pub(crate) fn memory_path(&self) -> PathBuf {
        self.state_dir.join("cluster.redb")
    }

    /// Directories of pods, by uid.
    pub(crate) fn pods_dir(&self) -> PathBuf {
        self.state_dir.join("pods")
    }
}

#[cfg(test)]
impl Config {
    /// What a file with this text gives.
    pub(crate) fn of(text: &str) -> Self {
        Self::check(parse(Path::new("test.toml"), text).unwrap()).unwrap()
    }
}

#[cfg(test)]
mod tests;
