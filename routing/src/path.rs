//! Paths: what a rule is for, and a tree of path elements that finds the rules of a path, the longest first.
//!
//! A prefix is compared element by element: `/aaa/bbb` covers `/aaa/bbb`, `/aaa/bbb/` and `/aaa/bbb/ccc`, not `/aaa/bbbxyz`; its own
//! slash at the end is ignored. An exact path is compared byte by byte. So of all rules that fit a path an exact one is never
//! shorter than a prefix, and "the longest, then Exact before Prefix" is "Exact, then the longest prefix".

use std::collections::HashMap;
use std::fmt;

/// The paths of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PathPattern {
    /// It and what is below it; without the slash at the end, so that all paths are "".
    Prefix(String),
    /// This one.
    Exact(String),
}

impl PathPattern {
    pub(crate) fn prefix(text: &str) -> Self {
        Self::Prefix(text.trim_end_matches('/').to_owned())
    }

    /// Grows with how much of a path it says.
    pub(crate) fn rank(&self) -> PathRank {
        match self {
            Self::Prefix(prefix) => PathRank(0, prefix.len()),
            Self::Exact(path) => PathRank(1, path.len()),
        }
    }

    /// Whether a path is covered; as the specification puts it, for the slow reference.
    #[cfg(test)]
    pub(crate) fn covers(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == path,
            Self::Prefix(prefix) => {
                let (wanted, asked) = (prefix.split('/'), &mut path.split('/'));
                wanted.into_iter().all(|element| asked.next() == Some(element))
            }
        }
    }
}

/// See [`PathPattern::rank`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PathRank(u8, usize);

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix(prefix) if prefix.is_empty() => f.write_str("/"),
            Self::Prefix(path) | Self::Exact(path) => f.write_str(path),
        }
    }
}

/// Values by path. Prefixes are a tree of their elements in one vector, node 0 being the root.
#[derive(Debug)]
pub(crate) struct PathTable<T> {
    exact: HashMap<String, T>,
    nodes: Vec<Node<T>>,
}

#[derive(Debug)]
struct Node<T> {
    children: HashMap<String, usize>,
    value: Option<T>,
}

impl<T> Node<T> {
    fn new() -> Self {
        Self { children: HashMap::new(), value: None }
    }
}

impl<T> Default for PathTable<T> {
    fn default() -> Self {
        Self { exact: HashMap::new(), nodes: vec![Node::new()] }
    }
}

impl<T: Default> PathTable<T> {
    /// The value of a pattern, made if there is none; `None` only if the tree were damaged.
    pub(crate) fn entry(&mut self, pattern: &PathPattern) -> Option<&mut T> {
        let prefix = match pattern {
            PathPattern::Exact(path) => return Some(self.exact.entry(path.clone()).or_default()),
            PathPattern::Prefix(prefix) => prefix,
        };
        let mut at = 0;
        for element in elements(prefix) {
            let next = self.nodes.len();
            let known = *self.nodes.get_mut(at)?.children.entry(element.to_owned()).or_insert(next);
            if known == next {
                self.nodes.push(Node::new());
            }
            at = known;
        }
        Some(self.nodes.get_mut(at)?.value.get_or_insert_default())
    }

    /// What covers a path, the most specific first. Costs the length of the path at most.
    pub(crate) fn covering<'t>(&'t self, path: &str) -> impl Iterator<Item = &'t T> {
        let mut found = Vec::new();
        let mut node = self.nodes.first();
        let mut rest = elements(path);
        while let Some(here) = node {
            found.extend(&here.value);
            node = rest.next().and_then(|element| self.nodes.get(*here.children.get(element)?));
        }
        self.exact.get(path).into_iter().chain(found.into_iter().rev())
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.exact.values_mut().chain(self.nodes.iter_mut().filter_map(|node| node.value.as_mut()))
    }
}

/// Those after the slash at the beginning.
fn elements(path: &str) -> impl Iterator<Item = &str> {
    path.strip_prefix('/').into_iter().flat_map(|rest| rest.split('/'))
}
