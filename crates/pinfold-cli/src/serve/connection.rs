//! One client: lines in, lines out.

use std::io::{self, BufRead, Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use super::message::Fault;

/// The longest line, in bytes.
pub(super) const LONGEST: usize = 8 * 1024 * 1024;

/// The writing half of a client.
pub(crate) struct Connection {
    pub(super) number: u64,
    writer: Mutex<Box<dyn Write + Send>>,
    lost: AtomicBool,
    pub(super) ready: AtomicBool,
}

impl Connection {
    pub(super) fn new(writer: Box<dyn Write + Send>) -> Connection {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Connection {
            number: LAST.fetch_add(1, SeqCst),
            writer: Mutex::new(writer),
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
        let sent = writer.write_all(&line).and_then(|()| writer.flush());
        if sent.is_err() {
            self.lose();
        }
        sent.is_ok()
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
