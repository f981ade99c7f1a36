//! Collects what the sandbox refused while a command runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pinfold_policy::denial::{Attempted, Denial, refusal};
use pinfold_policy::path::AbsPath;
use pinfold_policy::profile::Profile;
use pinfold_sys::{Act, Attempt, Error, Level, May, Witness, facts, name};

/// The most denials that are kept of one run.
pub const MOST_DENIALS: usize = 200;

/// The most attempts that are remembered as harmless.
const MOST_HARMLESS: usize = 100_000;

/// The most directories that are remembered.
const MOST_DIRECTORIES: usize = 10_000;

/// The denials of one run, in the order of their first attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Denials {
    /// At most [`MOST_DENIALS`].
    pub list: Vec<Denial>,
    /// How many different ones were not kept.
    pub omitted: usize,
    /// Why nothing could be heard of, if so.
    pub unheard: Option<String>,
}

/// Files that every command may use, whatever the rules for their directory: they
/// are devices, or the kernel's own.
const APART: [&[u8]; 3] = [b"/dev", b"/proc", b"/sys"];

/// Whether a path is one of those, or below.
pub(crate) fn is_apart(path: &AbsPath) -> bool {
    APART.iter().any(|apart| {
        let below = path.as_bytes().strip_prefix(*apart);
        below.is_some_and(|below| below.is_empty() || below.starts_with(b"/"))
    })
}

pub(crate) struct Recorder {
    profile: Profile,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    denials: Denials,
    /// Where in the list.
    places: BTreeMap<(Attempted, AbsPath), usize>,
    harmless: BTreeSet<(Act, Vec<u8>)>,
    /// What directories are.
    directories: BTreeMap<AbsPath, AbsPath>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Recorder {
    pub(crate) fn new(profile: &Profile) -> Arc<Recorder> {
        Arc::new(Recorder { profile: profile.clone(), seen: Mutex::default() })
    }

    /// Hears of attempts for this recorder.
    pub(crate) fn witness(self: &Arc<Recorder>, level: Level) -> Witness {
        let recorder = self.clone();
        Witness { level, tell: Arc::new(move |told| recorder.hear(told)) }
    }

    pub(crate) fn denials(&self) -> Denials {
        locked(&self.seen).denials.clone()
    }

    fn hear(&self, told: Result<Attempt, Error>) {
        let attempt = match told {
            Ok(attempt) => attempt,
            Err(error) => {
                locked(&self.seen).denials.unheard = Some(error.to_string());
                return;
            }
        };
        let mut seen = locked(&self.seen);
        let key = (attempt.act, attempt.path);
        if seen.harmless.contains(&key) {
            return;
        }
        match self.judged(&mut seen, key.0, &key.1) {
            Some(denial) => seen.add(denial, attempt.process),
            // What is made later may be refused later.
            None if seen.harmless.len() < MOST_HARMLESS && key.0 != Act::Make => {
                seen.harmless.insert(key);
            }
            None => {}
        }
    }

    /// The denial that an attempt meets, if the sandbox is what refuses it.
    fn judged(&self, seen: &mut Seen, act: Act, given: &[u8]) -> Option<Denial> {
        let given = name::absolute(given).ok()?;
        if is_apart(&given) {
            return None;
        }
        let path = real(&given, act, |above| seen.directory(above))?;
        let attempted = attempted(act);
        // Nearly all attempts end here: only what is refused is looked at closely.
        refusal(&self.profile, attempted, &path, true)?;
        let exists = facts::exists(&path);
        if act == Act::Make && exists {
            // There, the kernel says that it exists, in a sandbox or not.
            return None;
        }
        let (verdict, allow) = refusal(&self.profile, attempted, &path, exists)?;
        if !could(attempted, &path, exists) {
            return None;
        }
        Some(Denial {
            attempted,
            path,
            program: String::new(),
            process: 0,
            count: 1,
            rule: verdict.rule,
            origin: verdict.origin,
            allow,
        })
    }
}

impl Seen {
    fn add(&mut self, denial: Denial, process: i32) {
        let key = (denial.attempted, denial.path.clone());
        if let Some(place) = self.places.get(&key) {
            if let Some(known) = self.denials.list.get_mut(*place) {
                known.count += 1;
            }
            return;
        }
        let place = self.denials.list.len();
        if place == MOST_DENIALS {
            self.denials.omitted += 1;
            return;
        }
        self.places.insert(key, place);
        self.denials.list.push(Denial { program: facts::name_of(process), process, ..denial });
    }
}

/// The path with links resolved: rules hold for what a path is. What names a name,
/// rather than a file, keeps its last part. `directory` resolves one.
pub(crate) fn real(
    given: &AbsPath,
    act: Act,
    directory: impl FnOnce(&AbsPath) -> Option<AbsPath>,
) -> Option<AbsPath> {
    let path = directory(&given.parent()?)?.join(given.name()?).ok()?;
    let follows = !matches!(act, Act::Remove | Act::Make);
    let named = name::path(&path);
    let is_link = || std::fs::symlink_metadata(named).is_ok_and(|found| found.is_symlink());
    // One that leads nowhere is itself.
    let whole = if follows && is_link() { resolved(&path) } else { None };
    Some(whole.unwrap_or(path))
}

/// What a path is, when it exists.
pub(crate) fn resolved(path: &AbsPath) -> Option<AbsPath> {
    let real = std::fs::canonicalize(name::path(path)).ok()?;
    name::absolute(name::bytes(real.as_os_str())).ok()
}

impl Seen {
    /// What a directory is. It is looked at once: a program that changes links
    /// meanwhile is told of by where they led.
    fn directory(&mut self, path: &AbsPath) -> Option<AbsPath> {
        if let Some(known) = self.directories.get(path) {
            return Some(known.clone());
        }
        let real = resolved(path)?;
        if self.directories.len() < MOST_DIRECTORIES {
            self.directories.insert(path.clone(), real.clone());
        }
        Some(real)
    }
}

/// What an act is to a profile.
pub(crate) fn attempted(act: Act) -> Attempted {
    match act {
        Act::Read => Attempted::Read,
        Act::Execute => Attempted::Execute,
        Act::Write => Attempted::Write,
        Act::Make => Attempted::Create,
        Act::Remove => Attempted::Remove,
        Act::Change => Attempted::Change,
    }
}

/// Whether the user could do it outside.
fn could(attempted: Attempted, path: &AbsPath, exists: bool) -> bool {
    let above = || path.parent().is_some_and(|above| facts::may(&above, May::Write));
    match attempted {
        Attempted::Read | Attempted::Execute => facts::may(path, May::Read),
        Attempted::Write if exists => facts::may(path, May::Write),
        Attempted::Remove => exists && above(),
        Attempted::Write | Attempted::Create => above(),
        Attempted::Change => facts::may(path, May::Own),
    }
}
