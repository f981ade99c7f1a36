//! The conformance cases of the network study, each named by its number, against
//! the real proxy. Names and public addresses exist only in the test: connections
//! to them end at servers on loopback, so no traffic leaves the machine.
//!
//! Cases that need a namespace, TLS termination or a real client are not here;
//! `docs/network.md` says where each one is.

// A test that cannot set its stage has failed.
#![allow(clippy::unwrap_used, clippy::panic)]

mod decisions;
mod doors;
mod flows;
mod harness;
mod hygiene;
mod mutations;
