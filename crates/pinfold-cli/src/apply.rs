//! `pinfold why --apply`: adds the rules that would allow what was denied.

use pinfold::policy::decide::{Operation, decide};
use pinfold::policy::path::Quoted;
use pinfold::policy::profile::Profile;
use pinfold::{Caller, Options, Sandbox, Sources};
use pinfold_sys::name;
use serde_json::Value;
use toml_edit::{DocumentMut, Item, Key, Table, value};

use crate::arguments::Parsed;
use crate::config_file::ConfigFile;
use crate::terminal::{Failure, complain, confirmed, failed, print};
use crate::why::{Noted, field};

/// The profile that rules go to when a built-in one was used.
const OWN: &str = "own";

/// The profile of whoever has chosen none.
const WORKSPACE: &str = ":workspace";

/// A rule that would allow a denial, as an option of `run`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rule {
    /// Without dashes.
    pub(crate) option: String,
    pub(crate) value: String,
}

/// Where a rule is written in a profile.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Files,
    Hosts,
    Sockets,
}

impl Part {
    const ALL: [Part; 3] = [Part::Files, Part::Hosts, Part::Sockets];

    /// The tables below that of the profile.
    fn tables(self) -> &'static [&'static str] {
        match self {
            Part::Files => &["filesystem"],
            Part::Hosts => &["network", "domains"],
            Part::Sockets => &["network", "unix_sockets"],
        }
    }
}

impl Rule {
    /// The rule that a noted denial names.
    pub(crate) fn that_allows(denial: &Value) -> Option<Rule> {
        let part = |name: &str| denial["allow"][name].as_str().map(String::from);
        Some(Rule { option: part("option")?, value: part("value")? })
    }

    fn part(&self) -> Part {
        match self.option.as_str() {
            "net" => Part::Hosts,
            "allow-unix-socket" => Part::Sockets,
            _ => Part::Files,
        }
    }

    fn access(&self) -> &str {
        match self.part() {
            Part::Files => &self.option,
            Part::Hosts | Part::Sockets => "allow",
        }
    }

    /// Whether it opens more than was asked for: an option, but no rule to keep.
    fn is_wide(&self) -> bool {
        self.option == "net" && self.value == "open"
    }
}

/// Rules as lines of a profile.
pub(crate) fn snippet(profile: &str, rules: &[Rule]) -> String {
    let mut text = String::new();
    let profile = Key::new(profile);
    let profile = profile.display_repr();
    for part in Part::ALL {
        let lines: Vec<&Rule> =
            rules.iter().filter(|rule| rule.part() == part && !rule.is_wide()).collect();
        if lines.is_empty() {
            continue;
        }
        if part == Part::Hosts {
            text.push_str(&format!("  [permissions.{profile}.network]\n  enabled = true\n"));
        }
        text.push_str(&format!("  [permissions.{profile}.{}]\n", part.tables().join(".")));
        for rule in lines {
            let key = Key::new(rule.value.as_str());
            text.push_str(&format!("  {} = \"{}\"\n", key.display_repr(), rule.access()));
        }
    }
    text
}

/// Adds the rules to the user's or the project's profile, after showing them.
pub(crate) fn apply(parsed: &Parsed, caller: &Caller, noted: &Noted) -> Result<i32, Failure> {
    let (wide, rules): (Vec<Rule>, Vec<Rule>) = noted.rules().into_iter().partition(Rule::is_wide);
    for Rule { option, value } in wide {
        complain(&format!("pinfold: left out --{option} {value}: it opens the whole network"));
    }
    if rules.is_empty() {
        return Err(failed("no rule would allow what was denied", "see \"pinfold why\""));
    }
    if rules.iter().any(|rule| rule.value.contains(char::REPLACEMENT_CHARACTER)) {
        let hint = "use the options of run that \"pinfold why\" prints";
        return Err(failed("a path is not UTF-8, which a configuration file cannot hold", hint));
    }
    let secret = noted.denials().find(|denial| denial["secret"] == true);
    if let Some(denial) = secret.filter(|_| !parsed.has("force")) {
        let path = Quoted(field(denial, "target").as_bytes());
        return Err(failed(
            &format!("cannot add a rule for {path}: it is where credentials are kept"),
            "pass --force as well if the command is to have them",
        ));
    }
    let file = file(parsed, caller)?;
    let mut document = file.document()?;
    let name = add(&mut document, noted.profile(), &rules, (&file, parsed.has("project")))?;
    complain(&format!("adds to {}:\n{}", file.path, snippet(&name, &rules).trim_end()));
    for path in noted.narrower() {
        let path = Quoted(path.as_bytes());
        complain(&format!("pinfold: to open {path} alone, create it and run the command again"));
    }
    if !parsed.has("yes") && !confirmed("add them?", "pass --yes to add the rules")? {
        return Ok(1);
    }
    file.write(&document.to_string())?;
    // The administrator's bounds, and everything else that can be wrong.
    let mut options = Options::default();
    options.request.profile = Some(name.clone());
    let refused = match Sandbox::open(caller, &options) {
        Ok(sandbox) => still_refused(sandbox.profile(), &rules),
        Err(error) => Some(Failure::from(error)),
    };
    if let Some(refused) = refused {
        file.restore()?;
        return Err(refused);
    }
    let use_it = match default(caller, noted.profile(), &name) {
        Some(default) => {
            document.insert("default_permissions", value(default));
            file.write(&document.to_string())?;
            default == name
        }
        None => false,
    };
    let how = match use_it {
        true => String::from("every run uses it unless another profile is chosen"),
        false => format!("use it with \"pinfold run -p {name}\""),
    };
    print(&format!("changed {}; {how}\n", file.path))
}

/// What has to be the default from now on, when there was none: a configuration with
/// profiles must name one. Who had that of pinfold keeps it, with the rules.
fn default<'n>(caller: &Caller, used: &str, name: &'n str) -> Option<&'n str> {
    let without = Sandbox::open(caller, &Options::default());
    let needed = matches!(without, Err(pinfold::Error::Configuration(_)));
    needed.then_some(if used == WORKSPACE { name } else { WORKSPACE })
}

/// What a rule for a path does not help against: one that is more specific, or the
/// administrator's.
fn still_refused(profile: &Profile, rules: &[Rule]) -> Option<Failure> {
    rules.iter().filter(|rule| rule.part() == Part::Files).find_map(|rule| {
        let path = rule.value.strip_prefix("path:").unwrap_or(&rule.value);
        let path = name::absolute(path.as_bytes()).ok()?;
        let verdict = decide(
            profile,
            if rule.option == "write" { Operation::Write(&path) } else { Operation::Read(&path) },
        );
        if verdict.allowed {
            return None;
        }
        let message = format!("a rule for {path} does not help: it is {verdict}");
        Some(failed(&message, "change that rule, or ask the administrator"))
    })
}

fn file(parsed: &Parsed, caller: &Caller) -> Result<ConfigFile, Failure> {
    if !parsed.has("project") {
        return ConfigFile::of_user(caller);
    }
    let sources = Sources::read(caller, &[])?;
    if !sources.trusted {
        let project = sources.project;
        let message = format!("cannot add rules to the project {project}: it is not trusted");
        return Err(failed(&message, "run \"pinfold trust\" first, or leave out --project"));
    }
    ConfigFile::of_project(caller)
}

/// Adds rules to a profile of a document, which is made when a built-in one was
/// used; the name of the profile.
fn add(
    document: &mut DocumentMut,
    used: &str,
    rules: &[Rule],
    (file, project): (&ConfigFile, bool),
) -> Result<String, Failure> {
    let built_in = used.starts_with(':');
    let name = if built_in { OWN } else { used };
    let no_table = |what: &str| {
        failed(&format!("\"{what}\" in {} is not a table", file.path), "mend it first")
    };
    let permissions =
        table(document.as_table_mut(), "permissions").ok_or_else(|| no_table("permissions"))?;
    let known = permissions.contains_key(name);
    // What a project says about a profile of the user is merged with that.
    if !built_in && !known && !project {
        let message = format!("cannot find the profile \"{name}\" in {}", file.path);
        return Err(failed(&message, "add the rules where it is written"));
    }
    let profile = table(permissions, name).ok_or_else(|| no_table(name))?;
    if built_in && !known {
        profile.insert("extends", value(used));
        profile.set_implicit(false);
    }
    for rule in rules {
        let mut inner = &mut *profile;
        for step in rule.part().tables() {
            if *step == "domains" {
                inner.insert("enabled", value(true));
                inner.set_implicit(false);
            }
            inner = table(inner, step).ok_or_else(|| no_table(step))?;
        }
        inner.set_implicit(false);
        inner.insert(&rule.value, value(rule.access()));
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
