//! The control sockets: `admin.sock` for root, `ro.sock` for whoever may open it.
//!
//! A thread per connection, so that one that is slow or silent holds up nobody else; their number is
//! capped, and where the cap is reached the connection that has been idle longest makes room. What a
//! peer sends is bounded in size and time before it is looked at.

mod attachments;
mod connection;
mod gate;
mod listener;
mod requests;

pub(crate) use connection::Client;
pub(crate) use gate::Gate;
pub(crate) use listener::{Access, serve};
