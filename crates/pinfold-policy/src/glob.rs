//! Matching paths against patterns, byte by byte.
//!
//! `*` and `?` stay within one name, `[a-z]` and `[!a-z]` match one character,
//! `{a,b}` either alternative, `**` any number of directories. An unterminated
//! `[` or `{` is taken literally. There is no escape character: a path with glob
//! characters is written with the prefix `path:`.

use std::borrow::Cow;

use crate::path::{AbsPath, PathStyle};
use crate::profile::Glob;

/// The most alternatives that braces may expand to; beyond, braces are literal.
const MOST_ALTERNATIVES: usize = 256;

/// A pattern, ready to match.
#[derive(Clone, Debug)]
pub struct Matcher {
    base: AbsPath,
    /// One list of names for each alternative of the braces.
    alternatives: Vec<Vec<Part>>,
}

/// One name of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// `**`
    Directories,
    /// A name without any glob character.
    Literal(Vec<u8>),
    /// `*suffix`
    Suffix(Vec<u8>),
    /// Anything else.
    Pattern(Vec<u8>),
}

impl Matcher {
    /// Prepares a pattern.
    pub fn new(glob: &Glob) -> Matcher {
        let written = match glob.base.style() {
            PathStyle::Posix => Cow::from(&glob.pattern),
            PathStyle::Windows => Cow::from(folded(&glob.pattern).replace('\\', "/").into_bytes()),
        };
        let alternatives = alternatives(&written)
            .iter()
            .map(|pattern| {
                let names = pattern.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
                names.map(part).collect()
            })
            .collect();
        Matcher { base: glob.base.clone(), alternatives }
    }

    /// The directory that the pattern is matched below.
    pub fn base(&self) -> &AbsPath {
        &self.base
    }

    /// The names of the pattern, one list for each alternative of its braces.
    pub(crate) fn alternatives(&self) -> &[Vec<Part>] {
        &self.alternatives
    }

    /// The deepest of `path` and the directories above it that matches.
    pub fn deepest_match(&self, path: &AbsPath) -> Option<AbsPath> {
        path.ancestors().take_while(|path| *path != self.base).find(|path| self.matches(path))
    }

    /// Whether exactly this path matches.
    pub fn matches(&self, path: &AbsPath) -> bool {
        match path.strip_prefix(&self.base) {
            None | Some(b"") => false,
            Some(relative) => {
                let separator = path.separator();
                let names: Vec<&[u8]> = relative.split(|byte| *byte == separator).collect();
                self.matches_names(&names)
            }
        }
    }

    /// The same for the names below the base.
    pub fn matches_names(&self, names: &[&[u8]]) -> bool {
        self.with_names(names, match_parts)
    }

    /// Whether anything below the directory with these names can match.
    pub fn may_match_below(&self, names: &[&[u8]]) -> bool {
        self.with_names(names, may_continue)
    }

    /// Whether one of the alternatives holds for names, as the system compares them.
    fn with_names(&self, names: &[&[u8]], holds: fn(&[Part], &[&[u8]]) -> bool) -> bool {
        let any = |names: &[&[u8]]| self.alternatives.iter().any(|parts| holds(parts, names));
        if self.base.style() == PathStyle::Posix {
            return any(names);
        }
        let folded: Vec<String> = names.iter().map(|name| folded(name)).collect();
        any(&folded.iter().map(String::as_bytes).collect::<Vec<&[u8]>>())
    }
}

/// A name as Windows compares it.
fn folded(name: &[u8]) -> String {
    String::from_utf8_lossy(name).to_lowercase()
}

/// Matches names, going back only to the last `**`: an earlier one can do
/// nothing that the last cannot.
fn match_parts(parts: &[Part], names: &[&[u8]]) -> bool {
    // A pattern with one `**` in front is the common case: match the end.
    if let [Part::Directories, rest @ ..] = parts
        && !rest.contains(&Part::Directories)
    {
        let skipped = names.len().checked_sub(rest.len());
        let end = skipped.and_then(|skipped| names.get(skipped..));
        return end
            .is_some_and(|end| rest.iter().zip(end).all(|(part, name)| match_name(part, name)));
    }
    let (mut p, mut n) = (0, 0);
    let mut last: Option<(usize, usize)> = None;
    while let Some(name) = names.get(n) {
        match (parts.get(p), last) {
            (Some(Part::Directories), _) => {
                last = Some((p, n));
                p += 1;
            }
            (Some(part), _) if match_name(part, name) => {
                p += 1;
                n += 1;
            }
            (_, Some((at, reached))) => {
                last = Some((at, reached + 1));
                p = at + 1;
                n = reached + 1;
            }
            (_, None) => return false,
        }
    }
    parts.iter().skip(p).all(|part| *part == Part::Directories)
}

fn may_continue(parts: &[Part], names: &[&[u8]]) -> bool {
    match (parts, names) {
        ([], _) => false,
        ([Part::Directories, ..], _) | (_, []) => true,
        ([part, parts @ ..], [name, names @ ..]) => {
            match_name(part, name) && may_continue(parts, names)
        }
    }
}

fn match_name(part: &Part, name: &[u8]) -> bool {
    match part {
        Part::Directories => false,
        Part::Literal(literal) => literal == name,
        Part::Suffix(suffix) => name.ends_with(suffix),
        Part::Pattern(pattern) => match_pattern(pattern, name),
    }
}

/// Matches one name, going back only to the last star.
fn match_pattern(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        let step = match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
                continue;
            }
            Some(_) => one(&pattern[p..], name[n]),
            None => None,
        };
        match (step, star) {
            (Some(length), _) => {
                p += length;
                n += 1;
            }
            (None, Some((at, reached))) => {
                star = Some((at, reached + 1));
                p = at + 1;
                n = reached + 1;
            }
            (None, None) => return false,
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// How many bytes of the pattern match this byte, if they do.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern.first()? {
        b'?' => Some(1),
        b'[' => match class(pattern) {
            Some((class, length)) => in_class(class, byte).then_some(length),
            None => (byte == b'[').then_some(1),
        },
        literal => (*literal == byte).then_some(1),
    }
}

/// The inside of a class and the length with its brackets.
pub(crate) fn class(pattern: &[u8]) -> Option<(&[u8], usize)> {
    // A bracket that comes first, or first after the negation, is a member.
    let negated = usize::from(matches!(pattern.get(1), Some(b'!' | b'^')));
    let end = pattern.iter().skip(2 + negated).position(|byte| *byte == b']')? + 2 + negated;
    Some((&pattern[1..end], end + 1))
}

fn in_class(class: &[u8], byte: u8) -> bool {
    let (negated, mut members) = match class {
        [b'!' | b'^', rest @ ..] => (true, rest),
        members => (false, members),
    };
    let mut found = false;
    while let [first, rest @ ..] = members {
        (found, members) = match rest {
            [b'-', last, rest @ ..] => (found || (*first..=*last).contains(&byte), rest),
            _ => (found || *first == byte, rest),
        };
    }
    found != negated
}

fn part(name: &[u8]) -> Part {
    let special = |byte: &u8| matches!(byte, b'*' | b'?' | b'[');
    match name {
        b"**" => Part::Directories,
        _ if !name.iter().any(special) => Part::Literal(name.to_vec()),
        [b'*', rest @ ..] if !rest.iter().any(special) => Part::Suffix(rest.to_vec()),
        _ => Part::Pattern(name.to_vec()),
    }
}

/// Expands `{a,b}`, also nested; a brace that is not closed is literal.
fn alternatives(pattern: &[u8]) -> Vec<Vec<u8>> {
    let mut done = Vec::new();
    let mut open = vec![pattern.to_vec()];
    while let Some(next) = open.pop() {
        match first_braces(&next) {
            Some((start, end, choices)) if done.len() + open.len() < MOST_ALTERNATIVES => {
                open.extend(
                    choices
                        .into_iter()
                        .rev()
                        .map(|choice| [&next[..start], choice.as_slice(), &next[end..]].concat()),
                );
            }
            _ => done.push(next),
        }
    }
    done
}

/// The first closed pair of braces: where it begins and ends, and its choices.
fn first_braces(pattern: &[u8]) -> Option<(usize, usize, Vec<Vec<u8>>)> {
    let starts = pattern.iter().enumerate().filter(|(_, byte)| **byte == b'{');
    for (start, _) in starts {
        let mut depth = 0;
        let mut choices = vec![Vec::new()];
        for (offset, byte) in pattern[start..].iter().enumerate() {
            match byte {
                b'{' => depth += 1,
                b'}' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return Some((start, start + offset + 1, choices));
            }
            match byte {
                b',' if depth == 1 => choices.push(Vec::new()),
                _ if offset > 0 => choices.last_mut()?.push(*byte),
                _ => {}
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matcher(pattern: &str) -> Matcher {
        let base = AbsPath::posix("/w").unwrap();
        Matcher::new(&Glob { base, pattern: pattern.as_bytes().to_vec() })
    }

    #[test]
    fn names_on_windows_are_split_and_compared_as_there() {
        let windows = |text: &str| AbsPath::parse(PathStyle::Windows, text.as_bytes()).unwrap();
        let matcher = |pattern: &str| {
            Matcher::new(&Glob { base: windows(r"C:\w"), pattern: pattern.as_bytes().to_vec() })
        };
        for (pattern, path, expected) in [
            ("*/{a,b}", r"C:\w\x\b", true),
            ("*/{a,b}", r"C:\w\x\y\b", false),
            ("*.pem", r"C:\w\d\k.pem", false),
            ("**/*.pem", r"C:\w\d\KEY.PEM", true),
            ("**/Key.*", r"C:\w\d\kEY.pem", true),
            ("d/*.p[e]m", r"C:\w\D\k.pem", true),
            (r"d\*.pem", r"C:\w\d\k.pem", true),
        ] {
            assert_eq!(matcher(pattern).matches(&windows(path)), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, path, expected) in [
            ("*.pem", "/w/a.pem", true),
            ("*.pem", "/w/d/a.pem", false),
            ("**/*.pem", "/w/a.pem", true),
            ("**/*.pem", "/w/d/e/a.pem", true),
            ("**/*.pem", "/v/a.pem", false),
            ("**/secret/**/x", "/w/secret/x", true),
            ("**/secret/**/x", "/w/a/secret/b/c/x", true),
            ("a?c", "/w/abc", true),
            ("a?c", "/w/a/c", false),
            ("[a-c]x", "/w/bx", true),
            ("[!a-c]x", "/w/bx", false),
            ("[]]", "/w/]", true),
            ("[ab", "/w/[ab", true),
            ("{a,b}.env", "/w/b.env", true),
            ("{a,b{c,d}}", "/w/bd", true),
            ("{a", "/w/{a", true),
            ("*a*b*c", "/w/xxaxxbxxc", true),
            ("*a*b*c", "/w/xxaxxbxx", false),
            (".env*", "/w/.env.local", true),
            ("**", "/w/a/b", true),
        ] {
            let path = AbsPath::posix(path).unwrap();
            assert_eq!(matcher(pattern).matches(&path), expected, "{pattern} on {path}");
        }
    }

    #[test]
    fn everything_below_a_match_is_covered() {
        let path = AbsPath::posix("/w/a/secrets/b/c").unwrap();
        let found = matcher("**/secrets").deepest_match(&path).unwrap();
        assert_eq!(found.as_bytes(), b"/w/a/secrets");
    }

    #[test]
    fn walks_can_be_cut_short() {
        for (pattern, names, expected) in [
            ("a/*.pem", vec!["a"], true),
            ("a/*.pem", vec!["b"], false),
            ("a/*.pem", vec!["a", "b"], false),
            ("**/x", vec!["b", "c"], true),
        ] {
            let names: Vec<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
            assert_eq!(matcher(pattern).may_match_below(&names), expected, "{pattern}");
        }
    }

    /// What the documentation says, word for word, without regard to time.
    fn reference(pattern: &[u8], path: &[u8]) -> bool {
        match (pattern, path) {
            ([], []) => true,
            (b"**", _) => true,
            ([b'*', b'*', b'/', rest @ ..], _) => {
                let later = path.iter().position(|byte| *byte == b'/').map(|at| &path[at + 1..]);
                reference(rest, path) || later.is_some_and(|later| reference(pattern, later))
            }
            // Below a name, what is left may be nothing.
            ([b'/', b'*', b'*'], []) => true,
            ([b'*', rest @ ..], _) => {
                let inside = matches!(path, [byte, ..] if *byte != b'/');
                reference(rest, path) || (inside && reference(pattern, &path[1..]))
            }
            ([b'?', rest @ ..], [byte, path @ ..]) => *byte != b'/' && reference(rest, path),
            ([literal, rest @ ..], [byte, path @ ..]) => literal == byte && reference(rest, path),
            _ => false,
        }
    }

    /// The `number`th word of `names`, joined by slashes.
    fn word(mut number: usize, names: &[&str]) -> String {
        let mut parts = Vec::new();
        while number > 0 {
            parts.push(names[(number - 1) % names.len()]);
            number = (number - 1) / names.len();
        }
        parts.join("/")
    }

    #[test]
    fn patterns_mean_what_a_plain_reading_says() {
        let patterns = ["**", "*", "a", "*b", "?a*", "a*b*"];
        let names = ["a", "b", "ab", "aab"];
        for pattern in (1..1_500).map(|number| word(number, &patterns)) {
            // Two of them next to each other say no more than one.
            if pattern.contains("**/**") {
                continue;
            }
            let matcher = matcher(&pattern);
            for path in (1..340).map(|number| word(number, &names)) {
                let split: Vec<&[u8]> = path.as_bytes().split(|byte| *byte == b'/').collect();
                let expected = reference(pattern.as_bytes(), path.as_bytes());
                assert_eq!(matcher.matches_names(&split), expected, "{pattern} on {path}");
                assert!(!expected || matcher.may_match_below(&split[..split.len() - 1]));
            }
        }
    }

    #[test]
    fn many_stars_do_not_multiply() {
        let pattern = format!("{}z", "**/a/".repeat(200));
        let names = vec![&b"a"[..]; 2_000];
        assert!(!matcher(&pattern).matches_names(&names));
        let (stars, name) = ("*a".repeat(100), "a".repeat(255));
        assert!(!matcher(&format!("{stars}z")).matches_names(&[name.as_bytes()]));
    }
}
