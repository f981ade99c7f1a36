//! Finds out what a command needs, by letting it have it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pinfold_egress::{Event, Observer};
use pinfold_policy::denial::{Attempted, is_wide, refusal};
use pinfold_policy::net::rule_text;
use pinfold_policy::path::AbsPath;
use pinfold_sys::view::View;
use pinfold_sys::{Act, Attempt, Error as SystemError, Level, May, What, Witness, facts};

use crate::judge::{attempted, is_apart};
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
    /// Rules for the hosts that it reached.
    pub hosts: BTreeSet<String>,
    /// What it wanted to read of the places where credentials are kept, and did not
    /// get.
    pub secrets: BTreeSet<AbsPath>,
    /// What a rule would grant too much for: the root directory.
    pub wide: BTreeSet<AbsPath>,
}

#[derive(Default)]
struct Seen {
    attempts: BTreeSet<(Act, bool, Vec<u8>)>,
    files: BTreeSet<(Act, AbsPath)>,
    hosts: BTreeSet<String>,
    failed: Option<SystemError>,
}

impl Seen {
    fn hear(&mut self, told: Result<Attempt, SystemError>) {
        let attempt = match told {
            Ok(attempt) => attempt,
            Err(error) => {
                self.failed = Some(error);
                return;
            }
        };
        let What::File { act, path, follows, .. } = attempt.what else { return };
        if self.attempts.len() >= MOST || !self.attempts.insert((act, follows, path.clone())) {
            return;
        }
        // At once: links may lead elsewhere later.
        let real = View::of(attempt.process).and_then(|view| view.real(&path, follows));
        self.files.extend(real.filter(|path| !is_apart(path)).map(|path| (act, path)));
    }
}

fn locked(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a command in `permissive`, and compares what it attempts with what `base`
/// allows.
///
/// # Errors
/// As for [`Sandbox::run`], and when attempts cannot be heard of.
pub fn learn(permissive: &Sandbox, base: &Sandbox, command: &[OsString]) -> Result<Learned, Error> {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let noted = seen.clone();
    let tell = move |told| locked(&noted).hear(told);
    let witness = Witness { level: Level::All, tell: Arc::new(tell) };
    let noted = seen.clone();
    let observer: Observer = Arc::new(move |event| {
        if let Event::Allowed { request, .. } = event {
            locked(&noted).hosts.extend(rule_text(&request.host, request.port));
        }
    });
    let outcome = permissive.attempt(command, None, Some((witness, observer)))?;
    let Seen { files, hosts, failed, .. } = std::mem::take(&mut *locked(&seen));
    if let Some(error) = failed {
        return Err(Error::Launch(error));
    }
    let mut learned = Learned {
        outcome,
        rules: BTreeMap::new(),
        hosts,
        secrets: BTreeSet::new(),
        wide: BTreeSet::new(),
    };
    for (act, path) in files {
        note(&mut learned, (permissive, base), act, path);
    }
    learned.rules = collapsed(&learned.rules, permissive.profile().directories.home.as_ref());
    Ok(learned)
}

fn note(learned: &mut Learned, (permissive, base): (&Sandbox, &Sandbox), act: Act, path: AbsPath) {
    let exists = facts::exists(&path);
    let act = if act == Act::Ask { Act::Look } else { act };
    let attempted = attempted(act, exists);
    let reads = matches!(attempted, Attempted::Read | Attempted::Execute);
    let directory = facts::is_directory(&path);
    // A directory that is only asked about shows as soon as anything below it does.
    let needless = (act == Act::Look && directory) || (reads && !exists);
    if needless || refusal(base.profile(), attempted, &path, exists).is_none() {
        return;
    }
    if refusal(permissive.profile(), attempted, &path, exists).is_some() {
        if act != Act::Look {
            learned.secrets.insert(path);
        }
        return;
    }
    let may = |path: &AbsPath| facts::may(path, May::Write);
    if !reads && !may(&path) && !path.parent().is_some_and(|above| may(&above)) {
        // It failed, as it would have anywhere.
        return;
    }
    if path.depth() == 0 {
        learned.wide.insert(path);
        return;
    }
    let rule = match act {
        Act::Look => path,
        _ if directory && reads => path,
        _ => around(path, permissive),
    };
    let writes = learned.rules.entry(rule).or_default();
    *writes |= !reads;
}

/// The directory of a path, unless that holds too much: the root, what lies right
/// below it, and the home.
fn around(path: AbsPath, sandbox: &Sandbox) -> AbsPath {
    let home = sandbox.profile().directories.home.as_ref();
    let wide = |directory: &AbsPath| is_wide(directory, home);
    match path.parent() {
        _ if facts::is_directory(&path) && !wide(&path) => path,
        Some(directory) if !wide(&directory) && home != Some(&path) => directory,
        _ => path,
    }
}

/// Leaves out what a rule above covers, and writes many siblings as one.
fn collapsed(rules: &BTreeMap<AbsPath, bool>, home: Option<&AbsPath>) -> BTreeMap<AbsPath, bool> {
    let mut result = rules.clone();
    let mut siblings: BTreeMap<(AbsPath, bool), usize> = BTreeMap::new();
    let narrow =
        |above: &AbsPath| above.depth() >= 3 && !home.is_some_and(|home| home.starts_with(above));
    for (path, writes) in rules {
        if let Some(above) = path.parent().filter(narrow) {
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
