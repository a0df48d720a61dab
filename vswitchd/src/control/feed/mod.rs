//! Feeds: what DNS and the ingress are told, as it changes ([`protocol::feed`]).
//!
//! How it works: each feed is a [`FeedTable`], which holds for every key what is so now and the sequence of its last change. What
//! services mean for DNS is staged when they are derived ([`names`]), and put into the table once the datapath runs exactly
//! those services, so that nobody is sent to an address before the switch knows it; what goes is told before the switch forgets it.
//! Followers wait at the table ([`follow()`]) and are told what has changed since their position.
//!
//! Nobody is answered before a feed is complete for the first time: to a follower, what is missing is gone.

mod follow;
mod names;
mod table;

use parking_lot::Mutex;

pub(crate) use follow::follow;
use names::Staged;
pub(crate) use names::{flush, stage};
pub(crate) use table::{FeedKey, FeedTable, MAX_FOLLOWERS};

/// All feeds of the daemon.
pub(crate) struct Feeds {
    /// For DNS.
    pub(crate) names: FeedTable,
    /// For the ingress.
    pub(crate) routes: FeedTable,
    /// Names that the datapath does not know yet.
    staged: Mutex<Staged>,
}

impl Feeds {
    /// Without anything in them, incomplete.
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            names: FeedTable::new(random()?),
            routes: FeedTable::new(random()?),
            staged: Mutex::default(),
        })
    }
}

/// Tells this process's positions from those of another one.
fn random() -> std::io::Result<u64> {
    let uid = super::pods::create::new_uid()?;
    let digits: String = uid.chars().filter(char::is_ascii_hexdigit).take(16).collect();
    u64::from_str_radix(&digits, 16).map_err(std::io::Error::other)
}

#[cfg(test)]
mod tests;
