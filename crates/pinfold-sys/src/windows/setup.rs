//! What `pinfold setup` prepares: accounts, filters, and entries in the lists of objects.

use pinfold_policy::plan::windows::list::{ALL_USERS, List};
use pinfold_policy::plan::windows::setup::{Operation, Step};
use pinfold_policy::plan::windows::{
    Account, Entry, EntryKind, GROUP, Inherit, Plan, Trustee, mask, wide,
};
use windows_sys::Win32::Foundation::{
    ERROR_FILE_NOT_FOUND, ERROR_INVALID_ACL, ERROR_NOT_SUPPORTED, ERROR_PATH_NOT_FOUND,
};

pub use super::elevated::Administrator;
use super::{access, accounts, filters, sealed};
use crate::name;

/// Why nothing has to be prepared: something has.
pub const NOTHING: Option<&str> = None;

/// The entries that have to be there before a command of a plan starts.
pub fn entries(plan: &Plan) -> Vec<Entry> {
    match plan {
        Plan::Confined(plan) if plan.account == Account::Caller => plan.entries.clone(),
        Plan::Confined(plan) => plan.entries.iter().cloned().chain(own_program()).collect(),
        Plan::Unconfined(_) => Vec::new(),
    }
}

/// The entry by which the accounts can execute this program, which runs their commands: on its
/// directory, where a newer version is put. None where every user may execute it anyway.
fn own_program() -> Option<Entry> {
    /// `FILE_EXECUTE`.
    const EXECUTE: u32 = 0x20;
    let program = std::env::current_exe().ok()?;
    let program = name::absolute(name::bytes(program.as_os_str())).ok()?;
    let list = access::list_of(&wide::units(program.as_bytes())).ok();
    if list.and_then(|text| List::parse(&text)).is_some_and(|list| list.grants(ALL_USERS, EXECUTE))
    {
        return None;
    }
    Some(Entry {
        path: program.parent()?,
        kind: EntryKind::Allow,
        trustee: Trustee::Group,
        mask: mask::READ,
        inherit: Inherit::Tree,
    })
}

/// The port of the proxy, when the accounts have been prepared for this user.
pub fn proxy_port() -> Option<u16> {
    sealed::proxy_port()
}

/// Notes the port of the proxy, and that commands run as the accounts from now on; without one
/// forgets everything that was noted.
///
/// # Errors
/// The error number of the system.
pub fn keep_proxy_port(port: Option<u16>) -> Result<(), i32> {
    port.map_or_else(sealed::forget_all, sealed::keep_proxy_port)
}

/// A password for an account.
///
/// # Errors
/// When the system has no random numbers.
pub fn random_password() -> Result<String, i32> {
    sealed::random_password()
}

/// Whether a step is there.
///
/// # Errors
/// The error number of the system.
pub fn has(step: &Step) -> Result<bool, i32> {
    match step {
        Step::Group(group) => accounts::exists(group),
        // Without its password it has to be given another one.
        Step::User(user) => Ok(accounts::exists(user)? && sealed::password(user).is_ok()),
        Step::Member(user) => Ok(accounts::exists(user)? && accounts::is_member(user)?),
        Step::Hidden(user) => Ok(sealed::is_hidden(user)),
        Step::Password(user) => Ok(sealed::password(user).is_ok()),
        Step::Filter(filter) => filters::has(filter),
        Step::Entry(entry) => has_entry(entry, &group(entry)?),
    }
}

/// Does what takes an administrator; the password is that of the account that is made.
pub(crate) fn perform(operation: &Operation, password: &str) -> Result<(), i32> {
    match operation {
        Operation::Apply(Step::Group(_)) => accounts::make_group(),
        Operation::Undo(Step::Group(_)) => accounts::remove_group(),
        Operation::Apply(Step::User(user)) => accounts::make_user(user, password),
        Operation::Undo(Step::User(user)) => accounts::remove_user(user),
        Operation::Apply(Step::Member(user)) => accounts::join(user),
        Operation::Undo(Step::Member(user)) => accounts::leave(user),
        Operation::Apply(Step::Hidden(user)) => sealed::hide(user),
        Operation::Undo(Step::Hidden(user)) => sealed::show(user),
        Operation::Apply(Step::Filter(filter)) => filters::apply(filter),
        Operation::Undo(Step::Filter(filter)) => filters::undo(filter),
        Operation::Apply(Step::Password(_) | Step::Entry(_))
        | Operation::Undo(Step::Password(_) | Step::Entry(_)) => Err(ERROR_NOT_SUPPORTED as i32),
    }
}

/// Does what is the user's own: passwords and entries.
///
/// # Errors
/// The error number of the system.
pub fn perform_own(operation: &Operation, password: &str) -> Result<(), i32> {
    match operation {
        Operation::Apply(Step::Password(user)) => sealed::keep_password(user, password),
        Operation::Undo(Step::Password(user)) => sealed::forget_password(user),
        Operation::Apply(Step::Entry(entry)) => apply(entry),
        Operation::Undo(Step::Entry(entry)) => undo(entry),
        Operation::Apply(_) | Operation::Undo(_) => Err(ERROR_NOT_SUPPORTED as i32),
    }
}

/// The first of several entries that is not there.
pub(crate) fn missing(entries: &[Entry]) -> Result<Option<&Entry>, (&Entry, i32)> {
    // It is asked for once, not for every entry.
    let mut of_accounts = None;
    for entry in entries {
        let named = match (&entry.trustee, &of_accounts) {
            (Trustee::Group, Some(group)) => Ok(String::clone(group)),
            _ => group(entry),
        };
        let named = named.map_err(|code| (entry, code))?;
        if !has_entry(entry, &named).map_err(|code| (entry, code))? {
            return Ok(Some(entry));
        }
        if entry.trustee == Trustee::Group {
            of_accounts = Some(named);
        }
    }
    Ok(None)
}

fn has_entry(entry: &Entry, group: &str) -> Result<bool, i32> {
    read(entry).map(|list| list.has(entry, group))
}

/// Writes an entry, and makes sure that it is there.
fn apply(entry: &Entry) -> Result<(), i32> {
    let group = group(entry)?;
    let list = read(entry)?;
    if list.has(entry, &group) {
        return Ok(());
    }
    write(entry, &list.with(entry, &group))?;
    if has_entry(entry, &group)? { Ok(()) } else { Err(ERROR_NOT_SUPPORTED as i32) }
}

/// Takes an entry away. What is not there any more has none.
fn undo(entry: &Entry) -> Result<(), i32> {
    const GONE: [i32; 2] = [ERROR_FILE_NOT_FOUND as i32, ERROR_PATH_NOT_FOUND as i32];
    let group = group(entry)?;
    let list = match read(entry) {
        Err(error) if GONE.contains(&error) => return Ok(()),
        list => list?,
    };
    if list.has(entry, &group) { write(entry, &list.without(entry, &group)) } else { Ok(()) }
}

fn read(entry: &Entry) -> Result<List, i32> {
    let text = access::list_of(&wide::units(entry.path.as_bytes()))?;
    // Who has no list lets everybody in, and needs no entry that grants.
    List::parse(&text).ok_or(ERROR_INVALID_ACL as i32)
}

fn write(entry: &Entry, list: &List) -> Result<(), i32> {
    access::set_list(&wide::units(entry.path.as_bytes()), &list.to_string())
}

/// The identifier of the accounts' group, where an entry names it.
fn group(entry: &Entry) -> Result<String, i32> {
    match entry.trustee {
        Trustee::Capability(_) => Ok(String::new()),
        Trustee::Group => accounts::identifier(GROUP),
    }
}
