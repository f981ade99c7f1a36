//! What sessions of the two mechanisms do not share.

use pinfold_policy::path::AbsPath;
use pinfold_policy::plan::linux::{Network, Plan};
use pinfold_policy::profile::Limits;

use super::command::{Command, stack};
use super::deputy::{Door, Duties};
use super::head_start::HeadStart;
use super::init::Task;
use super::{landlock, namespaces};
use crate::seam::{Error, Launch, OpenDoors, Place};

/// The first process, where it can be started before its task is known.
pub(super) fn head_start(plan: &Plan) -> Result<Option<HeadStart>, Error> {
    match plan {
        Plan::Namespaces(plan) => HeadStart::of(plan.network).map(Some),
        _ => Ok(None),
    }
}

/// The task of the first process, as yet without a channel.
pub(super) fn first(plan: &Plan, directory: &AbsPath) -> Result<Task, Error> {
    match plan {
        Plan::Namespaces(plan) => {
            let mut task = namespaces::task(plan, directory, None)?;
            task.stack = Some(stack()?);
            task.starter = Some(namespaces::starter(plan)?);
            if plan.network == Network::Host {
                task.ruleset = namespaces::scopes();
            }
            Ok(task)
        }
        Plan::Landlock(plan) => landlock::first(plan, directory),
        Plan::Unconfined(_) => Err(Error::Closed {
            attempted: String::from("start a session that nothing confines"),
            code: libc::ENOTSUP,
        }),
    }
}

/// A command of a session; nothing under a plan that has none.
pub(super) fn command(plan: &Plan, launch: &Launch) -> Option<Command> {
    match plan {
        Plan::Namespaces(plan) => Some(namespaces::command_of_session(plan, launch)),
        Plan::Landlock(plan) => Some(landlock::command(plan, launch)),
        Plan::Unconfined(_) => None,
    }
}

/// The bounds of a whole session.
pub(super) fn limits(plan: &Plan) -> Limits {
    match plan {
        Plan::Namespaces(plan) => plan.limits,
        Plan::Landlock(plan) => plan.limits,
        Plan::Unconfined(wall_time) => {
            Limits { wall_time: *wall_time, processes: None, memory: None, tmp_size: None }
        }
    }
}

/// What is done for the commands of a session; the door of one without namespaces is
/// handed out.
pub(super) fn duties(
    plan: &Plan,
    place: &Place,
    opened: &mut dyn FnMut(OpenDoors) -> bool,
) -> Result<Duties, Error> {
    match plan {
        Plan::Landlock(plan) => landlock::duties(plan, place.door.as_ref(), opened),
        Plan::Namespaces(plan) => Ok(namespaces::duties(plan, Door::inside(plan.doors.as_ref())?)),
        Plan::Unconfined(_) => Ok(Duties::default()),
    }
}
