//! Kernel settings below `/proc/sys`.
//!
//! What `/proc/sys/net` shows belongs to the namespace of the thread that opens it, so settings of
//! a pod are written from within [`crate::Netns::run`].

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Why a setting could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SysctlError {
    /// Would lead out of `/proc/sys`.
    #[error("\"{key}\" is not the name of a kernel setting")]
    BadKey {
        /// What was given.
        key: String,
    },
    /// The kernel said no.
    #[error("cannot {step} kernel setting {key}")]
    Kernel {
        /// "read" or "write".
        step: &'static str,
        /// Which.
        key: String,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Writes a setting, such as `net.ipv6.conf.eth0.disable_ipv6`.
pub fn write(key: &str, value: &str) -> Result<(), SysctlError> {
    let path = path_of(key)?;
    fs::write(path, value).map_err(|source| SysctlError::Kernel {
        step: "write",
        key: key.to_owned(),
        source,
    })
}

/// Writes a setting of a feature that this kernel may have been built without, which then needs none.
pub fn write_if_present(key: &str, value: &str) -> Result<(), SysctlError> {
    match write(key, value) {
        Err(SysctlError::Kernel { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Reads a setting, without the line end.
pub fn read(key: &str) -> Result<String, SysctlError> {
    let path = path_of(key)?;
    let text = fs::read_to_string(path).map_err(|source| SysctlError::Kernel {
        step: "read",
        key: key.to_owned(),
        source,
    })?;
    Ok(text.trim_end().to_owned())
}

/// As `sysctl(8)`: parts are joined by '.', or by '/' if the first separator is one, which lets
/// an interface name contain dots.
fn path_of(key: &str) -> Result<PathBuf, SysctlError> {
    let slashes = match key.find(['.', '/']) {
        Some(at) if key[at..].starts_with('.') => key
            .chars()
            .map(|c| {
                if c == '.' {
                    '/'
                } else if c == '/' {
                    '.'
                } else {
                    c
                }
            })
            .collect(),
        Some(_) | None => key.to_owned(),
    };
    let valid = slashes.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    if !valid {
        return Err(SysctlError::BadKey { key: key.to_owned() });
    }
    Ok(Path::new("/proc/sys").join(slashes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_and_slashes_swap_as_in_sysctl() {
        let path = |key| path_of(key).expect("valid key");
        assert_eq!(path("net.ipv4.ip_forward"), Path::new("/proc/sys/net/ipv4/ip_forward"));
        assert_eq!(path("net/ipv4/conf/eth0.1/mtu"), Path::new("/proc/sys/net/ipv4/conf/eth0.1/mtu"));
        assert_eq!(path("net.ipv4.conf.eth0/1.mtu"), Path::new("/proc/sys/net/ipv4/conf/eth0.1/mtu"));
    }

    #[test]
    fn key_cannot_leave_proc_sys() {
        for key in ["", "..", "net..ipv4", "/etc/passwd", "net/../../etc/passwd"] {
            assert!(matches!(write(key, "1"), Err(SysctlError::BadKey { .. })), "{key}");
        }
    }
}
