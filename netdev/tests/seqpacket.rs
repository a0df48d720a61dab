//! Messages and descriptors over Unix sockets.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;

use netdev::seqpacket;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

fn pair() -> (OwnedFd, OwnedFd) {
    seqpacket::pair().expect("pair")
}

#[test]
fn messages_keep_their_boundaries() {
    let (a, b) = pair();
    let mut buf = [0; 64];
    seqpacket::send(a.as_fd(), b"one", &[]).expect("send");
    seqpacket::send(a.as_fd(), b"three", &[]).expect("send");
    assert_eq!(seqpacket::recv(b.as_fd(), &mut buf, 0).expect("recv").0, 3);
    assert_eq!(seqpacket::recv(b.as_fd(), &mut buf, 0).expect("recv").0, 5);
    assert_eq!(&buf[..5], b"three");
}

#[test]
fn descriptors_arrive_usable_and_close_on_exec() {
    let (a, b) = pair();
    let (reader, writer) = io::pipe().expect("pipe");
    seqpacket::send(a.as_fd(), b"fds", &[reader.as_fd(), writer.as_fd()]).expect("send");
    drop((reader, writer));
    let mut buf = [0; 64];
    let (len, fds) = seqpacket::recv(b.as_fd(), &mut buf, 2).expect("recv");
    assert_eq!((len, fds.len()), (3, 2));
    for fd in &fds {
        let flags = FdFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFD).expect("flags"));
        assert!(flags.contains(FdFlag::FD_CLOEXEC));
    }
    let [reader, writer]: [OwnedFd; 2] = fds.try_into().expect("two");
    File::from(writer).write_all(b"through").expect("write");
    let mut text = String::new();
    File::from(reader).read_to_string(&mut text).expect("read");
    assert_eq!(text, "through");
}

#[test]
fn most_descriptors_a_message_can_carry_arrive() {
    let (a, b) = pair();
    let fds: Vec<_> = (0..seqpacket::MAX_FDS).map(|_| a.as_fd()).collect();
    seqpacket::send(a.as_fd(), b"many", &fds).expect("send");
    let (_, received) = seqpacket::recv(b.as_fd(), &mut [0; 8], seqpacket::MAX_FDS).expect("recv");
    assert_eq!(received.len(), seqpacket::MAX_FDS);
}

#[test]
fn unwanted_descriptors_are_an_error_and_closed() {
    let (a, b) = pair();
    let (mut reader, writer) = io::pipe().expect("pipe");
    seqpacket::send(a.as_fd(), b"fds", &[writer.as_fd(), writer.as_fd()]).expect("send");
    drop(writer);
    let error = seqpacket::recv(b.as_fd(), &mut [0; 8], 1).expect_err("one too many");
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    // The end of the pipe shows that no copy of the writing end is left.
    assert_eq!(reader.read(&mut [0; 8]).expect("read"), 0);
}

#[test]
fn message_longer_than_the_buffer_is_an_error() {
    let (a, b) = pair();
    seqpacket::send(a.as_fd(), &[7; 100], &[]).expect("send");
    seqpacket::send(a.as_fd(), b"next", &[]).expect("send");
    let mut buf = [0; 64];
    let error = seqpacket::recv(b.as_fd(), &mut buf, 0).expect_err("too long");
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert_eq!(seqpacket::recv(b.as_fd(), &mut buf, 0).expect("recv").0, 4);
}

#[test]
fn closed_peer_is_the_end_for_readers_and_a_broken_pipe_for_writers() {
    let (a, b) = pair();
    drop(a);
    let (len, fds) = seqpacket::recv(b.as_fd(), &mut [0; 8], 4).expect("recv");
    assert_eq!((len, fds.len()), (0, 0));
    assert_eq!(seqpacket::send(b.as_fd(), b"x", &[]).expect_err("closed").kind(), io::ErrorKind::BrokenPipe);
}

#[test]
fn nonblocking_socket_would_block() {
    let (a, b) = pair();
    seqpacket::set_nonblocking(b.as_fd(), true).expect("nonblocking");
    let error = seqpacket::recv(b.as_fd(), &mut [0; 8], 0).expect_err("nothing there");
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    drop(a);
}

#[test]
fn path_socket_is_private_and_says_who_connects() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("socket");
    let listener = seqpacket::listen(&path).expect("listen");
    let mode = path.metadata().expect("socket file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let client = seqpacket::connect(&path).expect("connect");
    let server = listener.accept().expect("accept");
    let peer = seqpacket::peer_credentials(server.as_fd()).expect("credentials");
    assert_eq!(u32::try_from(peer.pid).expect("pid"), std::process::id());
    assert_eq!((peer.uid, peer.gid), (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw()));
    seqpacket::peer_pidfd(server.as_fd()).expect("pidfd");
    seqpacket::send(client.as_fd(), b"hello", &[]).expect("send");
    assert_eq!(seqpacket::recv(server.as_fd(), &mut [0; 8], 0).expect("recv").0, 5);
}

#[test]
fn abandoned_socket_file_is_replaced_and_a_live_one_is_not() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("socket");
    drop(seqpacket::listen(&path).expect("listen"));
    assert!(path.exists());
    let listener = seqpacket::listen(&path).expect("replaces the abandoned file");
    let error = seqpacket::listen(&path).expect_err("in use");
    assert_eq!(error.source.raw_os_error(), Some(libc::EADDRINUSE));
    assert!(error.to_string().contains("socket"), "{error}");
    seqpacket::connect(&path).expect("the first listener still listens");
    drop(listener);
}

#[test]
fn connecting_to_nobody_names_the_path() {
    let error = seqpacket::connect("/nonexistent/socket".as_ref()).expect_err("nobody");
    assert_eq!(error.to_string(), "cannot connect to socket /nonexistent/socket");
}
