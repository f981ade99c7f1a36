//! The plans of this system, under the names that the library uses everywhere.

use pinfold_policy::explain;
use pinfold_policy::plan::linux::{self, Capture, PROXY_PORT};

pub use pinfold_policy::host::LinuxHost as Host;
pub use pinfold_policy::plan::linux::{Plan, compile};

use crate::seam::{Captured, Network};

/// The system that plans are made for.
pub const SYSTEM: pinfold_policy::host::System = pinfold_policy::host::System::Linux;

/// A plan as text.
pub fn render(plan: &Plan) -> String {
    explain::plan(plan)
}

/// What enforces a plan, in a word.
pub fn mechanism(plan: &Plan) -> &'static str {
    match plan {
        Plan::Namespaces(_) => "namespaces",
        Plan::Landlock(_) => "landlock",
        Plan::Unconfined(_) => "none",
    }
}

/// Where a command finds its proxy, when its profile has host rules.
pub fn network(plan: &Plan) -> Network {
    match plan {
        Plan::Namespaces(_) => Network::Own(PROXY_PORT),
        Plan::Landlock(plan) if plan.reach == linux::Reach::Proxy => Network::Led,
        Plan::Landlock(_) | Plan::Unconfined(_) => Network::NoProxy,
    }
}

/// Which connections come to the proxy, when commands have a network of their own; nothing
/// when theirs is the host's.
pub fn captured(plan: &Plan) -> Option<Captured> {
    match plan {
        Plan::Namespaces(plan) if plan.network == linux::Network::Own => {
            Some(match plan.doors.as_ref().map(|doors| &doors.capture) {
                None => Captured::Ports(Vec::new()),
                Some(Capture::Ports(ports)) => Captured::Ports(ports.clone()),
                Some(Capture::All(_)) => Captured::All,
            })
        }
        _ => None,
    }
}

/// Whether the host may close the mechanism of a plan and leave another.
pub fn has_fallback(plan: &Plan) -> bool {
    matches!(plan, Plan::Namespaces(_))
}

/// Whether a plan is for that other mechanism.
pub fn is_fallback(plan: &Plan) -> bool {
    matches!(plan, Plan::Landlock(_))
}

/// Why files and programs that commands attempt to use cannot be told of; nothing when they
/// can.
pub fn untold(_plan: &Plan) -> Option<&'static str> {
    None
}
