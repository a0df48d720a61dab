//! The one thread that drives everything asynchronous, and the way to wait for it from other threads.

use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use super::failure::EtcdFailure;

#[derive(Debug)]
pub(super) struct Runtime {
    handle: Handle,
    /// Dropped to end the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Runtime {
    pub(super) fn start() -> Result<Self, EtcdFailure> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(EtcdFailure::Thread)?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new()
            .name("etcd".to_owned())
            .spawn(move || {
                let _ = runtime.block_on(stopped);
                // Dropping the runtime drops what still runs on it.
            })
            .map_err(EtcdFailure::Thread)?;
        Ok(Self { handle, stop: Some(stop), thread: Some(thread) })
    }

    /// Waits for `task`, which bounds its own time, on the caller's thread.
    pub(super) fn run<R>(&self, task: impl Future<Output = R>) -> R {
        self.handle.block_on(task)
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
