//! The whole server on loopback, over UDP and TCP.

mod bed;
mod floods;
mod hostile;
mod whole;
