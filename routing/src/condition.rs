//! What a rule asks of a request beside host and path.

use crate::request::RequestView;

/// A value that a header field or a query parameter must have, byte by byte.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Condition {
    /// Of a header field in lower case.
    pub name: String,
    /// What it must be.
    pub value: String,
}

/// All must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Conditions {
    /// Any without.
    pub method: Option<String>,
    /// One per name.
    pub headers: Vec<Condition>,
    /// One per name.
    pub query: Vec<Condition>,
}

impl Conditions {
    pub(crate) fn hold(&self, request: &RequestView<'_>) -> bool {
        self.method.as_ref().is_none_or(|method| method == request.method)
            && self.headers.iter().all(|wanted| request.fields.field(&wanted.name) == Some(&wanted.value))
            && self.query.iter().all(|wanted| {
                request.parameter(&wanted.name).is_some_and(|value| value == wanted.value.as_str())
            })
    }

    /// Grows with what is asked: a method, then header fields, then query parameters.
    pub(crate) fn rank(&self) -> (bool, usize, usize) {
        (self.method.is_some(), self.headers.len(), self.query.len())
    }
}
