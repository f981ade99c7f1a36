//! `pinfold trust`: edits the user's configuration, keeping what is there.

use pinfold::{Caller, Sources};
use toml_edit::{DocumentMut, Item, Table, value};

use crate::arguments::Parsed;
use crate::config_file::ConfigFile;
use crate::terminal::{Failure, failed, print};

/// Trusts the project of a directory.
pub(crate) fn trust(parsed: &Parsed) -> Result<i32, Failure> {
    let caller = Caller::of_this_process()?;
    let caller = match &parsed.operands[..] {
        [] => caller,
        [directory, ..] => caller.in_directory(directory)?,
    };
    let project = Sources::project(&caller);
    let Ok(name) = std::str::from_utf8(project.as_bytes()) else {
        return Err(failed(
            &format!("cannot write {project} in a configuration file: not UTF-8"),
            "rename the directory",
        ));
    };
    let file = ConfigFile::of_user(&caller)?;
    let mut document = file.document()?;
    add_project(&mut document, name, &file)?;
    file.write(&document.to_string())?;
    print(&format!("trusted {project} in {}\n", file.path))
}

fn add_project(
    document: &mut DocumentMut,
    project: &str,
    file: &ConfigFile,
) -> Result<(), Failure> {
    let file = &file.path;
    let projects = document.entry("projects").or_insert_with(|| {
        let mut table = Table::new();
        table.set_implicit(true);
        Item::Table(table)
    });
    let Some(projects) = projects.as_table_like_mut() else {
        return Err(failed(&format!("\"projects\" in {file} is not a table"), "mend it first"));
    };
    let entry = projects.entry(project).or_insert_with(|| Item::Table(Table::new()));
    let Some(entry) = entry.as_table_like_mut() else {
        return Err(failed(&format!("the project in {file} is not a table"), "mend it first"));
    };
    entry.insert("trust_level", value("trusted"));
    Ok(())
}
