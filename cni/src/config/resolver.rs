//! How a pod's programs are to resolve names: the configuration's `dns`, or the runtime's (CONVENTIONS, "dns").
//!
//! These become lines of a resolv.conf(5), so nothing in them may begin another line or another word of one.

use std::net::IpAddr;

use super::MAX_LIST;
use crate::json::{Node, Problems};
use crate::result::Dns;

/// Longest word: a domain's name (RFC 1035 §2.3.4), with its closing dot.
const MAX_WORD_LEN: usize = 254;

/// What is written into a resolv.conf.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resolver {
    /// Whom to ask, the first first.
    pub nameservers: Vec<IpAddr>,
    /// The local domain.
    pub domain: Option<String>,
    /// Domains to search, the first first.
    pub searches: Vec<String>,
    /// `ndots:5` and the like.
    pub options: Vec<String>,
}

impl Resolver {
    /// Says nothing: the pod resolves names as the cluster does.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl From<&Resolver> for Dns {
    fn from(resolver: &Resolver) -> Self {
        Self {
            nameservers: resolver.nameservers.iter().map(ToString::to_string).collect(),
            domain: resolver.domain.clone(),
            search: resolver.searches.clone(),
            options: resolver.options.clone(),
            ..Self::default()
        }
    }
}

/// The keys of a configuration's `dns`: those of a result.
pub(super) const OF_CONFIG: [&str; 3] = ["nameservers", "search", "options"];
/// The keys of `runtimeConfig.dns`.
pub(super) const OF_RUNTIME: [&str; 3] = ["servers", "searches", "options"];

pub(super) fn read(
    node: &Node<'_>,
    [servers, searches, options]: [&str; 3],
    problems: &mut Problems,
) -> Resolver {
    let Some(map) = node.object(problems) else { return Resolver::default() };
    let list = |key: &str, problems: &mut Problems| {
        Node::of(map, &node.path, key).map(|list| list.list(MAX_LIST, problems)).unwrap_or_default()
    };
    let words = |key: &str, problems: &mut Problems| -> Vec<String> {
        list(key, problems).iter().filter_map(|node| node.read(problems, word)).collect()
    };
    let server = |node: &Node<'_>, problems: &mut Problems| {
        node.read(problems, |text| text.parse().map_err(|_| "must be an address"))
    };
    Resolver {
        nameservers: list(servers, problems).iter().filter_map(|node| server(node, problems)).collect(),
        domain: Node::of(map, &node.path, "domain").and_then(|node| node.read(problems, word)),
        searches: words(searches, problems),
        options: words(options, problems),
    }
}

fn word(text: &str) -> Result<String, &'static str> {
    let fits =
        text.len() <= MAX_WORD_LEN && text.bytes().all(|b| b.is_ascii_graphic() && b != b'#' && b != b';');
    if fits { Ok(text.to_owned()) } else { Err("must be one word of printable ASCII, of at most 254 bytes") }
}
