//! One client: lines in, lines out.

use std::io::{self, BufRead, Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use super::message::Fault;

/// The longest line, in bytes.
pub(super) const LONGEST: usize = 8 * 1024 * 1024;

/// Answers that wait for others are sent when there is more of them, in bytes.
const BATCH: usize = 64 * 1024;

/// The writing half of a client.
pub(crate) struct Connection {
    pub(super) number: u64,
    writer: Mutex<Writer>,
    lost: AtomicBool,
    pub(super) ready: AtomicBool,
}

struct Writer {
    to: Box<dyn Write + Send>,
    /// Whole lines that have not been sent yet.
    waiting: Vec<u8>,
    /// Whether more will be said at once.
    holds: bool,
}

impl Writer {
    fn send(&mut self) -> io::Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        self.to.write_all(&waiting).and_then(|()| self.to.flush())
    }
}

impl Connection {
    pub(super) fn new(to: Box<dyn Write + Send>) -> Connection {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Connection {
            number: LAST.fetch_add(1, SeqCst),
            writer: Mutex::new(Writer { to, waiting: Vec::new(), holds: false }),
            lost: AtomicBool::new(false),
            ready: AtomicBool::new(false),
        }
    }

    /// A client that hears nothing.
    pub(crate) fn nobody() -> Connection {
        let connection = Connection::new(Box::new(io::sink()));
        connection.lose();
        connection
    }

    /// Sends one message. Waits while the client does not read; whether it is still
    /// there.
    pub(super) fn send(&self, message: &Value) -> bool {
        if self.lost.load(SeqCst) {
            return false;
        }
        let mut line = message.to_string().into_bytes();
        line.push(b'\n');
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.waiting.append(&mut line);
        if writer.holds && writer.waiting.len() < BATCH {
            return true;
        }
        let sent = writer.send();
        if sent.is_err() {
            self.lose();
        }
        sent.is_ok()
    }

    /// Whether to keep what is said from now on: a client that has sent several requests
    /// at once is woken once for their answers.
    pub(super) fn hold(&self, holds: bool) {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner).holds = holds;
    }

    /// Sends what was kept, and keeps nothing any more.
    pub(super) fn let_go(&self) {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.holds = false;
        if !writer.waiting.is_empty() && writer.send().is_err() {
            self.lose();
        }
    }

    pub(super) fn notify(&self, method: &str, parameters: Value) -> bool {
        self.send(&json!({ "jsonrpc": "2.0", "method": method, "params": parameters }))
    }

    pub(super) fn answer(&self, id: &Value, result: Result<Value, Fault>) {
        self.send(&match result {
            Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
            Err(fault) => json!({ "jsonrpc": "2.0", "id": id, "error": fault.value() }),
        });
    }

    /// Nobody reads any more.
    pub(super) fn lose(&self) {
        self.lost.store(true, SeqCst);
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(SeqCst)
    }
}

/// What was read.
pub(super) enum Line {
    Text(Vec<u8>),
    TooLong,
    End,
}

/// Reads a line of at most [`LONGEST`] bytes. What comes before the end of the
/// input, without a newline, was cut off and is no message.
pub(super) fn read_line(reader: &mut impl BufRead) -> io::Result<Line> {
    let mut line = Vec::new();
    reader.by_ref().take(LONGEST as u64 + 1).read_until(b'\n', &mut line)?;
    Ok(match line.last() {
        Some(b'\n') => Line::Text(line),
        _ if line.len() > LONGEST => Line::TooLong,
        _ => Line::End,
    })
}
