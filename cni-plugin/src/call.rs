//! What each verb asks the daemon, and how its answer is said.

use std::path::Path;

use cni::check;
use cni::{
    AddResult, Attached, Attachment, AttachmentKey, Call, Code, Error, NetworkName, Readiness, Role,
    ValidAttachments, Verb, gc,
};
use netdev::Netns;
use netdev::netns;
use protocol::attachment::AttachmentRequest;
use protocol::message::Response;

use crate::daemon::{self, Refusal};
use crate::{complain, found, name_of, note};

/// What goes to standard output; nothing if that is all.
pub(crate) fn answer(role: Role, call: &Call) -> Result<Option<String>, Error> {
    for warning in &call.warnings {
        complain(&format!("{}: {warning}", name_of(role)));
    }
    let socket = daemon::socket(call.socket.as_ref());
    let answered = match &call.verb {
        Verb::Add { attachment, previous } => {
            add(role, &socket, attachment, previous.clone()).map(|result| Some(result.to_json(call.version)))
        }
        Verb::Del { key, .. } => delete(&socket, key).map(|()| None),
        Verb::Check { attachment, previous } => check(role, &socket, attachment, previous).map(|()| None),
        Verb::Gc { valid } => collect(&socket, &call.network, valid).map(|()| None),
        Verb::Status => readiness(&socket).outcome().map(|()| None),
    };
    answered.map_err(|error| error.said_in(call.version.as_str()))
}

fn add(
    role: Role,
    socket: &Path,
    attachment: &Attachment,
    previous: Option<AddResult>,
) -> Result<AddResult, Error> {
    let identity = namespace(attachment)?;
    let request = AttachmentRequest::Attach(Box::new(attachment.request(role, identity)));
    let responses = daemon::ask(socket, request).map_err(Refusal::error)?;
    let [Response::Attached(attached)] = responses.as_slice() else {
        return Err(daemon::unexpected(&responses));
    };
    let own = Attached::from((**attached).clone()).result(attachment);
    Ok(match (role, previous) {
        (Role::Ipam, _) => own.abbreviated(),
        (Role::Interface, Some(previous)) => previous.followed_by(own),
        (Role::Interface, None) => own,
    })
}

/// Device and inode of the container's namespace, which must not be the one that the plugin itself is in.
fn namespace(attachment: &Attachment) -> Result<(u64, u64), Error> {
    let path = &attachment.netns;
    let identity = match open(path.as_str()) {
        Ok(Some(netns)) => netns.identity(),
        Ok(None) => {
            let message = format!("there is no network namespace {path}");
            return Err(Error::new(Code::UnknownContainer, message));
        }
        Err(error) => return Err(error),
    };
    let internal = |error: netns::NetnsError| Error::new(Code::Io, format!("{path}: {error}"));
    let identity = identity.map_err(internal)?;
    let own = Netns::current().and_then(|own| own.identity()).map_err(internal)?;
    if identity == own && !attachment.netns_override {
        let message = format!("CNI_NETNS {path} is the network namespace that the plugin is in itself");
        return Err(Error::new(Code::InvalidEnvironment, message)
            .with_details("set CNI_NETNS_OVERRIDE=1 if that is meant"));
    }
    Ok(identity)
}

/// `None` if nothing is there.
fn open(path: &str) -> Result<Option<Netns>, Error> {
    match netns::open_path(path.as_ref()) {
        Ok(netns) => Ok(Some(netns)),
        Err(netns::NetnsError::NotFound { .. }) => Ok(None),
        Err(netns::NetnsError::Kernel { source, .. }) if source.raw_os_error() == Some(libc::ESRCH) => {
            Ok(None)
        }
        Err(netns::NetnsError::NotANamespace { .. }) => {
            let message = format!("CNI_NETNS {path} is not a network namespace");
            Err(Error::new(Code::InvalidEnvironment, message))
        }
        Err(error) => Err(Error::new(Code::Io, format!("CNI_NETNS {path}: {error}"))),
    }
}

/// Needs neither namespace nor interface: the daemon knows what there is by the key.
fn delete(socket: &Path, key: &AttachmentKey) -> Result<(), Error> {
    match daemon::ask(socket, AttachmentRequest::Detach(key.clone())) {
        Ok(_) => Ok(()),
        Err(Refusal::Said(error)) => Err(error),
        Err(Refusal::Away(why)) => {
            complain(&format!("vpod-cni: {why}; leaving a note for the next start of vswitchd"));
            let left =
                note::leave(socket, key).map_err(|e| crate::io_failure(&"the note for vswitchd", &e))?;
            // It may have started between the two, and then it has not seen the note.
            if left && daemon::ask(socket, AttachmentRequest::Detach(key.clone())).is_ok() {
                complain("vpod-cni: vswitchd has come, and it is done");
            }
            Ok(())
        }
    }
}

fn check(role: Role, socket: &Path, attachment: &Attachment, previous: &AddResult) -> Result<(), Error> {
    let held = match daemon::ask(socket, AttachmentRequest::Show(attachment.key.clone())) {
        Ok(responses) => match responses.as_slice() {
            [Response::Attached(attached)] => Some(Attached::from((**attached).clone()).result(attachment)),
            other => return Err(daemon::unexpected(other)),
        },
        Err(Refusal::Said(error)) if error.code == Code::UnknownContainer => None,
        Err(refusal) => return Err(refusal.error()),
    };
    if role == Role::Ipam {
        return check::addresses(attachment, previous, held.as_ref());
    }
    let netns = open(attachment.netns.as_str())?;
    let found = netns.map_or_else(|| Ok(check::Found::default()), |netns| found::look(&netns, attachment))?;
    check::outcome(attachment, previous, held.as_ref(), &found)
}

/// Goes on after an error, and reports all.
fn collect(socket: &Path, network: &NetworkName, valid: &ValidAttachments) -> Result<(), Error> {
    let responses = daemon::ask(socket, AttachmentRequest::List(network.clone())).map_err(Refusal::error)?;
    let mut held = Vec::new();
    for response in &responses {
        match response {
            Response::Attachments(keys) => held.extend(keys.iter().cloned()),
            Response::Done => {}
            _ => return Err(daemon::unexpected(&responses)),
        }
    }
    let release = |key: &AttachmentKey| {
        let released = daemon::ask(socket, AttachmentRequest::Detach(key.clone()));
        released.err().map(|refusal| (key.clone(), refusal.error().to_string()))
    };
    let failures: Vec<_> = valid.stale(network, &held).filter_map(release).collect();
    gc::outcome(&failures)
}

fn readiness(socket: &Path) -> Readiness {
    match daemon::ask(socket, AttachmentRequest::Readiness) {
        Ok(responses) => match responses.as_slice() {
            [Response::Readiness(readiness)] => readiness.clone().into(),
            other => Readiness::Refusing { why: daemon::unexpected(other).to_string() },
        },
        Err(Refusal::Away(why)) => Readiness::Unreachable { why },
        Err(Refusal::Said(error)) => Readiness::Refusing { why: error.to_string() },
    }
}
