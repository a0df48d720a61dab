//! A call of the plugin: what is asked, or why it cannot be.
//!
//! In this order, so that each error is in the version that the configuration asks for, and nothing waits for input that nobody
//! sends: the command, what it requires, standard input, what the variables and the configuration say.

use std::io;
use std::path::PathBuf;

use crate::attachment::Attachment;
use crate::config::{Document, Header, NetworkConfig, Role};
use crate::environment::{Command, Environment, Variables};
use crate::error::{Code, Error};
use crate::gc::ValidAttachments;
use crate::json::Problems;
use crate::result::AddResult;
use crate::version::Version;
use protocol::attachment::{AttachmentKey, NetnsPath, NetworkName};

/// What a plugin is called for.
#[derive(Debug, Clone, PartialEq)]
pub enum Asked {
    /// `CNI_COMMAND` is not there: a person wants to know what this is, and is told on standard error ([`crate::about`]).
    About,
    /// VERSION: [`crate::version::answer`].
    Version,
    /// Something that the switch is asked for.
    Call(Box<Call>),
}

/// Something that the switch is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The version to answer in.
    pub version: Version,
    /// The network.
    pub network: NetworkName,
    /// The switch's socket; its default place without.
    pub socket: Option<PathBuf>,
    /// Where plugins are (`CNI_PATH`).
    pub path: Vec<PathBuf>,
    /// What was passed over; for standard error.
    pub warnings: Vec<String>,
    /// What for.
    pub verb: Verb,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq)]
pub enum Verb {
    /// Make an interface, and answer with [`AddResult::to_json`].
    Add {
        /// Which.
        attachment: Box<Attachment>,
        /// What came before in the chain; the answer is this and what is made ([`AddResult::followed_by`]). An IPAM plugin
        /// answers for itself alone ([`AddResult::abbreviated`]).
        previous: Option<AddResult>,
    },
    /// Undo an ADD, whole or begun. Success when there is nothing.
    Del {
        /// Which.
        key: AttachmentKey,
        /// Its namespace, if it is said; it may be gone.
        netns: Option<NetnsPath>,
        /// What ADD answered, if it is said and can be read.
        previous: Option<AddResult>,
    },
    /// Is it as it was made?
    Check {
        /// Which.
        attachment: Box<Attachment>,
        /// What the whole chain answered.
        previous: AddResult,
    },
    /// Release what is not valid.
    Gc {
        /// What is.
        valid: ValidAttachments,
    },
    /// Could ADD be served?
    Status,
}

/// Reads a call. `stdin` is asked at most once, and not for VERSION.
///
/// # Errors
/// 1: a version that we do not speak, or that has no such verb. 2: something we do not do. 4: everything that is missing or
/// wrong in the environment. 5: `stdin` could not be read. 6: it is not a JSON object. 7: everything that is wrong in it.
/// 100: an interface that is there already.
pub fn read(
    role: Role,
    variables: &Variables,
    stdin: impl FnOnce() -> io::Result<Vec<u8>>,
) -> Result<Asked, Error> {
    let command = match variables.command()? {
        None => return Ok(Asked::About),
        Some(Command::Version) => return Ok(Asked::Version),
        Some(command) => command,
    };
    variables.complete_for(command)?;
    let bytes =
        stdin().map_err(|error| Error::new(Code::Io, format!("cannot read standard input: {error}")))?;
    let document = Document::decode(&bytes)?;
    let call = call(role, command, variables, &document);
    call.map(|call| Asked::Call(Box::new(call)))
        .map_err(|error| error.said_in(document.declared().unwrap_or(Version::CURRENT.as_str())))
}

fn call(role: Role, command: Command, variables: &Variables, document: &Document) -> Result<Call, Error> {
    let environment = Environment::read(command, variables)?;
    let header = document.header()?;
    exists_in(command, header.version)?;
    let mut problems = Problems::default();
    let config = NetworkConfig::read(document, role, &header.name, &mut problems);
    let socket = config.socket.clone();
    let path = environment.path.clone();
    let mut warnings = environment.warnings.clone();
    let verb = match command {
        Command::Add => {
            let previous = document.previous(&mut problems);
            refuse(&problems)?;
            let attachment = attachment(environment, &header, config)?;
            if let (Role::Interface, Some(previous)) = (role, &previous) {
                attachment.is_new_in(previous)?;
            }
            Verb::Add { attachment: Box::new(attachment), previous }
        }
        Command::Check => {
            let previous = document.previous(&mut problems);
            if previous.is_none() {
                problems.required("prevResult");
            }
            refuse(&problems)?;
            let attachment = Box::new(attachment(environment, &header, config)?);
            Verb::Check { attachment, previous: previous.unwrap_or_default() }
        }
        Command::Del => {
            // ADD was refused for these, and DEL must undo it nevertheless, at the switch's default place if need be.
            warnings.extend(problems.invalid.iter().chain(&problems.unsupported).map(ToString::to_string));
            let mut unreadable = Problems::default();
            let previous = document.previous(&mut unreadable).filter(|_| unreadable.invalid.is_empty());
            warnings.extend(unreadable.invalid.iter().map(ToString::to_string));
            let netns = environment.netns.clone();
            Verb::Del { key: key(environment, &header)?, netns, previous }
        }
        Command::Gc => {
            let valid = ValidAttachments::read(&document.map, &mut problems);
            refuse(&problems)?;
            Verb::Gc { valid }
        }
        // VERSION is answered before.
        Command::Status | Command::Version => {
            refuse(&problems)?;
            Verb::Status
        }
    };
    warnings.append(&mut problems.warnings);
    Ok(Call { version: header.version, network: header.name, socket, path, warnings, verb })
}

fn refuse(problems: &Problems) -> Result<(), Error> {
    Error::of_problems(&problems.unsupported, &problems.invalid).map_or(Ok(()), Err)
}

/// CHECK came with 0.4.0, GC and STATUS with 1.1.0.
fn exists_in(command: Command, version: Version) -> Result<(), Error> {
    let since = match command {
        Command::Add | Command::Del | Command::Version => Version::V0_3_1,
        Command::Check => Version::V0_4_0,
        Command::Gc | Command::Status => Version::V1_1_0,
    };
    if version >= since {
        return Ok(());
    }
    let message = format!("incompatible CNI version: {version} has no {command}, which came with {since}");
    Err(Error::new(Code::IncompatibleVersion, message))
}

fn attachment(environment: Environment, header: &Header, config: NetworkConfig) -> Result<Attachment, Error> {
    let netns = environment.netns.clone().ok_or_else(|| missing("CNI_NETNS"))?;
    let args = environment.args.clone();
    let netns_override = environment.netns_override;
    Attachment::of(key(environment, header)?, netns, netns_override, &args, config)
}

fn key(environment: Environment, header: &Header) -> Result<AttachmentKey, Error> {
    Ok(AttachmentKey {
        network: header.name.clone(),
        container: environment.container.ok_or_else(|| missing("CNI_CONTAINERID"))?,
        interface: environment.interface.ok_or_else(|| missing("CNI_IFNAME"))?,
    })
}

fn missing(name: &str) -> Error {
    Error::new(Code::InvalidEnvironment, format!("required environment variables are missing: {name}"))
}
