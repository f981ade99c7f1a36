//! Takes tables apart strictly: whatever is not asked for is an error.

use super::diagnostic::{Diagnostic, nearest};
use super::place::{At, Place};
use super::tree::{Item, Node, Table};

/// A table whose entries are taken out one by one; `finish` complains about
/// what is left.
pub(super) struct Fields<'d> {
    name: String,
    table: Table,
    asked: Vec<&'static str>,
    pub(super) diagnostics: &'d mut Vec<Diagnostic>,
}

impl<'d> Fields<'d> {
    /// The fields of `item`; `name` is what messages call the table.
    pub(super) fn of(
        item: Item,
        name: impl Into<String>,
        diagnostics: &'d mut Vec<Diagnostic>,
    ) -> Fields<'d> {
        let name = name.into();
        let table = match item.node {
            Node::Table(table) => table,
            node => {
                let message = format!("{name} must be a table, not {}", node.kind());
                diagnostics.push(Diagnostic::at(&item.place, message));
                Table::new()
            }
        };
        Fields { name, table, asked: Vec::new(), diagnostics }
    }

    /// Takes an entry out, whatever it is.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Item> {
        self.asked.push(key);
        self.table.remove(key).map(|entry| entry.item)
    }

    /// A string.
    pub(super) fn string(&mut self, key: &'static str) -> Option<At<String>> {
        let item = self.take(key)?;
        {
            let name = self.named(key);
            string(item, &name, self.diagnostics)
        }
    }

    /// A boolean.
    pub(super) fn boolean(&mut self, key: &'static str) -> Option<At<bool>> {
        let item = self.take(key)?;
        match item.node {
            Node::Boolean(value) => Some(At { value, place: item.place }),
            node => self.wrong(key, "true or false", &node, &item.place),
        }
    }

    /// An integer of at least 1.
    pub(super) fn count(&mut self, key: &'static str) -> Option<At<u32>> {
        let item = self.take(key)?;
        match item.node {
            Node::Integer(number) => match u32::try_from(number) {
                Ok(value) if value > 0 => Some(At { value, place: item.place }),
                _ => {
                    let message = format!("{} must be between 1 and {}", self.named(key), u32::MAX);
                    self.diagnostics.push(Diagnostic::at(&item.place, message));
                    None
                }
            },
            node => self.wrong(key, "an integer", &node, &item.place),
        }
    }

    /// One of a few words, or a problem that names them all.
    pub(super) fn word<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&'static str, T)],
    ) -> Option<At<T>> {
        let text = self.string(key)?;
        {
            let name = self.named(key);
            word(&text, &name, words, self.diagnostics)
        }
    }

    /// A string that `parse` accepts.
    pub(super) fn parsed<T>(
        &mut self,
        key: &'static str,
        parse: fn(&str) -> Result<T, String>,
    ) -> Option<At<T>> {
        let text = self.string(key)?;
        match parse(&text.value) {
            Ok(value) => Some(At { value, place: text.place }),
            Err(reason) => {
                let message = format!("cannot read {}: {reason}", self.named(key));
                self.diagnostics.push(Diagnostic::at(&text.place, message));
                None
            }
        }
    }

    /// An array of strings.
    pub(super) fn strings(&mut self, key: &'static str) -> Option<Vec<At<String>>> {
        let item = self.take(key)?;
        let name = self.named(key);
        match item.node {
            Node::Array(items) => Some(
                items
                    .into_iter()
                    .filter_map(|item| string(item, &name, self.diagnostics))
                    .collect(),
            ),
            node => self.wrong(key, "an array of strings", &node, &item.place),
        }
    }

    /// A table with free keys.
    pub(super) fn entries(&mut self, key: &'static str) -> Vec<(At<String>, Item)> {
        let Some(item) = self.take(key) else { return Vec::new() };
        let name = self.named(key);
        entries(item, &name, self.diagnostics)
    }

    /// A table of its own.
    pub(super) fn table(&mut self, key: &'static str) -> Option<Fields<'_>> {
        let item = self.take(key)?;
        let name = self.named(key);
        Some(Fields::of(item, name, self.diagnostics))
    }

    /// Everything that is left, with free keys, and where to complain.
    pub(super) fn rest(self) -> (Vec<(At<String>, Item)>, &'d mut Vec<Diagnostic>) {
        let entries = self
            .table
            .into_iter()
            .map(|(key, entry)| (At { value: key, place: entry.key }, entry.item));
        (entries.collect(), self.diagnostics)
    }

    /// Complains about every key that was not asked for.
    pub(super) fn finish(self) {
        for (key, entry) in self.table {
            let message = format!("unknown key \"{key}\" in {}", self.name);
            let hint = match nearest(&key, self.asked.iter().copied()) {
                Some(known) => format!("did you mean \"{known}\"?"),
                None => format!("known keys are {}", list(&self.asked)),
            };
            self.diagnostics.push(Diagnostic::at(&entry.key, message).hint(hint));
        }
    }

    /// What messages call a key. The outermost tables have names of their own,
    /// which are no part of it.
    fn named(&self, key: &str) -> String {
        if self.name.starts_with("the ") { key.into() } else { format!("{}.{key}", self.name) }
    }

    fn wrong<T>(&mut self, key: &str, wanted: &str, node: &Node, place: &Place) -> Option<T> {
        let message = format!("{} must be {wanted}, not {}", self.named(key), node.kind());
        self.diagnostics.push(Diagnostic::at(place, message));
        None
    }
}

/// The entries of a table with free keys.
pub(super) fn entries(
    item: Item,
    name: &str,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<(At<String>, Item)> {
    Fields::of(item, name, diagnostics).rest().0
}

/// A string value.
pub(super) fn string(
    item: Item,
    name: &str,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<At<String>> {
    match item.node {
        Node::String(value) => Some(At { value, place: item.place }),
        node => {
            let message = format!("{name} must be a string, not {}", node.kind());
            diagnostics.push(Diagnostic::at(&item.place, message));
            None
        }
    }
}

/// One of a few words.
pub(super) fn word<T: Copy>(
    text: &At<String>,
    name: &str,
    words: &[(&'static str, T)],
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<At<T>> {
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text.value) {
        return Some(At { value: *value, place: text.place.clone() });
    }
    let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let message = format!("{name} cannot be \"{}\"", text.value);
    let hint = match nearest(&text.value, names.iter().copied()) {
        Some(known) => format!("did you mean \"{known}\"?"),
        None => format!("use {}", list(&names)),
    };
    diagnostics.push(Diagnostic::at(&text.place, message).hint(hint));
    None
}

/// `"a", "b" or "c"`.
fn list(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    match quoted.split_last() {
        None => String::from("none"),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}
