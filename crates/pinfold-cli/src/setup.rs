//! Prepares a host once, so that nothing has to be changed for a single command.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use pinfold::policy::plan::windows::record;
use pinfold::policy::plan::windows::setup::{Operation, Report, Step};
use pinfold::policy::plan::windows::{Entry, sddl};
use pinfold::{Caller, Sandbox};
use pinfold_sys::{describe, files, name, setup};
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
    let sandbox = Sandbox::open(&caller, &options(parsed)?)?;
    if let Some(why) = setup::NOTHING {
        write_json(parsed, &[])?;
        return print(&format!("{why}\n"));
    }
    let record = Record::of(&caller)?;
    let wanted = setup::entries(sandbox.plan());
    let missing: Vec<Entry> =
        wanted.into_iter().filter(|entry| setup::has(entry) != Ok(true)).collect();
    if parsed.has("check") {
        let apply = |entry: &Entry| Report {
            operation: Operation::Apply(Step::Entry(entry.clone())),
            failure: None,
        };
        let reports: Vec<Report> = missing.iter().map(apply).collect();
        write_json(parsed, &reports)?;
        let text: String =
            missing.iter().map(|entry| format!("missing: {}\n", shown(entry))).collect();
        let all = "everything that this profile needs is prepared\n";
        print(if missing.is_empty() { all } else { &text })?;
        return Ok(i32::from(!missing.is_empty()));
    }
    // Noted before it is written: what is taken away later must be known in any case.
    let mut made = record.read()?;
    made.extend(missing.iter().filter(|entry| !made.contains(entry)).cloned().collect::<Vec<_>>());
    record.write(&made)?;
    let reports = performed(missing.iter().map(apply));
    finish(parsed, &reports, "everything that this profile needs is prepared")
}

fn remove(parsed: &Parsed, record: &Record) -> Result<i32, Failure> {
    let made = record.read()?;
    let reports = performed(made.iter().map(undo));
    let left = failures(made, &reports);
    record.write(&left)?;
    finish(parsed, &reports, "nothing that pinfold prepared is left")
}

fn apply(entry: &Entry) -> (Operation, Result<(), i32>) {
    (Operation::Apply(Step::Entry(entry.clone())), setup::apply(entry))
}

fn undo(entry: &Entry) -> (Operation, Result<(), i32>) {
    (Operation::Undo(Step::Entry(entry.clone())), setup::undo(entry))
}

/// One that fails does not keep the others from being tried.
fn performed(done: impl Iterator<Item = (Operation, Result<(), i32>)>) -> Vec<Report> {
    let report = |(operation, result): (Operation, Result<(), i32>)| Report {
        operation,
        failure: result.err().map(i32::cast_unsigned),
    };
    done.map(report).collect()
}

/// The entries that could not be taken away.
fn failures(entries: Vec<Entry>, reports: &[Report]) -> Vec<Entry> {
    let kept = entries.into_iter().zip(reports).filter(|(_, report)| report.failure.is_some());
    kept.map(|(entry, _)| entry).collect()
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
        other => format!("{other:?}"),
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
