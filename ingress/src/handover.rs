//! Upgrades: a successor asks for the listeners, gets them, and the predecessor drains.
//!
//! The successor connects to the predecessor's socket before it binds anything, and offers a socket of its own at the
//! same path afterwards. Connections that the kernel has queued belong to the listeners, not to a process: none is lost.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Weak;

use netdev::seqpacket;

use crate::front::listener;
use crate::ingress::Ingress;

/// Listens for a successor, on a thread that ends with the listeners.
///
/// # Errors
/// When the socket cannot be made.
pub(crate) fn offer(path: &Path, ingress: Weak<Ingress>) -> io::Result<()> {
    // The predecessor's file, if there was one: it has given away what it had.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let socket = seqpacket::listen(path).map_err(|error| error.source)?;
    std::thread::Builder::new().name("handover".to_owned()).spawn(move || {
        while let Ok(successor) = socket.accept() {
            let Some(ingress) = ingress.upgrade() else { return };
            if !same_user(&successor) {
                continue;
            }
            match ingress.hand_over(|listeners| listener::pass_on(&successor, listeners)) {
                Ok(()) => {
                    tracing::info!("the listeners have been handed over");
                    return;
                }
                Err(error) => tracing::warn!(%error, "cannot hand over the listeners"),
            }
        }
    })?;
    Ok(())
}

/// The file's mode says so too; this holds even if somebody changed it.
fn same_user(peer: &impl AsFd) -> bool {
    let Ok(peer) = seqpacket::peer_credentials(peer.as_fd()) else { return false };
    let Ok(metadata) = std::fs::metadata("/proc/self") else { return false };
    peer.uid == 0 || peer.uid == std::os::unix::fs::MetadataExt::uid(&metadata)
}
