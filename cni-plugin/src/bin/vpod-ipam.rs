//! The CNI plugin `vpod-ipam`; see the library.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    cni_plugin::run(cni::Role::Ipam)
}
