//! What happened: the audit, the observer, and the summary of a run.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use pinfold_policy::net::Host;
use serde::Serialize;

use crate::gate::Request;
use crate::refusal::{Protocol, Reason, Refusal};
use crate::time::rfc3339;

/// Different refusals that a report keeps apart; the rest is only counted.
const MOST_BLOCKED: usize = 1024;

/// Something that happened on the way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A request was let through.
    Allowed {
        /// Its number.
        id: u64,
        /// What was asked for.
        request: Request,
        /// The rule that allowed it.
        rule: Option<String>,
        /// The address that was dialled; nothing when an existing connection
        /// carries on, or another proxy resolves.
        address: Option<IpAddr>,
    },
    /// A request was refused.
    Refused(Refusal),
    /// A connection ended.
    Closed {
        /// The number of the request that opened it.
        id: u64,
        /// Bytes that went out.
        sent: u64,
        /// Bytes that came in.
        received: u64,
    },
}

/// Is told of everything that happens.
pub type Observer = Arc<dyn Fn(&Event) + Send + Sync>;

/// What a run tried and was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// The host; nothing when the request could not be read.
    pub host: Option<Host>,
    /// The port, with the host.
    pub port: Option<u16>,
    /// How the client spoke, the first time.
    pub protocol: Protocol,
    /// Why.
    pub reason: Reason,
    /// Why, in words.
    pub detail: String,
    /// The rule that would allow it, where it may be said.
    pub remedy: Option<String>,
    /// How often.
    pub count: u64,
}

impl Blocked {
    /// `HOST:PORT`, or a word for what could not be read.
    pub fn destination(&self) -> String {
        match (&self.host, self.port) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            _ => String::from("unreadable request"),
        }
    }
}

/// What a run did with the network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Requests let through.
    pub allowed: u64,
    /// What was refused, the same destination and reason in one entry, sorted by
    /// destination.
    pub blocked: Vec<Blocked>,
    /// Refusals beyond what `blocked` can hold.
    pub more: u64,
    /// Why the audit is incomplete, if it is.
    pub audit_error: Option<String>,
}

/// Collects events.
pub(crate) struct Journal {
    run: String,
    clock: fn() -> SystemTime,
    observer: Option<Observer>,
    ids: AtomicU64,
    state: Mutex<State>,
}

struct State {
    audit: Option<Box<dyn Write + Send>>,
    blocked: BTreeMap<(Option<Host>, Option<u16>, Reason), Blocked>,
    report: Report,
}

impl Journal {
    pub(crate) fn new(
        run: String,
        clock: fn() -> SystemTime,
        observer: Option<Observer>,
        audit: Option<Box<dyn Write + Send>>,
    ) -> Journal {
        let state = State { audit, blocked: BTreeMap::new(), report: Report::default() };
        Journal { run, clock, observer, ids: AtomicU64::new(1), state: Mutex::new(state) }
    }

    /// The number of the next request.
    pub(crate) fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Relaxed)
    }

    /// Records one event. An audit that cannot be written is said in the report
    /// and not tried again: half a line must not be followed by another.
    pub(crate) fn record(&self, event: &Event) {
        if let Some(observer) = &self.observer {
            observer(event);
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.count(event);
        let Some(audit) = &mut state.audit else { return };
        let mut line = serde_json::to_vec(&self.line(event)).unwrap_or_default();
        line.push(b'\n');
        if let Err(error) = audit.write_all(&line) {
            state.audit = None;
            state.report.audit_error = Some(error.to_string());
        }
    }

    pub(crate) fn report(&self) -> Report {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Report { blocked: state.blocked.values().cloned().collect(), ..state.report.clone() }
    }

    fn line<'e>(&'e self, event: &'e Event) -> Line<'e> {
        let line = Line { v: 1, t: rfc3339((self.clock)()), run: &self.run, ..Line::default() };
        match event {
            Event::Allowed { id, request, rule, address } => Line {
                id: *id,
                ev: "decision",
                decision: Some("allow"),
                reason: Some("rule"),
                rule: rule.as_deref(),
                addr: *address,
                ..line.about(request)
            },
            Event::Refused(refusal) => {
                let line = match &refusal.request {
                    Some(request) => line.about(request),
                    None => line,
                };
                Line {
                    id: refusal.id,
                    ev: "decision",
                    door: Some(refusal.protocol.word()),
                    decision: Some("deny"),
                    reason: Some(refusal.reason.word()),
                    rule: refusal.rule.as_deref(),
                    ..line
                }
            }
            Event::Closed { id, sent, received } => {
                Line { id: *id, ev: "close", out: Some(*sent), r#in: Some(*received), ..line }
            }
        }
    }
}

impl State {
    fn count(&mut self, event: &Event) {
        let refusal = match event {
            Event::Allowed { .. } => {
                self.report.allowed += 1;
                return;
            }
            Event::Closed { .. } => return,
            Event::Refused(refusal) => refusal,
        };
        let (host, port) = refusal
            .request
            .as_ref()
            .map_or((None, None), |request| (Some(request.host.clone()), Some(request.port)));
        let key = (host.clone(), port, refusal.reason);
        if self.blocked.len() >= MOST_BLOCKED && !self.blocked.contains_key(&key) {
            self.report.more += 1;
            return;
        }
        let blocked = self.blocked.entry(key).or_insert_with(|| Blocked {
            host,
            port,
            protocol: refusal.protocol,
            reason: refusal.reason,
            detail: refusal.detail.clone(),
            remedy: refusal.remedy.clone(),
            count: 0,
        });
        blocked.count += 1;
    }
}

/// One line of the audit. Query strings, header values and secrets have no place
/// in it.
#[derive(Default, Serialize)]
struct Line<'e> {
    v: u8,
    t: String,
    run: &'e str,
    id: u64,
    ev: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    door: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    addr: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sni: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    out: Option<u64>,
    #[serde(rename = "in", skip_serializing_if = "Option::is_none")]
    r#in: Option<u64>,
}

impl<'e> Line<'e> {
    fn about(self, request: &'e Request) -> Line<'e> {
        Line {
            door: Some(request.protocol.word()),
            host: Some(request.host_text()),
            port: Some(request.port),
            sni: request.sni.as_deref(),
            method: request.method.as_deref(),
            path: request.path.as_deref(),
            ..self
        }
    }
}
