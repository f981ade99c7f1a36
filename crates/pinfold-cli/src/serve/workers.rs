//! Threads that are used again: to make one for every command costs as much as a good
//! part of the command.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What a thread does.
type Job = Box<dyn FnOnce() + Send>;

/// Threads that wait for something to do, at most.
const IDLE: usize = 32;

/// How long they do.
const PATIENCE: Duration = Duration::from_secs(5);

/// Those that wait, and how many there have been.
static WAITING: Mutex<Waiting> = Mutex::new(Waiting { workers: Vec::new(), last: 0 });

struct Waiting {
    workers: Vec<(u64, mpsc::Sender<Job>)>,
    last: u64,
}

fn waiting() -> MutexGuard<'static, Waiting> {
    WAITING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does something on another thread, at once.
///
/// # Errors
/// When there is no thread to be had; it is not done then.
pub(super) fn perform(job: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let mut job: Job = Box::new(job);
    loop {
        let Some((_, worker)) = waiting().workers.pop() else { break };
        match worker.send(job) {
            Ok(()) => return Ok(()),
            Err(mpsc::SendError(back)) => job = back,
        }
    }
    std::thread::Builder::new().name(String::from("pinfold-worker")).spawn(move || work(job))?;
    Ok(())
}

fn work(mut job: Job) {
    loop {
        job();
        let (given, jobs) = mpsc::channel();
        let number = {
            let mut waiting = waiting();
            if waiting.workers.len() >= IDLE {
                return;
            }
            waiting.last += 1;
            let number = waiting.last;
            waiting.workers.push((number, given));
            number
        };
        job = match jobs.recv_timeout(PATIENCE) {
            Ok(job) => job,
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                let mut waiting = waiting();
                let before = waiting.workers.len();
                waiting.workers.retain(|(other, _)| *other != number);
                if waiting.workers.len() < before {
                    return;
                }
                drop(waiting);
                // Somebody has just taken it to give it something.
                match jobs.recv() {
                    Ok(job) => job,
                    Err(mpsc::RecvError) => return,
                }
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_done_once_by_few_threads() {
        let (done, results) = mpsc::channel();
        for number in 0..200 {
            let done = done.clone();
            let job = move || done.send((number, std::thread::current().id())).unwrap();
            perform(job).unwrap();
            if number % 10 == 9 {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        drop(done);
        let (mut numbers, threads): (Vec<i32>, Vec<_>) = results.iter().unzip();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..200).collect::<Vec<i32>>());
        let threads: std::collections::HashSet<_> = threads.into_iter().collect();
        assert!(threads.len() < 150, "{} threads", threads.len());
    }
}
