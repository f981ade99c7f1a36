//! What the sandbox of a session refused, as messages.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Weak};

use pinfold::policy::path::Quoted;
use pinfold::{Denial, DenialObserver, Denials, MOST_OF_SESSION, Session};
use serde_json::{Value, json};

use super::message::Fault;
use super::sessions::Room;
use crate::json;

/// A denial as it is sent.
pub(crate) fn value(denial: &Denial) -> Value {
    let process =
        denial.command.map_or_else(|| String::from("null"), |mark| json::string(&name(mark)));
    let members = [&json::denial(denial)[..], &[("process", process)]].concat();
    serde_json::from_str(&json::object(&members)).unwrap_or_default()
}

/// A denial that was sent, in one line, as `run` prints it.
pub(crate) fn line(denial: &Value) -> String {
    let text = |name: &str| denial[name].as_str();
    let quoted = |text: &str| Quoted(text.as_bytes()).to_string();
    let count = denial["count"].as_u64().unwrap_or(1);
    let times = if count > 1 { format!("{count}x ") } else { String::new() };
    let target = match (text("kind"), text("target").unwrap_or_default()) {
        (Some("host"), target) => target.to_owned(),
        (_, target) => quoted(target),
    };
    let by = text("program").map_or(String::new(), |program| format!(" by {}", quoted(program)));
    let origin = text("origin").map_or(String::new(), |origin| format!(" ({origin})"));
    let allow = match (denial["allow"]["option"].as_str(), denial["allow"]["value"].as_str()) {
        (Some("net"), Some(rule)) => format!("; to allow: --net {rule}"),
        (Some(option), Some(value)) => format!("; to allow: --{option} {}", quoted(value)),
        _ if asks_for_a_name(denial) => format!("; to allow: {BY_NAME}"),
        _ => String::new(),
    };
    let narrower = text("narrower")
        .map_or(String::new(), |path| format!(", or create it first and --write {}", quoted(path)));
    let (attempted, rule) =
        (text("attempted").unwrap_or_default(), text("rule").unwrap_or_default());
    format!("denied {times}{attempted} {target}{by}: {rule}{origin}{allow}{narrower}")
}

/// What allows what a command looks a name up for: no rule lets it ask name servers.
pub(crate) const BY_NAME: &str = "--net and the name of the host that it looks up";

/// Whether a denial is of a question to a name server, without a network.
pub(crate) fn asks_for_a_name(denial: &Value) -> bool {
    let text = |name: &str| denial[name].as_str().unwrap_or_default();
    let asks = text("kind") == "host" && text("target").ends_with(":53");
    asks && denial["allow"].is_null() && text("rule") == "network off"
}

/// The name of the process whose denials have this mark.
pub(super) fn name(mark: u64) -> String {
    format!("p{mark}")
}

/// Those denials as a list.
pub(crate) fn list(denials: &Denials) -> Vec<Value> {
    denials.list.iter().map(value).collect()
}

impl Room {
    /// What was refused to a process and its descendants, if that is recorded; nothing
    /// when the session has ended.
    pub(crate) fn denied_to(&self, mark: u64) -> Option<Denials> {
        let wanted = |denial: &Denial| denial.command == Some(mark);
        self.with(|session: &Session| session.denials_that(&wanted)).ok().flatten()
    }

    /// What was refused from a sequence number on, to all or to one process.
    pub(crate) fn denials(&self, from: u64, process: Option<&str>) -> Result<Value, Fault> {
        let wanted = |denial: &Denial| {
            let named = |process| denial.command.is_some_and(|mark| name(mark) == process);
            denial.sequence >= from && process.is_none_or(named)
        };
        let (profile, denials) = self.with(|session| {
            let profile = session.sandbox().profile().name.clone();
            (profile, session.denials_that(&wanted).unwrap_or_default())
        })?;
        Ok(json!({
            "session": self.number,
            "profile": profile,
            "denials": list(&denials),
            "omitted": denials.omitted,
            "unheard": denials.unheard,
        }))
    }
}

/// Takes denials to those who are in a room: commands do not wait for them.
pub(super) struct Messenger {
    denials: Receiver<Denial>,
    /// How many have not been taken yet, at most [`MOST_OF_SESSION`].
    waiting: Arc<AtomicUsize>,
}

impl Messenger {
    /// One, and who tells it.
    pub(super) fn new() -> (Messenger, DenialObserver) {
        let (told, denials) = mpsc::channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let counted = waiting.clone();
        let observer = move |denial: &Denial| {
            // Those who do not read can still ask.
            if counted.fetch_add(1, SeqCst) >= MOST_OF_SESSION || told.send(denial.clone()).is_err()
            {
                counted.fetch_sub(1, SeqCst);
            }
        };
        (Messenger { denials, waiting }, Arc::new(observer))
    }

    /// Works until the session has ended.
    pub(super) fn serve(self, room: Weak<Room>) {
        let thread = std::thread::Builder::new().name(String::from("pinfold-denials"));
        // Without a thread, those who want to know can still ask.
        let _ = thread.spawn(move || {
            for denial in self.denials {
                self.waiting.fetch_sub(1, SeqCst);
                let Some(room) = room.upgrade() else { return };
                room.notify(
                    "session/denied",
                    &json!({
                        "session": room.number, "denial": value(&denial),
                    }),
                );
            }
        });
    }
}
