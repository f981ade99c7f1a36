//! The command `pinfold`.
#![no_main]

mod apply;
mod arguments;
mod config_file;
mod connect;
mod json;
mod learn;
mod manual;
mod mcp;
mod run;
mod serve;
mod setup;
mod show;
mod table;
mod terminal;
mod trust;
mod why;

use std::ffi::OsString;

use terminal::Failure;

pinfold_sys::entry!(start, prefault);

/// Runs the command that the arguments name; the exit status.
fn start(arguments: Vec<OsString>) -> i32 {
    std::panic::set_hook(Box::new(|_| {
        // The proxy ends that one connection, and says so.
        if std::thread::current().name() == Some(pinfold::PROXY_THREAD) {
            return;
        }
        terminal::complain(
            "error: pinfold has a defect and stopped\nhint: please report what you ran",
        );
        std::process::exit(125);
    }));
    match command(arguments.into_iter().skip(1).collect()) {
        Ok(status) => status,
        Err(failure) => {
            terminal::complain(&failure.text);
            failure.status
        }
    }
}

fn command(mut arguments: Vec<OsString>) -> Result<i32, Failure> {
    if let Some(status) = pinfold::act_as_another(&arguments) {
        return Ok(status);
    }
    if arguments.is_empty() {
        terminal::complain(&manual::overview());
        return Ok(2);
    }
    let first = arguments.remove(0);
    let name = first.to_string_lossy();
    match name.as_ref() {
        "-h" | "--help" | "help" => return manual::help_for(arguments.first()),
        "-V" | "--version" => {
            return terminal::print(concat!("pinfold ", env!("CARGO_PKG_VERSION"), "\n"));
        }
        _ => {}
    }
    if name == serve::FILE_COMMAND {
        return Ok(serve::act_on_file(&arguments));
    }
    let Some(command) = table::COMMANDS.iter().find(|command| command.name == name) else {
        return Err(arguments::unknown_command(&first));
    };
    let parsed = arguments::parse(command, arguments)?;
    if parsed.has("help") {
        return terminal::print(&manual::help(command));
    }
    match command.name {
        "run" => run::run(&parsed),
        "shell" => run::shell(&parsed),
        "sandbox" => run::sandbox(&parsed),
        "explain" => show::explain(&parsed),
        "check" => show::check(&parsed),
        "profiles" => show::profiles(&parsed),
        "doctor" => show::doctor(),
        "trust" => trust::trust(&parsed),
        "learn" => learn::learn(&parsed),
        "why" => why::why(&parsed),
        "serve" => serve::serve(&parsed),
        "mcp" => mcp::mcp(&parsed),
        "session" => serve::session(&parsed),
        "setup" => setup::setup(&parsed),
        "connect" => connect::connect(&parsed),
        "completions" => manual::completions(&parsed),
        _ => terminal::print(&manual::page()),
    }
}
