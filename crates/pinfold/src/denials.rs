//! Collects what the sandbox refused while commands run.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fmt;
use std::net::{IpAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use pinfold_egress::{Event, Observer};
use pinfold_policy::denial::{Attempted, Denial, Target};
use pinfold_policy::path::AbsPath;
use pinfold_policy::profile::Profile;
use pinfold_sys::plan::{self, Plan};
use pinfold_sys::session::Child;
use pinfold_sys::view::View;
use pinfold_sys::{Act, Attempt, Error, Level, What, Witness, facts, peer};

use crate::judge::{self, Judgement, Network};

/// The most denials that are kept of one run: the first ones.
pub const MOST_DENIALS: usize = 200;

/// The most denials that are kept of a session: the newest ones.
pub const MOST_OF_SESSION: usize = 2000;

/// The most attempts that are remembered as harmless.
const MOST_HARMLESS: usize = 100_000;

/// The most directories that are remembered.
const MOST_DIRECTORIES: usize = 10_000;

/// Denials in the order of their first attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Denials {
    /// At most [`MOST_DENIALS`] of a run, or [`MOST_OF_SESSION`].
    pub list: VecDeque<Denial>,
    /// How many different ones were not kept.
    pub omitted: u64,
    /// Why nothing could be heard of files and programs, if so.
    pub unheard: Option<String>,
}

/// How denials are looked for.
#[derive(Clone, Default)]
pub struct DenialOptions {
    /// How closely; nothing for host rules only, which always tell.
    pub level: Option<Level>,
    /// Is told of every new one, on a thread that a command waits for: it must not
    /// block.
    pub observer: Option<DenialObserver>,
}

/// Is told of denials.
pub type DenialObserver = Arc<dyn Fn(&Denial) + Send + Sync>;

impl fmt::Debug for DenialOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DenialOptions").field("level", &self.level).finish_non_exhaustive()
    }
}

/// Which denials are kept when there are many.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    First,
    Newest,
}

/// What an address that the proxy made up stands for.
pub(crate) type Names = Box<dyn Fn(IpAddr) -> Option<String> + Send + Sync>;

pub(crate) struct Recorder {
    profile: Profile,
    network: Network,
    keep: Keep,
    observer: Option<DenialObserver>,
    names: OnceLock<Names>,
    /// The number of the network that the proxy's clients are in.
    number: OnceLock<u64>,
    /// The commands of a session.
    commands: Mutex<Vec<(u64, Weak<Child>)>>,
    seen: Mutex<Seen>,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Seen {
    denials: Denials,
    next: u64,
    /// The numbers of what is in the list.
    numbers: BTreeMap<(Attempted, Target, Option<u64>), u64>,
    harmless: HashSet<(Act, bool, Vec<u8>)>,
    /// The view of every process, where all have the same.
    view: Option<View>,
    /// What directories are.
    directories: HashMap<Vec<u8>, AbsPath>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Recorder {
    pub(crate) fn new(
        profile: &Profile,
        plan: &Plan,
        (keep, observer): (Keep, Option<DenialObserver>),
    ) -> Arc<Recorder> {
        let network = match plan::captured(plan) {
            None => Network::Host,
            Some(captured) => Network::Own { captured },
        };
        let (names, number, seen) = (OnceLock::new(), OnceLock::new(), Mutex::default());
        let profile = profile.clone();
        let commands = Mutex::default();
        Arc::new(Recorder { profile, network, keep, observer, names, number, commands, seen })
    }

    /// Hears of attempts for this recorder.
    pub(crate) fn witness(self: &Arc<Recorder>, level: Level) -> Witness {
        let recorder = self.clone();
        Witness { level, tell: Arc::new(move |told| recorder.hear(told)) }
    }

    /// Hears of what the proxy refuses for this recorder.
    pub(crate) fn observer(self: &Arc<Recorder>) -> Observer {
        let recorder = self.clone();
        Arc::new(move |event| {
            let Event::Refused(refusal) = event else { return };
            if let Some(denial) = judge::of_proxy(refusal) {
                let network = recorder.number.get().copied().unwrap_or_default();
                let client = refusal.connection.filter(|_| network != 0);
                let process = || {
                    let client = client?;
                    peer::process_behind((client.from, client.to), network)
                };
                // What is told of once needs to be found once; of a session's commands each is told.
                match recorder.has_commands() {
                    false => recorder.add(denial, None, process),
                    true => {
                        let process = process();
                        let mark = process.and_then(|process| recorder.command_of(process));
                        recorder.add(denial, mark, || process);
                    }
                }
            }
        })
    }

    /// Says what made-up addresses stand for.
    pub(crate) fn name_addresses(&self, names: Names) {
        let _ = self.names.set(names);
    }

    /// Notes a command of a session, and what its refusals are told with.
    pub(crate) fn number_command(&self, mark: u64, child: &Arc<Child>) {
        let mut commands = locked(&self.commands);
        commands.retain(|(_, child)| child.strong_count() > 0);
        commands.push((mark, Arc::downgrade(child)));
    }

    fn has_commands(&self) -> bool {
        !locked(&self.commands).is_empty()
    }

    /// The command that a process is, or descends from.
    fn command_of(&self, process: i32) -> Option<u64> {
        let commands = locked(&self.commands);
        let includes = |child: &Weak<Child>| child.upgrade().is_some_and(|c| c.includes(process));
        let found = commands.iter().find(|(mark, child)| *mark != 0 && includes(child));
        found.map(|(mark, _)| *mark)
    }

    /// Says which network the proxy's clients are in.
    pub(crate) fn number_network(&self, door: &TcpListener) {
        let _ = self.number.set(peer::network_of(door));
    }

    pub(crate) fn denials(&self) -> Denials {
        locked(&self.seen).denials.clone()
    }

    /// Those that `chosen` wants.
    pub(crate) fn chosen(&self, chosen: &dyn Fn(&Denial) -> bool) -> Denials {
        let seen = locked(&self.seen);
        let Denials { list, omitted, unheard } = &seen.denials;
        let list = list.iter().filter(|denial| chosen(denial)).cloned().collect();
        Denials { list, omitted: *omitted, unheard: unheard.clone() }
    }

    fn hear(&self, told: Result<Attempt, Error>) {
        let Attempt { what, process, mark } = match told {
            Ok(attempt) => attempt,
            Err(error) => {
                locked(&self.seen).denials.unheard = Some(error.to_string());
                return;
            }
        };
        let denial = match what {
            What::File { act, path, follows, source } => {
                self.file((act, follows, path), source.as_deref(), process)
            }
            What::Socket(path) => {
                View::of(process).and_then(|view| judge::socket(&self.profile, &view, &path))
            }
            What::AbstractSocket(name) => judge::abstract_socket(&self.network, name),
            What::Address { address, datagrams } => {
                let name = self.names.get().and_then(|names| names(address.ip()));
                judge::address(
                    (&self.profile, &self.network),
                    (address, datagrams),
                    name.as_deref(),
                    process,
                )
            }
        };
        if let Some(denial) = denial {
            let mark = Some(mark).filter(|mark| *mark != 0);
            self.add(denial, mark, || Some(facts::process_of(process)));
        }
    }

    fn file(
        &self,
        attempt: (Act, bool, Vec<u8>),
        source: Option<&[u8]>,
        process: i32,
    ) -> Option<Judgement> {
        let mut seen = locked(&self.seen);
        if seen.harmless.contains(&attempt) {
            return None;
        }
        // Nearly all attempts end here: only what is refused is looked at closely.
        if seen.view.is_none() || self.profile.user_namespaces {
            seen.view = View::of(process);
        }
        let (act, follows, name) = &attempt;
        let path = seen.real(name, *follows)?;
        if !judge::is_refused(&self.profile, *act, &path) {
            if seen.harmless.len() < MOST_HARMLESS {
                seen.harmless.insert(attempt);
            }
            return None;
        }
        judge::file(&self.profile, seen.view.as_ref()?, (*act, *follows, name), source)
    }

    /// Adds a refusal; `process` finds out whose it is, when it is new.
    fn add(&self, found: Judgement, mark: Option<u64>, process: impl FnOnce() -> Option<i32>) {
        let mut seen = locked(&self.seen);
        let key = (found.attempted, found.target.clone(), mark);
        if let Some(number) = seen.numbers.get(&key).copied() {
            seen.count(number);
            return;
        }
        if self.keep == Keep::First && seen.denials.list.len() == MOST_DENIALS {
            seen.denials.omitted += 1;
            return;
        }
        let process = process();
        let denial = Denial {
            sequence: seen.next,
            attempted: found.attempted,
            target: found.target,
            program: process.map(facts::name_of).unwrap_or_default(),
            process,
            command: mark,
            count: 1,
            rule: found.rule,
            origin: found.origin,
            allow: found.allow,
            narrower: found.narrower,
            secret: found.secret,
        };
        seen.numbers.insert(key, denial.sequence);
        seen.next += 1;
        seen.denials.list.push_back(denial.clone());
        if seen.denials.list.len() > MOST_OF_SESSION {
            seen.forget_oldest();
        }
        drop(seen);
        if let Some(observer) = &self.observer {
            observer(&denial);
        }
    }
}

impl Seen {
    fn count(&mut self, number: u64) {
        let first = self.denials.list.front().map_or(0, |denial| denial.sequence);
        let place = usize::try_from(number - first).unwrap_or(usize::MAX);
        if let Some(denial) = self.denials.list.get_mut(place) {
            denial.count += 1;
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.denials.list.pop_front() {
            self.numbers.remove(&(oldest.attempted, oldest.target, oldest.command));
            self.denials.omitted += 1;
        }
    }

    /// What a name is. Directories are looked at once: a program that changes links
    /// meanwhile is judged by where they led.
    fn real(&mut self, name: &[u8], follows: bool) -> Option<AbsPath> {
        let view = self.view.as_ref()?;
        let start = name.iter().rposition(|byte| *byte == b'/')? + 1;
        let (above, last) = name.split_at(start);
        if matches!(last, b"" | b"." | b"..") {
            return view.real(name, follows);
        }
        let above = match self.directories.get(above) {
            Some(known) => known.clone(),
            None => {
                let real = view.directory(above)?;
                if self.directories.len() < MOST_DIRECTORIES {
                    self.directories.insert(above.to_vec(), real.clone());
                }
                real
            }
        };
        let path = above.join(last).ok()?;
        if follows && view.is_link(&path) { view.real(name, true) } else { Some(path) }
    }
}
