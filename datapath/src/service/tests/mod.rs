//! Promises of the module, kept whatever the sequence of changes.

mod affinity;
mod bed;
mod configuration;
mod model;
mod policies;
mod schedulers;
mod size;
