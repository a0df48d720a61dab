//! Descriptors a process was started with.

use std::fs;
use std::io;

/// Closes what was inherited beyond the three standard descriptors. For the start of a process that
/// outlives its parent: an inherited pipe would keep its other end waiting for as long as that.
pub(crate) fn close_inherited() -> io::Result<()> {
    let numbers: Vec<i32> = fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|fd| *fd > 2)
        .collect();
    for number in numbers {
        // The directory's own descriptor is among them and closed by now.
        let _ = nix::unistd::close(number);
    }
    Ok(())
}
