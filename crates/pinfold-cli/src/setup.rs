//! Prepares a host once, so that nothing has to be changed for a single command.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use pinfold::policy::plan::windows::record;
use pinfold::policy::plan::windows::setup::{Operation, Report, Step, removal, steps};
use pinfold::policy::plan::windows::{Entry, PROXY_PORT, sddl};
use pinfold::{Caller, Sandbox};
use pinfold_sys::setup::{self, Administrator};
use pinfold_sys::{describe, files, name};
use serde_json::json;

use crate::arguments::Parsed;
use crate::run::{caller, options};
use crate::terminal::{Failure, failed, print, usage};

/// `pinfold setup`.
pub(crate) fn setup(parsed: &Parsed) -> Result<i32, Failure> {
    if parsed.has("check") && parsed.has("remove") {
        return Err(usage("--check and --remove do not go together", "give one of them"));
    }
    let caller = caller(parsed)?;
    if parsed.has("remove") && setup::NOTHING.is_none() {
        // Whatever the configuration says by now.
        return remove(parsed, &Record::of(&caller)?);
    }
    let open = || Sandbox::open(&caller, &options(parsed)?).map_err(Failure::from);
    let sandbox = open()?;
    if let Some(why) = setup::NOTHING {
        write_json(parsed, &[])?;
        return print(&format!("{why}\n"));
    }
    let record = Record::of(&caller)?;
    let port = setup::proxy_port().unwrap_or(PROXY_PORT);
    // Without being asked for, they are left as they are: to look at them takes an administrator.
    let accounts = if parsed.has("accounts") { steps(port, &[]) } else { Vec::new() };
    let is_missing = |step: &Step| match step {
        // An account that is made gets another password.
        Step::Password(user) => {
            setup::has(step) != Ok(true) || setup::has(&Step::User(user)) != Ok(true)
        }
        step => setup::has(step) != Ok(true),
    };
    let missing =
        |steps: Vec<Step>| -> Vec<Step> { steps.into_iter().filter(is_missing).collect() };
    let entries = |sandbox: &Sandbox| {
        missing(setup::entries(sandbox.plan()).into_iter().map(Step::Entry).collect())
    };
    let accounts = missing(accounts);
    if parsed.has("check") {
        return check(parsed, accounts.into_iter().chain(entries(&sandbox)).collect());
    }
    let mut reports = Vec::new();
    if parsed.has("accounts") {
        reports = make_accounts(accounts);
        if reports.iter().all(|report| report.failure.is_none()) {
            setup::keep_proxy_port(Some(port)).map_err(|code| {
                let message = format!("cannot note that there are accounts: {}", describe(code));
                failed(&message, "run \"pinfold setup --accounts\" again")
            })?;
        }
    }
    // Other entries are wanted for the accounts than for the caller.
    let entries = entries(&open()?);
    // Noted before it is written: what is taken away later must be known in any case.
    let mut made = record.read()?;
    let new = entries.iter().filter_map(|step| match step {
        Step::Entry(entry) if !made.contains(entry) => Some(entry.clone()),
        _ => None,
    });
    let new: Vec<Entry> = new.collect();
    made.extend(new);
    record.write(&made)?;
    let entries: Vec<Operation> = entries.into_iter().map(Operation::Apply).collect();
    reports.extend(performed(entries, |operation| setup::perform_own(operation, "")));
    finish(parsed, &reports, "everything that this profile needs is prepared")
}

fn check(parsed: &Parsed, missing: Vec<Step>) -> Result<i32, Failure> {
    let text: String =
        missing.iter().map(|step| format!("missing: {}\n", step_text(step))).collect();
    let apply = |step| Report { operation: Operation::Apply(step), failure: None };
    let reports: Vec<Report> = missing.into_iter().map(apply).collect();
    write_json(parsed, &reports)?;
    let all = "everything that this profile needs is prepared\n";
    print(if reports.is_empty() { all } else { &text })?;
    Ok(i32::from(!reports.is_empty()))
}

/// Makes what is missing of the accounts, as an administrator but for the passwords, which are
/// sealed for this user.
fn make_accounts(missing: Vec<Step>) -> Vec<Report> {
    let mut passwords: BTreeMap<&'static str, String> = BTreeMap::new();
    let mut administrator = None;
    performed(missing.into_iter().map(Operation::Apply).collect(), |operation| {
        let (Operation::Apply(step) | Operation::Undo(step)) = operation;
        let mut password = String::new();
        if let Step::User(user) | Step::Password(user) = step {
            password = match passwords.get(user) {
                Some(known) => known.clone(),
                None => setup::random_password()?,
            };
            passwords.insert(user, password.clone());
        }
        perform(&mut administrator, operation, &password)
    })
}

/// Does one thing, as an administrator where it takes one.
fn perform(
    administrator: &mut Option<Result<Administrator, i32>>,
    operation: &Operation,
    password: &str,
) -> Result<(), i32> {
    let (Operation::Apply(step) | Operation::Undo(step)) = operation;
    if matches!(step, Step::Password(_) | Step::Entry(_)) {
        return setup::perform_own(operation, password);
    }
    // The user is asked once, whatever the answer.
    match administrator.get_or_insert_with(Administrator::new) {
        Ok(administrator) => administrator.perform(operation, password),
        Err(code) => Err(*code),
    }
}

fn remove(parsed: &Parsed, record: &Record) -> Result<i32, Failure> {
    let made = record.read()?;
    let port = setup::proxy_port().unwrap_or(PROXY_PORT);
    // With a password that this user knows, or in pinfold's group.
    let has_account = |user| {
        [Step::User(user), Step::Member(user)].iter().any(|step| setup::has(step) != Ok(false))
    };
    let there = |step: &Step| match step {
        // Only an administrator can look at it; where there are accounts, there may be some.
        Step::Filter(filter) => has_account(filter.user),
        Step::User(user) => has_account(user),
        step => setup::has(step) != Ok(false),
    };
    let mut observed: Vec<Step> = steps(port, &[]).into_iter().filter(there).collect();
    observed.extend(made.iter().cloned().map(Step::Entry));
    let mut administrator = None;
    let reports =
        performed(removal(&observed), |operation| perform(&mut administrator, operation, ""));
    record.write(&failures(&reports))?;
    if reports.iter().all(|report| report.failure.is_none()) {
        // An entry that is left needs no account, and an account that is left is found again.
        let _ = setup::keep_proxy_port(None);
    }
    finish(parsed, &reports, "nothing that pinfold prepared is left")
}

/// One that fails does not keep the others from being tried.
fn performed(
    operations: Vec<Operation>,
    mut perform: impl FnMut(&Operation) -> Result<(), i32>,
) -> Vec<Report> {
    let mut report = |operation: Operation| {
        let failure = perform(&operation).err().map(i32::cast_unsigned);
        Report { operation, failure }
    };
    operations.into_iter().map(&mut report).collect()
}

/// The entries that could not be taken away.
fn failures(reports: &[Report]) -> Vec<Entry> {
    let kept = reports.iter().filter_map(|report| match &report.operation {
        Operation::Undo(Step::Entry(entry)) if report.failure.is_some() => Some(entry.clone()),
        _ => None,
    });
    kept.collect()
}

fn finish(parsed: &Parsed, reports: &[Report], all: &str) -> Result<i32, Failure> {
    write_json(parsed, reports)?;
    let mut text = String::new();
    for report in reports {
        let (word, step) = match &report.operation {
            Operation::Apply(step) => ("prepared", step),
            Operation::Undo(step) => ("taken away", step),
        };
        match report.failure {
            None => text.push_str(&format!("{word}: {}\n", step_text(step))),
            Some(code) => text.push_str(&format!(
                "failed ({}): {}: {}\n",
                report.code().unwrap_or_default(),
                step_text(step),
                describe(code.cast_signed())
            )),
        }
    }
    let failed = reports.iter().any(|report| report.failure.is_some());
    if !failed {
        text.push_str(&format!("{all}\n"));
    }
    print(&text)?;
    Ok(if failed { 125 } else { 0 })
}

fn step_text(step: &Step) -> String {
    match step {
        Step::Entry(entry) => shown(entry),
        other => {
            let text = record::operation(&Operation::Apply(other.clone()));
            let text = String::from_utf8_lossy(&text);
            text.strip_prefix("apply ").unwrap_or(&text).to_owned()
        }
    }
}

fn shown(entry: &Entry) -> String {
    format!("{} {}", entry.path, sddl(entry, ""))
}

/// `--json FILE`.
fn write_json(parsed: &Parsed, reports: &[Report]) -> Result<(), Failure> {
    let Some(file) = parsed.last("json") else { return Ok(()) };
    let step = |report: &Report| {
        let (operation, step) = match &report.operation {
            Operation::Apply(step) => ("apply", step),
            Operation::Undo(step) => ("undo", step),
        };
        json!({
            "operation": operation,
            "step": step_text(step),
            "failed": report.code(),
            "error": report.failure,
        })
    };
    let steps: Vec<_> = reports.iter().map(step).collect();
    let document = json!({ "version": 1, "steps": steps });
    fs::write(file, format!("{document}\n")).map_err(|error| {
        let message = format!("cannot write {}: {error}", Path::new(file).display());
        failed(&message, "name a file that can be written")
    })
}

/// What pinfold has ever written into lists of this host: nothing else is taken away.
struct Record(PathBuf);

impl Record {
    fn of(caller: &Caller) -> Result<Record, Failure> {
        let state = caller.state().and_then(|state| state.join("entries").ok());
        let state = state.ok_or_else(|| {
            failed("there is no place to note what is prepared", "set LOCALAPPDATA")
        })?;
        Ok(Record(name::path(&state)))
    }

    fn read(&self) -> Result<Vec<Entry>, Failure> {
        let text = match fs::read(&self.0) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(self.cannot("read", &error)),
        };
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let entries: Option<Vec<Entry>> = lines.map(record::entry).collect();
        entries.ok_or_else(|| {
            let damaged = io::Error::other("a line in it is none of pinfold's");
            self.cannot("read", &damaged)
        })
    }

    /// Whole or not at all.
    fn write(&self, entries: &[Entry]) -> Result<(), Failure> {
        let beside = self.0.with_extension(std::process::id().to_string());
        let lines: Vec<Vec<u8>> = entries.iter().map(record::line).collect();
        let written = self.0.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| {
            let mut options = fs::File::options();
            let mut file = files::private(options.write(true).create_new(true)).open(&beside)?;
            file.write_all(&lines.concat())?;
            file.sync_all()?;
            fs::rename(&beside, &self.0)
        });
        written.map_err(|error| {
            let _ = fs::remove_file(&beside);
            self.cannot("write", &error)
        })
    }

    fn cannot(&self, what: &str, error: &io::Error) -> Failure {
        let message = format!("cannot {what} {}: {error}", self.0.display());
        failed(&message, "see to that file; it holds what \"pinfold setup --remove\" takes away")
    }
}
