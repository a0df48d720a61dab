//! Promises of the codec, for every message and both codecs: the bytes do not change unnoticed,
//! what is encoded is decoded, and hostile bytes are refused without a panic or a large allocation.

mod golden;
mod hostile;
mod link_policies;
mod policies;
mod round_trip;
mod samples;
