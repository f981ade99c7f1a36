use pinfold_policy::profile::Glob;

use super::*;

/// What a walk of `base` makes of these entries.
fn walk(base: &AbsPath, pattern: &str, check: impl FnOnce(&mut Walk<'_>)) -> Vec<GlobMatch> {
    let glob = Glob { base: base.clone(), pattern: pattern.into() };
    let matchers = [Searched { rule: 0, denies: true, matcher: Matcher::new(&glob) }];
    let mut found = Vec::new();
    check(&mut Walk { base, matchers: &matchers, depth: DEEPEST, found: &mut found });
    found
}

#[test]
fn an_entry_of_unknown_kind_is_asked_for() {
    let base = std::env::temp_dir().join(format!("pinfold-glob-{}", std::process::id()));
    std::fs::create_dir_all(base.join("a.key")).unwrap();
    std::fs::write(base.join("b.key"), "").unwrap();
    let path = AbsPath::posix(base.as_os_str().as_bytes()).unwrap();
    let found = walk(&path, "*.key", |walk| {
        walk.entry(&[], b"a.key", Kind::Unknown);
        walk.entry(&[], b"b.key", Kind::Unknown);
    });
    let kinds: Vec<bool> = found.iter().map(|found| found.directory).collect();
    assert_eq!(kinds, [true, false]);
    std::fs::remove_dir_all(base).unwrap();
}

#[test]
fn what_the_kernel_makes_up_is_not_searched() {
    walk(&AbsPath::root(), "**/x", |walk| {
        for (names, name, expected) in [
            (&[][..], &b"proc"[..], true),
            (&[], b"sys", true),
            (&[], b"dev", true),
            (&[], b"srv", false),
            (&[b"srv".to_vec()][..], b"proc", false),
        ] {
            assert_eq!(walk.made_up(names, name), expected, "{names:?} {name:?}");
        }
    });
    let home = AbsPath::posix("/home").unwrap();
    walk(&home, "**/x", |walk| assert!(!walk.made_up(&[], b"proc")));
}
