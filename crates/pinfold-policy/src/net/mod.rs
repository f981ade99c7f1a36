//! Which hosts a command may reach: the grammar of host rules, what an address
//! is, and the verdict on one destination.
//!
//! A destination is decided in two steps. [`decide_host`] looks at what the
//! client named, before anything is resolved. [`decide_address`] looks at each
//! address that an allowed name turned out to have: an address is dialled only
//! if it is public or if a rule names it.

mod address;
mod decide;
mod host;
mod index;
mod introduction;
mod rule;

pub use address::{AddressClass, classify, unmapped};
pub use decide::{HostReason, HostVerdict, decide_address, decide_host, host_loopback};
pub use host::{Host, HostError, parse_authority, parse_destination};
pub use index::IndexedPolicy;
pub use introduction::{Introduction, Secret};
pub use rule::{HostRuleError, parse_host_rule, rule_text};

/// The ports of an allow or ask rule that names none.
pub const DEFAULT_PORTS: [u16; 2] = [80, 443];
