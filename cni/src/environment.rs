//! The environment a plugin is called with (SPEC 1.1.0 §2, "Parameters" and "CNI operations").
//!
//! A variable that is empty counts as missing, as in the reference library. All that are missing are named in one error,
//! and so are all that are wrong.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use crate::args::Args;
use crate::error::{Code, Error, quote};
use protocol::attachment::{ContainerId, IdentityError, InterfaceName, NetnsPath};

/// `CNI_COMMAND`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Command {
    /// Attach a container, or change an attachment.
    Add,
    /// Undo that.
    Del,
    /// Is an attachment as it should be? Since 0.4.0.
    Check,
    /// Release what no valid attachment needs. Since 1.1.0.
    Gc,
    /// Could ADD be served? Since 1.1.0.
    Status,
    /// Which versions are spoken?
    Version,
}

impl Command {
    /// All.
    pub const ALL: [Self; 6] = [Self::Add, Self::Del, Self::Check, Self::Gc, Self::Status, Self::Version];

    /// As in `CNI_COMMAND`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Gc => "GC",
            Self::Status => "STATUS",
            Self::Version => "VERSION",
        }
    }

    /// What the specification requires besides the command itself. `CNI_PATH` is required where only delegation needs it.
    const fn required(self) -> &'static [&'static str] {
        match self {
            Self::Add | Self::Check => &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"],
            Self::Del => &["CNI_CONTAINERID", "CNI_IFNAME"],
            Self::Gc | Self::Status => &["CNI_PATH"],
            Self::Version => &[],
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The variables as they came.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Variables {
    values: [Option<OsString>; Self::NAMES.len()],
}

impl Variables {
    /// All that are looked at.
    pub const NAMES: [&str; 7] = [
        "CNI_COMMAND",
        "CNI_CONTAINERID",
        "CNI_NETNS",
        "CNI_IFNAME",
        "CNI_ARGS",
        "CNI_PATH",
        "CNI_NETNS_OVERRIDE",
    ];

    /// Asks `lookup` (such as `std::env::var_os`) for each.
    pub fn read(lookup: impl FnMut(&'static str) -> Option<OsString>) -> Self {
        Self { values: Self::NAMES.map(lookup).map(|value| value.filter(|value| !value.is_empty())) }
    }

    fn value(&self, name: &str) -> Option<&OsString> {
        let at = Self::NAMES.iter().position(|known| *known == name)?;
        self.values.get(at)?.as_ref()
    }

    fn text(&self, name: &'static str) -> Result<Option<&str>, String> {
        let Some(value) = self.value(name) else { return Ok(None) };
        value
            .to_str()
            .map(Some)
            .ok_or_else(|| format!("{name} {} is not UTF-8", quote(&value.to_string_lossy())))
    }

    /// What is to be done; `None` when nothing is said, as by a person who tries the program.
    ///
    /// # Errors
    /// Code 4: there is no such command.
    pub(crate) fn command(&self) -> Result<Option<Command>, Error> {
        let unknown = |text: &str| {
            let known = Command::ALL.map(Command::as_str).join(", ");
            Error::new(Code::InvalidEnvironment, format!("CNI_COMMAND {} is none of {known}", quote(text)))
        };
        let Some(value) = self.value("CNI_COMMAND") else { return Ok(None) };
        let command = Command::ALL.into_iter().find(|command| value == command.as_str());
        command.map(Some).ok_or_else(|| unknown(&value.to_string_lossy()))
    }

    /// Everything that `command` requires is there.
    ///
    /// # Errors
    /// Code 4, with all that is missing.
    pub(crate) fn complete_for(&self, command: Command) -> Result<(), Error> {
        let missing: Vec<&str> =
            command.required().iter().copied().filter(|name| self.value(name).is_none()).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let message =
            format!("required environment variables are missing for {command}: {}", missing.join(", "));
        Err(Error::new(Code::InvalidEnvironment, message))
    }
}

/// What the variables say, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Environment {
    pub(crate) container: Option<ContainerId>,
    pub(crate) interface: Option<InterfaceName>,
    pub(crate) netns: Option<NetnsPath>,
    pub(crate) args: Args,
    pub(crate) path: Vec<PathBuf>,
    pub(crate) netns_override: bool,
    /// What was passed over; for a log.
    pub(crate) warnings: Vec<String>,
}

impl Environment {
    /// Checks what `command` looks at. DEL passes over what only ADD needs: it follows an ADD that was refused for it.
    ///
    /// # Errors
    /// Code 4, with all that are wrong.
    pub(crate) fn read(command: Command, variables: &Variables) -> Result<Self, Error> {
        let attachment = matches!(command, Command::Add | Command::Del | Command::Check);
        let mut wrong = Wrong::default();
        let mut passed_over = Wrong::default();
        let needed_by_add = if command == Command::Del { &mut passed_over } else { &mut wrong };
        let netns = needed_by_add.take(variables, "CNI_NETNS", attachment, NetnsPath::new);
        let args = needed_by_add.args(variables, attachment);
        let container = wrong.take(variables, "CNI_CONTAINERID", attachment, ContainerId::new);
        let interface = wrong.take(variables, "CNI_IFNAME", attachment, InterfaceName::new);
        if !wrong.0.is_empty() {
            let message = format!("invalid environment variables: {}", wrong.0.join("; "));
            return Err(Error::new(Code::InvalidEnvironment, message));
        }
        let path =
            variables.value("CNI_PATH").map(|path| std::env::split_paths(path).collect()).unwrap_or_default();
        let netns_override = variables
            .value("CNI_NETNS_OVERRIDE")
            .is_some_and(|value| value == "1" || value.eq_ignore_ascii_case("true"));
        Ok(Self { container, interface, netns, args, path, netns_override, warnings: passed_over.0 })
    }
}

/// Sentences about variables, each of which begins with the name.
#[derive(Debug, Default)]
struct Wrong(Vec<String>);

impl Wrong {
    fn take<T>(
        &mut self,
        variables: &Variables,
        name: &'static str,
        asked: bool,
        check: impl Fn(&str) -> Result<T, IdentityError>,
    ) -> Option<T> {
        if !asked {
            return None;
        }
        let checked = variables
            .text(name)
            .and_then(|text| text.map(check).transpose().map_err(|error| format!("{name} {error}")));
        checked.map_err(|problem| self.0.push(problem)).ok().flatten()
    }

    fn args(&mut self, variables: &Variables, asked: bool) -> Args {
        if !asked {
            return Args::default();
        }
        let read = variables.text("CNI_ARGS").map_err(|problem| vec![problem]).and_then(|text| {
            Args::parse(text.unwrap_or_default())
                .map_err(|problems| problems.iter().map(|problem| format!("CNI_ARGS {problem}")).collect())
        });
        read.unwrap_or_else(|problems| {
            self.0.extend(problems);
            Args::default()
        })
    }
}
