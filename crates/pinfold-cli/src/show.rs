//! The commands that only say something.

use std::fmt::Display;

use pinfold::policy::config::{Diagnostic, File};
use pinfold::policy::decide::{Operation, decide};
use pinfold::policy::explain;
use pinfold::policy::host::{MacHost, WindowsHost, WindowsLevel};
use pinfold::policy::net::{Host, parse_destination};
use pinfold::policy::path::{AbsPath, Quoted};
use pinfold::policy::plan::linux::paths_of_interest;
use pinfold::policy::plan::{macos, windows};
use pinfold::policy::profile::Profile;
use pinfold::policy::resolve::{Request, builtin, stores};
use pinfold::{Caller, Error, Options, Sandbox, Sources};
use pinfold_sys::name;

use crate::arguments::Parsed;
use crate::run::{caller, options};
use crate::terminal::{Failure, complain, failed, print, usage};

/// `pinfold explain`.
pub(crate) fn explain(parsed: &Parsed) -> Result<i32, Failure> {
    let system = platform(parsed)?;
    let caller = caller(parsed)?;
    let sandbox = Sandbox::open(&caller, &options(parsed)?)?;
    match &parsed.operands[..] {
        [] => {
            let mut text = explain::profile(sandbox.profile());
            text.push('\n');
            match system {
                System::Here => {
                    text.push_str(&pinfold_sys::plan::render(sandbox.plan()));
                    text.push('\n');
                    text.push_str(&explain::gaps(sandbox.gaps()));
                }
                System::MacOs => {
                    let paths = pinfold_sys::facts::paths(&paths_of_interest(sandbox.profile()));
                    let (plan, gaps) = macos::compile(sandbox.profile(), &MacHost { paths });
                    text.push_str(&macos::render(&plan));
                    text.push('\n');
                    text.push_str(&explain::gaps(&gaps));
                }
                System::Windows => text.push_str(&windows_plans(sandbox.profile())),
            }
            print(&text)
        }
        [thing, ..] => print(&verdict(sandbox.profile(), &caller, name::bytes(thing))?),
    }
}

/// The plans of both levels.
fn windows_plans(profile: &Profile) -> String {
    let mut host = WindowsHost {
        level: WindowsLevel::RestrictedToken,
        paths: pinfold_sys::facts::paths(&paths_of_interest(profile)),
        glob_matches: pinfold_sys::facts::matches(profile),
        world_writable: Vec::new(),
    };
    let mut text = String::new();
    let account = WindowsLevel::Account { proxy_port: windows::PROXY_PORT };
    for (name, level) in [("without set-up", host.level), ("after pinfold setup", account)] {
        host.level = level;
        let (plan, gaps) = windows::compile(profile, &host);
        let plan = windows::render(&plan);
        text.push_str(&format!("{name}\n{plan}{}\n", explain::gaps(&gaps)));
    }
    text
}

/// A system whose plans this version can compile.
#[derive(Clone, Copy)]
enum System {
    Here,
    /// From this host's files, as if it was a Mac.
    MacOs,
    /// From this host's files, as if it was a Windows.
    Windows,
}

/// The system to explain for.
fn platform(parsed: &Parsed) -> Result<System, Failure> {
    let here = std::env::consts::OS;
    match parsed.text("platform")?.as_deref() {
        None => Ok(System::Here),
        Some(system) if system == here => Ok(System::Here),
        Some("macos") => Ok(System::MacOs),
        Some("windows") => Ok(System::Windows),
        Some(system @ "linux") => Err(failed(
            &format!("cannot show the plan for {system}: this version compiles none here"),
            "leave out --platform, or ask for macos or windows",
        )),
        Some(system) => Err(usage(
            &format!("unknown system {}", Quoted(system.as_bytes())),
            "use linux, macos or windows",
        )),
    }
}

/// The verdict for whatever `thing` is.
pub(crate) fn verdict(profile: &Profile, caller: &Caller, thing: &[u8]) -> Result<String, Failure> {
    Ok(match Thing::named(caller, thing)? {
        Thing::Path(path) => explain::path(profile, &path),
        Thing::Host(host, port) => format!("{}\n", explain::host(profile, &host, port)),
        Thing::Variable(name) => {
            let verdict = decide(profile, Operation::Variable(name));
            format!("variable {}: {verdict}\n", Quoted(name))
        }
    })
}

/// Something that a profile has a verdict for.
pub(crate) enum Thing<'a> {
    /// Links resolved.
    Path(AbsPath),
    Host(Host, u16),
    Variable(&'a [u8]),
}

impl Thing<'_> {
    /// What somebody means who writes this.
    pub(crate) fn named<'a>(caller: &Caller, thing: &'a [u8]) -> Result<Thing<'a>, Failure> {
        let unusable = |error: &dyn Display| {
            let hint = "name a path, a URL, HOST:PORT or a variable";
            usage(&format!("cannot explain {}: {error}", Quoted(thing)), hint)
        };
        if thing.is_empty() {
            return Err(unusable(&"it is empty"));
        }
        let as_path = match (thing, caller.home()) {
            ([b'~'] | [b'~', b'/', ..], Some(home)) => {
                name::absolute(&[home.as_bytes(), &thing[1..]].concat())
            }
            _ => caller.working.join(thing),
        };
        let is_path = !contains(thing, b"://")
            && (thing.contains(&b'/')
                || matches!(thing[0], b'.' | b'~')
                || as_path.as_ref().is_ok_and(pinfold_sys::facts::exists));
        if is_path {
            let path = as_path.map_err(|error| unusable(&error))?;
            return Ok(Thing::Path(real(&path)));
        }
        // Names of variables have neither dots nor colons.
        if thing.iter().any(|byte| matches!(byte, b'.' | b':')) {
            let destination = parse_destination(&String::from_utf8_lossy(thing));
            let (host, port) = destination.map_err(|error| unusable(&error))?;
            return Ok(Thing::Host(host, port));
        }
        Ok(Thing::Variable(thing))
    }
}

fn contains(thing: &[u8], part: &[u8]) -> bool {
    thing.windows(part.len()).any(|window| window == part)
}

/// The path with links resolved as far as it exists: rules hold for what a path
/// is.
fn real(path: &AbsPath) -> AbsPath {
    for above in path.ancestors() {
        if let Ok(real) = std::fs::canonicalize(name::path(&above)) {
            let rest = path.strip_prefix(&above).unwrap_or_default();
            let real =
                name::absolute(name::bytes(real.as_os_str())).and_then(|real| real.join(rest));
            return real.unwrap_or_else(|_| path.clone());
        }
    }
    path.clone()
}

/// `pinfold check`.
pub(crate) fn check(parsed: &Parsed) -> Result<i32, Failure> {
    let caller = Caller::of_this_process()?;
    let mut problems: Vec<Diagnostic> = Vec::new();
    let mut checked = 0;
    if parsed.operands.is_empty() {
        let files = match Sources::read(&caller, &[]) {
            Ok(sources) => sources.files,
            Err(Error::Configuration(found)) => {
                problems.extend(found);
                Vec::new()
            }
            Err(error) => return Err(error.into()),
        };
        checked = files.len();
        for file in &files {
            problems.extend(pinfold::check(file));
        }
        if problems.is_empty() {
            // Each file is right; together they must make a profile.
            match Sandbox::open(&caller, &Options::default()) {
                Err(Error::Configuration(found)) => problems.extend(found),
                Err(error) => return Err(error.into()),
                Ok(_) => {}
            }
        }
    }
    for operand in &parsed.operands {
        let file = caller.working.join(name::bytes(operand));
        let file = file.map_err(|error| usage(&error.to_string(), "name a file"))?;
        problems.extend(pinfold::check(&file));
        checked += 1;
    }
    if problems.is_empty() {
        return print(&format!("{} checked, no problems\n", counted(checked, "file")));
    }
    let count = counted(problems.len(), "problem");
    complain(&Error::Configuration(problems).to_string());
    complain(&count);
    Ok(125)
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// `pinfold profiles`.
pub(crate) fn profiles(parsed: &Parsed) -> Result<i32, Failure> {
    let caller = Caller::of_this_process()?;
    let overrides = parsed.texts("config")?;
    match parsed.operands.first().map(|name| name.to_string_lossy().into_owned()) {
        None => list(&caller, &overrides),
        Some(name) if name == ":secrets" => {
            let home = caller.home();
            let mut text = String::new();
            for path in stores::secrets(pinfold_sys::plan::SYSTEM) {
                match (path.strip_prefix("~/"), &home) {
                    (Some(rest), Some(home)) => {
                        text.push_str(&format!(
                            "{}/{rest}\n",
                            String::from_utf8_lossy(home.as_bytes())
                        ));
                    }
                    _ => text.push_str(&format!("{path}\n")),
                }
            }
            print(&text)
        }
        Some(name) => {
            let request = Request { profile: Some(name), ..Request::plain() };
            let sandbox =
                Sandbox::open(&caller, &Options { request, overrides, ..Options::default() })?;
            print(&explain::profile(sandbox.profile()))
        }
    }
}

fn list(caller: &Caller, overrides: &[String]) -> Result<i32, Failure> {
    let sources = Sources::read(caller, overrides)?;
    let (file, problems) = File::read(sources.merged);
    if !problems.is_empty() {
        return Err(Error::Configuration(problems).into());
    }
    let mut text = String::new();
    for (name, about) in builtin::PROFILES {
        text.push_str(&format!("{name:<22} {about}\n"));
    }
    for (name, table) in &file.permissions {
        let about = table.value.description.as_ref().map_or("", |text| text.value.as_str());
        text.push_str(&format!("{name:<22} {about}\n"));
    }
    print(&text)
}

/// `pinfold doctor`.
pub(crate) fn doctor() -> Result<i32, Failure> {
    let checks = pinfold_sys::doctor();
    let mut text = String::new();
    for check in &checks {
        let mark = if check.works { "ok     " } else { "missing" };
        text.push_str(&format!("{mark} {}: {}\n", check.name, check.detail));
        if let Some(remedy) = &check.remedy {
            text.push_str(&format!("        hint: {remedy}\n"));
        }
    }
    print(&text)?;
    if checks.iter().any(|check| !check.works && check.needed) {
        return Err(failed("this host cannot confine commands", "see the hints above"));
    }
    Ok(0)
}
