//! Cluster state on real stores: a redb file, and etcd as Debian ships it, started here on free ports of the
//! loopback interface. What both promise is tested once, in `contract`, `mirror`, `registration`,
//! `services`, `load_balancer` and `announce`, and run against both; what only a server can do (restart, TLS, silence, being emptied) in `server`.

mod announce;
mod bed;
mod contract;
mod load_balancer;
mod mirror;
mod registration;
mod server;
mod services;

/// Runs test functions of this module, `fn(&dyn Bed)`, against both stores.
macro_rules! on_both_stores {
    ($($name:ident)*) => {
        mod embedded {
            $(#[test] fn $name() { super::$name(&$crate::bed::EmbeddedBed::new()); })*
        }
        mod etcd {
            $(#[test] fn $name() { super::$name(&$crate::bed::EtcdBed::new()); })*
        }
    };
}
pub(crate) use on_both_stores;
