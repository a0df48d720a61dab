//! What is wrong with an object, field by field, in Kubernetes' words.

use std::fmt;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Which field: `spec.ports[0].port`.
    pub path: String,
    /// What is wrong with it.
    pub text: String,
}

impl Problem {
    /// A field that must be there and is not.
    pub fn required(path: impl Into<String>, why: &str) -> Self {
        let why = if why.is_empty() { String::new() } else { format!(": {why}") };
        Self { path: path.into(), text: format!("Required value{why}") }
    }

    /// A value that cannot be.
    pub fn invalid(path: impl Into<String>, value: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self { path: path.into(), text: format!("Invalid value: \"{value}\": {why}") }
    }

    /// A word that is none of those there are.
    pub fn unsupported(path: impl Into<String>, value: &str, supported: &[&str]) -> Self {
        let supported: Vec<String> = supported.iter().map(|word| format!("\"{word}\"")).collect();
        let text = format!("Unsupported value: \"{value}\": supported values: {}", supported.join(", "));
        Self { path: path.into(), text }
    }

    /// A value that may not be here.
    pub fn forbidden(path: impl Into<String>, why: impl fmt::Display) -> Self {
        Self { path: path.into(), text: format!("Forbidden: {why}") }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.text)
    }
}

/// An object that cannot be accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// `Service`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// Everything that is wrong with it; not empty.
    pub problems: Vec<Problem>,
}

impl fmt::Display for Invalid {
    /// As the API server puts it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "The {} \"{}\" is invalid: ", self.kind, self.name)?;
        match self.problems.as_slice() {
            [one] => one.fmt(f),
            several => several.iter().try_for_each(|problem| write!(f, "\n* {problem}")),
        }
    }
}

impl std::error::Error for Invalid {}
