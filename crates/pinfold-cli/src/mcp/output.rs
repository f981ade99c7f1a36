//! Output of commands as text of bounded length.

use std::time::{Duration, Instant};

use pinfold::Status;

use super::arguments::MOST_OUTPUT;
use crate::serve::message::Chunk;
use crate::serve::process::Held;

/// How long nothing must come for an answer to be taken for complete.
const QUIET: Duration = Duration::from_millis(150);

/// What to wait for.
pub(super) struct Wait {
    pub(super) deadline: Instant,
    /// Text that ends the wait; without one, a pause does.
    pub(super) until: Option<String>,
    /// Bytes after which no more is taken.
    pub(super) maximum: usize,
}

/// Output that was read.
pub(super) struct Gathered {
    pub(super) text: String,
    /// The sequence number to go on after.
    pub(super) next: u64,
    pub(super) lost: u64,
    pub(super) ended: Option<Status>,
    /// Whether the text that was waited for has come; nothing if none was named.
    pub(super) found: Option<bool>,
}

/// Output after a chunk.
pub(super) fn gather(held: &Held, after: u64, wait: &Wait) -> Gathered {
    let wanted = wait.until.as_ref().map(|until| until.as_bytes());
    let maximum = wait.maximum.clamp(1, MOST_OUTPUT);
    let mut taken = held.take(after, maximum, wait.deadline);
    let (mut bytes, mut lost) = (joined(&taken.chunks), taken.lost);
    loop {
        let complete = wanted.is_some_and(|wanted| contains(&bytes, wanted));
        if complete || taken.ended.is_some() || bytes.len() >= maximum {
            break;
        }
        let pause = Instant::now() + QUIET;
        let deadline = if wanted.is_some() { wait.deadline } else { wait.deadline.min(pause) };
        let next = taken.next;
        taken = held.take(next, maximum - bytes.len(), deadline);
        if taken.chunks.is_empty() && taken.ended.is_none() {
            break;
        }
        bytes.extend(joined(&taken.chunks));
        lost += taken.lost;
    }
    Gathered {
        found: wanted.map(|wanted| contains(&bytes, wanted)),
        text: String::from_utf8_lossy(&bytes).into_owned(),
        next: taken.next,
        lost,
        ended: taken.ended,
    }
}

/// The beginning and the end of what a command wrote, and how much is missing.
pub(super) fn summary(held: &Held, maximum: usize) -> (String, u64) {
    let taken = held.take(0, MOST_OUTPUT, Instant::now());
    let text = String::from_utf8_lossy(&joined(&taken.chunks)).into_owned();
    let (text, clipped) = clipped(&text, maximum.clamp(1, MOST_OUTPUT));
    (marked(text, taken.lost), taken.lost + clipped)
}

/// Output with a note of what fell out before it.
pub(super) fn marked(text: String, lost: u64) -> String {
    match lost {
        0 => text,
        lost => format!("[{lost} bytes of earlier output are no longer kept]\n{text}"),
    }
}

fn joined(chunks: &[Chunk]) -> Vec<u8> {
    chunks.iter().flat_map(|chunk| chunk.data.0.iter().copied()).collect()
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    part.is_empty() || bytes.windows(part.len()).any(|window| window == part)
}

/// Text without its middle, when it is too long, and the bytes that are left out.
fn clipped(text: &str, maximum: usize) -> (String, u64) {
    if text.len() <= maximum {
        return (String::from(text), 0);
    }
    let head = text.floor_char_boundary(maximum / 2);
    let tail = text.ceil_char_boundary(text.len() - maximum / 2);
    let (head_text, rest) = text.split_at(head);
    let (middle, tail_text) = rest.split_at(tail - head);
    let left_out = middle.len() as u64;
    (format!("{head_text}\n[{left_out} bytes left out here]\n{tail_text}"), left_out)
}
