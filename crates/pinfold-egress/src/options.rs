//! What the caller decides about a proxy, apart from its policy.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::ask::Decider;
use crate::journal::Observer;
use crate::outside::{Outside, System};
use crate::upstream::Upstream;

/// How one proxy works. The default asks nobody, records nothing and dials the
/// host's own network.
pub struct Options {
    /// Where names are resolved and connections made.
    pub outside: Arc<dyn Outside>,
    /// Who answers for hosts with an `ask` rule; nobody means no.
    pub decider: Option<Decider>,
    /// Is told of every decision and every end of a connection, on the proxy's
    /// own thread: it must not block.
    pub observer: Option<Observer>,
    /// Receives the audit, one line of JSON per `write`.
    pub audit: Option<Box<dyn Write + Send>>,
    /// The name of the run in the audit.
    pub run: String,
    /// The proxy that stands between this host and the Internet.
    pub upstream: Option<Upstream>,
    /// What a client must present as the password, where others can reach the
    /// doors too. Inside a network namespace nobody else can.
    pub token: Option<String>,
    /// Sizes, counts and times.
    pub bounds: Bounds,
    /// The time of day, for the audit.
    pub clock: fn() -> SystemTime,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            outside: Arc::new(System::default()),
            decider: None,
            observer: None,
            audit: None,
            run: String::new(),
            upstream: None,
            token: None,
            bounds: Bounds::default(),
            clock: SystemTime::now,
        }
    }
}

/// Sizes, counts and times that keep hostile or broken peers in check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Connections served at once; the next one is refused. Each takes two
    /// descriptors of this process.
    pub connections: usize,
    /// Bytes of one HTTP head, or of one TLS hello.
    pub head: usize,
    /// Different names that the DNS stub hands out addresses for.
    pub names: usize,
    /// Time for a client to send a request's head, a handshake or a hello.
    pub head_time: Duration,
    /// Time between two requests on one connection.
    pub idle_time: Duration,
    /// Time to resolve a name, and to make a connection.
    pub connect_time: Duration,
    /// Time to wait for the answer to an `ask` rule.
    pub ask_time: Duration,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            connections: 1024,
            head: 64 * 1024,
            names: 4096,
            head_time: Duration::from_secs(10),
            idle_time: Duration::from_secs(600),
            connect_time: Duration::from_secs(10),
            ask_time: Duration::from_secs(10),
        }
    }
}
