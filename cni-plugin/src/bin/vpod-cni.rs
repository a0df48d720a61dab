//! The CNI plugin `vpod-cni`; see the library.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    cni_plugin::run(cni::Role::Interface)
}
