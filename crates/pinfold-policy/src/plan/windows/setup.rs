//! What `pinfold setup` makes once, as a table of steps. Each step can be
//! looked at, done and undone by itself; what is already there is left alone,
//! so that set-up repairs, survives updates and can be run again.

use std::collections::BTreeSet;

use super::entries::difference;
use super::{Account, Entry, GROUP, OFFLINE, PROXY};

/// One thing that set-up makes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// A local group.
    Group(&'static str),
    /// A local account with a random password that never expires.
    User(&'static str),
    /// The account is in the group, and in no other but the ordinary users'.
    Member(&'static str),
    /// The account is not offered at the sign-in screen.
    Hidden(&'static str),
    /// The account's password, sealed by the data protection interface for the
    /// user who runs pinfold.
    Password(&'static str),
    /// A persistent filter for what the account sends or binds.
    Filter(Filter),
    /// An access control entry.
    Entry(Entry),
}

/// A filter of the filtering platform, for one account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Filter {
    /// Whose traffic: [`OFFLINE`] or [`PROXY`].
    pub user: &'static str,
    /// What it covers.
    pub traffic: Traffic,
    /// What it does; permissions have the greater weight.
    pub action: Action,
}

/// What a filter covers, in both versions of the internet protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Traffic {
    /// Connecting and sending to anywhere, loopback included, with any protocol.
    Outbound,
    /// Listening and receiving anywhere, loopback included.
    Inbound,
    /// Connecting with TCP to this port of 127.0.0.1.
    Loopback(u16),
}

/// What a filter does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Lets through.
    Permit,
    /// Refuses.
    Block,
}

/// What to do with a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Make it.
    Apply(Step),
    /// Take it away.
    Undo(Step),
}

/// Everything that should be there, in the order in which it is made.
pub fn steps(proxy_port: u16, entries: &[Entry]) -> Vec<Step> {
    // Filters name accounts, entries name the group, so these come first.
    let mut steps = vec![Step::Group(GROUP)];
    for user in [OFFLINE, PROXY] {
        steps.extend([
            Step::User(user),
            Step::Member(user),
            Step::Hidden(user),
            Step::Password(user),
        ]);
        steps.extend(filters(user, proxy_port).into_iter().map(Step::Filter));
    }
    steps.extend(entries.iter().cloned().map(Step::Entry));
    steps
}

/// All traffic is refused but, for one account, the way to the proxy.
fn filters(user: &'static str, proxy_port: u16) -> Vec<Filter> {
    let filter = |traffic, action| Filter { user, traffic, action };
    let mut filters =
        vec![filter(Traffic::Outbound, Action::Block), filter(Traffic::Inbound, Action::Block)];
    if user == PROXY {
        filters.push(filter(Traffic::Loopback(proxy_port), Action::Permit));
    }
    filters
}

/// The name of the account, when it is one that set-up makes.
pub fn user(account: Account) -> Option<&'static str> {
    match account {
        Account::Caller => None,
        Account::Offline => Some(OFFLINE),
        Account::Proxy => Some(PROXY),
    }
}

/// What has to be done so that exactly the wanted steps are there. Entries and
/// filters that pinfold made before and wants no more go first.
pub fn repair(observed: &[Step], wanted: &[Step]) -> Vec<Operation> {
    let changes = difference(&entries(observed), &entries(wanted));
    let there: BTreeSet<&Step> = observed.iter().collect();
    let wanted_steps: BTreeSet<&Step> = wanted.iter().collect();
    let stale_filter =
        |step: &&Step| matches!(step, Step::Filter(_)) && !wanted_steps.contains(*step);
    let mut operations: Vec<Operation> =
        changes.stale.into_iter().map(|entry| Operation::Undo(Step::Entry(entry))).collect();
    let filters = observed.iter().filter(stale_filter).cloned();
    operations.extend(filters.map(Operation::Undo));
    let missing = wanted.iter().filter(|step| !there.contains(step)).cloned();
    operations.extend(missing.map(Operation::Apply));
    operations
}

/// What has to be done so that nothing is left: the reverse of making it.
pub fn removal(observed: &[Step]) -> Vec<Operation> {
    let mut found: Vec<Step> = observed.to_vec();
    found.sort();
    found.dedup();
    found.into_iter().rev().map(Operation::Undo).collect()
}

fn entries(steps: &[Step]) -> Vec<Entry> {
    let entry = |step: &Step| match step {
        Step::Entry(entry) => Some(entry.clone()),
        _ => None,
    };
    steps.iter().filter_map(entry).collect()
}

/// What set-up says about one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What was tried.
    pub operation: Operation,
    /// The error of the system, when it failed.
    pub failure: Option<u32>,
}

impl Report {
    /// The stable code of a failure, for programs; nothing when it worked.
    pub fn code(&self) -> Option<&'static str> {
        self.failure?;
        let (step, undo) = match &self.operation {
            Operation::Apply(step) => (step, false),
            Operation::Undo(step) => (step, true),
        };
        Some(match (step, undo) {
            (Step::Group(_), false) => "group-create",
            (Step::Group(_), true) => "group-remove",
            (Step::User(_), false) => "user-create",
            (Step::User(_), true) => "user-remove",
            (Step::Member(_), false) => "member-add",
            (Step::Member(_), true) => "member-remove",
            (Step::Hidden(_), false) => "user-hide",
            (Step::Hidden(_), true) => "user-show",
            (Step::Password(_), false) => "password-seal",
            (Step::Password(_), true) => "password-remove",
            (Step::Filter(_), false) => "filter-add",
            (Step::Filter(_), true) => "filter-remove",
            (Step::Entry(_), false) => "entry-add",
            (Step::Entry(_), true) => "entry-remove",
        })
    }
}
