//! Memory of processes and of the kernel.

use std::fs;

use anyhow::{Context, Result};

/// Resident bytes of a process.
pub(crate) fn resident_bytes(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    kibibytes(&text, "VmRSS").map(|kib| kib * 1024).context("/proc status without VmRSS")
}

/// Bytes the kernel holds for itself and cannot give back: where rules and their counters are. Of the whole
/// machine, so only its growth says something, and only while nothing else grows.
pub(crate) fn kernel_bytes() -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let fields = ["SUnreclaim", "VmallocUsed", "Percpu"];
    Ok(fields.iter().filter_map(|field| kibibytes(&text, field)).sum::<u64>() * 1024)
}

/// A line of the kernel's such as `VmRSS:   1234 kB`.
fn kibibytes(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let text = "VmRSSes:\t 1 kB\nVmRSS:\t  2048 kB\nThreads:\t3\n";
        assert_eq!(kibibytes(text, "VmRSS"), Some(2048));
        assert_eq!(kibibytes(text, "Vm"), None);
        assert_eq!(kibibytes(text, "Threads"), None);
    }
}
