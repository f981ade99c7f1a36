//! Where a rule was written, so that every verdict can name its reason.

use std::fmt;
use std::sync::Arc;

/// The place that a rule or a setting came from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// A built-in profile, or a default that holds for every profile; the text
    /// names it, for example `:workspace` or `protected by default`.
    BuiltIn(&'static str),
    /// A configuration file.
    File {
        /// The file as it was opened.
        file: Arc<str>,
        /// Line, counted from 1.
        line: u32,
        /// Column in characters, counted from 1.
        column: u32,
    },
    /// The command line; the text is the option with its value.
    Flag(Arc<str>),
}

impl Origin {
    /// Whether the administrator wrote it in `requirements.toml`, which no other rule
    /// can widen.
    pub fn is_requirement(&self) -> bool {
        let file = match self {
            Origin::File { file, .. } => file,
            Origin::BuiltIn(_) | Origin::Flag(_) => return false,
        };
        file.rsplit(['/', '\\']).next() == Some("requirements.toml")
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::BuiltIn(name) => write!(f, "built-in {name}"),
            Origin::File { file, line, column } => write!(f, "{file}:{line}:{column}"),
            Origin::Flag(text) => f.write_str(text),
        }
    }
}
