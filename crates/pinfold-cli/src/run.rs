//! The commands that run something.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::{Duration, Instant};

use pinfold::policy::config::quantity;
use pinfold::policy::path::Quoted;
use pinfold::policy::profile::Access;
use pinfold::policy::resolve::{FlagRule, Front, Request};
use pinfold::{Appeared, Caller, Exceeded, Handling, Options, Outcome, Sandbox};

use crate::arguments::Parsed;
use crate::json;
use crate::terminal::{Failure, complain, failed, usage};

/// `pinfold run`.
pub(crate) fn run(parsed: &Parsed) -> Result<i32, Failure> {
    if parsed.operands.is_empty() {
        return Err(usage("there is no command to run", "write \"pinfold run COMMAND\""));
    }
    let sandbox = Sandbox::open(&caller(parsed)?, &options(parsed)?)?;
    go(parsed, &sandbox, &parsed.operands)
}

/// `pinfold shell`.
pub(crate) fn shell(parsed: &Parsed) -> Result<i32, Failure> {
    if let Some(extra) = parsed.operands.first() {
        let message = format!("unexpected operand {}", Quoted(extra.as_bytes()));
        return Err(usage(&message, "to run a command, write \"pinfold run\""));
    }
    let caller = caller(parsed)?;
    let shell = caller.variable("SHELL").unwrap_or(b"/bin/sh").to_vec();
    let sandbox = Sandbox::open(&caller, &options(parsed)?)?;
    go(parsed, &sandbox, &[OsString::from_vec(shell)])
}

/// `pinfold sandbox`.
pub(crate) fn sandbox(parsed: &Parsed) -> Result<i32, Failure> {
    let predecessor = |failure: Failure| Failure {
        // Where pinfold says 125, the predecessor said 1.
        status: if failure.status == 125 { 1 } else { failure.status },
        ..failure
    };
    let [system, command @ ..] = &parsed.operands[..] else {
        return Err(usage(
            "sandbox needs the name of a system and a command",
            "write \"pinfold sandbox linux COMMAND\"",
        ));
    };
    match system.to_string_lossy().as_ref() {
        "linux" | "landlock" => {}
        "macos" | "seatbelt" | "windows" => {
            let message = format!("this is not {}", system.to_string_lossy());
            return Err(predecessor(failed(&message, "write \"pinfold sandbox linux\"")));
        }
        other => {
            let message = format!("unknown system \"{other}\"");
            return Err(usage(&message, "use linux, macos or windows"));
        }
    }
    if command.is_empty() {
        return Err(usage("there is no command to run", "write it after the system"));
    }
    let mut options = options(parsed)?;
    options.request.front = Front::Sandbox { full_auto: parsed.has("full-auto") };
    for path in parsed.texts("allow-unix-socket")? {
        options.request.sockets.push(path);
    }
    let outcome = caller(parsed)
        .and_then(|caller| Ok(Sandbox::open(&caller, &options)?))
        .and_then(|sandbox| go(parsed, &sandbox, command));
    outcome.map_err(predecessor)
}

fn go(parsed: &Parsed, sandbox: &Sandbox, command: &[OsString]) -> Result<i32, Failure> {
    let quiet = parsed.has("quiet");
    if parsed.has("verbose") {
        complain(pinfold::policy::explain::profile(sandbox.profile()).trim_end());
    }
    let began = parsed.has("json").then(Instant::now);
    let outcome = sandbox.run(command).inspect_err(|error| {
        if let Some(file) = parsed.last("json") {
            let _ = json::write(file, &json::failure(command, error));
        }
    })?;
    if !quiet {
        report(&outcome);
    }
    if let Some(file) = parsed.last("json") {
        let duration = began.map_or(Duration::ZERO, |began| began.elapsed());
        json::write(file, &json::outcome(sandbox.profile(), command, (&outcome, duration)))?;
    }
    Ok(status(&outcome))
}

fn status(outcome: &Outcome) -> i32 {
    match outcome.ended.exceeded {
        Some(Exceeded::WallTime) => 124,
        _ => outcome.ended.status.code(),
    }
}

/// Says on standard error what the command itself cannot know.
fn report(outcome: &Outcome) {
    for gap in &outcome.gaps {
        complain(&format!("pinfold: not enforced: {} ({})", gap.rule, gap.reason));
    }
    for Appeared { path, handling } in &outcome.ended.appeared {
        complain(&match handling {
            Handling::TakenAway { kept } => {
                format!("pinfold: took away {path}, which is protected; it is kept at {kept}")
            }
            Handling::Covered => format!("pinfold: covered {path}, which changed during the run"),
            Handling::Failed(why) => format!("pinfold: could not protect {path}: {why}"),
        });
    }
    if let Some(exceeded) = outcome.ended.exceeded {
        complain(match exceeded {
            Exceeded::WallTime => "pinfold: the time limit was reached, everything was ended",
            Exceeded::Memory => "pinfold: the memory limit was reached, everything was ended",
            Exceeded::Processes => "pinfold: the process limit was reached, everything was ended",
        });
    }
}

/// Who asks, in the directory that was asked for.
pub(crate) fn caller(parsed: &Parsed) -> Result<Caller, Failure> {
    let caller = match parsed.last("cd") {
        // A present directory that is gone does not matter for an absolute one.
        Some(directory) if directory.as_bytes().starts_with(b"/") => {
            Caller::at_root().in_directory(directory)
        }
        Some(directory) => {
            Caller::of_this_process().and_then(|caller| caller.in_directory(directory))
        }
        None => Caller::of_this_process(),
    };
    caller.map_err(Failure::from)
}

/// Everything that the options ask for.
pub(crate) fn options(parsed: &Parsed) -> Result<Options, Failure> {
    let mut request = Request {
        profile: parsed.text("profile")?,
        hosts: parsed.texts("net")?,
        environment: parsed.texts("env")?,
        allowed_gaps: parsed.texts("allow-gap")?,
        ..Request::plain()
    };
    if let Some(text) = parsed.text("timeout")? {
        let time = quantity::duration(&text).map_err(|why| {
            usage(
                &format!("cannot read --timeout \"{text}\": {why}"),
                "write it as in 30s, 10m or 1h30m",
            )
        })?;
        request.timeout = Some(time);
    }
    for (name, value) in parsed.options() {
        let access = match name {
            "read" => Access::Read,
            "write" => Access::Write,
            "deny" => Access::Deny,
            _ => continue,
        };
        request.rules.push(rule(name, value, access)?);
    }
    Ok(Options { request, overrides: parsed.texts("config")? })
}

fn rule(name: &str, value: &OsStr, access: Access) -> Result<FlagRule, Failure> {
    let path = value.as_bytes().to_vec();
    if path.is_empty() {
        return Err(usage(&format!("--{name} needs a path"), "write an absolute or relative path"));
    }
    Ok(FlagRule { option: format!("--{name} {}", Quoted(&path)).into(), access, path })
}
