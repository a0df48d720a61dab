//! Namespaces, side by side with `ip netns`.

mod support;

use std::fs;
use std::io;

use netdev::netns::{self, NetnsError};
use netdev::{Netlink, Netns};
use support::{TestNetns, output_of, unique_name};

#[test]
fn namespace_made_here_is_usable_by_ip_netns() {
    let ns = TestNetns::new("ours");
    assert!(output_of("ip", &["netns", "list"]).contains(&ns.name));
    let links = output_of("ip", &["netns", "exec", &ns.name, "ip", "-o", "link"]);
    assert_eq!(links.lines().count(), 1, "only lo: {links}");
    output_of("ip", &["netns", "del", &ns.name]);
    assert!(!netns::exists(&ns.name));
}

#[test]
fn namespace_made_by_ip_netns_is_usable_here() {
    let name = unique_name("theirs");
    output_of("ip", &["netns", "add", &name]);
    assert!(netns::exists(&name));
    assert!(netns::list().expect("list").contains(&name));
    let links =
        netns::open(&name).expect("open").run(|| Netlink::open()?.links()).expect("enter").expect("links");
    assert_eq!(links.len(), 1);
    netns::delete(&name).expect("delete");
    assert!(!output_of("ip", &["netns", "list"]).contains(&name));
}

#[test]
fn work_runs_inside_and_the_caller_stays_outside() {
    let ns = TestNetns::new("run");
    let before = Netns::current().expect("own namespace");
    let inside = ns.run(|| Netns::current().expect("own namespace"));
    assert!(inside.same_as(ns.netns.as_ref().expect("open")).expect("compare"));
    assert!(!inside.same_as(&before).expect("compare"));
    assert!(Netns::current().expect("own namespace").same_as(&before).expect("compare"));
}

#[test]
fn second_namespace_of_a_name_is_refused() {
    let ns = TestNetns::new("twice");
    assert!(matches!(netns::create(&ns.name), Err(NetnsError::Exists { .. })));
    assert!(netns::exists(&ns.name), "the first one is unharmed");
}

#[test]
fn leftover_file_without_namespace_is_replaced() {
    // Makes sure the directory exists.
    drop(TestNetns::new("directory"));
    let name = unique_name("leftover");
    fs::write(netns::path_of(&name), "").expect("leftover");
    assert!(!netns::exists(&name));
    assert!(matches!(netns::open(&name), Err(NetnsError::NotANamespace { .. })));
    netns::create(&name).expect("replaces the leftover");
    assert!(netns::exists(&name));
    netns::delete(&name).expect("delete");
}

#[test]
fn leftover_file_without_namespace_is_deleted() {
    drop(TestNetns::new("directory"));
    let name = unique_name("leftover");
    fs::write(netns::path_of(&name), "").expect("leftover");
    netns::delete(&name).expect("delete");
    assert!(!netns::path_of(&name).exists());
}

#[test]
fn deleted_or_unknown_namespace_is_named_in_the_error() {
    let mut ns = TestNetns::new("gone");
    ns.release();
    for result in [netns::open(&ns.name).map(drop), netns::delete(&ns.name)] {
        let error = result.expect_err("gone");
        assert!(matches!(error, NetnsError::NotFound { .. }), "{error:?}");
        assert!(error.to_string().contains(&ns.name), "{error}");
    }
}

#[test]
fn names_cannot_leave_the_directory() {
    for name in ["", ".", "..", "a/b", "../x", "nul\0"] {
        assert!(matches!(netns::create(name), Err(NetnsError::BadName { .. })), "{name:?}");
        assert!(matches!(netns::delete(name), Err(NetnsError::BadName { .. })), "{name:?}");
        assert!(!netns::exists(name));
    }
}

#[test]
fn many_threads_create_and_delete_at_once() {
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5 {
                    let ns = TestNetns::new("parallel");
                    assert!(netns::exists(&ns.name));
                }
            });
        }
    });
}

#[test]
fn run_hands_a_panic_on() {
    let ns = TestNetns::new("panic");
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        ns.run(|| std::panic::resume_unwind(Box::new("inside")));
    }));
    assert_eq!(result.expect_err("panic").downcast_ref(), Some(&"inside"));
}

#[test]
fn sysctl_belongs_to_the_namespace() {
    let ns = TestNetns::new("sysctl");
    let key = "net.ipv4.ip_default_ttl";
    let outside = netdev::sysctl::read(key).expect("read");
    ns.run(|| netdev::sysctl::write(key, "77")).expect("write");
    assert_eq!(ns.run(|| netdev::sysctl::read(key)).expect("read"), "77");
    assert_eq!(netdev::sysctl::read(key).expect("read"), outside);
    let missing = netdev::sysctl::read("net.ipv4.conf.nosuch0.forwarding").expect_err("no such interface");
    let source = std::error::Error::source(&missing).and_then(|e| e.downcast_ref::<io::Error>());
    assert_eq!(source.map(io::Error::kind), Some(io::ErrorKind::NotFound));
    assert!(missing.to_string().contains("nosuch0"));
}
