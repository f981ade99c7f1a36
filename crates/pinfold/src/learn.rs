//! Finds out what a command needs, by letting it have it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::sync::{Arc, Mutex, PoisonError};

use pinfold_policy::denial::refusal;
use pinfold_policy::path::AbsPath;
use pinfold_sys::{Act, Level, Witness, facts, name};

use crate::denials::{attempted, is_apart, real, resolved};
use crate::{Error, Outcome, Sandbox};

/// The most different attempts that are remembered.
const MOST: usize = 1_000_000;

/// Siblings that are written as their directory.
const SIBLINGS: usize = 4;

/// What a command needed beyond a profile.
#[derive(Clone, Debug)]
pub struct Learned {
    /// How the command ended.
    pub outcome: Outcome,
    /// Paths and whether they are to be written, else read; none lies below another
    /// of the same kind.
    pub rules: BTreeMap<AbsPath, bool>,
    /// What it wanted to read of the places where credentials are kept, and did not
    /// get.
    pub secrets: BTreeSet<AbsPath>,
}

type Seen = Arc<Mutex<BTreeSet<(Act, Vec<u8>)>>>;

/// Runs a command in `permissive`, and compares what it attempts with what `base`
/// allows.
///
/// # Errors
/// As for [`Sandbox::run`], and when attempts cannot be heard of.
pub fn learn(permissive: &Sandbox, base: &Sandbox, command: &[OsString]) -> Result<Learned, Error> {
    let seen = Seen::default();
    let unheard = Arc::new(Mutex::new(None));
    let (noted, failed) = (seen.clone(), unheard.clone());
    let tell = move |told: Result<pinfold_sys::Attempt, pinfold_sys::Error>| match told {
        Ok(attempt) => {
            let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
            if noted.len() < MOST {
                noted.insert((attempt.act, attempt.path));
            }
        }
        Err(error) => *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error),
    };
    let witness = Witness { level: Level::Opens, tell: Arc::new(tell) };
    let outcome = permissive.attempt(command, Some(witness))?;
    if let Some(error) = unheard.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Err(Error::Launch(error));
    }
    let seen = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
    let mut learned = Learned { outcome, rules: BTreeMap::new(), secrets: BTreeSet::new() };
    for (act, path) in seen {
        note(&mut learned, permissive, base, (act, &path));
    }
    learned.rules = collapsed(&learned.rules);
    Ok(learned)
}

fn note(learned: &mut Learned, permissive: &Sandbox, base: &Sandbox, (act, path): (Act, &[u8])) {
    let Ok(given) = name::absolute(path) else { return };
    if is_apart(&given) {
        return;
    }
    let Some(path) = real(&given, act, resolved) else { return };
    let attempted = attempted(act);
    let reads = matches!(act, Act::Read | Act::Execute);
    let exists = facts::exists(&path);
    if reads && !exists {
        return;
    }
    if refusal(permissive.profile(), attempted, &path, exists).is_some() {
        learned.secrets.insert(path);
        return;
    }
    if refusal(base.profile(), attempted, &path, exists).is_none() {
        return;
    }
    let rule = around(&path, permissive);
    let writes = learned.rules.entry(rule).or_default();
    *writes |= !reads;
}

/// The directory of a path, unless that holds too much: the root, what lies right
/// below it, and the home.
fn around(path: &AbsPath, sandbox: &Sandbox) -> AbsPath {
    let home = sandbox.profile().directories.home.as_ref();
    let wide = |directory: &AbsPath| directory.depth() < 2 || home == Some(directory);
    match path.parent() {
        _ if facts::is_directory(path) && !wide(path) => path.clone(),
        Some(directory) if !wide(&directory) => directory,
        _ => path.clone(),
    }
}

/// Leaves out what a rule above covers, and writes many siblings as one.
fn collapsed(rules: &BTreeMap<AbsPath, bool>) -> BTreeMap<AbsPath, bool> {
    let mut result = rules.clone();
    let mut siblings: BTreeMap<(AbsPath, bool), usize> = BTreeMap::new();
    for (path, writes) in rules {
        if let Some(above) = path.parent().filter(|above| above.depth() >= 3) {
            *siblings.entry((above, *writes)).or_default() += 1;
        }
    }
    for ((above, writes), count) in siblings {
        if count >= SIBLINGS {
            *result.entry(above).or_default() |= writes;
        }
    }
    let all = result.clone();
    result.retain(|path, writes| {
        let mut above = path.ancestors().skip(1);
        !above.any(|above| all.get(&above).is_some_and(|wider| *wider || !*writes))
    });
    result
}
