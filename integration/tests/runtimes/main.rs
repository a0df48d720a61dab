//! Container runtimes of Debian on vpod: podman, and containerd by `ctr` and by CRI, which is how a kubelet asks it. They call
//! `vpod-cni` themselves; nothing here does.
//!
//! Run by `make test-runtimes`. Each test has a node, and on it a runtime with storage, configuration and sockets of its own
//! below the node's directory, so nothing of a runtime that this machine may have is touched.

mod bed;
mod containerd;
mod image;
mod podman;
