//! A pod that serves, and tries what others serve (`src/bin/prober.rs`).

use std::collections::BTreeSet;
use std::fmt;
use std::io::Write as _;
use std::net::IpAddr;
use std::process::ChildStdin;

use crate::command::Background;
use crate::pod::TestPod;
use crate::programs::binary;

/// One try of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Try {
    /// Whom.
    pub address: IpAddr,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: &'static str,
    /// Which.
    pub port: u16,
    /// It should succeed: it is given the time it takes.
    pub expected: bool,
}

impl fmt::Display for Try {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{}", self.address, self.protocol, self.port, u8::from(self.expected))
    }
}

/// The program in a pod.
pub struct Prober {
    program: Background,
    input: ChildStdin,
}

impl Prober {
    /// Returns once it serves `ports` by TCP, UDP and SCTP.
    #[track_caller]
    #[must_use]
    pub fn start(pod: &TestPod, ports: &[u16]) -> Self {
        let mut command = pod.command(binary("prober").to_str().expect("the path is UTF-8"));
        command.args(ports.iter().map(ToString::to_string));
        let mut program = Background::start(command);
        let input = program.stdin();
        program.wait_for_output("ready\n");
        Self { program, input }
    }

    /// Begins to try all of them at once; [`Self::results`] waits for the end.
    ///
    /// # Panics
    /// When it has ended.
    pub fn begin(&mut self, tries: &[Try]) {
        let words: Vec<String> = tries.iter().map(ToString::to_string).collect();
        writeln!(self.input, "try {}", words.join(" ")).expect("the prober reads its input");
    }

    /// Which have succeeded, in their order.
    ///
    /// # Panics
    /// When it has ended.
    #[track_caller]
    pub fn results(&mut self) -> Vec<bool> {
        let line = self.program.wait_for_output("\n");
        line.trim_end().chars().map(|one| one == '1').collect()
    }

    /// Whose requests have come here since the last time, as `SOURCE/PROTOCOL/PORT`.
    ///
    /// # Panics
    /// When it has ended.
    #[track_caller]
    pub fn seen(&mut self) -> BTreeSet<String> {
        writeln!(self.input, "seen").expect("the prober reads its input");
        self.program.wait_for_output("\n").split_whitespace().map(str::to_owned).collect()
    }
}
