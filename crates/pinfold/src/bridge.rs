//! Connects a command's pipes with other streams, on every system: for programs that
//! cannot hand their own descriptors to a command.

use std::io::{self, Read, Write};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use crate::DRAIN;

/// How much is passed on at once, in bytes.
pub const BRIDGED: usize = 8 * 1024;

/// How often is looked whether somebody has interrupted, while the command runs.
const GLANCE: Duration = Duration::from_millis(10);

/// A command at one end of a bridge.
pub trait Ending: Send + 'static {
    /// How it ended, as an exit status; nothing while it runs.
    ///
    /// # Errors
    /// When that cannot be found out.
    fn ended(&mut self) -> io::Result<Option<i32>>;

    /// Asks it to end.
    fn terminate(&mut self);
}

impl Ending for crate::Process {
    fn ended(&mut self) -> io::Result<Option<i32>> {
        Ok(self.status().map(pinfold_sys::Status::code))
    }

    fn terminate(&mut self) {
        let (process, grace) = (self.clone(), DRAIN);
        thread::spawn(move || crate::Process::terminate(&process, grace));
    }
}

/// The status 128+*n* stands for a death by signal *n*, where there are signals.
impl Ending for std::process::Child {
    fn ended(&mut self) -> io::Result<Option<i32>> {
        Ok(self.try_wait()?.map(|status| status.code().unwrap_or_else(|| died_by(status))))
    }

    fn terminate(&mut self) {
        // One that has ended needs no more.
        let _ = self.kill();
    }
}

fn died_by(status: std::process::ExitStatus) -> i32 {
    128 + pinfold_sys::numbers::signal_of(status).unwrap_or_default()
}

/// The streams of a command, or those that they are connected with.
pub struct Streams<I, O, E> {
    /// Standard input.
    pub input: I,
    /// Standard output.
    pub output: O,
    /// Standard error.
    pub error: E,
}

/// Passes everything on until the command has ended; its exit status. The end of `ours`'
/// input closes that of the command, every chunk of output is flushed, and whoever does
/// not read holds the command up. Output that descendants still hold when it has ended
/// is passed on for at most [`DRAIN`] more. Each message on `interrupts` (Ctrl-C) asks
/// the command to end.
///
/// # Errors
/// When the end of the command cannot be found out. A stream that fails is closed.
pub fn bridge<R, W1, W2>(
    mut process: impl Ending,
    theirs: Streams<
        impl Write + Send + 'static,
        impl Read + Send + 'static,
        impl Read + Send + 'static,
    >,
    ours: Streams<R, W1, W2>,
    interrupts: &Receiver<()>,
) -> io::Result<i32>
where
    R: Read + Send + 'static,
    W1: Write + Send + 'static,
    W2: Write + Send + 'static,
{
    // Whoever writes our input may never come to its end: nobody waits for this one.
    thread::spawn(move || pass(ours.input, theirs.input));
    let (done, over) = mpsc::channel();
    forward((theirs.output, ours.output), done.clone());
    forward((theirs.error, ours.error), done);
    let mut listening = true;
    let status = loop {
        if let Some(status) = process.ended()? {
            break status;
        }
        if !listening {
            thread::sleep(GLANCE);
            continue;
        }
        match interrupts.recv_timeout(GLANCE) {
            Ok(()) => process.terminate(),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => listening = false,
        }
    };
    let late = Instant::now() + DRAIN;
    for _ in 0..2 {
        let _ = over.recv_timeout(late.saturating_duration_since(Instant::now()));
    }
    Ok(status)
}

fn forward(
    (from, to): (impl Read + Send + 'static, impl Write + Send + 'static),
    done: Sender<()>,
) {
    thread::spawn(move || {
        pass(from, to);
        // Nobody may be waiting any more.
        let _ = done.send(());
    });
}

/// Copies until one end is closed, and then closes both.
fn pass(mut from: impl Read, mut to: impl Write) {
    let mut buffer = vec![0; BRIDGED];
    loop {
        let length = match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        let chunk = buffer.get(..length).unwrap_or_default();
        if to.write_all(chunk).and_then(|()| to.flush()).is_err() {
            return;
        }
    }
}
