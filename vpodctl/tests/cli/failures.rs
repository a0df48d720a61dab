//! Daemons that refuse, break, or are not there: one line that says what and what to do.

use protocol::message::{AdminRequest, ApiError, ErrorCode, Items, Response};

use crate::daemon::{Daemon, RunDir, vpodctl};

/// One invocation of every command that talks to the daemon.
const ASKING: [&[&str]; 13] = [
    &["create-pod", "web"],
    &["delete-pod", "web"],
    &["exec", "web", "--", "true"],
    &["run-container", "web", "side", "--", "true"],
    &["logs", "web"],
    &["get", "pods"],
    &["get", "drops"],
    &["describe", "pod", "web"],
    &["status"],
    &["wait", "pod", "web", "--for=ready"],
    &["log-level", "info"],
    &["metrics"],
    &["capture", "web", "-w", "/dev/null"],
];

#[test]
fn without_a_daemon_every_command_says_where_it_looked() {
    let dir = RunDir::new();
    let socket = dir.path("admin.sock");
    for arguments in ASKING {
        let run = vpodctl(&socket, arguments);
        run.fails(1, &["cannot reach vswitchd at", socket.to_str().unwrap(), "is the daemon running?"]);
    }
}

#[test]
fn what_the_daemon_refuses_is_passed_on_word_by_word() {
    for arguments in ASKING {
        let daemon = Daemon::admin(|_| {
            vec![Response::Error(ApiError::new(ErrorCode::Exhausted, "no address left in 10.244.0.0/24"))]
        });
        let run = daemon.run(arguments);
        assert_eq!(run.status, 1, "{arguments:?}: {run:?}");
        assert!(run.err.contains("error: no address left in 10.244.0.0/24\n"), "{arguments:?}: {run:?}");
    }
}

#[test]
fn a_broken_connection_is_explained() {
    for (bytes, text) in [
        (&b""[..], "closed the connection before it answered"),
        (&b"\x01\0\0\0"[..], "the connection broke"),
        (&b"\x01\0\0\0\xff"[..], "malformed message"),
        (&b"\xff\xff\xff\xffgarbage"[..], "was announced, the limit is"),
    ] {
        Daemon::broken(bytes).run(&["get", "pods"]).fails(1, &["talking to vswitchd at", text]);
    }
}

#[test]
fn a_list_that_breaks_off_is_a_failure_and_not_a_short_list() {
    let run = Daemon::admin(|_| {
        vec![
            Response::Items(Items::Fdb(Vec::new())),
            Response::Error(ApiError::new(ErrorCode::Unavailable, "the datapath is away")),
        ]
    })
    .run(&["get", "fdb"]);
    run.fails(1, &["the datapath is away"]);
}

#[test]
fn an_answer_to_another_question_is_told() {
    let run = Daemon::admin(|_| vec![Response::Bytes(vec![1])]).run(&["status"]);
    run.fails(1, &["does not fit the request", "raw bytes"]);
    let run = Daemon::admin(|_| vec![Response::Items(Items::Flows(Vec::new())), Response::Done])
        .run(&["get", "fdb"]);
    run.fails(1, &["rows of another kind"]);
}

#[test]
fn a_silent_daemon_is_given_up_after_the_request_timeout() {
    let run = Daemon::admin(|_: &AdminRequest| Vec::new()).run(&["--request-timeout", "50ms", "status"]);
    run.fails(1, &["did not answer in time"]);
}

#[test]
fn wrong_usage_ends_with_2_and_says_what_is_right() {
    let dir = RunDir::new();
    for (arguments, text) in [
        (&["get", "podz"][..], "there is no kind \"podz\""),
        (&["get", "fdb", "-l", "a=b"], "objects that are applied have labels"),
        (&["get", "svc", "web", "-A"], "a service cannot be named across"),
        (&["delete"], "<KIND>"),
        (&["get", "pods", "web", "-A"], "use -n"),
        (&["get", "pods", "-l", "a b"], "invalid value 'a b'"),
        (&["get", "pods", "-o", "xml"], "table, wide, json, yaml, name"),
        (&["create-pod", "Web"], "lower-case"),
        (&["create-pod", "web", "-l", "app"], "write key=value"),
        (&["create-pod", "web", "-l", "a=1", "-l", "a=2"], "\"a\" is given twice"),
        (&["create-pod", "web", "--cpu", "0"], "the smallest limit is 1m"),
        (&["create-pod", "web", "--memory", "64MB"], "write 64Mi"),
        (&["create-pod", "web", "--mac", "1:2"], "six two-digit"),
        (&["create-pod", "web", "--ip", "10.244.0"], "invalid value '10.244.0'"),
        (&["create-pod", "web", "--restart", "sometimes"], "Always, OnFailure, Never"),
        (&["exec", "web"], "<CMD>..."),
        (&["describe", "pod"], "vpodctl describe pod NAME"),
        (&["describe", "fdb", "x"], "vpodctl get fdb"),
        (&["wait", "node", "x", "--for=ready"], "only pods can be waited for"),
        (&["capture", "web"], "--write <FILE>"),
        (&["frobnicate"], "unrecognized subcommand"),
    ] {
        vpodctl(&dir.path("admin.sock"), arguments).fails(2, &[text]);
    }
}
