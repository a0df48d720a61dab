//! The ioctls of `/dev/net/tun` (`linux/if_tun.h`).
//!
//! Request numbers have the type `libc::Ioctl`, which is `c_ulong` with glibc and `c_int` with
//! musl. Most arguments travel *as* the pointer argument, not behind it.

use std::ffi::c_int;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use super::fd::owned;

/// `IFNAMSIZ` includes the terminating zero.
pub(crate) const NAME_MAX_LEN: usize = libc::IFNAMSIZ - 1;

/// Connects `fd` to the device `name`, creating it if there is none.
pub(crate) fn set_interface(fd: BorrowedFd<'_>, name: &str, flags: c_int) -> io::Result<()> {
    if name.len() > NAME_MAX_LEN || name.bytes().any(|byte| byte == 0) {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let mut request = empty_request();
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    // The kernel reads the field as unsigned, so IFF_TUN_EXCL (0x8000) may well be the sign bit.
    let [low, high, ..] = flags.to_le_bytes();
    request.ifr_ifru.ifru_flags = i16::from_le_bytes([low, high]);
    // SAFETY: TUNSETIFF reads and writes one `struct ifreq`; `request` is one, initialised, and
    // outlives the call. The descriptor is borrowed, so it is open.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    check(result).map(drop)
}

/// Asks for the name of the device behind `fd`; `EBADFD` if there is none.
pub(crate) fn interface_name(fd: BorrowedFd<'_>) -> io::Result<String> {
    let mut request = empty_request();
    // SAFETY: TUNGETIFF writes one `struct ifreq`; `request` is one and outlives the call. The
    // descriptor is borrowed, so it is open.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNGETIFF, &raw mut request) };
    check(result)?;
    let name: Vec<u8> =
        request.ifr_name.iter().map(|c| c.to_ne_bytes()[0]).take_while(|byte| *byte != 0).collect();
    Ok(String::from_utf8_lossy(&name).into_owned())
}

/// Sets the length of the header before every frame.
pub(crate) fn set_vnet_header_len(fd: BorrowedFd<'_>, len: c_int) -> io::Result<()> {
    // SAFETY: TUNSETVNETHDRSZ reads one `int` through the pointer; `len` is one and outlives the
    // call. The descriptor is borrowed, so it is open.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const len) };
    check(result).map(drop)
}

/// Says what we accept from the device, a set of `TUN_F_*`. Device-wide, and stays.
pub(crate) fn set_offload(fd: BorrowedFd<'_>, mask: u32) -> io::Result<()> {
    set_by_value(fd, libc::TUNSETOFFLOAD, mask)
}

/// Lets the device outlive its last descriptor, or not.
pub(crate) fn set_persist(fd: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    set_by_value(fd, libc::TUNSETPERSIST, u32::from(on))
}

/// Plugs the cable in or out (Linux 5.0).
pub(crate) fn set_carrier(fd: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    let value = c_int::from(on);
    // SAFETY: TUNSETCARRIER reads one `int` through the pointer; `value` is one and outlives the
    // call. The descriptor is borrowed, so it is open.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETCARRIER, &raw const value) };
    check(result).map(drop)
}

/// The network namespace the device is in (Linux 5.2).
pub(crate) fn device_netns(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: TUNGETDEVNETNS takes no argument. The descriptor is borrowed, so it is open.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNGETDEVNETNS) };
    // SAFETY: a result that is no error is a new descriptor (`open_related_ns`) nobody else knows.
    check(result).map(|fd| unsafe { owned(fd) })
}

fn set_by_value(fd: BorrowedFd<'_>, request: libc::Ioctl, value: u32) -> io::Result<()> {
    // SAFETY: callers pass requests whose argument is the value itself, so that no memory of ours
    // is touched. The descriptor is borrowed, so it is open.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), request, libc::c_ulong::from(value)) };
    check(result).map(drop)
}

fn empty_request() -> libc::ifreq {
    // SAFETY: `ifreq` is plain data (arrays, integers, raw pointers); all zeroes is a valid value.
    unsafe { mem::zeroed() }
}

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
