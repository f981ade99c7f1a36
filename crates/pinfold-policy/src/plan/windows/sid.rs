//! Identifiers that follow from what they stand for.

use std::fmt::Write;

use super::compile::Tree;
use super::digest::sha256;
use crate::path::AbsPath;

/// A path as Windows compares it.
pub(super) fn folded(path: &AbsPath) -> String {
    String::from_utf8_lossy(path.as_bytes()).to_lowercase()
}

/// The capability to write as these rules say: a writable directory and all
/// rules below it. Other rules for the same directory are another capability,
/// so that the entries of two profiles never mix.
pub(super) fn capability(trees: &[&Tree]) -> String {
    let mut rules: Vec<String> =
        trees.iter().map(|(path, access)| format!("{access} {}\0", folded(path))).collect();
    rules.sort();
    let digest = sha256(format!("pinfold 1\0{}", rules.concat()).as_bytes());
    let mut text = String::from("S-1-15-3-1024");
    for word in digest {
        let _ = write!(text, "-{word}");
    }
    text
}
