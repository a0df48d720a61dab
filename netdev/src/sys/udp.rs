//! Many datagrams in one call: `sendmmsg(2)`, `recvmmsg(2)`, with what travels beside them.

use std::ffi::c_int;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use nix::errno::Errno;

/// Datagrams in one call, either way.
pub(crate) const MAX_MESSAGES: usize = 64;

/// Room for the control messages we ask for (GRO size, type of service), and one to spare.
const CONTROL_IN_WORDS: usize = 9;

/// Bytes of an IPv4 socket address.
#[expect(clippy::cast_possible_truncation, reason = "sixteen")]
const NAME_LEN: libc::socklen_t = size_of::<libc::sockaddr_in>() as libc::socklen_t;
/// As addresses have it.
#[expect(clippy::cast_possible_truncation, reason = "two")]
const FAMILY: libc::sa_family_t = libc::AF_INET as libc::sa_family_t;

/// A datagram, or as many as `segment_size` cuts it into.
pub(crate) struct Outgoing<'a> {
    pub(crate) to: SocketAddrV4,
    pub(crate) tos: u8,
    /// `UDP_SEGMENT`; `None` sends the parts as one datagram.
    pub(crate) segment_size: Option<u16>,
    pub(crate) parts: &'a [IoSlice<'a>],
}

/// What is known about a received datagram, or a train of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Incoming {
    pub(crate) len: usize,
    pub(crate) source: SocketAddrV4,
    pub(crate) tos: u8,
    /// `UDP_GRO`: length of all datagrams in the buffer but the last; `None` if there is one.
    pub(crate) segment_size: Option<u16>,
}

impl Incoming {
    pub(crate) const NONE: Self =
        Self { len: 0, source: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0), tos: 0, segment_size: None };
}

/// `setsockopt(2)` of an integer.
pub(crate) fn set_option(socket: BorrowedFd<'_>, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    let len = libc::socklen_t::try_from(size_of::<c_int>()).unwrap_or_default();
    // SAFETY: reads one `int` of the length given, which outlives the call. The descriptor is borrowed,
    // so it is open.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), len) };
    Errno::result(result).map(drop).map_err(io::Error::from)
}

/// One control message with room for an `int`.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control {
    header: libc::cmsghdr,
    value: [u8; 8],
}

impl Control {
    fn new(level: c_int, kind: c_int, value: &[u8]) -> Self {
        // SAFETY: `cmsghdr` is plain data; all zeroes is a valid value.
        let mut header: libc::cmsghdr = unsafe { mem::zeroed() };
        header.cmsg_len = (size_of::<libc::cmsghdr>() + value.len()) as _;
        header.cmsg_level = level;
        header.cmsg_type = kind;
        let mut room = [0; 8];
        for (to, from) in room.iter_mut().zip(value) {
            *to = *from;
        }
        Self { header, value: room }
    }
}

/// Sends up to `N` messages in one call; says how many the kernel took, an error only if none.
pub(crate) fn send_many<const N: usize>(
    socket: BorrowedFd<'_>,
    messages: &[Outgoing<'_>],
) -> nix::Result<usize> {
    // SAFETY: all three are plain data; all zeroes is a valid value.
    let mut headers: [libc::mmsghdr; N] = unsafe { mem::zeroed() };
    // SAFETY: as above.
    let mut names: [libc::sockaddr_in; N] = unsafe { mem::zeroed() };
    // SAFETY: as above.
    let mut controls: [[Control; 2]; N] = unsafe { mem::zeroed() };
    let count = messages.len().min(N);
    let places = headers.iter_mut().zip(&mut names).zip(&mut controls);
    for (((header, name), control), message) in places.zip(messages) {
        *name = socket_address(message.to);
        let tos = c_int::from(message.tos).to_ne_bytes();
        *control = [
            Control::new(libc::IPPROTO_IP, libc::IP_TOS, &tos),
            match message.segment_size {
                Some(size) => Control::new(libc::SOL_UDP, libc::UDP_SEGMENT, &size.to_ne_bytes()),
                None => Control::new(0, 0, &[]),
            },
        ];
        let used = if message.segment_size.is_some() { 2 } else { 1 };
        let header = &mut header.msg_hdr;
        header.msg_name = ptr::from_mut(name).cast();
        header.msg_namelen = NAME_LEN;
        // `IoSlice` is guaranteed to have the layout of `iovec`; sending writes to none of them.
        header.msg_iov = message.parts.as_ptr().cast_mut().cast();
        header.msg_iovlen = message.parts.len() as _;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = (used * size_of::<Control>()) as _;
    }
    let wanted = libc::c_uint::try_from(count).unwrap_or_default();
    // SAFETY: the first `count` headers name addresses, buffers and control areas of the lengths given,
    // all of which outlive the call. The descriptor is borrowed, so it is open.
    let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), wanted, 0) };
    Errno::result(sent).map(|sent| usize::try_from(sent).unwrap_or_default())
}

/// Receives what is there without waiting, one message a buffer, at most [`MAX_MESSAGES`]; says how many.
pub(crate) fn receive_many(
    socket: BorrowedFd<'_>,
    buffers: &mut [IoSliceMut<'_>],
    received: &mut [Incoming],
) -> nix::Result<usize> {
    // SAFETY: all three are plain data; all zeroes is a valid value.
    let mut headers: [libc::mmsghdr; MAX_MESSAGES] = unsafe { mem::zeroed() };
    // SAFETY: as above.
    let mut names: [libc::sockaddr_in; MAX_MESSAGES] = unsafe { mem::zeroed() };
    let mut controls = [[0_u64; CONTROL_IN_WORDS]; MAX_MESSAGES];
    let count = buffers.len().min(received.len()).min(MAX_MESSAGES);
    for (((header, name), control), buffer) in
        headers.iter_mut().zip(&mut names).zip(&mut controls).zip(buffers.iter_mut())
    {
        let header = &mut header.msg_hdr;
        header.msg_name = ptr::from_mut(name).cast();
        header.msg_namelen = NAME_LEN;
        // `IoSliceMut` is guaranteed to have the layout of `iovec`.
        header.msg_iov = ptr::from_mut(buffer).cast();
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = size_of_val(control) as _;
    }
    let wanted = libc::c_uint::try_from(count).unwrap_or_default();
    // SAFETY: the first `count` headers name an address, one buffer and one control area each, of the
    // lengths given, all exclusively borrowed until the call returns; a null timeout is allowed. The
    // descriptor is borrowed, so it is open.
    let got = unsafe {
        libc::recvmmsg(
            socket.as_raw_fd(),
            headers.as_mut_ptr(),
            wanted,
            libc::MSG_DONTWAIT as _,
            ptr::null_mut(),
        )
    };
    let got = Errno::result(got).map(|got| usize::try_from(got).unwrap_or_default())?;
    for ((header, name), place) in headers.iter().zip(&names).zip(received.iter_mut()).take(got) {
        *place = Incoming {
            len: usize::try_from(header.msg_len).unwrap_or_default(),
            source: SocketAddrV4::new(
                Ipv4Addr::from_bits(u32::from_be(name.sin_addr.s_addr)),
                u16::from_be(name.sin_port),
            ),
            ..Incoming::NONE
        };
        read_control(&header.msg_hdr, place);
    }
    Ok(got)
}

/// Takes what the control area of `header` says, which recvmmsg has just filled.
fn read_control(header: &libc::msghdr, into: &mut Incoming) {
    // SAFETY: `msg_control` and `msg_controllen` describe what the kernel wrote into an aligned
    // area that is still alive; the result is null or the first control header in it.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !message.is_null() {
        // SAFETY: not null, so it is a complete control header inside the area.
        let control = unsafe { ptr::read(message) };
        // SAFETY: same header; the result points behind it.
        let data = unsafe { libc::CMSG_DATA(message) };
        match (control.cmsg_level, control.cmsg_type) {
            (libc::IPPROTO_IP, libc::IP_TOS) => {
                // SAFETY: the kernel put one byte there (`ip_cmsg_recv_tos`).
                into.tos = unsafe { ptr::read(data) };
            }
            (libc::SOL_UDP, libc::UDP_GRO) => {
                // SAFETY: the kernel put one `int` there (`udp_cmsg_recv`), inside the area.
                let size = unsafe { ptr::read_unaligned(data.cast::<c_int>()) };
                into.segment_size = u16::try_from(size).ok().filter(|size| *size > 0);
            }
            _ => {}
        }
        // SAFETY: `message` is a header inside the area; the result is null or the next one.
        message = unsafe { libc::CMSG_NXTHDR(header, message) };
    }
}

fn socket_address(address: SocketAddrV4) -> libc::sockaddr_in {
    // SAFETY: `sockaddr_in` is plain data; all zeroes is a valid value.
    let mut name: libc::sockaddr_in = unsafe { mem::zeroed() };
    name.sin_family = FAMILY;
    name.sin_port = address.port().to_be();
    name.sin_addr.s_addr = address.ip().to_bits().to_be();
    name
}
