//! What the tools take. `tools.rs` describes the same to a model.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::serve::message::{Fault, Terminal, WRONG_PARAMETERS};

/// The longest that a call waits.
const LONGEST: Duration = Duration::from_secs(3600);

/// The most output in one answer, in bytes: what is kept of a process.
pub(super) const MOST_OUTPUT: usize = crate::serve::process::KEPT;

/// Text for a shell, or a program and its arguments.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "\"command\" must be a string or a list of strings")]
pub(super) enum CommandLine {
    Shell(String),
    Words(Vec<String>),
}

impl CommandLine {
    pub(super) fn words(self) -> Vec<String> {
        match self {
            CommandLine::Shell(text) => vec!["sh".into(), "-c".into(), text],
            CommandLine::Words(words) => words,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Run {
    pub(super) command: CommandLine,
    #[serde(default)]
    pub(super) directory: Option<String>,
    #[serde(default)]
    pub(super) environment: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) input: Option<String>,
    #[serde(default = "run_seconds")]
    pub(super) timeout_seconds: f64,
    #[serde(default)]
    pub(super) on_timeout: OnTimeout,
    #[serde(default = "output_bytes")]
    pub(super) max_output_bytes: usize,
}

/// What a run that takes too long meets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum OnTimeout {
    #[default]
    Stop,
    Keep,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Start {
    pub(super) command: CommandLine,
    #[serde(default)]
    pub(super) directory: Option<String>,
    #[serde(default)]
    pub(super) environment: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) terminal: Option<Terminal>,
    #[serde(default = "short")]
    pub(super) wait_seconds: f64,
    #[serde(default)]
    pub(super) until: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Write {
    pub(super) process: String,
    #[serde(default)]
    pub(super) text: String,
    #[serde(default)]
    pub(super) close: bool,
    #[serde(default = "short")]
    pub(super) wait_seconds: f64,
    #[serde(default)]
    pub(super) until: Option<String>,
    #[serde(default = "output_bytes")]
    pub(super) max_output_bytes: usize,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Read {
    pub(super) process: String,
    #[serde(default)]
    pub(super) after: Option<u64>,
    #[serde(default)]
    pub(super) wait_seconds: f64,
    #[serde(default)]
    pub(super) until: Option<String>,
    #[serde(default = "output_bytes")]
    pub(super) max_output_bytes: usize,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stop {
    pub(super) process: String,
    #[serde(default = "grace")]
    pub(super) grace_seconds: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Signal {
    pub(super) process: String,
    pub(super) signal: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Resize {
    pub(super) process: String,
    pub(super) rows: u16,
    pub(super) columns: u16,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct List {}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Explain {
    #[serde(default)]
    pub(super) about: Option<String>,
}

/// Below the minute after which clients commonly give a call up.
fn run_seconds() -> f64 {
    50.0
}

fn short() -> f64 {
    1.0
}

fn grace() -> f64 {
    5.0
}

fn output_bytes() -> usize {
    32 * 1024
}

/// A time that was asked for, at most an hour.
pub(super) fn time(seconds: f64, name: &str) -> Result<Duration, Fault> {
    let time = Duration::try_from_secs_f64(seconds).map(|time| time.min(LONGEST));
    time.map_err(|_| {
        let fault = Fault::new(WRONG_PARAMETERS, format!("\"{name}\" cannot be {seconds}"));
        fault.hint("use a number of seconds, 0 to 3600")
    })
}

/// The end of such a time.
pub(super) fn deadline(seconds: f64, name: &str) -> Result<Instant, Fault> {
    Ok(Instant::now() + time(seconds, name)?)
}
