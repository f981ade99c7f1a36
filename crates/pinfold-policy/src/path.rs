//! Absolute, lexically normal paths of either style, so that plans for one
//! system can be compiled and tested on another.
//!
//! A path is bytes: on Unix any byte but NUL, on Windows WTF-8. Nothing here
//! touches a file system; symbolic links are facts that [`crate::host::Host`]
//! carries.

use std::cmp::Ordering;
use std::fmt;

/// Which system's syntax a path follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathStyle {
    /// `/` separates, names are bytes and compare exactly.
    Posix,
    /// `\` separates (`/` is accepted), a drive letter or share comes first.
    Windows,
}

/// Why some bytes are not an absolute path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathError {
    /// Nothing was given.
    Empty,
    /// The path is relative where only an absolute one has a meaning.
    Relative,
    /// A NUL byte can never be part of a path.
    Nul,
    /// `..` climbs above the root.
    AboveRoot,
    /// Windows would take a name for another one: a device, a stream of a file,
    /// or the same name without the dots and spaces at its end.
    Name,
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PathError::Empty => "the path is empty",
            PathError::Relative => "the path is relative",
            PathError::Nul => "the path holds a NUL byte",
            PathError::AboveRoot => "the path climbs above the root",
            PathError::Name => "Windows takes a name in it for another file, a stream or a device",
        })
    }
}

impl std::error::Error for PathError {}

/// An absolute path without `.`, `..`, doubled or trailing separators.
///
/// Ordering is by bytes of the components, so that a directory always comes
/// before everything below it.
///
/// ```
/// use pinfold_policy::path::{AbsPath, PathStyle};
/// let path = AbsPath::parse(PathStyle::Posix, b"/project/./src/../vendor/").unwrap();
/// assert_eq!(path.as_bytes(), b"/project/vendor");
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct AbsPath {
    style: PathStyle,
    bytes: Vec<u8>,
}

impl AbsPath {
    /// The root directory of a POSIX system.
    pub fn root() -> AbsPath {
        AbsPath { style: PathStyle::Posix, bytes: b"/".to_vec() }
    }

    /// A POSIX path; shorthand for [`AbsPath::parse`].
    pub fn posix(bytes: impl AsRef<[u8]>) -> Result<AbsPath, PathError> {
        AbsPath::parse(PathStyle::Posix, bytes.as_ref())
    }

    /// Normalises `bytes` lexically.
    pub fn parse(style: PathStyle, bytes: &[u8]) -> Result<AbsPath, PathError> {
        if bytes.is_empty() {
            return Err(PathError::Empty);
        }
        if bytes.contains(&0) {
            return Err(PathError::Nul);
        }
        let (prefix, rest) = split_prefix(style, bytes).ok_or(PathError::Relative)?;
        let mut path = AbsPath { style, bytes: prefix };
        path.push_all(rest)?;
        Ok(path)
    }

    /// This path followed by `relative`; an absolute `relative` replaces it.
    pub fn join(&self, relative: impl AsRef<[u8]>) -> Result<AbsPath, PathError> {
        let relative = relative.as_ref();
        if relative.contains(&0) {
            return Err(PathError::Nul);
        }
        if split_prefix(self.style, relative).is_some() {
            return AbsPath::parse(self.style, relative);
        }
        let mut path = AbsPath {
            style: self.style,
            bytes: Vec::with_capacity(self.bytes.len() + 1 + relative.len()),
        };
        path.bytes.extend_from_slice(&self.bytes);
        path.push_all(relative)?;
        Ok(path)
    }

    /// The bytes of the path, in the separators of its style.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The style the path was parsed with.
    pub fn style(&self) -> PathStyle {
        self.style
    }

    /// Whether this is a root: `/`, `C:\` or `\\server\share`.
    pub fn is_root(&self) -> bool {
        self.bytes.len() == root_len(self.style, &self.bytes)
    }

    /// The names below the root, in order.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> + Clone {
        let separator = separator(self.style);
        self.below_root().split(move |byte| *byte == separator).filter(|name| !name.is_empty())
    }

    /// What stands between names.
    pub(crate) fn separator(&self) -> u8 {
        separator(self.style)
    }

    /// The number of names below the root; the root itself has none.
    pub fn depth(&self) -> usize {
        match self.below_root() {
            [] => 0,
            below => 1 + below.iter().filter(|byte| **byte == separator(self.style)).count(),
        }
    }

    /// The last name, or nothing for a root.
    pub fn name(&self) -> Option<&[u8]> {
        let below = self.below_root();
        let start = below.iter().rposition(|byte| *byte == separator(self.style));
        below.get(start.map_or(0, |at| at + 1)..).filter(|name| !name.is_empty())
    }

    fn below_root(&self) -> &[u8] {
        let rest = &self.bytes[root_len(self.style, &self.bytes)..];
        rest.strip_prefix(&[separator(self.style)]).unwrap_or(rest)
    }

    /// The directory that holds this path, or nothing for a root.
    pub fn parent(&self) -> Option<AbsPath> {
        let name = self.name()?;
        let root = root_len(self.style, &self.bytes);
        let cut = (self.bytes.len() - name.len()).saturating_sub(1).max(root);
        Some(AbsPath { style: self.style, bytes: self.bytes[..cut].to_vec() })
    }

    /// The path itself, then its parent, up to the root.
    pub fn ancestors(&self) -> impl Iterator<Item = AbsPath> {
        std::iter::successors(Some(self.clone()), AbsPath::parent)
    }

    /// Whether this path is `base` or lies below it. Windows names compare
    /// without case.
    pub fn starts_with(&self, base: &AbsPath) -> bool {
        self.strip_prefix(base).is_some()
    }

    /// What follows `base`, without a leading separator; empty when equal.
    pub fn strip_prefix(&self, base: &AbsPath) -> Option<&[u8]> {
        if self.style != base.style || self.bytes.len() < base.bytes.len() {
            return None;
        }
        let (head, tail) = self.bytes.split_at(base.bytes.len());
        if !same_name(self.style, head, &base.bytes) {
            return None;
        }
        if tail.is_empty() || base.bytes.last() == Some(&separator(self.style)) {
            return Some(tail);
        }
        tail.strip_prefix(&[separator(self.style)])
    }

    /// The last of `sorted` that is this path or lies above it, by the path that `of`
    /// gives. Names compare exactly.
    pub(crate) fn deepest_above<'s, T>(
        &self,
        sorted: &'s [T],
        of: impl Fn(&T) -> &AbsPath,
    ) -> Option<&'s T> {
        let (mut candidates, mut length) = (sorted, self.bytes.len());
        loop {
            // Whatever is above this path is also above the last that is not after it.
            let limit = &self.bytes[..length];
            let end = candidates
                .partition_point(|item| order(self.style, &of(item).bytes, limit).is_le());
            let (last, before) = candidates.get(..end)?.split_last()?;
            length = self.shared_with(of(last));
            if length == of(last).bytes.len() {
                return Some(last);
            }
            candidates = before;
        }
    }

    /// The length of the deepest path that both are or lie below; 0 without any.
    fn shared_with(&self, other: &AbsPath) -> usize {
        let differ = first_difference(&self.bytes, &other.bytes);
        let root = root_len(self.style, &self.bytes);
        if self.style != other.style || differ < root {
            return 0;
        }
        let ends = |path: &AbsPath| match path.bytes.get(differ) {
            None => true,
            Some(byte) => *byte == separator(self.style),
        };
        if ends(self) && ends(other) {
            return differ;
        }
        let start = self.bytes[..differ].iter().rposition(|byte| *byte == separator(self.style));
        start.unwrap_or(0).max(root)
    }

    fn push_all(&mut self, relative: &[u8]) -> Result<(), PathError> {
        let style = self.style;
        for name in relative.split(|byte| is_separator(style, *byte)) {
            match name {
                b"" | b"." => {}
                b".." => *self = self.parent().ok_or(PathError::AboveRoot)?,
                name if style == PathStyle::Windows && is_ambiguous(name) => {
                    return Err(PathError::Name);
                }
                name => {
                    if self.bytes.last() != Some(&separator(self.style)) {
                        self.bytes.push(separator(self.style));
                    }
                    self.bytes.extend_from_slice(name);
                }
            }
        }
        Ok(())
    }
}

impl PartialOrd for AbsPath {
    fn partial_cmp(&self, other: &AbsPath) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for AbsPath {
    fn cmp(&self, other: &AbsPath) -> Ordering {
        self.style.cmp(&other.style).then_with(|| order(self.style, &self.bytes, &other.bytes))
    }
}

/// Compares component by component, which is byte by byte with the separator below
/// every other byte.
fn order(style: PathStyle, left: &[u8], right: &[u8]) -> Ordering {
    let rank = |byte: u8| if byte == separator(style) { 0 } else { u16::from(byte) + 1 };
    let differ = first_difference(left, right);
    match (left.get(differ), right.get(differ)) {
        (Some(left), Some(right)) => rank(*left).cmp(&rank(*right)),
        _ => left.len().cmp(&right.len()),
    }
}

/// The index of the first byte that is not the same in both, or the length of the
/// shorter. Launches compare paths thousands of times, so it goes by words.
fn first_difference(left: &[u8], right: &[u8]) -> usize {
    let length = left.len().min(right.len());
    let (left, right) = (&left[..length], &right[..length]);
    let in_words = |left: &[u8; 8], right: &[u8; 8]| {
        let differ = u64::from_le_bytes(*left) ^ u64::from_le_bytes(*right);
        (differ != 0).then(|| differ.trailing_zeros() as usize / 8)
    };
    let words = left.as_chunks::<8>().0.iter().zip(right.as_chunks::<8>().0);
    for (index, (left, right)) in words.enumerate() {
        if let Some(differ) = in_words(left, right) {
            return 8 * index + differ;
        }
    }
    // What is left of it: with bytes of the word before, which are the same.
    if let (Some(left), Some(right)) = (left.last_chunk(), right.last_chunk()) {
        return in_words(left, right).map_or(length, |differ| length - 8 + differ);
    }
    left.iter().zip(right).take_while(|(left, right)| left == right).count()
}

impl fmt::Debug for AbsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Quoted, with every byte that would not print escaped, so that one path is
/// always one word on one line.
impl fmt::Display for AbsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Quoted(&self.bytes), f)
    }
}

/// Bytes for a message: in double quotes, control and invalid bytes escaped.
pub struct Quoted<'a>(pub &'a [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                match character {
                    '"' => f.write_str("\\\"")?,
                    '\\' => f.write_str("\\\\")?,
                    '\n' => f.write_str("\\n")?,
                    '\t' => f.write_str("\\t")?,
                    c if c.is_control() => write!(f, "\\u{{{:x}}}", u32::from(c))?,
                    c => write!(f, "{c}")?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        f.write_str("\"")
    }
}

fn separator(style: PathStyle) -> u8 {
    match style {
        PathStyle::Posix => b'/',
        PathStyle::Windows => b'\\',
    }
}

fn is_separator(style: PathStyle, byte: u8) -> bool {
    byte == b'/' || (style == PathStyle::Windows && byte == b'\\')
}

/// Whether Windows would open something else than a file of exactly this name.
fn is_ambiguous(name: &[u8]) -> bool {
    let stem = name.split(|byte| *byte == b'.').next().unwrap_or_default().trim_ascii_end();
    let device = match stem.to_ascii_uppercase().as_slice() {
        b"CON" | b"PRN" | b"AUX" | b"NUL" | b"CONIN$" | b"CONOUT$" => true,
        [b'C', b'O', b'M', digit] | [b'L', b'P', b'T', digit] => digit.is_ascii_digit(),
        // Superscript digits name ports, too.
        [b'C', b'O', b'M', 0xc2, digit] | [b'L', b'P', b'T', 0xc2, digit] => {
            matches!(digit, 0xb2 | 0xb3 | 0xb9)
        }
        _ => false,
    };
    device || name.contains(&b':') || matches!(name.last(), Some(b'.' | b' '))
}

fn same_name(style: PathStyle, left: &[u8], right: &[u8]) -> bool {
    match style {
        PathStyle::Posix => {
            left.len() == right.len() && first_difference(left, right) == left.len()
        }
        PathStyle::Windows => {
            let ascii = left.is_ascii() && right.is_ascii();
            left.eq_ignore_ascii_case(right)
                || !ascii
                    && String::from_utf8_lossy(left).to_lowercase()
                        == String::from_utf8_lossy(right).to_lowercase()
        }
    }
}

/// The root of `bytes` in normal form and what follows it.
fn split_prefix(style: PathStyle, bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    match style {
        PathStyle::Posix => bytes.strip_prefix(b"/").map(|rest| (b"/".to_vec(), rest)),
        PathStyle::Windows => split_windows_prefix(bytes),
    }
}

fn split_windows_prefix(bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let bytes = match bytes.strip_prefix(br"\\?\") {
        Some([b'U' | b'u', b'N' | b'n', b'C' | b'c', b'\\', share @ ..]) => {
            return split_share(share);
        }
        Some(verbatim) => verbatim,
        None => bytes,
    };
    match bytes {
        [drive, b':', b'\\' | b'/', rest @ ..] if drive.is_ascii_alphabetic() => {
            Some((vec![drive.to_ascii_uppercase(), b':', b'\\'], rest))
        }
        [b'\\' | b'/', b'\\' | b'/', share @ ..] => split_share(share),
        _ => None,
    }
}

/// What follows the two separators of `\\server\share`. A server called `.` or
/// `?` is the name space of devices.
fn split_share(bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut parts = bytes.splitn(3, |b| *b == b'\\' || *b == b'/');
    let (server, share) = (parts.next()?, parts.next()?);
    if matches!(server, b"" | b"." | b".." | b"?") || matches!(share, b"" | b"." | b"..") {
        return None;
    }
    let root = [br"\\", server, br"\", share].concat();
    Some((root, parts.next().unwrap_or_default()))
}

/// The length of the root inside a path that is already normal.
fn root_len(style: PathStyle, bytes: &[u8]) -> usize {
    match (style, bytes) {
        (PathStyle::Posix, _) => 1,
        (PathStyle::Windows, [b'\\', b'\\', rest @ ..]) => {
            let mut parts = rest.splitn(3, |b| *b == b'\\');
            2 + parts.next().map_or(0, <[u8]>::len) + 1 + parts.next().map_or(0, <[u8]>::len)
        }
        (PathStyle::Windows, _) => 3,
    }
}

#[cfg(test)]
#[path = "path_tests.rs"]
mod tests;
