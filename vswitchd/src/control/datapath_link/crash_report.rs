//! What a dying datapath leaves behind: which port's frame it was working on, and why it gave up.
//!
//! The report is a memory file (`memfd_create(2)`) that the datapath holds as its standard output
//! and hands out with its hello, so that whoever supervises it can read it after its death. It is
//! text, `port=<number or ->` on the first line and the message after it; empty means that nothing
//! was said, as after `kill -9`.

use protocol::PortId;

/// Longest message kept; a panic message is a line or two.
pub(crate) const MAX_REPORT_BYTES: usize = 4096;

/// A crash, as the panic hook saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CrashReport {
    /// Whose frame was being processed, if any.
    pub(crate) culprit: Option<PortId>,
    /// Panic message and place.
    pub(crate) message: String,
}

impl CrashReport {
    /// As written to the file.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let port = self.culprit.map_or_else(|| "-".to_owned(), |port| port.to_string());
        let mut bytes = format!("port={port}\n{}", self.message).into_bytes();
        bytes.truncate(MAX_REPORT_BYTES);
        bytes
    }

    /// As read from the file; `None` when there is no (whole) first line.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        let (port, message) = text.strip_prefix("port=")?.split_once('\n')?;
        let culprit = match port {
            "-" => None,
            number => Some(PortId(number.parse().ok()?)),
        };
        Some(Self { culprit, message: message.trim_end().to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_reads_as_it_was_written() {
        for culprit in [None, Some(PortId(0)), Some(PortId(4095))] {
            let report = CrashReport { culprit, message: "index out of bounds at switch.rs:7:9".to_owned() };
            assert_eq!(CrashReport::parse(&report.encode()), Some(report));
        }
    }

    #[test]
    fn every_truncation_is_a_report_or_none() {
        let whole = CrashReport { culprit: Some(PortId(12)), message: "größe".to_owned() }.encode();
        for len in 0..whole.len() {
            if let Some(report) = CrashReport::parse(&whole[..len]) {
                assert_eq!(report.culprit, Some(PortId(12)));
            }
        }
    }

    #[test]
    fn a_long_message_is_cut() {
        let report = CrashReport { culprit: None, message: "x".repeat(2 * MAX_REPORT_BYTES) };
        assert_eq!(report.encode().len(), MAX_REPORT_BYTES);
        assert!(CrashReport::parse(&report.encode()).is_some());
    }

    #[test]
    fn garbage_is_no_report() {
        for garbage in [&b""[..], b"port=", b"port=x\nboo", b"port=-", b"\xff\xfe\x00", b"running 1 test\n"] {
            assert_eq!(CrashReport::parse(garbage), None, "{garbage:?}");
        }
    }
}
