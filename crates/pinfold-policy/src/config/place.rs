//! Where a value was written.

use std::sync::Arc;

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
        let before = source.text.get(..*start)?;
        let line = before.matches('\n').count() as u32 + 1;
        let column = before.rsplit('\n').next().map_or(0, |text| text.chars().count()) as u32 + 1;
        Some((line, column))
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
