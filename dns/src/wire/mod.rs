//! DNS messages as bytes (RFC 1035 §4): what a question needs to be read and an answer to be written without an allocation.
//!
//! Only the two directions of the hot path are here: reading a *query* ([`query`]), which has one question and at most an OPT
//! record that matters, and writing an *answer* ([`writer`]) whose names are mostly pointers to the question. Whatever a
//! stranger's server sends is read with `hickory-proto` instead, and what is written here is checked with it in tests.

pub mod name;
pub mod query;
pub mod record;
pub mod writer;

/// Bytes of a message's header.
pub const HEADER_BYTES: usize = 12;
/// Where a question's name begins: the first thing after the header.
pub const QUESTION_AT: u16 = 12;
/// The largest message over TCP, whose length has 16 bits.
pub const MAX_MESSAGE_BYTES: usize = 65_535;
/// The largest answer over UDP that is sent and announced: fits an IPv6 path of 1280 bytes (DNS flag day 2020).
pub const MAX_UDP_BYTES: u16 = 1232;
/// The largest answer over UDP to who does not say more (RFC 1035 §4.2.1).
pub const PLAIN_UDP_BYTES: u16 = 512;
