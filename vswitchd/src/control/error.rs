//! Errors of the control process on their way to a client or to the log.

use std::error::Error;

use protocol::message::{ApiError, ErrorCode};

/// `error` and what caused it, in one line. Causes already told by their consequence are left out.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}

/// As an answer of class `code`, about `object`.
pub(crate) fn api(code: ErrorCode, object: &dyn std::fmt::Display, error: &dyn Error) -> ApiError {
    ApiError::new(code, format!("{object}: {}", chain(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot write {path}")]
    struct Outer {
        path: &'static str,
        source: Inner,
    }

    #[derive(Debug, thiserror::Error)]
    #[error("state file: {source}")]
    struct Inner {
        source: std::io::Error,
    }

    #[test]
    fn causes_are_told_once_each() {
        let error = Outer { path: "/x", source: Inner { source: std::io::Error::other("disk on fire") } };
        assert_eq!(chain(&error), "cannot write /x: state file: disk on fire");
    }
}
