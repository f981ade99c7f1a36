//! What a sandboxed command may do, as data.
//!
//! This crate turns text into a [`profile::Profile`], answers questions about
//! it ([`decide`]), and compiles it, together with the facts of one machine
//! ([`host::Host`]), into the terms of one operating system ([`plan`]). It
//! performs no input or output and does not depend on the system it runs on:
//! the same input gives the same plan everywhere. Enforcing a plan is the work
//! of `pinfold-sys`.
#![forbid(unsafe_code)]

pub mod config;
pub mod decide;
pub mod denial;
pub mod environment;
pub mod explain;
pub mod gap;
pub mod git_config;
pub mod glob;
pub mod host;
pub mod net;
pub mod origin;
pub mod path;
pub mod plan;
pub mod profile;
pub mod program;
pub mod repository;
pub mod resolve;
