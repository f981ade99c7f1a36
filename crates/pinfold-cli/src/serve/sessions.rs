//! The sessions of a server.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use pinfold::policy::path::Quoted;
use pinfold::policy::profile::Access;
use pinfold::policy::resolve::Request;
use pinfold::{Caller, DenialOptions, Options, Outputs, Sandbox, Session, Size, Start, Stdio};
use pinfold_sys::descriptor::Owned;
use serde_json::{Value, json};

use super::connection::Connection;
use super::denied::Messenger;
use super::message::{Fault, LIMIT, NO_REQUEST, ProcessStart, SessionStart, UNKNOWN};
use super::process::{self, Belongs, Held};

/// Sessions at once.
pub(super) const SESSIONS: usize = 1024;

/// Processes that run at once in a session.
pub(super) const PROCESSES: usize = 1024;

/// Processes of a session whose output is kept after their end.
const REMEMBERED: usize = 64;

/// How long a session outlives its connection.
pub(super) const LINGER: Duration = Duration::from_secs(60);

/// How often forsaken sessions are looked for.
const SWEEP: Duration = Duration::from_secs(1);

/// How long a server stays without a session when it was started for one.
const EMPTY: Duration = Duration::from_secs(5);

/// Everything that a server has.
pub(crate) struct Server {
    sessions: Mutex<BTreeMap<String, Arc<Room>>>,
    last: AtomicU64,
}

/// What a session is opened with.
pub(crate) struct Opening {
    pub(crate) name: Option<String>,
    /// Whether it outlives its connection.
    pub(crate) keep: bool,
    pub(crate) caller: Caller,
    pub(crate) options: Options,
}

/// A session and its processes.
pub(crate) struct Room {
    pub(crate) number: String,
    name: String,
    keep: bool,
    pub(crate) caller: Caller,
    /// Nothing once it has been stopped.
    session: RwLock<Option<Session>>,
    processes: Mutex<BTreeMap<u64, Arc<Held>>>,
    presence: Mutex<Presence>,
}

/// Who is there.
struct Presence {
    connections: Vec<Arc<Connection>>,
    /// Since when nobody is.
    forsaken: Option<Instant>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    pub(crate) fn new() -> Server {
        Server { sessions: Mutex::default(), last: AtomicU64::new(0) }
    }

    fn next(&self, letter: char) -> (u64, String) {
        let number = self.last.fetch_add(1, SeqCst) + 1;
        (number, format!("{letter}{number}"))
    }

    pub(super) fn start(
        &self,
        asked: SessionStart,
        connection: &Arc<Connection>,
    ) -> Result<Value, Fault> {
        let mut caller = match &asked.directory {
            // A present directory that is gone does not matter for an absolute one.
            Some(directory) if directory.starts_with('/') => {
                Caller::at_root().in_directory(directory.as_ref())
            }
            Some(directory) => {
                Caller::of_this_process().and_then(|here| here.in_directory(directory.as_ref()))
            }
            None => Caller::of_this_process(),
        }?;
        if let Some(variables) = &asked.caller {
            let entries = variables.iter().map(|(name, value)| format!("{name}={value}"));
            caller.environment = entries.map(String::into_bytes).collect();
        }
        let options = options(&asked)?;
        let opening = Opening { name: asked.name, keep: asked.keep, caller, options };
        Ok(self.open(opening, connection)?.described())
    }

    /// Opens a session.
    pub(crate) fn open(
        &self,
        opening: Opening,
        connection: &Arc<Connection>,
    ) -> Result<Arc<Room>, Fault> {
        let Opening { name, keep, caller, mut options } = opening;
        let (_, number) = self.next('s');
        let name = name.unwrap_or_else(|| number.clone());
        self.check_name(&name)?;
        let (messenger, observer) = Messenger::new();
        options.denials.observer = Some(observer);
        let session = Sandbox::open(&caller, &options)?.start()?;
        let records = session.denials().is_some();
        let room = Arc::new(Room {
            number: number.clone(),
            name: name.clone(),
            keep,
            caller,
            session: RwLock::new(Some(session)),
            processes: Mutex::default(),
            presence: Mutex::new(Presence {
                connections: vec![connection.clone()],
                forsaken: None,
            }),
        });
        // Another may have taken the name meanwhile; this session then ends here.
        let mut sessions = locked(&self.sessions);
        if sessions.len() >= SESSIONS {
            return Err(Fault::new(LIMIT, format!("there are {SESSIONS} sessions already")));
        }
        if sessions.values().any(|room| room.name == name) {
            return Err(taken(&name));
        }
        sessions.insert(number, room.clone());
        if records {
            messenger.serve(Arc::downgrade(&room));
        }
        Ok(room)
    }

    fn check_name(&self, name: &str) -> Result<(), Fault> {
        if name.is_empty() || name.len() > 64 || name.contains(char::is_control) {
            let fault = Fault::new(super::message::WRONG_PARAMETERS, "cannot use this name");
            return Err(fault.hint("use 1 to 64 characters"));
        }
        match locked(&self.sessions).values().any(|room| room.name == name) {
            true => Err(taken(name)),
            false => Ok(()),
        }
    }

    /// The session with an identifier or a name.
    pub(super) fn room(&self, session: &str) -> Result<Arc<Room>, Fault> {
        let sessions = locked(&self.sessions);
        let found =
            sessions.get(session).or_else(|| sessions.values().find(|room| room.name == session));
        found.cloned().ok_or_else(|| {
            let message = format!("no such session: {}", Quoted(session.as_bytes()));
            Fault::new(UNKNOWN, message)
                .hint("\"session/list\", or \"pinfold session list\", names those that there are")
        })
    }

    pub(crate) fn process(&self, process: &str) -> Result<Arc<Held>, Fault> {
        let number = process.strip_prefix('p').and_then(|number| number.parse::<u64>().ok());
        let rooms: Vec<Arc<Room>> = locked(&self.sessions).values().cloned().collect();
        let mut held =
            rooms.iter().filter_map(|room| locked(&room.processes).get(&number?).cloned());
        held.next().ok_or_else(|| {
            Fault::new(UNKNOWN, format!("no such process: {}", Quoted(process.as_bytes())))
        })
    }

    pub(super) fn list(&self) -> Value {
        let rooms: Vec<Arc<Room>> = locked(&self.sessions).values().cloned().collect();
        let sessions: Vec<Value> = rooms.iter().map(|room| room.described()).collect();
        json!({ "sessions": sessions })
    }

    /// Starts a process; its output is read once the client knows of it.
    pub(crate) fn spawn(
        &self,
        asked: ProcessStart,
        connection: &Arc<Connection>,
        given: Option<[Owned; 3]>,
    ) -> Result<(Arc<Held>, Outputs), Fault> {
        let room = self.room(&asked.session)?;
        room.admit(connection);
        let (number, name) = self.next('p');
        room.make_way()?;
        let start = Start {
            command: asked.command.into_iter().map(OsString::from).collect(),
            directory: asked.directory.map(OsString::from),
            environment: variables(asked.environment)?,
            stdio: match (asked.terminal, asked.stdin) {
                _ if asked.descriptors => Stdio::Given(given.ok_or_else(|| {
                    let message = "three descriptors must come with the request";
                    Fault::new(super::message::WRONG_PARAMETERS, message)
                })?),
                (Some(size), _) => Stdio::Terminal(Size { rows: size.rows, columns: size.columns }),
                (None, true) => Stdio::Pipes,
                (None, false) => Stdio::NoInput,
            },
            mark: number,
        };
        let spawned = room.with(|session| session.spawn(start).map_err(Fault::from))??;
        let of = Belongs { room: Arc::downgrade(&room), mark: number };
        let (held, outputs) = process::hold(name, of, spawned, connection.clone());
        locked(&room.processes).insert(number, held.clone());
        Ok((held, outputs))
    }

    /// Ends a session; false when it has ended before.
    pub(crate) fn stop(&self, room: &Room, reason: &str) -> bool {
        locked(&self.sessions).remove(&room.number);
        // Whatever still uses it comes to its end.
        let _ = room.with(Session::kill);
        let session = room.session.write().unwrap_or_else(PoisonError::into_inner).take();
        let Some(session) = session else { return false };
        let _ = session.stop();
        room.notify("session/ended", &json!({ "session": room.number, "reason": reason }));
        locked(&room.presence).connections.clear();
        true
    }

    pub(crate) fn stop_all(&self) {
        let rooms: Vec<Arc<Room>> = locked(&self.sessions).values().cloned().collect();
        for room in rooms {
            self.stop(&room, "the server ends");
        }
    }

    /// A connection is gone.
    pub(super) fn leave(&self, connection: &Arc<Connection>) {
        let rooms: Vec<Arc<Room>> = locked(&self.sessions).values().cloned().collect();
        for room in rooms {
            for held in locked(&room.processes).values() {
                held.leave(connection);
            }
            let mut presence = locked(&room.presence);
            presence.connections.retain(|present| present.number != connection.number);
            if presence.connections.is_empty() && presence.forsaken.is_none() {
                presence.forsaken = Some(Instant::now());
            }
        }
    }

    /// Ends sessions that nobody comes back to, and notes those that ended by
    /// themselves, for as long as the server runs.
    pub(super) fn sweep(&self) {
        loop {
            std::thread::sleep(SWEEP);
            let rooms: Vec<Arc<Room>> = locked(&self.sessions).values().cloned().collect();
            for room in rooms {
                if room.with(|session| session.is_over()).unwrap_or(true) {
                    self.stop(&room, "a limit was reached, or everything was killed");
                } else if room.is_forsaken() {
                    self.stop(&room, "nobody came back to it");
                }
            }
        }
    }
}

impl Server {
    /// Returns when there has been no session for a while.
    pub(super) fn until_empty(&self) {
        let mut empty = Instant::now();
        while empty.elapsed() < EMPTY {
            std::thread::sleep(SWEEP);
            if !locked(&self.sessions).is_empty() {
                empty = Instant::now();
            }
        }
    }
}

fn taken(name: &str) -> Fault {
    let message = format!("there is a session {} already", Quoted(name.as_bytes()));
    Fault::new(NO_REQUEST, message).hint("stop it, or use another name")
}

impl Room {
    /// Does something with the session, which stays until it is done.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&Session) -> T) -> Result<T, Fault> {
        let session = self.session.read().unwrap_or_else(PoisonError::into_inner);
        session.as_ref().map(act).ok_or_else(|| Fault::new(UNKNOWN, "the session has ended"))
    }

    /// Tells everybody who is there.
    pub(super) fn notify(&self, method: &str, parameters: &Value) {
        let connections = locked(&self.presence).connections.clone();
        for connection in connections {
            connection.notify(method, parameters.clone());
        }
    }

    /// As after a start, with its processes.
    pub(crate) fn described(&self) -> Value {
        let processes: Vec<Value> = locked(&self.processes)
            .values()
            .map(|held| match held.result() {
                None => json!({ "process": held.name }),
                Some(ended) => {
                    let status = process::status(ended);
                    json!({ "process": held.name, "status": status, "code": ended.code() })
                }
            })
            .collect();
        let described = self.with(|session| {
            let sandbox = session.sandbox();
            let gaps = sandbox
                .gaps()
                .iter()
                .map(|gap| json!({ "name": gap.name, "rule": gap.rule, "why": gap.reason }));
            let working = sandbox.profile().directories.working.as_bytes();
            json!({
                "session": self.number,
                "name": self.name,
                "profile": sandbox.profile().name,
                "directory": String::from_utf8_lossy(working),
                "mechanism": pinfold_sys::plan::mechanism(sandbox.plan()),
                "gaps": gaps.collect::<Vec<Value>>(),
                "processes": processes,
            })
        });
        described.unwrap_or_else(|_| json!({ "session": self.number, "name": self.name }))
    }

    /// Somebody comes, or comes back.
    pub(super) fn attach(&self, connection: &Arc<Connection>) -> Value {
        self.admit(connection);
        self.described()
    }

    /// The same without a word about the session.
    fn admit(&self, connection: &Arc<Connection>) {
        let mut presence = locked(&self.presence);
        presence.forsaken = None;
        if !presence.connections.iter().any(|present| present.number == connection.number) {
            presence.connections.push(connection.clone());
        }
    }

    pub(super) fn explain(&self, thing: &str) -> Result<Value, Fault> {
        let verdict = self.with(|session| {
            crate::show::verdict(session.sandbox().profile(), &self.caller, thing.as_bytes())
        })?;
        let text = verdict.map_err(|failure| {
            let text = failure.text.strip_prefix("error: ").unwrap_or(&failure.text);
            Fault::new(super::message::WRONG_PARAMETERS, text)
        })?;
        Ok(json!({ "text": text.trim_end() }))
    }

    fn is_forsaken(&self) -> bool {
        let forsaken = locked(&self.presence).forsaken;
        !self.keep && forsaken.is_some_and(|since| since.elapsed() > LINGER)
    }

    /// Makes room for another process: forgets the oldest that have ended.
    fn make_way(&self) -> Result<(), Fault> {
        let mut processes = locked(&self.processes);
        let ended: Vec<u64> = processes
            .iter()
            .filter(|(_, held)| held.result().is_some())
            .map(|(number, _)| *number)
            .collect();
        let surplus = ended.len().saturating_sub(REMEMBERED);
        for number in ended.into_iter().take(surplus) {
            processes.remove(&number);
        }
        let running = processes.len().saturating_sub(REMEMBERED);
        if running >= PROCESSES {
            let message = format!("{PROCESSES} processes run in this session already");
            return Err(Fault::new(LIMIT, message).hint("wait until some have ended"));
        }
        Ok(())
    }
}

fn variables(given: BTreeMap<String, String>) -> Result<Vec<OsString>, Fault> {
    let variable = |(name, value): (String, String)| {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            let message = format!("cannot set the variable {}", Quoted(name.as_bytes()));
            return Err(Fault::new(super::message::WRONG_PARAMETERS, message));
        }
        Ok(OsString::from(format!("{name}={value}")))
    };
    given.into_iter().map(variable).collect()
}

fn options(asked: &SessionStart) -> Result<Options, Fault> {
    let mut request = Request {
        profile: asked.profile.clone(),
        hosts: asked.net.clone(),
        environment: asked.environment.iter().map(|text| text.as_bytes().to_vec()).collect(),
        allowed_gaps: asked.allow_gaps.clone(),
        sockets: asked.unix_sockets.clone(),
        ..Request::plain()
    };
    let lists = [
        ("read", &asked.read, Access::Read),
        ("write", &asked.write, Access::Write),
        ("deny", &asked.deny, Access::Deny),
    ];
    for (option, paths, access) in lists {
        for path in paths {
            let rule = crate::run::rule(option, path.as_ref(), access);
            request.rules.push(
                rule.map_err(|failure| Fault::new(super::message::WRONG_PARAMETERS, failure.text))?,
            );
        }
    }
    let level = match asked.denials.as_deref() {
        None => None,
        Some(text) => crate::run::level(text).ok_or_else(|| {
            let message = format!("unknown level {}", Quoted(text.as_bytes()));
            Fault::new(super::message::WRONG_PARAMETERS, message).hint(crate::run::LEVELS)
        })?,
    };
    let denials = DenialOptions { level, observer: None };
    Ok(Options { request, overrides: asked.settings.clone(), denials, ..Options::default() })
}
