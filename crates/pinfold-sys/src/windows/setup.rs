//! What `pinfold setup` prepares: the entries of plans, in the lists of their objects.

use pinfold_policy::plan::windows::list::List;
use pinfold_policy::plan::windows::{Entry, Plan, Trustee, wide};
use windows_sys::Win32::Foundation::{
    ERROR_FILE_NOT_FOUND, ERROR_INVALID_ACL, ERROR_NOT_SUPPORTED, ERROR_PATH_NOT_FOUND,
};

use super::access;

/// Why nothing has to be prepared: something has.
pub const NOTHING: Option<&str> = None;

/// What has to be there before a command of a plan starts.
pub fn entries(plan: &Plan) -> Vec<Entry> {
    match plan {
        Plan::Confined(plan) => plan.entries.clone(),
        Plan::Unconfined(_) => Vec::new(),
    }
}

/// Whether an entry is there.
///
/// # Errors
/// The error number of the system.
pub fn has(entry: &Entry) -> Result<bool, i32> {
    let group = group(entry)?;
    read(entry).map(|list| list.has(entry, group))
}

/// Writes an entry, and makes sure that it is there.
///
/// # Errors
/// The error number of the system.
pub fn apply(entry: &Entry) -> Result<(), i32> {
    let group = group(entry)?;
    let list = read(entry)?;
    if list.has(entry, group) {
        return Ok(());
    }
    write(entry, &list.with(entry, group))?;
    if has(entry)? { Ok(()) } else { Err(ERROR_NOT_SUPPORTED as i32) }
}

/// Takes an entry away. What is not there any more has none.
///
/// # Errors
/// The error number of the system.
pub fn undo(entry: &Entry) -> Result<(), i32> {
    const GONE: [i32; 2] = [ERROR_FILE_NOT_FOUND as i32, ERROR_PATH_NOT_FOUND as i32];
    let group = group(entry)?;
    let list = match read(entry) {
        Err(error) if GONE.contains(&error) => return Ok(()),
        list => list?,
    };
    if list.has(entry, group) { write(entry, &list.without(entry, group)) } else { Ok(()) }
}

fn read(entry: &Entry) -> Result<List, i32> {
    let text = access::list_of(&wide::units(entry.path.as_bytes()))?;
    // Who has no list lets everybody in, and needs no entry that grants.
    List::parse(&text).ok_or(ERROR_INVALID_ACL as i32)
}

fn write(entry: &Entry, list: &List) -> Result<(), i32> {
    access::set_list(&wide::units(entry.path.as_bytes()), &list.to_string())
}

/// The identifier of the accounts' group, which no entry without accounts names.
fn group(entry: &Entry) -> Result<&'static str, i32> {
    match entry.trustee {
        Trustee::Capability(_) => Ok(""),
        Trustee::Group => Err(ERROR_NOT_SUPPORTED as i32),
    }
}
