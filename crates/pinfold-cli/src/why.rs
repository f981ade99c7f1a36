//! What was denied last, and what would allow it.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use pinfold::policy::path::Quoted;
use pinfold::{Caller, Denial, Outcome};
use serde_json::Value;

use crate::json;
use crate::terminal::{Failure, failed, print};

/// The rule that refuses, with where it is written.
pub(crate) fn reason(denial: &Denial) -> String {
    match &denial.origin {
        Some(origin) => format!("{} ({origin})", denial.rule),
        None => denial.rule.clone(),
    }
}

fn file(caller: &Caller) -> Option<PathBuf> {
    let state = caller.state()?;
    Some(Path::new(OsStr::from_bytes(state.as_bytes())).join("denials.json"))
}

/// Notes the denials of a run that had any. That this fails must not change the
/// status of the command, and `why` then says that there is nothing.
pub(crate) fn note(caller: &Caller, command: &[OsString], outcome: &Outcome) {
    let denials = outcome.denials.as_ref().filter(|denials| !denials.list.is_empty());
    let (Some(denials), Some(file)) = (denials, file(caller)) else { return };
    let text = json::note(command, &outcome.profile, denials);
    let beside = file.with_extension(format!("{}", std::process::id()));
    let written = file.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| {
        let mut opened =
            fs::File::options().write(true).create_new(true).mode(0o600).open(&beside)?;
        opened.write_all(text.as_bytes())?;
        fs::rename(&beside, &file)
    });
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
}

/// `pinfold why`.
pub(crate) fn why() -> Result<i32, Failure> {
    let noted = file(&Caller::at_root()).and_then(|file| fs::read(file).ok());
    let noted: Value =
        noted.and_then(|text| serde_json::from_slice(&text).ok()).ok_or_else(|| {
            failed("no denials are noted", "run the command again with --log-denials")
        })?;
    let words = noted["command"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let mut text = format!("denied to \"{}\":\n", words.collect::<Vec<_>>().join(" "));
    let (mut options, mut rules) = (BTreeSet::new(), BTreeSet::new());
    for denial in noted["denials"].as_array().into_iter().flatten() {
        let field = |name: &str| denial[name].as_str().unwrap_or_default();
        let quoted = |name: &str| Quoted(field(name).as_bytes()).to_string();
        let origin = match field("origin") {
            "" => String::new(),
            origin => format!(" ({origin})"),
        };
        text.push_str(&format!(
            "  {} {} by {}: {}{origin}\n",
            field("attempted"),
            quoted("path"),
            quoted("program"),
            field("rule"),
        ));
        options.insert(format!("  --{} {}\n", field("option"), quoted("allow")));
        let key = toml_edit::Key::new(pattern_free(field("allow")));
        rules.insert(format!("  {} = \"{}\"\n", key.display_repr(), field("option")));
    }
    text.push_str("options of run that allow it:\n");
    text.extend(options);
    let profile = match noted["profile"].as_str() {
        Some(name) if !name.starts_with(':') => name,
        _ => "NAME",
    };
    text.push_str(&format!("or in a profile:\n  [permissions.{profile}.filesystem]\n"));
    text.extend(rules);
    print(&text)
}

/// A path as a key, which is not to be read as a pattern.
fn pattern_free(path: &str) -> String {
    match path.contains(['*', '?', '[', '{']) {
        true => format!("path:{path}"),
        false => String::from(path),
    }
}
