//! Runs commands inside the operating system's own isolation, under a permission
//! profile.
//!
//! A [`Sandbox`] is a profile, resolved from the configuration of the machine,
//! the user and the project, and compiled into what this host can enforce. It
//! runs commands and says how they ended.
//!
//! ```no_run
//! use pinfold::{Caller, Options, Sandbox};
//!
//! let caller = Caller::of_this_process()?;
//! let sandbox = Sandbox::open(&caller, &Options::default())?;
//! let outcome = sandbox.run(&["make".into(), "test".into()])?;
//! assert_eq!(outcome.ended.status.code(), 0);
//! # Ok::<(), pinfold::Error>(())
//! ```
#![forbid(unsafe_code)]

mod bridge;
mod caller;
mod denials;
mod error;
mod judge;
mod layers;
mod learn;
mod program;
mod sandbox;
mod session;
mod way_out;

pub use bridge::{BRIDGED, Ending, Streams, bridge};
pub use caller::Caller;
pub use denials::{DenialObserver, DenialOptions, Denials, MOST_DENIALS, MOST_OF_SESSION};
pub use error::Error;
pub use layers::{Sources, check};
pub use learn::{Learned, learn};
pub use pinfold_egress::THREAD as PROXY_THREAD;
pub use pinfold_egress::{Answer, Decider, Event, Observer, Question, Remember, Report};
pub use pinfold_policy as policy;
pub use pinfold_policy::denial::{Allow, Attempted, Denial, Target};
pub use pinfold_sys::{
    Appeared, Closed, Ended, Exceeded, Handling, HeadStart, Level, Size, Status, Usage,
    act_as_another,
};
pub use sandbox::{NetworkOptions, Options, Outcome, Sandbox, head_start};
pub use session::{
    CHUNK, DRAIN, Outputs, Process, Session, SessionOutcome, Spawned, Start, Stdio, Stream,
};
