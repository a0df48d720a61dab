//! Raw system calls and ioctls behind safe functions; the only place with `unsafe`.
//!
//! A function here wraps one call, keeps the kernel's `errno`, and decides nothing.
#![expect(unsafe_code, reason = "this module is where system calls are made")]

pub(crate) mod datagrams;
pub(crate) mod fd;
pub(crate) mod memory;
pub(crate) mod packet;
pub(crate) mod pidfd;
pub(crate) mod pod_child;
pub(crate) mod scm;
pub(crate) mod tun;
pub(crate) mod udp;
