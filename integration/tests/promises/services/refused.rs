//! What leads nowhere is refused at once, so that clients need not wait.

use std::time::{Duration, Instant};

use integration::TestNode;

use super::{At, Backend, ask, create_service, tcp, udp, until_answer};
use crate::stream::Place;

/// Far below the second after which a SYN is repeated, and enough for a program to start on a busy machine.
const AT_ONCE: Duration = Duration::from_millis(900);

/// Questions from the same program, so that its start is counted once.
const QUESTIONS: usize = 5;

#[track_caller]
fn refused_at_once(from: Place<'_>, at: At) {
    let since = Instant::now();
    let answers = ask(from, at, QUESTIONS);
    let took = since.elapsed();
    assert!(answers.iter().all(|answer| answer == "error ECONNREFUSED"), "{at:?}: {answers:?}");
    assert!(took < AT_ONCE, "{at:?}: refused after {took:?}");
}

#[test]
fn a_service_without_endpoints_refuses_at_once() {
    let node = TestNode::start();
    let client = node.create_pod("client");
    let address = create_service(&node, "web", "--tcp 80 --udp 80");
    for from in [Place::Pod(&client), Place::Node(&node)] {
        for at in [tcp(address, 80), udp(address, 80)] {
            until_answer(from, at, "error ECONNREFUSED");
            refused_at_once(from, at);
        }
    }
    // It is said for the service, not for the client: as soon as there is a backend, it answers.
    let _backend = Backend::start(&node, "a", "web", "tcp:80 udp:80");
    until_answer(Place::Pod(&client), tcp(address, 80), &format!("a {}", client.ip));
    until_answer(Place::Pod(&client), udp(address, 80), &format!("a {}", client.ip));
}

#[test]
fn a_service_whose_last_endpoint_went_refuses_at_once() {
    let node = TestNode::start();
    let client = node.create_pod("client");
    let from = Place::Pod(&client);
    let backend = Backend::start(&node, "a", "web", "tcp:80 udp:80");
    let address = create_service(&node, "web", "--tcp 80 --udp 80");
    for at in [tcp(address, 80), udp(address, 80)] {
        until_answer(from, at, &format!("a {}", client.ip));
    }
    node.delete_pod(&backend.pod);
    for at in [tcp(address, 80), udp(address, 80)] {
        until_answer(from, at, "error ECONNREFUSED");
        refused_at_once(from, at);
    }
}

#[test]
fn a_port_that_the_service_does_not_have_is_refused_at_once() {
    let node = TestNode::start();
    let client = node.create_pod("client");
    let from = Place::Pod(&client);
    // It listens there, but the service does not lead there.
    let _backend = Backend::start(&node, "a", "web", "tcp:80 tcp:81 udp:81");
    let address = create_service(&node, "web", "--tcp 80");
    until_answer(from, tcp(address, 80), &format!("a {}", client.ip));
    for at in [tcp(address, 81), udp(address, 81), udp(address, 80)] {
        refused_at_once(from, at);
    }
}

#[test]
fn an_address_of_the_service_range_that_nobody_has_is_refused_at_once() {
    let node = TestNode::start();
    let client = node.create_pod("client");
    let nobody = "10.96.77.77".parse().expect("an address");
    for from in [Place::Pod(&client), Place::Node(&node)] {
        refused_at_once(from, tcp(nobody, 80));
        refused_at_once(from, udp(nobody, 53));
    }
}

#[test]
fn a_deleted_services_address_is_refused_at_once() {
    let node = TestNode::start();
    let client = node.create_pod("client");
    let from = Place::Pod(&client);
    let _backend = Backend::start(&node, "a", "web", "tcp:80");
    let address = create_service(&node, "web", "--tcp 80");
    until_answer(from, tcp(address, 80), &format!("a {}", client.ip));
    node.vpodctl("delete-service web").ok();
    until_answer(from, tcp(address, 80), "error ECONNREFUSED");
    refused_at_once(from, tcp(address, 80));
}
