//! Reads values out of JSON that somebody else wrote, and says where it found what it could not use.
//!
//! `null` is as if the key were not there, and a key that comes twice has its last value, as in the reference library (Go's
//! `encoding/json`), and a key may be written in capitals: containerd writes what it asks by capabilities so (`HostPort`). Lists are bounded, and so is what is said about them.

use std::fmt;
use std::ops::RangeInclusive;

use protocol::problem::Problem;
use serde_json::{Map, Value};

use crate::error::cut;

/// Most problems kept of each kind; who has more corrects these first.
const MAX_PROBLEMS: usize = 64;
/// Longest value quoted, in characters.
const MAX_VALUE_CHARS: usize = 200;

/// What is wrong.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    /// What could be right and is not.
    pub(crate) invalid: Vec<Problem>,
    /// What is right and not done here.
    pub(crate) unsupported: Vec<Problem>,
    /// What is passed over.
    pub(crate) warnings: Vec<String>,
}

impl Problems {
    pub(crate) fn invalid(&mut self, node: &Node<'_>, why: impl fmt::Display) {
        if self.invalid.len() < MAX_PROBLEMS {
            let text = format!("Invalid value: {}: {why}", node.shown());
            self.invalid.push(Problem { path: node.path.clone(), text });
        }
    }

    pub(crate) fn required(&mut self, path: &str) {
        if self.invalid.len() < MAX_PROBLEMS {
            self.invalid.push(Problem::required(path, ""));
        }
    }

    /// Code 2 wants key and value in the message.
    pub(crate) fn unsupported(&mut self, node: &Node<'_>, why: &str) {
        if self.unsupported.len() < MAX_PROBLEMS {
            let text = format!("Unsupported value: {}: {why}", node.shown());
            self.unsupported.push(Problem { path: node.path.clone(), text });
        }
    }

    pub(crate) fn warn(&mut self, node: &Node<'_>, why: &str) {
        if self.warnings.len() < MAX_PROBLEMS {
            self.warnings.push(format!("{}: {}: {why}", node.path, node.shown()));
        }
    }
}

/// A value, and where it is.
#[derive(Debug, Clone)]
pub(crate) struct Node<'a> {
    pub(crate) path: String,
    pub(crate) value: &'a Value,
}

impl<'a> Node<'a> {
    /// The field of an object that is itself at `path` (empty: the document). The spelling that was asked for goes first.
    pub(crate) fn of(map: &'a Map<String, Value>, path: &str, key: &str) -> Option<Self> {
        let otherwise =
            || map.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value);
        let value = map.get(key).or_else(otherwise).filter(|value| !value.is_null())?;
        let path = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        Some(Self { path, value })
    }

    /// As JSON, on one line.
    pub(crate) fn shown(&self) -> String {
        cut(&self.value.to_string(), MAX_VALUE_CHARS)
    }

    pub(crate) fn object(&self, problems: &mut Problems) -> Option<&'a Map<String, Value>> {
        let object = self.value.as_object();
        if object.is_none() {
            problems.invalid(self, "must be an object");
        }
        object
    }

    /// The elements that are not `null`, if there are not more than `limit`.
    pub(crate) fn list(&self, limit: usize, problems: &mut Problems) -> Vec<Self> {
        let Some(list) = self.value.as_array() else {
            problems.invalid(self, "must be a list");
            return Vec::new();
        };
        if list.len() > limit {
            problems.invalid(self, format!("must have at most {limit} elements"));
            return Vec::new();
        }
        let elements = list.iter().enumerate().filter(|(_, value)| !value.is_null());
        elements.map(|(at, value)| Self { path: format!("{}[{at}]", self.path), value }).collect()
    }

    pub(crate) fn text(&self, problems: &mut Problems) -> Option<&'a str> {
        let text = self.value.as_str();
        if text.is_none() {
            problems.invalid(self, "must be a text");
        }
        text
    }

    /// A text that means something; empty is as if it were not there.
    pub(crate) fn read<T, E: fmt::Display>(
        &self,
        problems: &mut Problems,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.text(problems).filter(|text| !text.is_empty())?;
        parse(text).map_err(|why| problems.invalid(self, why)).ok()
    }

    pub(crate) fn number(&self, range: RangeInclusive<u64>, problems: &mut Problems) -> Option<u64> {
        let number = self.value.as_u64().filter(|number| range.contains(number));
        if number.is_none() {
            let (low, high) = range.into_inner();
            problems.invalid(self, format!("must be a whole number from {low} to {high}"));
        }
        number
    }

    /// As [`Self::number`], for ranges that fit.
    pub(crate) fn number_u32(&self, problems: &mut Problems) -> Option<u32> {
        self.number(0..=u64::from(u32::MAX), problems).and_then(|number| u32::try_from(number).ok())
    }

    pub(crate) fn number_u16(&self, low: u16, problems: &mut Problems) -> Option<u16> {
        self.number(u64::from(low)..=u64::from(u16::MAX), problems)
            .and_then(|number| u16::try_from(number).ok())
    }

    /// All texts of a list.
    pub(crate) fn texts(&self, limit: usize, problems: &mut Problems) -> Vec<String> {
        let nodes = self.list(limit, problems);
        nodes.iter().filter_map(|node| node.text(problems).map(str::to_owned)).collect()
    }
}
