//! File rules: from keys as written to paths and patterns.

use std::collections::BTreeMap;

use super::{Context, FlagRule, stores};
use crate::config::diagnostic::{Diagnostic, nearest};
use crate::config::file::{FsEntry, WrittenAccess};
use crate::config::place::Place;
use crate::origin::Origin;
use crate::path::{AbsPath, PathError, PathStyle, Quoted};
use crate::profile::{Access, FsRule, FsTarget, Glob};

/// The tokens that stand for paths.
const TOKENS: [&str; 9] = [
    ":root",
    ":minimal",
    ":workspace_roots",
    ":project_roots",
    ":cwd",
    ":tmpdir",
    ":slash_tmp",
    ":home",
    ":secrets",
];

/// Rules by target: a later one for the same target replaces an earlier one.
pub(super) type Rules = BTreeMap<FsTarget, Said>;

/// What a rule says about its target, and who says it.
pub(super) type Said = (Access, Origin);

/// The rules in order.
pub(super) fn in_order(rules: Rules) -> impl ExactSizeIterator<Item = FsRule> {
    rules.into_iter().map(|(target, (access, origin))| FsRule { target, access, origin })
}

/// What a key stands for.
enum Meaning {
    Paths(Vec<AbsPath>),
    Pattern(Glob),
}

/// Adds the rules of one profile table.
pub(super) fn add_entries(
    rules: &mut Rules,
    entries: &[FsEntry],
    roots: &[AbsPath],
    context: &Context,
    diagnostics: &mut Vec<Diagnostic>,
) {
    for entry in entries {
        match targets(entry, roots, context) {
            Ok(targets) => {
                for target in targets {
                    let access = access(entry.access.value);
                    let origin = match &entry.below {
                        Some(below) => below.place.origin(),
                        None => entry.key.place.origin(),
                    };
                    rules.insert(target, (access, origin));
                }
            }
            Err((place, message, hint)) => {
                let diagnostic = Diagnostic::at(&place, message);
                diagnostics.push(match hint {
                    Some(hint) => diagnostic.hint(hint),
                    None => diagnostic,
                });
            }
        }
    }
}

pub(super) fn access(written: WrittenAccess) -> Access {
    match written {
        WrittenAccess::Read => Access::Read,
        WrittenAccess::Write => Access::Write,
        WrittenAccess::Deny => Access::Deny,
    }
}

type Problem = (Place, String, Option<String>);

fn targets(
    entry: &FsEntry,
    roots: &[AbsPath],
    context: &Context,
) -> Result<Vec<FsTarget>, Problem> {
    let key = &entry.key;
    let at_key = |(message, hint): (String, Option<String>)| (key.place.clone(), message, hint);
    let base = key.place.directory();
    let meaning = meaning(key.value.as_bytes(), base, roots, context).map_err(at_key)?;
    let Some(below) = &entry.below else {
        return single(meaning, entry.access.value).map_err(at_key);
    };
    let at_below = |(message, hint): (String, Option<String>)| (below.place.clone(), message, hint);
    if let ":root" | ":minimal" | ":tmpdir" | ":slash_tmp" | ":secrets" = key.value.as_str() {
        let message = format!("\"{}\" does not support nested entries", key.value);
        return Err(at_key((message, Some(String::from("write the whole path as a key")))));
    }
    let Meaning::Paths(paths) = meaning else {
        let message = String::from("a pattern cannot have nested entries");
        return Err(at_key((message, None)));
    };
    let mut targets = Vec::new();
    for path in paths {
        let inner = nested(&path, below.value.as_bytes()).map_err(at_below)?;
        targets.extend(single(inner, entry.access.value).map_err(at_below)?);
    }
    Ok(targets)
}

/// The targets of a key, after checks that depend on what it grants.
fn single(
    meaning: Meaning,
    access: WrittenAccess,
) -> Result<Vec<FsTarget>, (String, Option<String>)> {
    match meaning {
        Meaning::Paths(paths) => Ok(paths.into_iter().map(FsTarget::Tree).collect()),
        Meaning::Pattern(glob) if glob.pattern == b"**" => Ok(vec![FsTarget::Tree(glob.base)]),
        Meaning::Pattern(glob) => match glob.pattern.strip_suffix(b"/**") {
            Some(rest) if !has_glob(rest) => {
                let tree = glob.base.join(rest).map_err(|error| (error.to_string(), None))?;
                Ok(vec![FsTarget::Tree(tree)])
            }
            _ if access == WrittenAccess::Write => Err((
                String::from("a pattern cannot grant write access"),
                Some(String::from(
                    "grant the directory, or use a pattern that ends in \"/**\" and has no other star",
                )),
            )),
            _ => Ok(vec![FsTarget::Glob(glob)]),
        },
    }
}

fn meaning(
    key: &[u8],
    base: Option<&AbsPath>,
    roots: &[AbsPath],
    context: &Context,
) -> Result<Meaning, (String, Option<String>)> {
    if key.starts_with(b":") {
        return token(key, roots, context).map(Meaning::Paths);
    }
    let (forced, text) = forced(key);
    let text = expand_home(text, context)?;
    if !is_absolute(&text, context) {
        let shown = Quoted(&text).to_string();
        let _ = base;
        return Err((
            format!("{shown} is a relative path"),
            Some(String::from(
                "write an absolute path, begin with \"~/\", or nest it under \":workspace_roots\"",
            )),
        ));
    }
    path_or_pattern(&context.working, &text, forced)
}

/// Whether a path means the same in every directory.
fn is_absolute(text: &[u8], context: &Context) -> bool {
    AbsPath::parse(context.system.style(), text) != Err(PathError::Relative)
}

/// A path or pattern below a directory.
fn nested(base: &AbsPath, below: &[u8]) -> Result<Meaning, (String, Option<String>)> {
    let (forced, text) = forced(below);
    if text.starts_with(b"/") || text.starts_with(b"~") {
        let message = format!("{} must be relative to its table", Quoted(text));
        return Err((message, Some(String::from("move it out of the nested table"))));
    }
    if text.split(|byte| *byte == b'/').any(|name| name == b"..") {
        return Err((format!("{} leaves its table", Quoted(text)), None));
    }
    path_or_pattern(base, text, forced)
}

/// How a key is to be read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Forced {
    No,
    Path,
    Glob,
}

fn forced(key: &[u8]) -> (Forced, &[u8]) {
    if let Some(rest) = key.strip_prefix(b"path:") {
        return (Forced::Path, rest);
    }
    match key.strip_prefix(b"glob:") {
        Some(rest) => (Forced::Glob, rest),
        None => (Forced::No, key),
    }
}

fn path_or_pattern(
    base: &AbsPath,
    text: &[u8],
    forced: Forced,
) -> Result<Meaning, (String, Option<String>)> {
    let wrong = |error: PathError| (format!("cannot use {}: {error}", Quoted(text)), None);
    if text.is_empty() {
        return Err(wrong(PathError::Empty));
    }
    if forced == Forced::Path || (forced == Forced::No && !has_glob(text)) {
        return base.join(text).map(|path| Meaning::Paths(vec![path])).map_err(wrong);
    }
    if text.contains(&0) {
        return Err(wrong(PathError::Nul));
    }
    // The part before the first name with a glob character is a directory.
    let separates =
        |byte: &u8| *byte == b'/' || (base.style() == PathStyle::Windows && *byte == b'\\');
    let first = text.iter().position(is_glob).unwrap_or(text.len());
    let start = text[..first].iter().rposition(separates).map_or(0, |at| at + 1);
    let directory = base.join(&text[..start]).map_err(wrong)?;
    let names = text[start..].split(separates).filter(|name| !name.is_empty());
    let pattern = names.collect::<Vec<&[u8]>>().join(&b'/');
    if pattern.is_empty() {
        return Ok(Meaning::Paths(vec![directory]));
    }
    Ok(Meaning::Pattern(Glob { base: directory, pattern }))
}

fn has_glob(text: &[u8]) -> bool {
    text.iter().any(is_glob)
}

fn is_glob(byte: &u8) -> bool {
    matches!(byte, b'*' | b'?' | b'[' | b'{')
}

fn expand_home(text: &[u8], context: &Context) -> Result<Vec<u8>, (String, Option<String>)> {
    let Some(rest) = text.strip_prefix(b"~") else { return Ok(text.to_vec()) };
    if !rest.is_empty() && !rest.starts_with(b"/") {
        let message = format!("{} names another user's home", Quoted(text));
        return Err((message, Some(String::from("write the absolute path"))));
    }
    match &context.home {
        Some(home) => Ok([home.as_bytes(), rest].concat()),
        None => Err((
            format!("cannot expand {}: there is no home directory", Quoted(text)),
            Some(String::from("set HOME to an absolute path")),
        )),
    }
}

fn token(
    key: &[u8],
    roots: &[AbsPath],
    context: &Context,
) -> Result<Vec<AbsPath>, (String, Option<String>)> {
    let text = String::from_utf8_lossy(key);
    let absolute = |path: &str| AbsPath::parse(context.system.style(), path.as_bytes()).ok();
    Ok(match text.as_ref() {
        ":root" => context.volumes.clone(),
        ":minimal" => minimal(context),
        ":workspace_roots" | ":project_roots" | ":cwd" => roots.to_vec(),
        ":tmpdir" => context.tmpdir.iter().cloned().collect(),
        ":slash_tmp" => context.slash_tmp.then(|| absolute("/tmp")).flatten().into_iter().collect(),
        ":home" => context.home.iter().cloned().collect(),
        ":secrets" => secrets(context),
        unknown => {
            let hint = match nearest(unknown, TOKENS) {
                Some(known) => format!("did you mean \"{known}\"?"),
                None => format!("known tokens are {}", TOKENS.join(" ")),
            };
            return Err((format!("unknown token \"{unknown}\""), Some(hint)));
        }
    })
}

/// The credential stores of this user.
pub fn secrets(context: &Context) -> Vec<AbsPath> {
    let path = |text: &&str| match (text.strip_prefix("~/"), &context.home) {
        (Some(rest), Some(home)) => home.join(rest).ok(),
        (Some(_), None) => None,
        (None, _) => context.volumes.first()?.join(text).ok(),
    };
    stores::secrets(context.system).iter().filter_map(path).collect()
}

/// What the system needs to start programs.
fn minimal(context: &Context) -> Vec<AbsPath> {
    let Some(volume) = context.volumes.first() else { return Vec::new() };
    stores::minimal(context.system).iter().filter_map(|path| volume.join(path).ok()).collect()
}

/// The rule of `--read`, `--write` or `--deny`.
pub(super) fn flag_rules(
    rule: &FlagRule,
    roots: &[AbsPath],
    context: &Context,
) -> Result<Vec<FsRule>, Diagnostic> {
    let problem = |(message, hint): (String, Option<String>)| {
        let diagnostic = Diagnostic::general(format!("{}: {message}", rule.option));
        match hint {
            Some(hint) => diagnostic.hint(hint),
            None => diagnostic,
        }
    };
    let (forced, text) = forced(&rule.path);
    let meaning = if rule.path.starts_with(b":") {
        token(&rule.path, roots, context).map(Meaning::Paths)
    } else {
        let text = expand_home(text, context).map_err(problem)?;
        path_or_pattern(&context.working, &text, forced)
    };
    let written = match rule.access {
        Access::Read => WrittenAccess::Read,
        Access::Write => WrittenAccess::Write,
        Access::Deny => WrittenAccess::Deny,
    };
    let targets = meaning.and_then(|meaning| single(meaning, written)).map_err(problem)?;
    let origin = Origin::Flag(rule.option.clone());
    Ok(targets
        .into_iter()
        .map(|target| FsRule { target, access: rule.access, origin: origin.clone() })
        .collect())
}
