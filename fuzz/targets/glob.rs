//! Patterns against the simplest matcher there is.
//!
//! Input: a pattern, a line feed, and a path below the base.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pinfold_policy::glob::Matcher;
use pinfold_policy::path::AbsPath;
use pinfold_policy::profile::Glob;

/// Tries everything, without braces and classes.
fn simple(parts: &[&[u8]], names: &[&[u8]]) -> bool {
    match (parts, names) {
        ([], []) => true,
        ([], _) => false,
        ([b"**", rest @ ..], names) => {
            simple(rest, names) || (!names.is_empty() && simple(parts, &names[1..]))
        }
        (_, []) => false,
        ([part, rest @ ..], [name, names @ ..]) => one(part, name) && simple(rest, names),
    }
}

fn one(part: &[u8], name: &[u8]) -> bool {
    match (part, name) {
        ([], []) => true,
        ([b'*', rest @ ..], name) => one(rest, name) || (!name.is_empty() && one(part, &name[1..])),
        ([b'?', rest @ ..], [_, name @ ..]) => one(rest, name),
        ([first, rest @ ..], [letter, name @ ..]) => first == letter && one(rest, name),
        _ => false,
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return };
    let (pattern, path) = (&bytes[..end.min(64)], &bytes[end + 1..]);
    let base = AbsPath::posix("/base").unwrap();
    let Ok(path) = AbsPath::posix([b"/base/", &path[..path.len().min(64)]].concat()) else {
        return;
    };
    let matcher = Matcher::new(&Glob { base: base.clone(), pattern: pattern.to_vec() });
    let found = matcher.matches(&path);
    let deepest = matcher.deepest_match(&path);
    assert!(!found || deepest.as_ref() == Some(&path), "the path itself is the deepest match");
    if let Some(deepest) = &deepest {
        assert!(path.starts_with(deepest) && matcher.matches(deepest) && *deepest != base);
    }
    let Some(below) = path.strip_prefix(&base).filter(|below| !below.is_empty()) else { return };
    let names: Vec<&[u8]> = below.split(|byte| *byte == b'/').collect();
    assert_eq!(found, matcher.matches_names(&names));
    if found {
        for depth in 0..names.len() {
            assert!(matcher.may_match_below(&names[..depth]), "a match lies below");
        }
    }
    if pattern.iter().any(|byte| matches!(byte, b'[' | b'{')) {
        return;
    }
    let parts: Vec<&[u8]> =
        pattern.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).collect();
    // It tries everything, so not too much.
    let stars = pattern.iter().filter(|byte| **byte == b'*').count();
    if stars <= 4 {
        assert_eq!(found, simple(&parts, &names));
    }
});
