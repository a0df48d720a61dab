//! `vpodctl` as a process: what it asks a daemon, what it prints, and its exit status.

mod commands;
mod daemon;
mod failures;
mod offline;
mod operations;
mod services;
