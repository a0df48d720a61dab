//! What needs no daemon: completion, man pages, help.

use crate::daemon::{RunDir, vpodctl};

const COMMANDS: [&str; 15] = [
    "create-pod",
    "delete-pod",
    "exec",
    "run-container",
    "logs",
    "get",
    "describe",
    "status",
    "wait",
    "capture",
    "log-level",
    "metrics",
    "completion",
    "man",
    "version",
];

#[test]
fn every_shell_gets_a_completion_script_that_knows_every_command() {
    let dir = RunDir::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let run = vpodctl(&dir.path("none"), &["completion", shell]);
        assert_eq!(run.status, 0, "{shell}");
        for command in COMMANDS {
            assert!(run.out.contains(command), "{shell} does not know {command}");
        }
    }
}

#[test]
fn every_command_has_a_man_page() {
    let dir = RunDir::new();
    let pages = dir.path("man1");
    vpodctl(&dir.path("none"), &["man", "--dir", pages.to_str().unwrap()]).prints("");
    for command in COMMANDS {
        let page = std::fs::read_to_string(pages.join(format!("vpodctl-{command}.1"))).unwrap();
        assert!(page.contains(".SH NAME") && page.contains(".SH SYNOPSIS"), "{command}");
    }
    let main = std::fs::read_to_string(pages.join("vpodctl.1")).unwrap();
    assert_eq!(vpodctl(&dir.path("none"), &["man"]).out, main);
}

#[test]
fn every_command_has_help_with_its_usage() {
    let dir = RunDir::new();
    for command in COMMANDS {
        let run = vpodctl(&dir.path("none"), &[command, "--help"]);
        assert_eq!(run.status, 0, "{command}");
        assert!(run.out.contains(&format!("Usage: vpodctl {command}")), "{}", run.out);
    }
}

#[test]
fn the_version_is_known_without_a_daemon() {
    let dir = RunDir::new();
    let run = vpodctl(&dir.path("none"), &["version"]);
    assert_eq!((run.status, run.out), (0, format!("vpodctl {}\n", env!("CARGO_PKG_VERSION"))));
    assert!(run.err.contains("is the daemon running?"), "{}", run.err);
}
