//! What was denied last, and what would allow it.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::PathBuf;

use pinfold::policy::path::Quoted;
use pinfold::{Caller, Outcome};
use serde_json::Value;

use crate::apply::{Rule, apply, snippet};
use crate::arguments::Parsed;
use crate::json;
use crate::serve::denied::{BY_NAME, asks_for_a_name};
use crate::terminal::{Failure, failed, print};

fn file(caller: &Caller) -> Option<PathBuf> {
    let state = caller.state()?;
    Some(pinfold_sys::name::path(&state).join("denials.json"))
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
            pinfold_sys::files::private(fs::File::options().write(true).create_new(true))
                .open(&beside)?;
        opened.write_all(text.as_bytes())?;
        fs::rename(&beside, &file)
    });
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
}

/// The denials that were noted last.
pub(crate) struct Noted(Value);

impl Noted {
    fn read(caller: &Caller) -> Result<Noted, Failure> {
        let text = file(caller).and_then(|file| fs::read(file).ok());
        let noted = text.and_then(|text| serde_json::from_slice(&text).ok());
        noted.map(Noted).ok_or_else(|| {
            failed("no denials are noted", "run the command again with --log-denials")
        })
    }

    pub(crate) fn denials(&self) -> impl Iterator<Item = &Value> {
        self.0["denials"].as_array().into_iter().flatten()
    }

    /// The name of the profile that the command ran under.
    pub(crate) fn profile(&self) -> &str {
        self.0["profile"].as_str().unwrap_or_default()
    }

    /// Each rule once, the stronger one of two for a path.
    pub(crate) fn rules(&self) -> Vec<Rule> {
        let rules: BTreeSet<Rule> = self.denials().filter_map(Rule::that_allows).collect();
        let stronger = |rule: &Rule| {
            let write = Rule { option: String::from("write"), ..rule.clone() };
            rule.option == "read" && rules.contains(&write)
        };
        rules.iter().filter(|rule| !stronger(rule)).cloned().collect()
    }

    /// What could be allowed alone, if it were there.
    pub(crate) fn narrower(&self) -> BTreeSet<&str> {
        self.denials().filter_map(|denial| denial["narrower"].as_str()).collect()
    }
}

/// A text member of a denial.
pub(crate) fn field<'d>(denial: &'d Value, name: &str) -> &'d str {
    denial[name].as_str().unwrap_or_default()
}

/// `pinfold why`.
pub(crate) fn why(parsed: &Parsed) -> Result<i32, Failure> {
    if !parsed.has("apply") {
        return print(&told(&Noted::read(&Caller::at_root())?));
    }
    let caller = Caller::of_this_process()?;
    apply(parsed, &caller, &Noted::read(&caller)?)
}

fn told(noted: &Noted) -> String {
    let words = noted.0["command"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let mut text = format!("denied to \"{}\":\n", words.collect::<Vec<_>>().join(" "));
    for denial in noted.denials() {
        let by = match field(denial, "program") {
            "" => String::new(),
            program => format!(" by {}", Quoted(program.as_bytes())),
        };
        let origin = match field(denial, "origin") {
            "" => String::new(),
            origin => format!(" ({origin})"),
        };
        let nothing = match denial["allow"].is_null() {
            true if asks_for_a_name(denial) => format!("; to allow: {BY_NAME}"),
            true => String::from("; no single rule allows it"),
            false => String::new(),
        };
        text.push_str(&format!(
            "  {} {}{by}: {}{origin}{nothing}\n",
            field(denial, "attempted"),
            Quoted(field(denial, "target").as_bytes()),
            field(denial, "rule"),
        ));
    }
    let rules = noted.rules();
    if rules.is_empty() {
        return text;
    }
    text.push_str("options of run that allow it:\n");
    for Rule { option, value } in &rules {
        text.push_str(&format!("  --{option} {}\n", Quoted(value.as_bytes())));
    }
    let narrower = noted.narrower();
    if !narrower.is_empty() {
        text.push_str("or instead of the whole directory, once you have created it:\n");
    }
    for path in narrower {
        text.push_str(&format!("  --write {}\n", Quoted(path.as_bytes())));
    }
    let profile = match noted.profile() {
        built_in if built_in.starts_with(':') => "NAME",
        name => name,
    };
    text.push_str("or in a profile:\n");
    text.push_str(&snippet(profile, &rules));
    text
}
