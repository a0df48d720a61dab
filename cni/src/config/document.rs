//! The object on standard input, before anything of it means something.

use serde_json::{Map, Value};

use crate::error::{Code, Error, cut, quote};
use crate::json::{Node, Problems};
use crate::result::{self, AddResult};
use crate::version::{Version, supported};
use protocol::attachment::NetworkName;

/// Most bytes of a configuration. GC lists every attachment of the node, about a hundred bytes each.
pub const MAX_CONFIG_BYTES: usize = 4 << 20;

/// Longest text that passes for a version, in bytes; semver.org has no limit.
const MAX_VERSION_LEN: usize = 32;

/// What is the same for all verbs, and identifies the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    /// `cniVersion`.
    pub(crate) version: Version,
    /// `name`.
    pub(crate) name: NetworkName,
}

/// The object on standard input, and the version that it says, if only for an error.
pub(crate) struct Document {
    pub(crate) map: Map<String, Value>,
}

impl Document {
    /// Decodes what was read.
    ///
    /// # Errors
    /// Code 6: not a JSON object. Code 7: too long.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > MAX_CONFIG_BYTES {
            let message = format!("the network configuration is longer than {MAX_CONFIG_BYTES} bytes");
            return Err(Error::new(Code::InvalidConfiguration, message));
        }
        let undecodable =
            |why: String| Error::new(Code::Decode, format!("cannot decode the network configuration: {why}"));
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Err(undecodable("standard input is empty".to_owned()));
        }
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(map)) => Ok(Self { map }),
            Ok(other) => Err(undecodable(format!("it is no object but {}", cut(&other.to_string(), 96)))),
            Err(error) => Err(undecodable(error.to_string())),
        }
    }

    /// `cniVersion` as it is, if it looks like a version: what an error is said in.
    pub(crate) fn declared(&self) -> Option<&str> {
        let text = self.map.get("cniVersion")?.as_str()?;
        let looks = text.len() <= MAX_VERSION_LEN
            && text.starts_with(|c: char| c.is_ascii_digit())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'+'));
        looks.then_some(text)
    }

    /// Checks what every verb needs.
    ///
    /// # Errors
    /// Code 1: a version that we do not speak. Code 6: not a version. Code 7: the name is missing or cannot be one.
    pub(crate) fn header(&self) -> Result<Header, Error> {
        Ok(Header { name: self.name()?, version: self.version()? })
    }

    fn name(&self) -> Result<NetworkName, Error> {
        let name = match self.map.get("name") {
            None | Some(Value::Null) => Err("is missing".to_owned()),
            Some(Value::String(text)) if text.is_empty() => Err("is missing".to_owned()),
            Some(Value::String(text)) => NetworkName::new(text).map_err(|error| error.to_string()),
            Some(other) => Err(format!("{} is no text", cut(&other.to_string(), 96))),
        };
        name.map_err(|why| Error::new(Code::InvalidConfiguration, format!("the network's name {why}")))
    }

    fn version(&self) -> Result<Version, Error> {
        let text = match self.map.get("cniVersion") {
            // The key is newer than 0.1.0 (SPEC 0.2.0), so who does not have it is meant to speak that.
            None | Some(Value::Null) => "0.1.0",
            Some(Value::String(text)) if text.is_empty() => "0.1.0",
            Some(Value::String(text)) if self.declared().is_some() => text,
            Some(other) => {
                let message =
                    format!("cannot decode cniVersion: {} is no version", cut(&other.to_string(), 96));
                return Err(Error::new(Code::Decode, message));
            }
        };
        Version::parse(text).ok_or_else(|| {
            let message = format!("incompatible CNI version: the configuration is of {}", quote(text));
            Error::new(Code::IncompatibleVersion, message)
                .with_details(format!("supported are {}", supported()))
        })
    }

    /// `prevResult`.
    pub(crate) fn previous(&self, problems: &mut Problems) -> Option<AddResult> {
        Node::of(&self.map, "", "prevResult").map(|node| result::read(&node, problems))
    }
}
