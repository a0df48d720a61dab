//! Ends and starts of containers, seen when they happen: their supervisors write each into a file, which is watched.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use parking_lot::Mutex;
use protocol::object::Pod;

use super::Wake;

/// Watches the directories of containers.
pub(super) struct Exits {
    wake: Wake,
    inotify: Arc<Inotify>,
    watched: Mutex<BTreeMap<PathBuf, WatchDescriptor>>,
}

impl Exits {
    pub(super) fn start(wake: Wake) -> io::Result<Self> {
        let inotify = Arc::new(Inotify::init(InitFlags::IN_CLOEXEC)?);
        let (reader, told) = (Arc::clone(&inotify), wake.clone());
        std::thread::Builder::new().name("exits".to_owned()).spawn(move || {
            // Ends with the process.
            while reader.read_events().is_ok() {
                told.pods();
            }
        })?;
        Ok(Self { wake, inotify, watched: Mutex::default() })
    }

    /// The containers of these pods are watched from now on. A directory that is gone has ended its watch by itself.
    pub(super) fn follow(&self, pods_dir: &Path, pods: &[Pod]) {
        let mut watched = self.watched.lock();
        let mut wanted = BTreeMap::new();
        let mut is_new = false;
        for pod in pods {
            for container in &pod.spec.containers {
                let path = pods_dir.join(&pod.metadata.uid).join(container.name.as_str());
                if let Some(watch) = watched.remove(&path) {
                    wanted.insert(path, watch);
                // Status files come by renaming. A container without a directory is looked at with the next tick.
                } else if let Ok(watch) = self.inotify.add_watch(&path, AddWatchFlags::IN_MOVED_TO) {
                    wanted.insert(path, watch);
                    is_new = true;
                }
            }
        }
        for (_, watch) in std::mem::replace(&mut *watched, wanted) {
            let _ = self.inotify.rm_watch(watch);
        }
        if is_new {
            // What happened before it was watched.
            self.wake.pods();
        }
    }
}
