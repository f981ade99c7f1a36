//! TOML values that know where they were written.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::Diagnostic;
use super::place::{Place, Source};

/// A value and where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The value.
    pub node: Node,
    /// Where the value was written.
    pub place: Place,
}

/// A TOML value. Kinds that no setting has are kept by name only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A string.
    String(String),
    /// An integer within 64 bits.
    Integer(i64),
    /// A boolean.
    Boolean(bool),
    /// An array.
    Array(Vec<Item>),
    /// A table.
    Table(Table),
    /// Anything else, by its name in messages.
    Other(&'static str),
}

/// A table, by key.
pub type Table = BTreeMap<String, Entry>;

/// One entry of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where the key was written.
    pub key: Place,
    /// The value.
    pub item: Item,
}

impl Item {
    /// An empty table from nowhere.
    pub fn empty() -> Item {
        Item { node: Node::Table(Table::new()), place: Place::BuiltIn("defaults") }
    }
}

impl Node {
    /// What messages call this kind of value.
    pub fn kind(&self) -> &'static str {
        match self {
            Node::String(_) => "a string",
            Node::Integer(_) => "an integer",
            Node::Boolean(_) => "a boolean",
            Node::Array(_) => "an array",
            Node::Table(_) => "a table",
            Node::Other(name) => name,
        }
    }
}

/// Parses a file. Syntax errors are all reported; what could be read is
/// returned all the same.
pub fn parse(source: &Arc<Source>) -> (Item, Vec<Diagnostic>) {
    let (table, errors) = DeTable::parse_recoverable(&source.text);
    let diagnostics = errors.iter().map(|error| syntax(source, error)).collect();
    let place = place(source, table.span());
    (Item { node: convert_table(source, table.get_ref()), place }, diagnostics)
}

/// Parses `KEY=VALUE` of the command line: a dotted key with TOML quoting, and
/// a TOML value or, where that is none, a bare string.
pub fn parse_assignment(source: &Arc<Source>) -> Result<Item, Diagnostic> {
    let whole = place(source, 0..source.text.len());
    let failed = |message: &str| {
        Diagnostic::at(&whole, message)
            .hint("write -c KEY=VALUE, for example -c 'permissions.dev.network.enabled=true'")
    };
    let Some(split) = unquoted_equals(&source.text) else {
        return Err(failed("Invalid override (missing '=')"));
    };
    let (key, value) = (source.text[..split].trim(), source.text[split + 1..].trim());
    if key.is_empty() {
        return Err(failed("Empty key in override"));
    }
    let text = if DeValue::parse(value).is_ok() {
        format!("{key} = {value}\n")
    } else {
        format!("{key} = {}\n", quoted(value))
    };
    let Ok(table) = DeTable::parse(&text) else {
        return Err(failed("cannot read the key of the override"));
    };
    let mut item = Item { node: convert_table(source, table.get_ref()), place: whole.clone() };
    replace_places(&mut item, &whole);
    Ok(item)
}

/// Puts `over` on top of `under`: tables merge, everything else is replaced.
pub fn merge(under: &mut Item, over: Item) {
    match (&mut under.node, over.node) {
        (Node::Table(below), Node::Table(above)) => {
            for (key, entry) in above {
                match below.get_mut(&key) {
                    Some(existing) => merge(&mut existing.item, entry.item),
                    None => {
                        below.insert(key, entry);
                    }
                }
            }
        }
        (_, node) => *under = Item { node, place: over.place },
    }
}

fn syntax(source: &Arc<Source>, error: &toml::de::Error) -> Diagnostic {
    let span = error.span().unwrap_or(0..0);
    Diagnostic::at(&place(source, span), format!("cannot read TOML: {}", error.message().trim()))
}

fn place(source: &Arc<Source>, span: Range<usize>) -> Place {
    Place::In { source: source.clone(), start: span.start, end: span.end }
}

fn convert_table(source: &Arc<Source>, table: &DeTable<'_>) -> Node {
    let entries = table.iter().map(|(key, value)| {
        let entry = Entry { key: place(source, key.span()), item: convert(source, value) };
        (key.get_ref().to_string(), entry)
    });
    Node::Table(entries.collect())
}

fn convert(source: &Arc<Source>, value: &Spanned<DeValue<'_>>) -> Item {
    let node = match value.get_ref() {
        DeValue::String(text) => Node::String(text.to_string()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Node::Integer(number),
            Err(_) => Node::Other("an integer beyond 64 bits"),
        },
        DeValue::Boolean(value) => Node::Boolean(*value),
        DeValue::Array(items) => {
            Node::Array(items.iter().map(|item| convert(source, item)).collect())
        }
        DeValue::Table(table) => convert_table(source, table),
        DeValue::Float(_) => Node::Other("a float"),
        DeValue::Datetime(_) => Node::Other("a date"),
    };
    Item { node, place: place(source, value.span()) }
}

/// Spans of a rewritten assignment mean nothing: all of it is the place.
fn replace_places(item: &mut Item, whole: &Place) {
    item.place = whole.clone();
    match &mut item.node {
        Node::Table(table) => {
            for entry in table.values_mut() {
                entry.key = whole.clone();
                replace_places(&mut entry.item, whole);
            }
        }
        Node::Array(items) => items.iter_mut().for_each(|item| replace_places(item, whole)),
        _ => {}
    }
}

/// The first `=` that is not inside quotes.
fn unquoted_equals(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (index, character) in text.char_indices() {
        match (quote, character) {
            (Some('"'), '\\') if !escaped => {
                escaped = true;
                continue;
            }
            (Some(open), close) if open == close && !escaped => quote = None,
            (None, '"' | '\'') => quote = Some(character),
            (None, '=') => return Some(index),
            _ => {}
        }
        escaped = false;
    }
    None
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    let mut result = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => result.push_str("\\\""),
            '\\' => result.push_str("\\\\"),
            c if c.is_control() => result.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => result.push(c),
        }
    }
    result.push('"');
    result
}
