//! Network policies in the datapath: who is asked on which path, and what becomes of flows when a policy changes.

mod basics;
mod bed;
mod changes;
mod configuration;
mod generated;
mod lasting;
mod outside;
mod services;
