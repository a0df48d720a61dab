//! Hosts: what a rule or listener is for, and a table that finds the most specific one for a name.
//!
//! An Ingress's `*.foo.com` covers exactly one label (networking/v1, `IngressRule.host`); that of the Gateway API one or more
//! (`Hostname`). Names are compared in lower case, without a port and without the dot at the end.

use std::collections::HashMap;
use std::fmt;

/// A host, or the hosts below one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// Whatever it is.
    Any,
    /// `*.foo.com`: here `foo.com`, for names below it.
    Below(String),
    /// This one.
    Exact(String),
}

/// How many labels the star of a wildcard stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Star {
    /// As with Ingress.
    OneLabel,
    /// As with the Gateway API.
    Labels,
}

impl HostPattern {
    /// Reads what was checked: `foo.com`, `*.foo.com`, or nothing.
    pub(crate) fn read(text: Option<&str>) -> Self {
        let Some(text) = text.filter(|text| !text.is_empty()) else { return Self::Any };
        let lower = text.to_ascii_lowercase();
        match lower.strip_prefix("*.") {
            Some(parent) => Self::Below(parent.to_owned()),
            None => Self::Exact(lower),
        }
    }

    /// Whether a name (in lower case) is covered.
    pub(crate) fn covers(&self, host: &str, star: Star) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(name) => name == host,
            Self::Below(parent) => {
                let label = host.strip_suffix(parent.as_str()).and_then(|rest| rest.strip_suffix('.'));
                label.is_some_and(|label| !label.is_empty() && (star == Star::Labels || !label.contains('.')))
            }
        }
    }

    /// What both cover, in the Gateway API's sense; `None` if nothing.
    pub(crate) fn intersection(&self, other: &Self) -> Option<Self> {
        let below = |inner: &str, parent: &str| {
            inner == parent || inner.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.'))
        };
        match (self, other) {
            (Self::Any, one) | (one, Self::Any) => Some(one.clone()),
            (Self::Exact(a), Self::Exact(b)) => (a == b).then(|| self.clone()),
            (wild @ Self::Below(_), exact @ Self::Exact(name))
            | (exact @ Self::Exact(name), wild @ Self::Below(_)) => {
                wild.covers(name, Star::Labels).then(|| exact.clone())
            }
            (Self::Below(a), Self::Below(b)) => {
                if below(a, b) {
                    Some(self.clone())
                } else {
                    below(b, a).then(|| other.clone())
                }
            }
        }
    }

    /// Grows with how much of a host it says: a whole name before a part of one, then by length.
    pub(crate) fn rank(&self) -> HostRank {
        match self {
            Self::Any => HostRank(0, 0),
            Self::Below(parent) => HostRank(1, parent.len()),
            Self::Exact(name) => HostRank(2, name.len()),
        }
    }
}

/// See [`HostPattern::rank`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HostRank(u8, usize);

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Below(parent) => write!(f, "*.{parent}"),
            Self::Exact(name) => f.write_str(name),
        }
    }
}

/// Values by host.
#[derive(Debug)]
pub(crate) struct HostTable<T> {
    exact: HashMap<String, T>,
    below: HashMap<String, T>,
    any: Option<T>,
    star: Star,
}

impl<T> HostTable<T> {
    pub(crate) fn new(star: Star) -> Self {
        Self { exact: HashMap::new(), below: HashMap::new(), any: None, star }
    }

    /// The value of a pattern, made if there is none.
    pub(crate) fn entry(&mut self, pattern: &HostPattern, make: impl FnOnce() -> T) -> &mut T {
        match pattern {
            HostPattern::Any => self.any.get_or_insert_with(make),
            HostPattern::Below(parent) => self.below.entry(parent.clone()).or_insert_with(make),
            HostPattern::Exact(name) => self.exact.entry(name.clone()).or_insert_with(make),
        }
    }

    /// All values that cover a name, the most specific first. At most one hash per label of the name.
    pub(crate) fn covering<'t>(&'t self, host: &str) -> impl Iterator<Item = &'t T> {
        let wild = if self.below.is_empty() { "" } else { host };
        let parents = std::iter::successors(parent(wild), |name| parent(name));
        let labels = if self.star == Star::OneLabel { 1 } else { usize::MAX };
        let below = parents.take(labels).filter_map(|name| self.below.get(name));
        self.exact.get(host).into_iter().chain(below).chain(&self.any)
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.exact.values_mut().chain(self.below.values_mut()).chain(&mut self.any)
    }
}

/// What follows the first label, which is not empty.
fn parent(name: &str) -> Option<&str> {
    let (label, rest) = name.split_once('.')?;
    (!label.is_empty()).then_some(rest)
}
