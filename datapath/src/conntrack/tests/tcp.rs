//! TCP's states, as segments go by: every valid sequence, and what is not one.

use super::*;

const O: Direction = Direction::Original;
const R: Direction = Direction::Reply;

/// Whether the segment is forwarded, where nobody but its server is to be had.
fn passes(table: &Connections, id: ConnectionId, direction: Direction, flags: TcpFlags) -> bool {
    match table.track(id, direction, Some(flags), START) {
        Tracked::Refused => table.refuse(id, START) == Tracked::Forward,
        other => matches!(other, Tracked::Forward | Tracked::Repeated),
    }
}

/// After the first SYN, these segments lead to these states.
#[track_caller]
fn walk(steps: &[(Direction, TcpFlags, State)]) {
    let table = table(4);
    let id = create(&table, &connection(TCP, (5, 1), (1, 80), 9));
    assert_eq!(table.state(id), Some(State::SynSent));
    for (step, (direction, flags, state)) in steps.iter().enumerate() {
        assert!(passes(&table, id, *direction, *flags), "step {step}");
        assert_eq!(table.state(id), Some(*state), "after step {step}");
    }
}

const OPEN: [(Direction, TcpFlags, State); 2] =
    [(R, SYN_ACK, State::SynReceived), (O, ACK, State::Established)];

#[track_caller]
fn walk_open(steps: &[(Direction, TcpFlags, State)]) {
    walk(&[&OPEN, steps].concat());
}

#[test]
fn handshake_and_data() {
    walk_open(&[
        (O, TcpFlags(0x18), State::Established),
        (R, ACK, State::Established),
        (R, TcpFlags(0x38), State::Established),
        // ECN's bits are nobody's business.
        (O, TcpFlags(0xd0), State::Established),
    ]);
}

#[test]
fn handshake_with_losses_and_repetitions() {
    walk(&[
        (O, SYN, State::SynSent),
        (R, SYN_ACK, State::SynReceived),
        (O, SYN, State::SynReceived),
        (R, SYN_ACK, State::SynReceived),
        // TCP Fast Open: the server's data before the last segment of the handshake.
        (R, ACK, State::SynReceived),
        (O, ACK, State::Established),
        (R, SYN_ACK, State::Established),
    ]);
    // The acknowledgement is lost, and the client's data or its end is the first of it.
    walk(&[(R, SYN_ACK, State::SynReceived), (O, FIN, State::FinWait)]);
    walk(&[(R, SYN_ACK, State::SynReceived), (R, FIN, State::FinWait), (O, ACK, State::CloseWait)]);
}

#[test]
fn simultaneous_open() {
    // RFC 9293 figure 8, RFC 5382 REQ-2.
    walk(&[
        (R, SYN, State::SynSentBoth),
        (O, SYN, State::SynSentBoth),
        (O, SYN_ACK, State::SynReceived),
        (R, SYN_ACK, State::Established),
    ]);
    walk(&[(R, SYN, State::SynSentBoth), (R, SYN_ACK, State::SynReceived), (O, ACK, State::Established)]);
    walk(&[(R, SYN, State::SynSentBoth), (O, ACK, State::Established)]);
}

#[test]
fn original_side_closes_first() {
    walk_open(&[
        (O, FIN, State::FinWait),
        (O, FIN, State::FinWait),
        (R, ACK, State::CloseWait),
        (R, TcpFlags(0x18), State::CloseWait),
        (O, ACK, State::CloseWait),
        (R, FIN, State::LastAck),
        (R, FIN, State::LastAck),
        (O, ACK, State::TimeWait),
        (R, FIN, State::TimeWait),
        (O, ACK, State::TimeWait),
    ]);
}

#[test]
fn reply_side_closes_first() {
    walk_open(&[
        (R, FIN, State::FinWait),
        (O, ACK, State::CloseWait),
        (O, TcpFlags(0x18), State::CloseWait),
        (R, ACK, State::CloseWait),
        (O, FIN, State::LastAck),
        (R, ACK, State::TimeWait),
    ]);
}

#[test]
fn both_close_at_once() {
    walk_open(&[
        (O, FIN, State::FinWait),
        (R, FIN, State::LastAck),
        (R, ACK, State::LastAck),
        (O, ACK, State::TimeWait),
        (R, ACK, State::TimeWait),
    ]);
    // Three segments instead of four.
    walk_open(&[(R, FIN, State::FinWait), (O, FIN, State::LastAck), (R, ACK, State::TimeWait)]);
}

#[test]
fn reset_ends_it_from_any_state_but_time_wait() {
    walk(&[(R, TcpFlags(0x14), State::Reset), (O, RST, State::Reset)]);
    walk(&[(O, RST, State::Reset)]);
    walk(&[(R, SYN, State::SynSentBoth), (O, RST, State::Reset)]);
    walk(&[(R, SYN_ACK, State::SynReceived), (O, RST, State::Reset)]);
    walk_open(&[(R, RST, State::Reset), (O, ACK, State::Reset), (R, SYN, State::Reset)]);
    walk_open(&[(O, FIN, State::FinWait), (R, RST, State::Reset)]);
    walk_open(&[(O, FIN, State::FinWait), (R, ACK, State::CloseWait), (R, RST, State::Reset)]);
    walk_open(&[(O, FIN, State::FinWait), (R, FIN, State::LastAck), (O, RST, State::Reset)]);
    // RFC 1337.
    walk_open(&[
        (O, FIN, State::FinWait),
        (R, FIN, State::LastAck),
        (O, ACK, State::TimeWait),
        (O, RST, State::TimeWait),
    ]);
}

#[test]
fn challenges_and_half_open_peers_pass() {
    // RFC 9293 §3.5.1 figure 10: a peer that knows the old connection acknowledges what the new SYN is not about.
    walk(&[(R, ACK, State::SynSent), (O, RST, State::Reset)]);
    // A client that has restarted: the challenge (RFC 5961 §4) and its answer.
    walk_open(&[(O, SYN, State::Established), (R, ACK, State::Established), (O, RST, State::Reset)]);
    walk_open(&[(O, FIN, State::FinWait), (O, SYN, State::FinWait), (R, SYN, State::FinWait)]);
}

#[test]
fn syn_after_the_end_begins_a_new_connection() {
    for over in [&[(R, RST)][..], &[(R, SYN_ACK), (O, ACK), (O, FIN), (R, FIN), (O, ACK)]] {
        let table = table(4);
        let new = connection(TCP, (5, 1), (1, 80), 9);
        let id = create(&table, &new);
        for (direction, flags) in over {
            assert!(passes(&table, id, *direction, *flags));
        }
        assert_eq!(table.track(id, R, Some(SYN), START), Tracked::Forward, "the server does not reopen");
        assert_eq!(table.track(id, O, Some(SYN), START), Tracked::Reopen);
        assert!(table.remove(id));
        let again = create(&table, &new);
        assert_eq!(table.state(again), Some(State::SynSent));
        assert_ne!(id, again);
    }
}

#[test]
fn what_no_handshake_begins_with_is_refused() {
    let table = table(4);
    let id = create(&table, &connection(TCP, (5, 1), (1, 80), 9));
    for flags in [ACK, FIN, SYN_ACK] {
        let tracked = table.track(id, O, Some(flags), START);
        assert_eq!(tracked, Tracked::Invalid(TcpInvalid::NoHandshake));
    }
    assert_eq!(table.state(id), Some(State::SynSent));
}

#[test]
fn flags_that_no_stack_sends_together_are_refused_in_every_state() {
    // All combinations of FIN, SYN, RST, ACK and URG that Linux calls valid, PSH and ECN apart.
    const VALID: [u8; 9] = [0x02, 0x22, 0x12, 0x04, 0x14, 0x11, 0x31, 0x10, 0x30];
    for flags in 0..=255u8 {
        let table = table(4);
        let id = create(&table, &connection(TCP, (5, 1), (1, 80), 9));
        establish(&table, id, START);
        let tracked = table.track(id, O, Some(TcpFlags(flags)), START);
        let is_valid = VALID.contains(&(flags & 0x37));
        let wanted = if is_valid { Tracked::Forward } else { Tracked::Invalid(TcpInvalid::Flags) };
        assert_eq!(tracked, wanted, "{flags:#04x}");
    }
}
