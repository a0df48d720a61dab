//! What happens in a run of the model.

use proptest::prelude::*;

#[derive(Debug, Clone, Copy)]
pub(super) struct Party {
    pub(super) pod: usize,
    pub(super) port: u16,
}

#[derive(Debug, Clone)]
pub(super) enum Operation {
    /// A pod sends to a server; or pings it.
    Send {
        from: Party,
        server: usize,
        is_ping: bool,
    },
    /// A server sends to what a pod's port appears as, or did last.
    Come {
        to: Party,
        server: usize,
        is_ping: bool,
    },
    /// A pod sends to what another appears as.
    Meet {
        from: Party,
        to: Party,
    },
    Wait {
        seconds: u64,
    },
    Filter {
        is_open: bool,
    },
    /// Pod B appears as an address that it never did before.
    Move,
}

pub(super) fn operation() -> impl Strategy<Value = Operation> {
    let party = || (0..3usize, 4000..4002u16).prop_map(|(pod, port)| Party { pod, port });
    prop_oneof![
        6 => (party(), 0..2usize, any::<bool>()).prop_map(|(from, server, is_ping)| Operation::Send { from, server, is_ping }),
        6 => (party(), 0..2usize, any::<bool>()).prop_map(|(to, server, is_ping)| Operation::Come { to, server, is_ping }),
        4 => (party(), party()).prop_map(|(from, to)| Operation::Meet { from, to }),
        3 => prop_oneof![Just(1u64), Just(60), Just(150), 1..320u64].prop_map(|seconds| Operation::Wait { seconds }),
        1 => any::<bool>().prop_map(|is_open| Operation::Filter { is_open }),
        1 => Just(Operation::Move),
    ]
}
