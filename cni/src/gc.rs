//! GC: the runtime says what is valid, and everything else of the network goes (SPEC 1.1.0 §2, "GC").
//!
//! A list that is not there, or that is understood by half, removes nothing: it is an error.

use std::collections::HashSet;

use crate::error::{Code, Error};
use crate::json::{Node, Problems};
use protocol::attachment::{AttachmentKey, NetworkName};

/// The key of the list. Version 1.2.0 of the runtimes' library writes it also as `cni.dev/attachments`, which was a mistake.
const VALID: &str = "cni.dev/valid-attachments";
/// Most entries: four containers' lives of a full node ([`protocol::PortId::MAX_PORTS`]).
const MAX_VALID: usize = 16_384;

/// What must stay.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ValidAttachments {
    /// Container ids and interfaces as they came: what breaks the rules for them is nothing that we have.
    pairs: HashSet<(String, String)>,
}

impl ValidAttachments {
    /// Reads the list. `null` is an empty one, which is how the runtimes' library writes it.
    pub(crate) fn read(map: &serde_json::Map<String, serde_json::Value>, problems: &mut Problems) -> Self {
        let Some(node) = Node::of(map, "", VALID) else {
            if !map.contains_key(VALID) {
                problems.required(VALID);
            }
            return Self::default();
        };
        let pairs = node.list(MAX_VALID, problems).iter().filter_map(|node| pair(node, problems)).collect();
        Self { pairs }
    }

    /// Whether an attachment is valid.
    #[must_use]
    pub fn contains(&self, key: &AttachmentKey) -> bool {
        self.pairs.contains(&(key.container.as_str().to_owned(), key.interface.as_str().to_owned()))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Nothing is valid.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Which of `held` are to be released: those of this network that are not valid. Other networks' are theirs.
    pub fn stale<'a>(
        &'a self,
        network: &'a NetworkName,
        held: impl IntoIterator<Item = &'a AttachmentKey> + 'a,
    ) -> impl Iterator<Item = &'a AttachmentKey> + 'a {
        held.into_iter().filter(move |key| key.network == *network && !self.contains(key))
    }
}

fn pair(node: &Node<'_>, problems: &mut Problems) -> Option<(String, String)> {
    let map = node.object(problems)?;
    let mut text = |key: &str| match Node::of(map, &node.path, key) {
        Some(field) => field.text(problems).map(str::to_owned),
        None => {
            problems.required(&format!("{}.{key}", node.path));
            None
        }
    };
    Some((text("containerID")?, text("ifname")?))
}

/// The answer after all have been tried: GC goes on after an error and reports them all.
///
/// # Errors
/// Code 103, with each attachment that is left and why.
pub fn outcome(failures: &[(AttachmentKey, String)]) -> Result<(), Error> {
    let lines: Vec<String> = failures.iter().map(|(key, why)| format!("{key}: {why}")).collect();
    match lines.len() {
        0 => Ok(()),
        count => Err(Error::new(Code::CollectFailed, format!("{count} attachments could not be released"))
            .with_details(lines.join("\n"))),
    }
}
