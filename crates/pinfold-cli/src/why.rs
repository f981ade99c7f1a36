//! What was denied last, and what would allow it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::PathBuf;

use pinfold::policy::path::Quoted;
use pinfold::{Caller, Denial, Options, Outcome, Sandbox};
use serde_json::Value;
use toml_edit::{DocumentMut, Item, Table, value};

use crate::arguments::Parsed;
use crate::json;
use crate::terminal::{Failure, complain, confirmed, failed, print};
use crate::trust::UserFile;

/// The rule that refuses, with where it is written.
pub(crate) fn reason(denial: &Denial) -> String {
    match &denial.origin {
        Some(origin) => format!("{} ({origin})", denial.rule),
        None => denial.rule.clone(),
    }
}

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
struct Noted(Value);

/// A rule that would allow a denial.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rule {
    path: String,
    access: String,
}

impl Noted {
    fn read(caller: &Caller) -> Result<Noted, Failure> {
        let text = file(caller).and_then(|file| fs::read(file).ok());
        let noted = text.and_then(|text| serde_json::from_slice(&text).ok());
        noted.map(Noted).ok_or_else(|| {
            failed("no denials are noted", "run the command again with --log-denials")
        })
    }

    fn denials(&self) -> impl Iterator<Item = &Value> {
        self.0["denials"].as_array().into_iter().flatten()
    }

    fn profile(&self) -> &str {
        self.0["profile"].as_str().unwrap_or_default()
    }

    /// Each rule once, the stronger one of two for a path.
    fn rules(&self) -> Vec<Rule> {
        let mut rules = BTreeMap::new();
        for denial in self.denials() {
            let path = field(denial, "allow").to_owned();
            let access: &mut String = rules.entry(path).or_default();
            if access != "write" {
                *access = field(denial, "option").to_owned();
            }
        }
        rules.into_iter().map(|(path, access)| Rule { path, access }).collect()
    }
}

fn field<'d>(denial: &'d Value, name: &str) -> &'d str {
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
        let quoted = |name: &str| Quoted(field(denial, name).as_bytes()).to_string();
        let origin = match field(denial, "origin") {
            "" => String::new(),
            origin => format!(" ({origin})"),
        };
        text.push_str(&format!(
            "  {} {} by {}: {}{origin}\n",
            field(denial, "attempted"),
            quoted("path"),
            quoted("program"),
            field(denial, "rule"),
        ));
    }
    text.push_str("options of run that allow it:\n");
    for Rule { path, access } in noted.rules() {
        let path = Quoted(pattern_free(&path).as_bytes()).to_string();
        text.push_str(&format!("  --{access} {path}\n"));
    }
    let profile = match noted.profile() {
        built_in if built_in.starts_with(':') => "NAME",
        name => name,
    };
    text.push_str(&format!("or in a profile:\n  [permissions.{profile}.filesystem]\n"));
    text.extend(noted.rules().iter().map(line));
    text
}

/// A rule as a line of a profile.
fn line(rule: &Rule) -> String {
    let key = toml_edit::Key::new(pattern_free(&rule.path));
    format!("  {} = \"{}\"\n", key.display_repr(), rule.access)
}

/// The profile that rules go to when a built-in one was used.
const OWN: &str = "own";

/// Adds the rules to the user's profile, after showing them.
fn apply(parsed: &Parsed, caller: &Caller, noted: &Noted) -> Result<i32, Failure> {
    let rules = noted.rules();
    if rules.iter().any(|rule| rule.path.contains(char::REPLACEMENT_CHARACTER)) {
        let hint = "use the options of run that \"pinfold why\" prints";
        return Err(failed("a path is not UTF-8, which a configuration file cannot hold", hint));
    }
    let secret = noted.denials().find(|denial| {
        field(denial, "rule").starts_with("deny ")
            && field(denial, "origin").starts_with("built-in")
    });
    if let Some(denial) = secret.filter(|_| !parsed.has("force")) {
        let path = Quoted(field(denial, "path").as_bytes());
        return Err(failed(
            &format!("cannot add a rule for {path}: it is where credentials are kept"),
            "pass --force as well if the command is to have them",
        ));
    }
    let file = UserFile::of(caller)?;
    let mut document = file.document()?;
    let name = add(&mut document, noted.profile(), &rules, &file)?;
    let lines: String = rules.iter().map(line).collect();
    complain(&format!("adds to {}:\n  [permissions.{name}.filesystem]\n{lines}", file.path));
    if !parsed.has("yes") && !confirmed("add them?", "pass --yes to add the rules")? {
        return Ok(1);
    }
    file.write(&document.to_string())?;
    // The administrator's bounds, and everything else that can be wrong.
    let mut options = Options::default();
    options.request.profile = Some(name.clone());
    if let Err(error) = Sandbox::open(caller, &options) {
        file.restore()?;
        return Err(Failure::from(error));
    }
    print(&format!("changed {}; use it with \"pinfold run -p {name}\"\n", file.path))
}

/// Adds rules to a profile of a document, which is made when a built-in one was
/// used; the name of the profile.
fn add(
    document: &mut DocumentMut,
    used: &str,
    rules: &[Rule],
    file: &UserFile,
) -> Result<String, Failure> {
    let built_in = used.starts_with(':');
    let name = if built_in { OWN } else { used };
    let no_table =
        |what: &str| failed(&format!("{what} in {} is not a table", file.path), "mend it first");
    let permissions =
        table(document.as_table_mut(), "permissions").ok_or_else(|| no_table("\"permissions\""))?;
    let known = permissions.contains_key(name);
    if !built_in && !known {
        let message = format!("cannot find the profile \"{name}\" in {}", file.path);
        return Err(failed(&message, "add the rules where it is written"));
    }
    let profile = table(permissions, name).ok_or_else(|| no_table("the profile"))?;
    if built_in && !known {
        profile.insert("extends", value(used));
        profile.set_implicit(false);
    }
    let files = table(profile, "filesystem").ok_or_else(|| no_table("\"filesystem\""))?;
    files.set_implicit(false);
    for rule in rules {
        files.insert(&pattern_free(&rule.path), value(&rule.access));
    }
    Ok(String::from(name))
}

/// The table of a name, made when there is none; nothing when it is something else.
fn table<'t>(above: &'t mut Table, name: &str) -> Option<&'t mut Table> {
    let entry = above.entry(name).or_insert_with(|| {
        let mut table = Table::new();
        table.set_implicit(true);
        Item::Table(table)
    });
    entry.as_table_mut()
}

/// A path as a key, which is not to be read as a pattern.
pub(crate) fn pattern_free(path: &str) -> String {
    match path.contains(['*', '?', '[', '{']) {
        true => format!("path:{path}"),
        false => String::from(path),
    }
}
