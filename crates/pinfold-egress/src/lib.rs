//! The managed way out of a sandbox: a proxy that lets a command reach exactly
//! the hosts that its profile names, for as long as the command lives.
//!
//! It is given listening sockets ([`Door`]) and a policy, and knows nothing of
//! namespaces: whoever starts it sees to it that there is no other way out. It
//! decides before it resolves, checks every address, dials only what it checked,
//! and says to whoever is refused which rule would have allowed it.
//!
//! It does not look into TLS: what it holds there is the name in the client's
//! hello. Nothing here runs, and nothing is allocated, before [`Egress::start`].
//!
//! ```no_run
//! # fn start(policy: pinfold_policy::profile::NetPolicy, inside: std::net::TcpListener)
//! # -> std::io::Result<()> {
//! use pinfold_egress::{Door, Egress, Options};
//!
//! let running = Egress::new(policy, Options::default()).start(vec![Door::Proxy(inside)])?;
//! // … the command runs …
//! let report = running.stop();
//! for blocked in &report.blocked {
//!     eprintln!("net: blocked {}x {}", blocked.count, blocked.destination());
//! }
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod ask;
mod bridge;
mod datagrams;
mod defect;
mod dial;
mod dns;
mod doors;
mod environment;
mod farewell;
mod gate;
mod hello;
mod http;
mod journal;
mod link;
mod options;
mod outside;
mod refusal;
mod run;
mod socks;
mod time;
mod tunnel;
mod upstream;

pub use ask::{Answer, Decider, Program, Question, Remember};
pub use bridge::{BridgeError, bridge};
pub use defect::THREAD;
pub use dns::{Names, answer};
pub use doors::Door;
pub use environment::{Loopback, ProxyAddress, proxy_variables};
pub use hello::{ClientHello, HelloError, client_hello};
pub use journal::{Blocked, Event, Observer, Report};
pub use options::{Bounds, Options};
pub use outside::{Outside, Pending, System};
pub use refusal::{Connection, Protocol, Reason, Refusal};
pub use run::{Egress, Running};
pub use upstream::{Resolution, Upstream, UpstreamError};
