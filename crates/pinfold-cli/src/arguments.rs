//! Takes the command line apart. Values may hold any byte.

use std::ffi::{OsStr, OsString};

use pinfold::policy::config::diagnostic::nearest;
use pinfold::policy::path::Quoted;

use crate::table::{COMMANDS, Command, Flag, before_command};
use crate::terminal::{Failure, usage};

/// A command line, taken apart.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    options: Vec<(&'static str, OsString)>,
    pub(crate) operands: Vec<OsString>,
}

impl Parsed {
    /// Whether an option was given.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.options.iter().any(|(given, _)| *given == name)
    }

    /// The last value of an option.
    pub(crate) fn last(&self, name: &str) -> Option<&OsStr> {
        self.options.iter().rev().find(|(given, _)| *given == name).map(|(_, value)| &**value)
    }

    /// All options with their values, in order.
    pub(crate) fn options(&self) -> impl Iterator<Item = (&'static str, &OsStr)> {
        self.options.iter().map(|(name, value)| (*name, &**value))
    }

    /// All values of an option that must be text.
    pub(crate) fn texts(&self, name: &'static str) -> Result<Vec<String>, Failure> {
        self.all(name).map(|value| text(name, value)).collect()
    }

    /// All values of an option, in order.
    pub(crate) fn all(&self, name: &'static str) -> impl Iterator<Item = &OsStr> {
        self.options().filter(move |(given, _)| *given == name).map(|(_, value)| value)
    }

    /// The last value of an option that must be text.
    pub(crate) fn text(&self, name: &'static str) -> Result<Option<String>, Failure> {
        self.last(name).map(|value| text(name, value)).transpose()
    }
}

fn text(name: &str, value: &OsStr) -> Result<String, Failure> {
    value
        .to_str()
        .map(String::from)
        .ok_or_else(|| usage(&format!("the value of --{name} is not UTF-8"), "write it in UTF-8"))
}

/// Parses what follows the name of a command.
pub(crate) fn parse(
    command: &'static Command,
    arguments: Vec<OsString>,
) -> Result<Parsed, Failure> {
    let mut parsed = Parsed::default();
    let mut rest = arguments.into_iter();
    while let Some(argument) = rest.next() {
        let bytes = pinfold_sys::name::bytes(&argument);
        if bytes == b"--" {
            parsed.operands.extend(rest);
            break;
        }
        if let Some(long) = bytes.strip_prefix(b"--") {
            let (name, value) = split(long);
            let flag = long_flag(command, &String::from_utf8_lossy(name))?;
            take(&mut parsed, flag, value.map(|value| pinfold_sys::name::os(&value)), &mut rest)?;
        } else if let [b'-', first, ..] = bytes {
            short(&mut parsed, command, (*first, &bytes[1..]), &mut rest)?;
        } else {
            parsed.operands.push(argument);
            let before = before_command(command.name);
            if before.is_some_and(|before| parsed.operands.len() > before) {
                parsed.operands.extend(rest);
                break;
            }
        }
    }
    match parsed.operands.get(command.most) {
        Some(extra) if !parsed.has("help") => {
            let message = format!("unexpected operand {}", Quoted(pinfold_sys::name::bytes(extra)));
            let form = format!("pinfold {} [OPTIONS] {}", command.name, command.operands);
            Err(usage(&message, &format!("write \"{}\"", form.trim_end())))
        }
        _ => Ok(parsed),
    }
}

/// One or more short options in one argument; the last may have its value there.
fn short(
    parsed: &mut Parsed,
    command: &'static Command,
    (_, letters): (u8, &[u8]),
    rest: &mut impl Iterator<Item = OsString>,
) -> Result<(), Failure> {
    let mut letters = letters;
    while let [letter, after @ ..] = letters {
        let letter = char::from(*letter);
        let flag = flags(command).find(|flag| flag.short == Some(letter)).ok_or_else(|| {
            usage(
                &format!("unknown option {}", Quoted(format!("-{letter}").as_bytes())),
                &format!("see \"pinfold {} --help\"", command.name),
            )
        })?;
        if flag.value.is_some() && !after.is_empty() {
            let value = after.strip_prefix(b"=").unwrap_or(after).to_vec();
            return take(parsed, flag, Some(pinfold_sys::name::os(&value)), rest);
        }
        take(parsed, flag, None, rest)?;
        letters = after;
    }
    Ok(())
}

fn take(
    parsed: &mut Parsed,
    flag: &'static Flag,
    given: Option<OsString>,
    rest: &mut impl Iterator<Item = OsString>,
) -> Result<(), Failure> {
    let value = match (flag.value, given) {
        (None, None) => OsString::new(),
        (None, Some(_)) => {
            return Err(usage(&format!("--{} takes no value", flag.long), "leave the value out"));
        }
        (Some(_), Some(value)) => value,
        (Some(_), None) if flag.is_optional() => OsString::new(),
        (Some(name), None) => rest.next().ok_or_else(|| {
            usage(
                &format!("--{} needs a value", flag.long),
                &format!("write --{} {name}", flag.long),
            )
        })?,
    };
    parsed.options.push((flag.long, value));
    Ok(())
}

fn long_flag(command: &'static Command, name: &str) -> Result<&'static Flag, Failure> {
    if let Some(flag) = flags(command).find(|flag| flag.long == name) {
        return Ok(flag);
    }
    let hint = match nearest(name, flags(command).map(|flag| flag.long)) {
        Some(known) => format!("did you mean --{known}?"),
        None => format!("see \"pinfold {} --help\"", command.name),
    };
    Err(usage(&format!("unknown option {}", Quoted(format!("--{name}").as_bytes())), &hint))
}

/// All options of a command.
pub(crate) fn flags(command: &'static Command) -> impl Iterator<Item = &'static Flag> {
    command.options.iter().flat_map(|group| group.iter())
}

/// The complaint about a command that does not exist.
pub(crate) fn unknown_command(given: &OsStr) -> Failure {
    let shown = Quoted(pinfold_sys::name::bytes(given));
    let name = given.to_string_lossy();
    if name.starts_with('-') {
        let hint = "a command comes before its options; see \"pinfold --help\"";
        return usage(&format!("unknown option {shown}"), hint);
    }
    let hint = match nearest(&name, COMMANDS.iter().map(|command| command.name)) {
        Some(known) => format!("did you mean \"{known}\"?"),
        None => String::from("see \"pinfold --help\"; to run a program, write \"pinfold run\""),
    };
    usage(&format!("unknown command {shown}"), &hint)
}

fn split(long: &[u8]) -> (&[u8], Option<Vec<u8>>) {
    match long.iter().position(|byte| *byte == b'=') {
        Some(at) => (&long[..at], Some(long[at + 1..].to_vec())),
        None => (long, None),
    }
}
