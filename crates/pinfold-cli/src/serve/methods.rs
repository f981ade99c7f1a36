//! What each method does.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use pinfold::Size;
use pinfold_sys::descriptor::Owned;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::connection::{Connection, LONGEST};
use super::files;
use super::message::{
    self, Attach, DenialsOf, Explain, FAILED, Fault, FileList, FileRead, FileWrite, Initialize,
    NO_METHOD, NOT_READY, OfProcess, OfSession, Read, Request, Resize, Signal, Terminate,
    WRONG_PARAMETERS, Write,
};
use super::process::{self, KEPT};
use super::sessions::{LINGER, PROCESSES, SESSIONS, Server};
use super::workers;

/// The longest that `process/read` waits.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// Time for a process to end by itself, where none is given.
const GRACE: Duration = Duration::from_secs(5);

/// How an answer is given: at once, or by another thread.
enum Reply {
    Now(Result<Value, Fault>),
    /// At once, and then something is done.
    Then(Value, Box<dyn FnOnce()>),
    Later(Box<dyn FnOnce() -> Result<Value, Fault> + Send>),
}

/// Answers a request. What may take long is answered by a thread of its own.
pub(super) fn answer(
    server: &Arc<Server>,
    connection: &Arc<Connection>,
    request: Request,
    given: Option<[Owned; 3]>,
) {
    let Request { id, method, params, .. } = request;
    let parameters = params.unwrap_or_else(|| json!({}));
    let respond = {
        let connection = connection.clone();
        move |result| {
            if let Some(id) = id {
                connection.answer(&id, result);
            }
        }
    };
    if method == "process/write" {
        return write(server, connection, parameters, Box::new(respond));
    }
    let reply = match method.as_str() {
        "process/start" => start(server, connection, parameters, given),
        _ => perform(server, connection, &method, parameters),
    };
    let reply = reply.unwrap_or_else(|fault| Reply::Now(Err(fault)));
    match reply {
        Reply::Now(result) => respond(result),
        Reply::Then(value, act) => {
            respond(Ok(value));
            act();
        }
        Reply::Later(act) => {
            // Without a thread, the answer never comes; the client sees that the
            // server is at its end when the connection is closed.
            if workers::perform(move || respond(act())).is_err() {
                connection.lose();
            }
        }
    }
}

fn parsed<T: DeserializeOwned>(parameters: Value) -> Result<T, Fault> {
    message::parameters(parameters)
        .map_err(|error| Fault::new(WRONG_PARAMETERS, format!("wrong parameters: {error}")))
}

fn write(
    server: &Arc<Server>,
    connection: &Arc<Connection>,
    parameters: Value,
    respond: Box<dyn FnOnce(Result<Value, Fault>) + Send>,
) {
    let asked = ready(connection)
        .and_then(|()| parsed::<Write>(parameters))
        .and_then(|asked| Ok((server.process(&asked.process)?, asked.data.0)));
    match asked {
        Ok((held, bytes)) => held.write(bytes, respond),
        Err(fault) => respond(Err(fault)),
    }
}

fn start(
    server: &Arc<Server>,
    connection: &Arc<Connection>,
    parameters: Value,
    given: Option<[Owned; 3]>,
) -> Result<Reply, Fault> {
    ready(connection)?;
    let (held, outputs) = server.spawn(parsed(parameters)?, connection, given)?;
    let answer = json!({ "process": held.name });
    // The client learns of the process before it gets its output.
    Ok(Reply::Then(answer, Box::new(move || process::follow(&held, outputs))))
}

fn ready(connection: &Connection) -> Result<(), Fault> {
    match connection.ready.load(SeqCst) {
        true => Ok(()),
        false => Err(Fault::new(NOT_READY, "\"initialize\" must come first")),
    }
}

fn seconds(given: f64, most: Duration) -> Result<Duration, Fault> {
    match Duration::try_from_secs_f64(given) {
        Ok(time) => Ok(time.min(most)),
        Err(_) => Err(Fault::new(WRONG_PARAMETERS, "a time must be a number of seconds")),
    }
}

fn perform(
    server: &Arc<Server>,
    connection: &Arc<Connection>,
    method: &str,
    parameters: Value,
) -> Result<Reply, Fault> {
    let now = |value: Value| Ok(Reply::Now(Ok(value)));
    if method == "initialize" {
        return now(initialize(connection, &parsed(parameters)?)?);
    }
    ready(connection)?;
    match method {
        "session/start" => now(server.start(parsed(parameters)?, connection)?),
        "session/list" => now(server.list()),
        "session/attach" => {
            let asked: OfSession = parsed(parameters)?;
            now(server.room(&asked.session)?.attach(connection))
        }
        "session/explain" => {
            let asked: Explain = parsed(parameters)?;
            now(server.room(&asked.session)?.explain(&asked.thing)?)
        }
        "session/denials" => {
            let asked: DenialsOf = parsed(parameters)?;
            let room = server.room(&asked.session)?;
            now(room.denials(asked.from, asked.process.as_deref())?)
        }
        "session/stop" => {
            let asked: OfSession = parsed(parameters)?;
            let room = server.room(&asked.session)?;
            let server = server.clone();
            Ok(later(move || {
                server.stop(&room, "it was stopped");
                Ok(json!({ "session": room.number }))
            }))
        }
        "shutdown" => {
            server.stop_all();
            now(json!({}))
        }
        _ if method.starts_with("file/") => file(server, method, parameters),
        _ => of_process(server, connection, method, parameters),
    }
}

fn later(act: impl FnOnce() -> Result<Value, Fault> + Send + 'static) -> Reply {
    Reply::Later(Box::new(act))
}

fn initialize(connection: &Connection, asked: &Initialize) -> Result<Value, Fault> {
    if asked.protocol != 1 {
        let fault = Fault::new(NOT_READY, format!("protocol {} is not known", asked.protocol));
        return Err(fault.hint("use protocol 1"));
    }
    connection.ready.store(true, SeqCst);
    Ok(json!({
        "protocol": 1,
        "server": { "name": "pinfold", "version": env!("CARGO_PKG_VERSION") },
        "limits": {
            "message": LONGEST,
            "sessions": SESSIONS,
            "processes": PROCESSES,
            "kept_output": KEPT,
            "linger": LINGER.as_secs(),
        },
    }))
}

fn of_process(
    server: &Arc<Server>,
    connection: &Arc<Connection>,
    method: &str,
    parameters: Value,
) -> Result<Reply, Fault> {
    let now = |value: Value| Ok(Reply::Now(Ok(value)));
    match method {
        "process/close_stdin" => {
            let asked: OfProcess = parsed(parameters)?;
            server.process(&asked.process)?.close_input();
            now(json!({ "process": asked.process }))
        }
        "process/resize" => {
            let Resize { process, rows, columns } = parsed(parameters)?;
            let size = Size { rows, columns };
            server
                .process(&process)?
                .process
                .resize(size)
                .map_err(|_| Fault::new(WRONG_PARAMETERS, "the process has no terminal"))?;
            now(json!({ "process": process }))
        }
        "process/signal" => {
            let asked: Signal = parsed(parameters)?;
            let number = signal(&asked.signal)?;
            let sent = server.process(&asked.process)?.process.signal(number);
            sent.map_err(|error| Fault::new(FAILED, format!("cannot send it: {error}")))?;
            now(json!({ "process": asked.process }))
        }
        "process/terminate" => {
            let asked: Terminate = parsed(parameters)?;
            let held = server.process(&asked.process)?;
            let grace = asked.grace.map_or(Ok(GRACE), |given| seconds(given, LONGEST_WAIT))?;
            Ok(later(move || {
                held.process.terminate(grace);
                Ok(json!({ "process": held.name }))
            }))
        }
        "process/read" => {
            let asked: Read = parsed(parameters)?;
            let held = server.process(&asked.process)?;
            let wait = seconds(asked.wait, LONGEST_WAIT)?;
            let maximum = asked.maximum.unwrap_or(KEPT);
            let deadline = Instant::now() + wait;
            let act = move || Ok(held.read(asked.after, maximum, deadline));
            if wait.is_zero() { Ok(Reply::Now(act())) } else { Ok(later(act)) }
        }
        "process/attach" => {
            let asked: Attach = parsed(parameters)?;
            now(server.process(&asked.process)?.attach(connection, asked.after))
        }
        "process/wait" => {
            let asked: OfProcess = parsed(parameters)?;
            let held = server.process(&asked.process)?;
            Ok(later(move || Ok(held.wait())))
        }
        _ => Err(Fault::new(NO_METHOD, format!("no such method: \"{method}\""))),
    }
}

fn file(server: &Arc<Server>, method: &str, parameters: Value) -> Result<Reply, Fault> {
    match method {
        "file/read" => {
            let asked: FileRead = parsed(parameters)?;
            let room = server.room(&asked.session)?;
            Ok(later(move || room.with(|session| files::read(session, &asked))?))
        }
        "file/write" => {
            let asked: FileWrite = parsed(parameters)?;
            let room = server.room(&asked.session)?;
            Ok(later(move || room.with(|session| files::write(session, &asked))?))
        }
        "file/list" => {
            let asked: FileList = parsed(parameters)?;
            let room = server.room(&asked.session)?;
            Ok(later(move || room.with(|session| files::list(session, &asked))?))
        }
        _ => Err(Fault::new(NO_METHOD, format!("no such method: \"{method}\""))),
    }
}

/// Signals by name, as `kill(1)` has them on Linux.
const SIGNALS: [(&str, i32); 12] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("KILL", 9),
    ("USR1", 10),
    ("USR2", 12),
    ("PIPE", 13),
    ("TERM", 15),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("WINCH", 28),
];

/// The name of a signal.
pub(super) fn name_of(signal: i32) -> Option<&'static str> {
    SIGNALS.iter().find(|(_, number)| *number == signal).map(|(name, _)| *name)
}

/// The number of a signal.
pub(crate) fn signal(name: &str) -> Result<i32, Fault> {
    let short = name.strip_prefix("SIG").unwrap_or(name);
    let found = SIGNALS.iter().find(|(known, _)| *known == short);
    found.map(|(_, number)| *number).ok_or_else(|| {
        let known: Vec<&str> = SIGNALS.iter().map(|(known, _)| *known).collect();
        let fault = Fault::new(WRONG_PARAMETERS, format!("no such signal: \"{name}\""));
        fault.hint(&format!("use one of {}", known.join(", ")))
    })
}
