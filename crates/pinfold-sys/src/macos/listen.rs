//! Hears of refusals from the unified log, as far as they are the command's.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::refusals::{self, Sieve};
use crate::seam::{Attempt, Error, Witness};

/// Shows the log as it grows. The absolute name is on purpose.
const LOG: &str = "/usr/bin/log";

/// What the kernel's part of Seatbelt says: no other process can say it in its place.
const PREDICATE: &str = "processID == 0 AND senderImagePath CONTAINS \"/Sandbox\"";

/// How long the log may take to say that it is there.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long after the end of a command its last refusals may take to come.
const AFTERWARDS: Duration = Duration::from_millis(500);

/// Somebody who hears.
pub(crate) struct Listener {
    witness: Witness,
    log: Option<(Child, JoinHandle<()>)>,
}

impl Listener {
    /// Starts to listen, and returns when refusals come in; or says why none will.
    pub(crate) fn start(witness: &Witness, family: &Arc<Mutex<Sieve>>) -> Listener {
        let listener = |log| Listener { witness: witness.clone(), log };
        match hear(witness, family) {
            Ok(log) => listener(Some(log)),
            Err((attempted, code)) => {
                (witness.tell)(Err(Error::System { attempted: attempted.into(), code }));
                listener(None)
            }
        }
    }

    /// Tells of an attempt.
    pub(crate) fn tell(&self, attempt: Attempt) {
        (self.witness.tell)(Ok(attempt));
    }

    /// Hears the last words, and ends.
    pub(crate) fn finish(self) {
        let Some((mut log, thread)) = self.log else { return };
        std::thread::sleep(AFTERWARDS);
        let _ = log.kill();
        let _ = log.wait();
        let _ = thread.join();
    }
}

type Refused = (&'static str, i32);

fn hear(witness: &Witness, family: &Arc<Mutex<Sieve>>) -> Result<(Child, JoinHandle<()>), Refused> {
    let failed = |attempted| {
        move |error: std::io::Error| (attempted, error.raw_os_error().unwrap_or(libc::EIO))
    };
    let mut log = Command::new(LOG)
        .args(["stream", "--style", "ndjson", "--predicate", PREDICATE])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed("start the system's log"))?;
    let (told, first) = mpsc::channel();
    let (witness, family) = (witness.clone(), family.clone());
    let lines = log.stdout.take().map(BufReader::new);
    let thread = std::thread::Builder::new().name(String::from("pinfold-log"));
    let thread = thread.spawn(move || {
        for line in lines.into_iter().flat_map(BufRead::lines) {
            let Ok(line) = line else { break };
            // The first line says what is listened to: from then on nothing is missed.
            let _ = told.send(());
            let Some(attempt) = refusals::attempt(&line) else { continue };
            let heard = family.lock().unwrap_or_else(PoisonError::into_inner).hear(attempt);
            if let Some(attempt) = heard {
                (witness.tell)(Ok(attempt));
            }
        }
    });
    let live = thread.map_err(failed("start a thread")).and_then(|thread| {
        let live = first.recv_timeout(PATIENCE).map(|()| thread);
        live.map_err(|_| ("hear the system's log in time", libc::ETIMEDOUT))
    });
    match live {
        Ok(thread) => Ok((log, thread)),
        Err(error) => {
            let _ = log.kill();
            let _ = log.wait();
            Err(error)
        }
    }
}
