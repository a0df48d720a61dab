//! STATUS: could ADD be served now? (SPEC 1.1.0 §2, "STATUS")

use crate::error::{Code, Error};

/// What is known of the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// ADD would be served.
    Ready,
    /// The daemon cannot be asked. Pods go on: their traffic does not need it.
    Unreachable {
        /// Why, with the socket's path.
        why: String,
    },
    /// The daemon serves no new pods: it starts, it drains, or it lacks something.
    Refusing {
        /// Why.
        why: String,
    },
    /// No address is free.
    Exhausted {
        /// The range that is full.
        pool: String,
        /// How many addresses are held.
        held: u64,
    },
    /// Nothing is forwarded, so pods that are there have no network either.
    NotForwarding {
        /// Why.
        why: String,
    },
}

impl Readiness {
    /// The answer: nothing, or an error.
    ///
    /// # Errors
    /// Code 50: ADD would fail. Code 51: also, pods that are there may have no network.
    pub fn outcome(&self) -> Result<(), Error> {
        let not_available = |message: String| Err(Error::new(Code::NotAvailable, message));
        match self {
            Self::Ready => Ok(()),
            Self::Unreachable { why } => not_available(format!("the switch cannot be asked: {why}")),
            Self::Refusing { why } => not_available(format!("the switch takes no new pods: {why}")),
            Self::Exhausted { pool, held } => not_available(format!(
                "no address of {pool} is free: {held} are held; delete pods, or give the node a larger pod CIDR"
            )),
            Self::NotForwarding { why } => {
                Err(Error::new(Code::LimitedConnectivity, format!("the switch does not forward: {why}")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_is_50_where_add_would_fail_and_51_where_pods_are_cut_off_too() {
        let why = || "no such file".to_owned();
        assert_eq!(Readiness::Ready.outcome(), Ok(()));
        for readiness in [
            Readiness::Unreachable { why: why() },
            Readiness::Refusing { why: why() },
            Readiness::Exhausted { pool: "10.244.1.0/24".to_owned(), held: 253 },
        ] {
            assert_eq!(readiness.outcome().unwrap_err().code.number(), 50, "{readiness:?}");
        }
        assert_eq!(Readiness::NotForwarding { why: why() }.outcome().unwrap_err().code.number(), 51);
    }

    #[test]
    fn an_exhausted_pool_is_named_with_its_use_and_a_remedy() {
        let text = Readiness::Exhausted { pool: "10.244.1.0/24".to_owned(), held: 253 }
            .outcome()
            .unwrap_err()
            .message;
        assert!(text.contains("10.244.1.0/24") && text.contains("253") && text.contains("delete"), "{text}");
    }
}
