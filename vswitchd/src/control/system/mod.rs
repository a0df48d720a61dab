//! System pods: the cluster's DNS and the L7 ingress of this node, and the services that lead to them.
//!
//! How it works: a thread compares, every [`LOOK_AGAIN`], what there is with what the configuration wants ([`pods`]): a pod that is
//! missing is made by the same code as any other, one whose program or settings have changed has its container started again, one
//! that is not wanted any more is deleted. Between two looks the container's own supervisor restarts it. The services are made in
//! the cluster's store where they are missing ([`objects`]), and are the user's from then on.
//!
//! The programs run without any right, as users of their own. A program sees in [`MOUNTED`], of its own mount namespace only: itself, and
//! a directory with the daemon's read-only socket and its settings ([`settings`]). So neither has to be where everybody may go.

mod listeners;
mod objects;
mod pods;
mod settings;

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use protocol::message::PodRef;
use store::record::PodRecord;

use super::node::Control;
use crate::config::{Config, Program};

/// Between two looks at what there is.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Where a program finds what it needs. On the node these are empty places to mount on, of all daemons of the machine.
const MOUNTED: &str = "/run/vpod";
/// Of the daemon's socket and the settings, there.
const NODE: &str = "node";
/// In that directory, what the ingress may write to: a predecessor meets its successor there.
const OWN: &str = "ingress";
/// Where system pods are.
const NAMESPACE: &str = "kube-system";

/// What a system pod is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    Dns,
    Ingress,
}

/// What is wrong with system pods, by role.
pub(crate) type Problems = BTreeMap<Role, String>;

impl Role {
    const ALL: [Self; 2] = [Self::Dns, Self::Ingress];

    /// Of its program, and what its pods' names begin with.
    const fn name(self) -> &'static str {
        match self {
            Self::Dns => "vpod-dns",
            Self::Ingress => "vpod-ingress",
        }
    }

    /// Its section of the configuration.
    const fn section(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Ingress => "ingress",
        }
    }

    const fn program(self, config: &Config) -> &Program {
        match self {
            Self::Dns => &config.dns.program,
            Self::Ingress => &config.ingress.program,
        }
    }

    /// The pod of a node; `None` if the node's name is too long to be a part of another.
    fn pod(self, node: &str) -> Option<PodRef> {
        let name = format!("{}-{node}", self.name()).parse().ok()?;
        Some(PodRef { namespace: NAMESPACE.parse().ok()?, name })
    }

    /// Where its program appears.
    fn mounted(self) -> PathBuf {
        Path::new(MOUNTED).join(self.name())
    }

    fn file_name(self) -> String {
        format!("{}.toml", self.section())
    }
}

fn role_of(control: &Control, pod: &PodRef) -> Option<Role> {
    Role::ALL.into_iter().find(|role| role.pod(&control.config.node).as_ref() == Some(pod))
}

/// What a pod's programs find mounted beside its own files; nothing, if it is no system pod.
pub(crate) fn binds(control: &Control, pod: &PodRef) -> Vec<(String, String)> {
    let Some(role) = role_of(control, pod) else { return Vec::new() };
    let bind = |from: &Path, to: &Path| (from.display().to_string(), to.display().to_string());
    vec![
        bind(&control.config.system_dir(), &Path::new(MOUNTED).join(NODE)),
        bind(&role.program(&control.config).path, &role.mounted()),
    ]
}

/// User and group of a pod's containers; `None` where they have the daemon's rights.
pub(crate) fn run_as(control: &Control, record: &PodRecord) -> Option<(u32, u32)> {
    let user = &role_of(control, &super::inventory::reference(record))?.program(&control.config).user;
    Some((user.uid, user.gid))
}

/// Makes the places that system pods need, before any pod is started again.
pub(crate) fn prepare(control: &Control) -> io::Result<()> {
    let config = &control.config;
    if !Role::ALL.iter().any(|role| role.program(config).enabled) {
        return Ok(());
    }
    let shared = config.system_dir();
    if let Some(outer) = shared.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(outer)?;
        fs::set_permissions(outer, fs::Permissions::from_mode(0o700))?;
    }
    for path in [shared, Path::new(MOUNTED).to_owned(), Path::new(MOUNTED).join(NODE)] {
        DirBuilder::new().recursive(true).mode(0o755).create(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    }
    if config.ingress.program.enabled {
        let own = config.system_dir().join(OWN);
        DirBuilder::new().recursive(true).mode(0o700).create(&own)?;
        let user = &config.ingress.program.user;
        chown(&own, Some(user.uid), Some(user.gid))?;
    }
    for role in Role::ALL {
        let path = role.mounted();
        if !path.exists() {
            fs::write(&path, "")?;
        }
        if role.program(config).enabled {
            settings::write(control, role)?;
        }
    }
    Ok(())
}

/// Whether there are system pods to serve.
pub(crate) fn is_wanted(config: &Config) -> bool {
    Role::ALL.iter().any(|role| role.program(config).enabled)
}

/// Keeps system pods and their services, until the daemon ends.
pub(crate) fn follow(control: &Arc<Control>) -> io::Result<()> {
    let control = Arc::clone(control);
    std::thread::Builder::new().name("system".to_owned()).spawn(move || {
        loop {
            {
                let Some(_inside) = control.gate.enter() else { return };
                look(&control);
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    })?;
    Ok(())
}

fn look(control: &Control) {
    for role in Role::ALL {
        let problem = pods::keep(control, role).err();
        let mut known = control.system_problems.lock();
        if known.get(&role) != problem.as_ref()
            && let Some(problem) = &problem
        {
            tracing::error!("{problem}");
        }
        match problem {
            Some(problem) => _ = known.insert(role, problem),
            None => _ = known.remove(&role),
        }
    }
    objects::keep(control);
}
