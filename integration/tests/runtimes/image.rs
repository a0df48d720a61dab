//! The image of all containers: busybox and nothing else, made here, because no registry is asked.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use integration::command;

/// What it is called in every runtime's store.
pub(crate) const IMAGE: &str = "localhost/vpod-test:latest";

/// Programs that tests run in containers.
const APPLETS: [&str; 11] =
    ["sh", "sleep", "ping", "nslookup", "wget", "httpd", "nc", "ip", "cat", "mkdir", "hostname"];

/// A script for a container that says `name` to whoever asks over HTTP.
pub(crate) fn web(name: &str) -> String {
    format!("mkdir -p /www && echo {name} >/www/index.html && exec httpd -f -p 80 -h /www")
}

/// Makes the root file system below `dir`, as an archive.
pub(crate) fn root_archive(dir: &Path) -> PathBuf {
    let root = dir.join("image");
    for part in ["bin", "etc", "tmp"] {
        fs::create_dir_all(root.join(part)).expect("the test's directory can be written to");
    }
    let busybox = need("busybox");
    fs::copy(busybox, root.join("bin/busybox")).expect("busybox can be copied");
    for applet in APPLETS {
        symlink("busybox", root.join("bin").join(applet)).expect("a link");
    }
    let archive = dir.join("image.tar");
    let mut tar = Command::new("tar");
    tar.arg("--create").arg("--file").arg(&archive).arg("--directory").arg(&root).arg(".");
    command::run(tar).ok();
    archive
}

/// Where a program of the machine is. One that is missing is a failure and no reason to test less.
#[track_caller]
pub(crate) fn need(program: &str) -> PathBuf {
    // Debian keeps some in /usr/sbin, which a user's PATH may lack.
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let found = path.split(':').map(|dir| Path::new(dir).join(program)).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("{program} is missing: run `make setup-runtimes`"))
}
