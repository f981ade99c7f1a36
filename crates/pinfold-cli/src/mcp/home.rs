//! The one session of a server, and what the tools do in it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use pinfold::{Caller, Options, Session, Status};
use serde_json::{Value, json};

use super::Reply;
use super::arguments::{OnTimeout, Read, Run, Start, Stop, Write, deadline, time};
use super::output::{Gathered, Wait, gather, marked, summary};
use crate::serve::connection::Connection;
use crate::serve::denied;
use crate::serve::message::{Fault, LIMIT, ProcessStart, UNKNOWN};
use crate::serve::process::{self, Held};
use crate::serve::sessions::{Opening, Room, Server};

/// Time for a command to end by itself when its time is over.
const GRACE: Duration = Duration::from_secs(2);

/// Time for output to come to its end after a command was stopped.
const AFTERWARDS: Duration = Duration::from_secs(10);

/// How long a write may wait for a command that does not read.
const UNREAD: Duration = Duration::from_secs(10);

/// The session, once there is one.
pub(super) struct Home {
    server: Server,
    nobody: Arc<Connection>,
    caller: Caller,
    options: Options,
    state: Mutex<State>,
    /// What has been shown of each process.
    shown: Mutex<BTreeMap<String, u64>>,
}

#[derive(Default)]
struct State {
    room: Option<Arc<Room>>,
    closed: bool,
}

/// The command that a call waits for.
#[derive(Default)]
pub(super) struct Current(Mutex<Waited>);

#[derive(Default)]
struct Waited {
    held: Option<Arc<Held>>,
    cancelled: bool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Current {
    /// The client does not want the answer any more.
    pub(super) fn cancel(&self) {
        let held = {
            let mut waited = locked(&self.0);
            waited.cancelled = true;
            waited.held.take()
        };
        if let Some(held) = held {
            held.process.terminate(Duration::ZERO);
        }
    }

    fn note(&self, held: &Arc<Held>) {
        let mut waited = locked(&self.0);
        if waited.cancelled {
            held.process.terminate(Duration::ZERO);
        } else {
            waited.held = Some(held.clone());
        }
    }
}

impl Home {
    pub(super) fn new(caller: Caller, options: Options) -> Home {
        Home {
            server: Server::new(),
            nobody: Arc::new(Connection::nobody()),
            caller,
            options,
            state: Mutex::default(),
            shown: Mutex::default(),
        }
    }

    /// The session; it is started when there is none, or when a limit ended it.
    pub(super) fn room(&self) -> Result<Arc<Room>, Fault> {
        let mut state = locked(&self.state);
        if state.closed {
            return Err(Fault::new(UNKNOWN, "the server is ending"));
        }
        if let Some(room) = &state.room {
            if !room.with(Session::is_over).unwrap_or(true) {
                return Ok(room.clone());
            }
            self.server.stop(room, "a limit was reached, or everything was killed");
        }
        let (caller, options) = (self.caller.clone(), self.options.clone());
        let opening = Opening { name: None, keep: true, caller, options };
        let room = self.server.open(opening, &self.nobody)?;
        state.room = Some(room.clone());
        Ok(room)
    }

    /// Kills everything; nothing can be started any more.
    pub(super) fn close(&self) {
        let mut state = locked(&self.state);
        state.closed = true;
        if let Some(room) = &state.room {
            // One that has ended needs no end.
            let _ = room.with(Session::kill);
        }
    }

    /// Ends the session and waits for that.
    pub(super) fn end(&self) {
        self.close();
        self.server.stop_all();
    }

    fn held(&self, process: &str) -> Result<Arc<Held>, Fault> {
        let known = self.server.process(process);
        known.map_err(|fault| fault.hint("\"list\" names the processes of this session"))
    }

    fn spawn(&self, asked: ProcessStart) -> Result<Arc<Held>, Fault> {
        let (held, outputs) = self.server.spawn(asked, &self.nobody, None)?;
        process::follow(&held, outputs);
        Ok(held)
    }

    pub(super) fn run(&self, asked: Run, current: &Current) -> Result<Reply, Fault> {
        let until = deadline(asked.timeout_seconds, "timeout_seconds")?;
        let held = self.spawn(ProcessStart {
            session: self.room()?.number.clone(),
            command: asked.command.words(),
            directory: asked.directory,
            environment: asked.environment,
            terminal: None,
            stdin: asked.input.is_some(),
            descriptors: false,
        })?;
        current.note(&held);
        if let Some(input) = asked.input {
            // A command need not read its input.
            held.write(input.into_bytes(), Box::new(|_| {}));
            held.close_input();
        }
        let mut ended = held.finished(until);
        let timed_out = ended.is_none();
        if timed_out && asked.on_timeout == OnTimeout::Keep {
            return Ok(self.kept(&held, asked.max_output_bytes));
        }
        if timed_out {
            held.process.terminate(GRACE);
            ended = held.finished(Instant::now() + AFTERWARDS);
        }
        let (output, left_out) = summary(&held, asked.max_output_bytes);
        let mut structured = json!({
            "output": output, "left_out_bytes": left_out, "timed_out": timed_out,
        });
        let mut text = output;
        if text.is_empty() {
            text.push_str("[no output]");
        }
        if timed_out {
            let seconds = asked.timeout_seconds;
            add(&mut text, &format!("[stopped after {seconds} seconds, with all it had started]"));
        }
        if let Some(ended) = ended {
            add(&mut text, &format!("[{}]", how(ended)));
            describe(&mut structured, ended);
        }
        tell_denials(&held, &mut text, &mut structured);
        Ok(Reply { text, structured })
    }

    /// A run that goes on as a process.
    fn kept(&self, held: &Arc<Held>, maximum: usize) -> Reply {
        let wait = Wait { deadline: Instant::now(), until: None, maximum };
        let mut reply = self.shown(held, gather(held, 0, &wait));
        reply.structured["timed_out"] = true.into();
        let name = &held.name;
        add(
            &mut reply.text,
            &format!("[still running as {name}: \"read\" waits for more, \"stop\" ends it]"),
        );
        reply
    }

    pub(super) fn start(&self, asked: Start) -> Result<Reply, Fault> {
        let deadline = deadline(asked.wait_seconds, "wait_seconds")?;
        let held = self.spawn(ProcessStart {
            session: self.room()?.number.clone(),
            command: asked.command.words(),
            directory: asked.directory,
            environment: asked.environment,
            terminal: asked.terminal,
            stdin: true,
            descriptors: false,
        })?;
        let wait = Wait { deadline, until: asked.until, maximum: 32 * 1024 };
        let mut reply = self.shown(&held, gather(&held, 0, &wait));
        reply.text.insert_str(0, &format!("[started {}]\n", held.name));
        Ok(reply)
    }

    pub(super) fn write(&self, asked: Write) -> Result<Reply, Fault> {
        let deadline = deadline(asked.wait_seconds, "wait_seconds")?;
        let held = self.held(&asked.process)?;
        if !asked.text.is_empty() {
            let (done, outcome) = mpsc::channel();
            let answer = move |written| {
                // Nobody waits for it any more when the time is over.
                let _ = done.send(written);
            };
            held.write(asked.text.into_bytes(), Box::new(answer));
            outcome.recv_timeout(UNREAD).map_err(|_| {
                let fault = Fault::new(LIMIT, "the process does not read its input");
                fault.hint("\"read\" what it writes; what you wrote waits until it reads")
            })??;
        }
        if asked.close {
            held.close_input();
        }
        let wait = Wait { deadline, until: asked.until, maximum: asked.max_output_bytes };
        let after = self.seen(&held);
        Ok(self.shown(&held, gather(&held, after, &wait)))
    }

    pub(super) fn read(&self, asked: Read) -> Result<Reply, Fault> {
        let deadline = deadline(asked.wait_seconds, "wait_seconds")?;
        let held = self.held(&asked.process)?;
        let after = asked.after.unwrap_or_else(|| self.seen(&held));
        let wait = Wait { deadline, until: asked.until, maximum: asked.max_output_bytes };
        Ok(self.shown(&held, gather(&held, after, &wait)))
    }

    fn seen(&self, held: &Held) -> u64 {
        locked(&self.shown).get(&held.name).copied().unwrap_or(0)
    }

    /// Output for the model, which is remembered as shown.
    fn shown(&self, held: &Held, gathered: Gathered) -> Reply {
        locked(&self.shown).insert(held.name.clone(), gathered.next);
        let Gathered { text, next, lost, ended, found } = gathered;
        let output = marked(text, lost);
        let mut structured = json!({
            "process": held.name, "output": output, "next": next, "left_out_bytes": lost,
            "running": ended.is_none(),
        });
        let mut text = output;
        if text.is_empty() {
            text.push_str("[no new output]");
        }
        if let Some(found) = found {
            structured["found"] = found.into();
            if !found {
                add(&mut text, "[the text of \"until\" has not come]");
            }
        }
        if let Some(ended) = ended {
            add(&mut text, &format!("[{} has ended: {}]", held.name, how(ended)));
            describe(&mut structured, ended);
            tell_denials(held, &mut text, &mut structured);
        }
        Reply { text, structured }
    }

    pub(super) fn stop(&self, asked: &Stop) -> Result<Reply, Fault> {
        let grace = time(asked.grace_seconds, "grace_seconds")?;
        let held = self.held(&asked.process)?;
        held.process.terminate(grace);
        let ended = held.finished(Instant::now() + AFTERWARDS);
        let mut structured = json!({ "process": held.name, "running": ended.is_none() });
        if let Some(ended) = ended {
            describe(&mut structured, ended);
        }
        let ended = ended.map_or_else(|| String::from("ends"), how);
        Ok(Reply { text: format!("[{}: {ended}]", held.name), structured })
    }

    pub(super) fn process(&self, process: &str) -> Result<Arc<Held>, Fault> {
        self.held(process)
    }

    pub(super) fn list(&self) -> Result<Reply, Fault> {
        let structured = self.room()?.described();
        let field = |name: &str| structured[name].as_str().unwrap_or_default().to_owned();
        let mut text = format!("profile {}, directory {}", field("profile"), field("directory"));
        let processes = structured["processes"].as_array().map_or(&[][..], Vec::as_slice);
        for process in processes {
            let name = process["process"].as_str().unwrap_or_default();
            match process.get("code") {
                Some(code) => add(&mut text, &format!("{name} has ended: exit status {code}")),
                None => add(&mut text, &format!("{name} runs")),
            }
        }
        if processes.is_empty() {
            add(&mut text, "no processes");
        }
        Ok(Reply { text, structured })
    }
}

fn add(text: &mut String, line: &str) {
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(line);
}

/// The most denials that are spelled out; the rest can be asked for.
const SPELLED_OUT: usize = 20;

/// What was refused to a command, when anything was.
fn tell_denials(held: &Held, text: &mut String, structured: &mut Value) {
    let Some(denials) = held.denials().filter(|denials| !denials.list.is_empty()) else { return };
    let list = denied::list(&denials);
    for denial in list.iter().take(SPELLED_OUT) {
        add(text, &format!("[{}]", denied::line(denial)));
    }
    if list.len() > SPELLED_OUT {
        add(
            text,
            &format!("[and {} more: \"explain\" without \"about\"]", list.len() - SPELLED_OUT),
        );
    }
    structured["denials"] = list.into();
}

/// In words.
fn how(ended: Status) -> String {
    match ended {
        Status::Exited(code) => format!("exit status {code}"),
        Status::Signaled(signal) => format!("killed by signal {signal}"),
    }
}

fn describe(structured: &mut Value, ended: Status) {
    structured["exit_status"] = ended.code().into();
    if let Status::Signaled(signal) = ended {
        structured["signal"] = signal.into();
    }
}
