//! One command of a session: its output as numbered chunks, its input in order.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use pinfold::{Denials, Outputs, Process, Spawned, Status, Stream};
use serde_json::{Value, json};

use super::connection::Connection;
use super::denied;
use super::message::{Bytes, CLOSED, Chunk, Fault, LIMIT};
use super::sessions::Room;
use super::workers;

/// Output that is kept of one process, in bytes.
pub(crate) const KEPT: usize = 1024 * 1024;

/// Input that may wait for a process to read it, in bytes.
const WAITING: usize = 16 * 1024 * 1024;

/// A process and what a client may ask of it.
pub(crate) struct Held {
    pub(crate) name: String,
    of: Belongs,
    pub(crate) process: Process,
    log: Mutex<Log>,
    changed: Condvar,
    /// Held while a chunk is numbered and sent, so that they arrive in order.
    order: Mutex<()>,
    input: Mutex<Input>,
}

/// What a process belongs to.
pub(super) struct Belongs {
    pub(super) room: Weak<Room>,
    /// What its denials are marked with.
    pub(super) mark: u64,
}

#[derive(Default)]
struct Log {
    kept: VecDeque<Chunk>,
    bytes: usize,
    last: u64,
    /// The sequence number of the newest chunk that is no longer kept.
    forgotten: u64,
    /// Bytes of the chunks that are no longer kept.
    forgotten_bytes: u64,
    ended: Option<Status>,
    follower: Option<Arc<Connection>>,
}

/// Output of a process.
pub(crate) struct Taken {
    pub(crate) chunks: Vec<Chunk>,
    /// The sequence number of the last of them, to go on with.
    pub(crate) next: u64,
    /// Bytes that fell out before they were read.
    pub(crate) lost: u64,
    /// How it ended, once there is no more output.
    pub(crate) ended: Option<Status>,
}

/// The input of a process.
enum Input {
    Closed,
    /// Nothing has been written yet.
    Open(File),
    /// A thread writes it.
    Written(Writer),
}

/// The way to a thread that writes the input.
struct Writer {
    pieces: mpsc::Sender<Piece>,
    waiting: Arc<Mutex<usize>>,
}

struct Piece {
    bytes: Vec<u8>,
    done: Answer,
}

/// Called once when a write is over.
pub(crate) type Answer = Box<dyn FnOnce(Result<Value, Fault>) + Send>;

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As in a notification or an answer.
pub(super) fn status(status: Status) -> Value {
    match status {
        Status::Exited(code) => json!({ "exited": code }),
        Status::Signaled(signal) => json!({ "signaled": signal }),
    }
}

/// A process and its output, which is not read before [`follow`].
pub(super) fn hold(
    name: String,
    of: Belongs,
    spawned: Spawned,
    follower: Arc<Connection>,
) -> (Arc<Held>, Outputs) {
    let Spawned { process, input, outputs } = spawned;
    let held = Arc::new(Held {
        name,
        of,
        process,
        log: Mutex::new(Log { follower: Some(follower), ..Log::default() }),
        changed: Condvar::new(),
        order: Mutex::new(()),
        input: Mutex::new(input.map_or(Input::Closed, Input::Open)),
    });
    (held, outputs)
}

/// Reads what a process writes, on a thread of its own.
pub(crate) fn follow(held: &Arc<Held>, outputs: Outputs) {
    let own = held.clone();
    let started = workers::perform(move || {
        let ended = outputs.each(&mut |stream, bytes| own.add(stream, bytes));
        own.end(ended.unwrap_or_else(|_| own.process.wait()));
    });
    if started.is_err() {
        // Nobody can read what it writes, so it is not to go on.
        held.process.terminate(Duration::ZERO);
        held.end(held.process.wait());
    }
}

/// A thread that writes to a command, in order, however long that takes.
fn writer(mut input: File) -> std::io::Result<Writer> {
    let (pieces, received) = mpsc::channel::<Piece>();
    let waiting = Arc::new(Mutex::new(0));
    let counted = waiting.clone();
    workers::perform(move || {
        for piece in received {
            let length = piece.bytes.len();
            let written = input.write_all(&piece.bytes);
            *locked(&counted) -= length;
            (piece.done)(match written {
                Ok(()) => Ok(json!({ "written": length })),
                Err(_) => Err(Fault::new(CLOSED, "the process does not read its input any more")),
            });
        }
    })?;
    Ok(Writer { pieces, waiting })
}

impl Held {
    fn add(&self, stream: Stream, bytes: &[u8]) {
        let _order = locked(&self.order);
        let mut log = locked(&self.log);
        log.last += 1;
        let stream = match stream {
            Stream::Output => "stdout",
            Stream::Error => "stderr",
            Stream::Terminal => "terminal",
        };
        let chunk = Chunk { sequence: log.last, stream, data: Bytes(bytes.to_vec()) };
        let follower = log.follower.clone();
        let message = follower.as_ref().map(|_| self.output(&chunk));
        log.keep(chunk);
        drop(log);
        self.changed.notify_all();
        // Without the lock: a client that does not read must not stop those that ask.
        if let (Some(follower), Some(message)) = (follower, message)
            && !follower.notify("process/output", message)
        {
            self.leave(&follower);
        }
    }

    fn output(&self, chunk: &Chunk) -> Value {
        json!({
            "process": self.name,
            "sequence": chunk.sequence,
            "stream": chunk.stream,
            "data": chunk.data,
        })
    }

    fn end(&self, ended: Status) {
        let _order = locked(&self.order);
        self.close_input();
        let follower = {
            let mut log = locked(&self.log);
            log.ended = Some(ended);
            log.follower.clone()
        };
        self.changed.notify_all();
        if let Some(follower) = follower {
            follower.notify("process/ended", self.ended(ended));
        }
    }

    fn ended(&self, ended: Status) -> Value {
        let mut value = self.outcome(ended);
        value["process"] = self.name.as_str().into();
        value
    }

    /// How it ended, and what was refused to it when that is recorded.
    fn outcome(&self, ended: Status) -> Value {
        let mut value = json!({ "status": status(ended), "code": ended.code() });
        if let Some(denials) = self.denials() {
            value["denials"] = denied::list(&denials).into();
        }
        value
    }

    /// What was refused to it and its descendants; nothing when that is not recorded.
    pub(crate) fn denials(&self) -> Option<Denials> {
        self.of.room.upgrade()?.denied_to(self.of.mark)
    }

    /// How it ended, once all its output has been read.
    pub(crate) fn result(&self) -> Option<Status> {
        locked(&self.log).ended
    }

    /// A client is gone.
    pub(super) fn leave(&self, connection: &Connection) {
        let mut log = locked(&self.log);
        if log.follower.as_ref().is_some_and(|follower| follower.number == connection.number) {
            log.follower = None;
        }
    }

    /// Sends a client everything after a chunk, and from now on every new chunk.
    pub(super) fn attach(&self, connection: &Arc<Connection>, after: u64) -> Value {
        let _order = locked(&self.order);
        let (chunks, ended, answer) = {
            let mut log = locked(&self.log);
            log.follower = Some(connection.clone());
            let answer = json!({
                "process": self.name, "next": log.last, "lost": log.lost_after(after),
            });
            (log.after(after, usize::MAX), log.ended, answer)
        };
        for chunk in chunks {
            connection.notify("process/output", self.output(&chunk));
        }
        if let Some(ended) = ended {
            connection.notify("process/ended", self.ended(ended));
        }
        answer
    }

    /// The same as the answer to a request.
    pub(super) fn read(&self, after: u64, maximum: usize, deadline: Instant) -> Value {
        let taken = self.take(after, maximum, deadline);
        let mut answer = json!({ "chunks": taken.chunks, "next": taken.next, "lost": taken.lost });
        if let Some(ended) = taken.ended {
            answer["ended"] = self.outcome(ended);
        }
        answer
    }

    /// Chunks after one, waiting for the first of them at most until `deadline`.
    pub(crate) fn take(&self, after: u64, maximum: usize, deadline: Instant) -> Taken {
        let mut log = locked(&self.log);
        while log.last <= after && log.ended.is_none() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                break;
            }
            let waited = self.changed.wait_timeout(log, left);
            log = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let chunks = log.after(after, maximum);
        let next = chunks.last().map_or(after.max(log.forgotten), |chunk| chunk.sequence);
        let ended = log.ended.filter(|_| next >= log.last);
        Taken { chunks, next, lost: log.lost_after(after), ended }
    }

    /// How it ended, waiting for that and for all its output at most until `deadline`.
    pub(crate) fn finished(&self, deadline: Instant) -> Option<Status> {
        let left = deadline.saturating_duration_since(Instant::now());
        let runs = |log: &mut Log| log.ended.is_none();
        let waited = self.changed.wait_timeout_while(locked(&self.log), left, runs);
        waited.unwrap_or_else(PoisonError::into_inner).0.ended
    }

    /// Waits for the end of the process and of its output.
    pub(super) fn wait(&self) -> Value {
        let mut log = locked(&self.log);
        loop {
            if let Some(ended) = log.ended {
                drop(log);
                return self.outcome(ended);
            }
            log = self.changed.wait(log).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Writes to the process after everything that was written before.
    pub(crate) fn write(&self, bytes: Vec<u8>, done: Answer) {
        let mut input = locked(&self.input);
        *input = match std::mem::replace(&mut *input, Input::Closed) {
            Input::Open(file) => writer(file).map_or(Input::Closed, Input::Written),
            other => other,
        };
        let Input::Written(input) = &*input else {
            let fault = Fault::new(CLOSED, "standard input is closed, or the process has ended");
            return done(Err(fault));
        };
        {
            let mut waiting = locked(&input.waiting);
            if *waiting > 0 && *waiting + bytes.len() > WAITING {
                let fault = Fault::new(LIMIT, "the process does not read its input");
                return done(Err(fault.hint("wait for the answers to earlier writes")));
            }
            *waiting += bytes.len();
        }
        if let Err(mpsc::SendError(piece)) = input.pieces.send(Piece { bytes, done }) {
            (piece.done)(Err(Fault::new(CLOSED, "standard input is closed")));
        }
    }

    /// Ends the input after everything that was written before.
    pub(crate) fn close_input(&self) {
        *locked(&self.input) = Input::Closed;
    }
}

impl Log {
    fn keep(&mut self, chunk: Chunk) {
        self.bytes += chunk.data.0.len();
        self.kept.push_back(chunk);
        while self.bytes > KEPT {
            let Some(oldest) = self.kept.pop_front() else { return };
            self.bytes -= oldest.data.0.len();
            self.forgotten = oldest.sequence;
            self.forgotten_bytes += oldest.data.0.len() as u64;
        }
    }

    fn after(&self, after: u64, maximum: usize) -> Vec<Chunk> {
        let mut bytes = 0;
        let new = self.kept.iter().skip_while(|chunk| chunk.sequence <= after);
        let fitting = new.take_while(|chunk| {
            let first = bytes == 0;
            bytes += chunk.data.0.len();
            first || bytes <= maximum
        });
        fitting.cloned().collect()
    }

    /// Bytes that fell out before somebody who has seen `after` could read them; all
    /// of what fell out when some of it had been seen.
    fn lost_after(&self, after: u64) -> u64 {
        if after < self.forgotten { self.forgotten_bytes } else { 0 }
    }
}
