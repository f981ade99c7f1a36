//! Where a value was written.

use std::sync::{Arc, OnceLock};

use crate::origin::Origin;
use crate::path::AbsPath;

/// The layers of configuration, from the weakest to the strongest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layer {
    /// `/etc/pinfold/config.toml`.
    System,
    /// The user's own file.
    User,
    /// A file of a project, nearest to the root first.
    Project,
    /// The command line.
    Flags,
}

/// One text of configuration.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// What messages call it: the file, or the option as it was typed.
    pub name: Arc<str>,
    /// The directory that its relative paths start from.
    pub directory: AbsPath,
    /// Its place among the layers.
    pub layer: Layer,
    /// The text.
    pub text: String,
    /// Where its lines begin, found out when it is first asked for.
    lines: OnceLock<Vec<usize>>,
}

impl Source {
    /// A text and where it comes from.
    pub fn new(name: Arc<str>, directory: AbsPath, layer: Layer, text: String) -> Source {
        Source { name, directory, layer, text, lines: OnceLock::new() }
    }

    /// The line that holds a byte, counted from 0, and where it begins.
    fn line(&self, byte: usize) -> (usize, usize) {
        let lines = self.lines.get_or_init(|| {
            let breaks = self.text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
            std::iter::once(0).chain(breaks.map(|(at, _)| at + 1)).collect()
        });
        let line = lines.partition_point(|start| *start <= byte).saturating_sub(1);
        (line, lines.get(line).copied().unwrap_or(0))
    }
}

/// A span of bytes in a text, or nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a text.
    In {
        /// The text.
        source: Arc<Source>,
        /// The first byte.
        start: usize,
        /// The byte after the last.
        end: usize,
    },
    /// Built in; the name says where.
    BuiltIn(&'static str),
}

impl Place {
    /// Line and column of the first byte, both counted from 1, the column in
    /// characters; nothing for what is built in.
    pub fn line_and_column(&self) -> Option<(u32, u32)> {
        let Place::In { source, start, .. } = self else { return None };
        let (line, begins) = source.line(*start);
        let column = source.text.get(begins..*start)?.chars().count();
        Some((line as u32 + 1, column as u32 + 1))
    }

    /// The origin that rules made from this place carry.
    pub fn origin(&self) -> Origin {
        match self {
            Place::BuiltIn(name) => Origin::BuiltIn(name),
            Place::In { source, .. } if source.layer == Layer::Flags => {
                Origin::Flag(source.name.clone())
            }
            Place::In { source, .. } => {
                let (line, column) = self.line_and_column().unwrap_or((1, 1));
                Origin::File { file: source.name.clone(), line, column }
            }
        }
    }

    /// The layer, or nothing for what is built in.
    pub fn layer(&self) -> Option<Layer> {
        match self {
            Place::In { source, .. } => Some(source.layer),
            Place::BuiltIn(_) => None,
        }
    }

    /// The directory that relative paths written here start from.
    pub fn directory(&self) -> Option<&AbsPath> {
        match self {
            Place::In { source, .. } => Some(&source.directory),
            Place::BuiltIn(_) => None,
        }
    }
}

/// A value and where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Where it was written.
    pub place: Place,
}

impl<T> At<T> {
    /// A value that was not written by anyone.
    pub fn built_in(value: T, name: &'static str) -> At<T> {
        At { value, place: Place::BuiltIn(name) }
    }

    /// The same place with another value.
    pub fn map<U>(self, with: impl FnOnce(T) -> U) -> At<U> {
        At { value: with(self.value), place: self.place }
    }
}
