//! The commands that run something.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use pinfold::policy::config::quantity;
use pinfold::policy::path::Quoted;
use pinfold::policy::profile::Access;
use pinfold::policy::resolve::{FlagRule, Front, Request};
use pinfold::{
    Appeared, Caller, DenialOptions, Denials, Exceeded, Handling, Level, NetworkOptions, Options,
    Outcome, Sandbox, head_start,
};
use pinfold_sys::{name, places};

use crate::arguments::Parsed;
use crate::json::{self, Document};
use crate::serve::denied::{line, value};
use crate::terminal::{Failure, complain, failed, usage};
use crate::why;

/// `pinfold run`.
pub(crate) fn run(parsed: &Parsed) -> Result<i32, Failure> {
    if parsed.operands.is_empty() {
        return Err(usage("there is no command to run", "write \"pinfold run COMMAND\""));
    }
    go(parsed, &caller(parsed)?, &options(parsed)?, &parsed.operands)
}

/// `pinfold shell`.
pub(crate) fn shell(parsed: &Parsed) -> Result<i32, Failure> {
    let caller = caller(parsed)?;
    let (variable, usual) = places::SHELL;
    let shell = caller.variable(variable).unwrap_or(usual.as_bytes());
    go(parsed, &caller, &options(parsed)?, &[name::os(shell)])
}

/// `pinfold sandbox`.
pub(crate) fn sandbox(parsed: &Parsed) -> Result<i32, Failure> {
    as_the_predecessor(parsed).map_err(|failure| match failure.status {
        // Where pinfold says 125, the predecessor said 1.
        125 => Failure { status: 1, ..failure },
        _ => failure,
    })
}

fn as_the_predecessor(parsed: &Parsed) -> Result<i32, Failure> {
    let [system, command @ ..] = &parsed.operands[..] else {
        return Err(usage(
            "sandbox needs the name of a system and a command",
            "write \"pinfold sandbox linux COMMAND\"",
        ));
    };
    let system = match system.to_str() {
        Some("landlock") => "linux",
        Some("seatbelt") => "macos",
        Some(name @ ("linux" | "macos" | "windows")) => name,
        _ => {
            let message = format!("unknown system {}", Quoted(name::bytes(system)));
            return Err(usage(&message, "use linux, macos or windows"));
        }
    };
    let here = std::env::consts::OS;
    if system != here {
        return Err(failed(
            &format!("cannot use the sandbox of {system}: this is {here}, not {system}"),
            &format!("write \"pinfold sandbox {here}\""),
        ));
    }
    if command.is_empty() {
        return Err(usage("there is no command to run", "write it after the system"));
    }
    let mut options = options(parsed)?;
    options.request.front = Front::Sandbox { full_auto: parsed.has("full-auto") };
    go(parsed, &caller(parsed)?, &options, command)
}

fn go(
    parsed: &Parsed,
    caller: &Caller,
    options: &Options,
    command: &[OsString],
) -> Result<i32, Failure> {
    let document = parsed.last("json").map(Document::open).transpose()?;
    // Both go on at the same time.
    let head_start = head_start(options);
    // Only now: what was begun is at work meanwhile.
    crate::prefault();
    let run = || {
        let sandbox = Sandbox::open(caller, options)?;
        if parsed.has("verbose") {
            complain(pinfold::policy::explain::profile(sandbox.profile()).trim_end());
        }
        if !parsed.has("quiet") {
            report_unused(&options.request.allowed_gaps, &sandbox);
        }
        let began = document.is_some().then(Instant::now);
        let outcome = sandbox.run_with(command, head_start)?;
        Ok((sandbox, outcome, began.map_or(Duration::ZERO, |began| began.elapsed())))
    };
    let (sandbox, outcome, duration) = match run() {
        Ok(ran) => ran,
        Err(error) => {
            if let Some(document) = document {
                document.write(&json::failure(command, &error))?;
            }
            return Err(Failure::from(error));
        }
    };
    if !parsed.has("quiet") {
        report(&outcome);
        report_unheard_reads(&outcome, options.denials.level);
    }
    why::note(caller, command, &outcome);
    if let Some(document) = document {
        document.write(&json::outcome(sandbox.profile(), command, (&outcome, duration)))?;
    }
    let status = status(&outcome);
    // The process ends now; to take a plan apart before that would only take time.
    std::mem::forget((sandbox, outcome));
    Ok(status)
}

pub(crate) fn status(outcome: &Outcome) -> i32 {
    match outcome.ended.exceeded {
        Some(Exceeded::WallTime) => 124,
        _ => outcome.ended.status.code(),
    }
}

/// Names the allowed gaps that are none: a misspelt name would go unnoticed where
/// nothing needs it, and fail elsewhere.
fn report_unused(allowed: &[String], sandbox: &Sandbox) {
    for name in allowed {
        if !sandbox.gaps().iter().any(|gap| gap.name == name) {
            let name = Quoted(name.as_bytes());
            complain(&format!("pinfold: --allow-gap {name} changes nothing: there is no such gap"));
        }
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
    if let Some(denials) = &outcome.denials {
        report_denials(denials);
    }
    for blocked in outcome.network.iter().flat_map(|network| &network.blocked) {
        // What a rule refuses is among the denials.
        if !blocked.reason.is_policy() {
            complain(&format!(
                "pinfold: blocked {}x {}: {}",
                blocked.count,
                blocked.destination(),
                blocked.detail
            ));
        }
    }
    if let Some(exceeded) = outcome.ended.exceeded {
        complain(match exceeded {
            Exceeded::WallTime => "pinfold: the time limit was reached, everything was ended",
            Exceeded::Memory => "pinfold: the memory limit was reached, everything was ended",
            Exceeded::Processes => "pinfold: the process limit was reached, everything was ended",
        });
    }
}

fn report_denials(denials: &Denials) {
    for denial in &denials.list {
        complain(&format!("pinfold: {}", line(&value(denial))));
    }
    if denials.omitted > 0 {
        complain(&format!("pinfold: and {} more", denials.omitted));
    }
    if let Some(unheard) = &denials.unheard {
        let more = if denials.list.is_empty() { "" } else { "else " };
        complain(&format!("pinfold: what {more}was denied is not known: {unheard}"));
    }
}

/// Where a command fails and nothing refused is known, it may have been a file that cannot
/// be read: a mask refuses that itself, and nobody hears of an open that fails.
fn report_unheard_reads(outcome: &Outcome, level: Option<Level>) {
    let nothing = outcome.denials.as_ref().is_some_and(|denials| denials.list.is_empty());
    if nothing && status(outcome) != 0 && matches!(level, Some(Level::Cheap | Level::Writes)) {
        complain("pinfold: no denied change was seen; --log-denials=opens tells of reads as well");
    }
}

/// How closely denials are to be looked for.
pub(crate) fn level(text: &str) -> Option<Option<Level>> {
    Some(match text {
        "off" => None,
        "cheap" => Some(Level::Cheap),
        "writes" => Some(Level::Writes),
        "opens" => Some(Level::Opens),
        "all" => Some(Level::All),
        _ => return None,
    })
}

/// The levels, as a hint names them.
pub(crate) const LEVELS: &str = "use off, cheap, writes, opens or all";

fn denial_options(parsed: &Parsed) -> Result<DenialOptions, Failure> {
    let level = match parsed.text("log-denials")?.as_deref() {
        None => None,
        Some("") => Some(Level::Writes),
        Some(text) => level(text)
            .ok_or_else(|| usage(&format!("unknown level {}", Quoted(text.as_bytes())), LEVELS))?,
    };
    Ok(DenialOptions { level, observer: None })
}

/// Who asks, in the directory that was asked for.
pub(crate) fn caller(parsed: &Parsed) -> Result<Caller, Failure> {
    let caller = match parsed.last("cd") {
        // A present directory that is gone does not matter for an absolute one.
        Some(directory) if name::absolute(name::bytes(directory)).is_ok() => {
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
        environment: parsed.all("env").map(|value| name::bytes(value).to_vec()).collect(),
        allowed_gaps: parsed.texts("allow-gap")?,
        sockets: parsed.texts("allow-unix-socket")?,
        ..Request::plain()
    };
    if request.sockets.iter().any(String::is_empty) {
        return Err(usage("--allow-unix-socket needs a path", "write the path of a socket"));
    }
    if let Some(text) = parsed.text("timeout")? {
        let time = quantity::duration(&text).map_err(|why| {
            usage(
                &format!("cannot read --timeout \"{text}\": {why}"),
                "write it as in 30s, 10m or 1h30m",
            )
        })?;
        request.timeout = Some(time);
    }
    for (option, value) in parsed.options() {
        let access = match option {
            "read" => Access::Read,
            "write" => Access::Write,
            "deny" => Access::Deny,
            _ => continue,
        };
        request.rules.push(rule(option, value, access)?);
    }
    let network = NetworkOptions {
        decider: parsed.last("decider").map(OsStr::to_os_string).into_iter().collect(),
        audit: parsed.last("audit").map(PathBuf::from),
        connects: true,
        ..NetworkOptions::default()
    };
    let denials = denial_options(parsed)?;
    Ok(Options { request, overrides: parsed.texts("config")?, network, denials })
}

pub(crate) fn rule(option: &str, value: &OsStr, access: Access) -> Result<FlagRule, Failure> {
    let path = name::bytes(value).to_vec();
    if path.is_empty() {
        return Err(usage(
            &format!("--{option} needs a path"),
            "write an absolute or relative path",
        ));
    }
    Ok(FlagRule { option: format!("--{option} {}", Quoted(&path)).into(), access, path })
}
