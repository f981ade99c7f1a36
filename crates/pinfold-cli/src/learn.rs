//! `pinfold learn`: a profile from what a command does.

use std::path::Path;

use pinfold::{Learned, Options, Sandbox};

use crate::arguments::Parsed;
use crate::run::{caller, status};
use crate::terminal::{Failure, complain, confirmed, failed, print, usage};

/// Everything may be written while learning, but for what holds credentials.
const PERMISSIVE: &str = "permissions.learning={extends=\":workspace\",git=\"write\",\
    filesystem={\":root\"=\"write\"},network={enabled=true,\
    domains={\"*:22,80,443,3000,5000,8000,8080,8443,9418\"=\"allow\"}}}";

const QUESTION: &str = "while pinfold learns, the command may write every file that you may, and use \
    the network; only credentials stay hidden. go on?";

/// What the learned profile begins with.
const BASE: &str = ":restricted";

/// `pinfold learn`.
pub(crate) fn learn(parsed: &Parsed) -> Result<i32, Failure> {
    let command = &parsed.operands;
    if command.is_empty() {
        return Err(usage("there is no command to learn from", "write it after the options"));
    }
    let name = parsed.text("name")?.unwrap_or_else(|| String::from("learned"));
    if !parsed.has("yes") && !confirmed(QUESTION, "pass --yes to let it write every file")? {
        return Ok(1);
    }
    let caller = caller(parsed)?;
    let options = |profile: &str, overrides: &[&str]| {
        let mut options = Options::default();
        options.request.profile = Some(String::from(profile));
        options.overrides = overrides.iter().map(|text| String::from(*text)).collect();
        options
    };
    let permissive = Sandbox::open(&caller, &options("learning", &[PERMISSIVE]))?;
    let base = Sandbox::open(&caller, &options(BASE, &[]))?;
    let learned = pinfold::learn(&permissive, &base, command)?;
    for secret in &learned.secrets {
        complain(&format!(
            "pinfold: left out {secret}: it is where credentials are kept, or protected"
        ));
    }
    for wide in &learned.wide {
        complain(&format!("pinfold: left out {wide}: a rule would show every file"));
    }
    for blocked in learned.outcome.network.iter().flat_map(|network| &network.blocked) {
        let (destination, detail) = (blocked.destination(), &blocked.detail);
        complain(&format!("pinfold: left out {destination}: {detail}"));
    }
    let text = profile(&name, &learned);
    match parsed.last("output") {
        None => drop(print(&text)?),
        Some(file) => std::fs::write(Path::new(file), text).map_err(|error| {
            let why = pinfold_sys::describe(error.raw_os_error().unwrap_or_default());
            let message = format!("cannot write {}: {why}", file.display());
            failed(&message, "pass --output a file that can be written")
        })?,
    }
    Ok(status(&learned.outcome))
}

fn profile(name: &str, learned: &Learned) -> String {
    let key = |text: &str| toml_edit::Key::new(text).display_repr().into_owned();
    let mut text = format!(
        "[permissions.{}]\nextends = \"{BASE}\"\ngit = \"commit\"\n\n[permissions.{}.filesystem]\n",
        key(name),
        key(name),
    );
    for (path, writes) in &learned.rules {
        let access = if *writes { "write" } else { "read" };
        match std::str::from_utf8(path.as_bytes()) {
            Ok(path) => {
                let path = pattern_free(path);
                text.push_str(&format!("{} = \"{access}\"\n", key(&path)));
            }
            Err(_) => {
                text.push_str(&format!("# {access} {path}: not UTF-8, cannot be written here\n"))
            }
        }
    }
    for left_out in learned.secrets.iter().chain(&learned.wide) {
        text.push_str(&format!("# left out: {left_out}\n"));
    }
    if !learned.hosts.is_empty() {
        let profile = key(name);
        text.push_str(&format!("\n[permissions.{profile}.network]\nenabled = true\n"));
        text.push_str(&format!("\n[permissions.{profile}.network.domains]\n"));
        for host in &learned.hosts {
            text.push_str(&format!("{} = \"allow\"\n", key(host)));
        }
    }
    text
}

/// A path as a key, which is not to be read as a pattern.
fn pattern_free(path: &str) -> String {
    match path.contains(['*', '?', '[', '{']) {
        true => format!("path:{path}"),
        false => String::from(path),
    }
}
