//! `--json FILE`: how a run went, as one document.
//!
//! The document is small and flat, and the launch path should not pay for a
//! general serializer, so it is written by hand.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use pinfold::policy::path::Quoted;
use pinfold::policy::profile::Profile;
use pinfold::{Allow, Denial, Denials, Error, Exceeded, Handling, Outcome, Status, Target};
use pinfold_sys::{files, name};

use crate::terminal::{Failure, failed};

/// The file of `--json`.
///
/// It is opened before the command runs: a file that cannot be written should stop
/// the run, and what the command puts in its place later, such as a link to another
/// file of the user, must not be written.
#[derive(Debug)]
pub(crate) struct Document<'a> {
    name: &'a OsStr,
    file: File,
}

impl<'a> Document<'a> {
    /// Opens the file and empties it.
    pub(crate) fn open(name: &'a OsStr) -> Result<Document<'a>, Failure> {
        // The second descriptor is never one of the standard three, which the
        // caller may have closed.
        let file = File::create(name).and_then(|file| file.try_clone());
        let file = file.map_err(|error| unwritten(name, &error))?;
        Ok(Document { name, file })
    }

    /// Writes the document, in place of what the command may have written there.
    pub(crate) fn write(mut self, document: &str) -> Result<(), Failure> {
        let text = format!("{document}\n");
        let written = self.file.metadata().and_then(|own| {
            if own.is_file() {
                self.file.set_len(0)?;
            }
            self.file.write_all(text.as_bytes())?;
            files::leads_to(Path::new(self.name), &self.file)
        });
        match written {
            Ok(true) => Ok(()),
            Ok(false) => Err(failed(
                &format!(
                    "cannot write {}: the command replaced it",
                    Quoted(name::bytes(self.name))
                ),
                "pass --json a file that the command cannot write",
            )),
            Err(error) => Err(unwritten(self.name, &error)),
        }
    }
}

fn unwritten(file: &OsStr, error: &std::io::Error) -> Failure {
    let why = pinfold_sys::describe(error.raw_os_error().unwrap_or(0));
    let file = Quoted(name::bytes(file));
    failed(&format!("cannot write {file}: {why}"), "pass --json a file that can be written")
}

/// The document of a run that took place.
pub(crate) fn outcome(
    profile: &Profile,
    command: &[OsString],
    (outcome, duration): (&Outcome, Duration),
) -> String {
    let ended = &outcome.ended;
    let (kind, value) = match ended.status {
        Status::Exited(code) => ("exited", code),
        Status::Signaled(signal) => ("signaled", signal),
    };
    let exceeded = match ended.exceeded {
        None => String::from("null"),
        Some(Exceeded::WallTime) => string("wall_time"),
        Some(Exceeded::Memory) => string("memory"),
        Some(Exceeded::Processes) => string("processes"),
    };
    let gaps = outcome.gaps.iter().map(|gap| {
        object(&[
            ("name", string(gap.name)),
            ("rule", string(&gap.rule)),
            ("reason", string(&gap.reason)),
        ])
    });
    let appeared = ended.appeared.iter().map(|appeared| {
        let (handling, detail) = match &appeared.handling {
            Handling::TakenAway { kept } => ("taken-away", bytes(kept.as_bytes())),
            Handling::Covered => ("covered", String::from("null")),
            Handling::Failed(why) => ("failed", string(why)),
        };
        object(&[
            ("path", bytes(appeared.path.as_bytes())),
            ("handling", string(handling)),
            ("detail", detail),
        ])
    });
    let blocked = outcome.network.iter().flat_map(|network| &network.blocked).map(|blocked| {
        object(&[
            ("destination", string(&blocked.destination())),
            ("count", blocked.count.to_string()),
            ("reason", string(&blocked.detail)),
            ("remedy", blocked.remedy.as_ref().map_or(String::from("null"), |rule| string(rule))),
        ])
    });
    object(&[
        ("version", String::from("1")),
        ("command", words(command)),
        ("profile", string(&profile.name)),
        ("result", string(kind)),
        ("value", value.to_string()),
        ("exceeded", exceeded),
        ("duration_ms", duration.as_millis().to_string()),
        ("user_ms", ended.usage.user.as_millis().to_string()),
        ("system_ms", ended.usage.system.as_millis().to_string()),
        ("max_resident_bytes", ended.usage.resident.to_string()),
        ("gaps", array(gaps)),
        ("appeared", array(appeared)),
        ("blocked", array(blocked)),
        ("denials", outcome.denials.as_ref().map_or(String::from("null"), denials)),
    ])
}

/// Denials in order, without the process of a session.
pub(crate) fn denials(denials: &Denials) -> String {
    array(denials.list.iter().map(|one| object(&denial(one))))
}

/// The members of a denial.
pub(crate) fn denial(denial: &Denial) -> [(&'static str, String); 12] {
    let null = || String::from("null");
    let kind = match &denial.target {
        Target::Path(_) => "path",
        Target::Socket(_) | Target::AbstractSocket(_) => "socket",
        Target::Host(_) => "host",
    };
    let allow = denial.allow.as_ref().map(|allow| {
        object(&[("option", string(allow.option())), ("value", bytes(&allow.value()))])
    });
    let narrower = denial.narrower.as_ref().map(|path| bytes(&Allow::Write(path.clone()).value()));
    [
        ("seq", denial.sequence.to_string()),
        ("attempted", string(denial.attempted.word())),
        ("kind", string(kind)),
        ("target", bytes(&denial.target.bytes())),
        ("program", if denial.program.is_empty() { null() } else { string(&denial.program) }),
        ("pid", denial.process.map_or_else(null, |process| process.to_string())),
        ("count", denial.count.to_string()),
        ("rule", string(&denial.rule)),
        ("origin", denial.origin.as_ref().map_or_else(null, |origin| string(origin))),
        ("allow", allow.unwrap_or_else(null)),
        ("narrower", narrower.unwrap_or_else(null)),
        ("secret", denial.secret.to_string()),
    ]
}

/// The denials of a run for a later look at them.
pub(crate) fn note(command: &[OsString], profile: &str, denied: &Denials) -> String {
    object(&[
        ("command", words(command)),
        ("profile", string(profile)),
        ("denials", denials(denied)),
    ])
}

/// The document of a run that did not take place.
pub(crate) fn failure(command: &[OsString], error: &Error) -> String {
    object(&[
        ("version", String::from("1")),
        ("command", words(command)),
        ("result", string("failed")),
        ("value", error.status().to_string()),
        ("error", string(&error.to_string())),
    ])
}

fn words(command: &[OsString]) -> String {
    array(command.iter().map(|word| bytes(name::bytes(word))))
}

pub(crate) fn object(fields: &[(&str, String)]) -> String {
    let fields: Vec<String> =
        fields.iter().map(|(name, value)| format!("{}:{value}", string(name))).collect();
    format!("{{{}}}", fields.join(","))
}

fn array(values: impl Iterator<Item = String>) -> String {
    format!("[{}]", values.collect::<Vec<String>>().join(","))
}

/// Bytes that need not be UTF-8; what is not becomes the replacement character.
fn bytes(text: &[u8]) -> String {
    string(&String::from_utf8_lossy(text))
}

pub(crate) fn string(text: &str) -> String {
    let mut result = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => result.push_str("\\\""),
            '\\' => result.push_str("\\\\"),
            c if u32::from(c) < 0x20 => result.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => result.push(c),
        }
    }
    result.push('"');
    result
}
