//! Network policies: objects of the store in, decision tables for the datapath out, and what people ask about them.
//!
//! What policies mean is the crate [`policy`]'s. The objects come by a mirror of the services' thread, which also knows pods and
//! namespaces of the cluster, so that one revision says how far this node has come with all of them; the tables go to the datapath with
//! the next sync, in the commit that opens the ports of the pods they are for. A datapath that has no table of a pod
//! drops what it sends and what is for it.

mod audit;
mod denials;
mod objects;
mod rows;
mod state;
mod verdict;

pub(crate) use audit::audit;
pub(crate) use denials::{DenialLog, counted, denials, follow};
pub(crate) use objects::{count, delete, key_of, kind_of, name_in, read_entry, write};
pub(crate) use rows::{document, list};
pub(crate) use state::PolicyState;
pub(crate) use verdict::test;
