use super::*;

fn normal(style: PathStyle, text: &str) -> String {
    match AbsPath::parse(style, text.as_bytes()) {
        Ok(path) => String::from_utf8_lossy(path.as_bytes()).into_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn posix_paths_are_normalised_lexically() {
    for (text, expected) in [
        ("/", "/"),
        ("//a//b/", "/a/b"),
        ("/a/./b/../c", "/a/c"),
        ("/..", "the path climbs above the root"),
        ("a", "the path is relative"),
        ("", "the path is empty"),
        ("/a\0b", "the path holds a NUL byte"),
    ] {
        assert_eq!(normal(PathStyle::Posix, text), expected, "{text:?}");
    }
}

#[test]
fn windows_paths_keep_drive_or_share_as_root() {
    for (text, expected) in [
        (r"c:\", r"C:\"),
        (r"c:/Users/./a\..\b", r"C:\Users\b"),
        (r"\\?\C:\x", r"C:\x"),
        (r"\\srv\share\x\", r"\\srv\share\x"),
        (r"\\?\UNC\srv\share\x", r"\\srv\share\x"),
        (r"\\.\C:\x", "the path is relative"),
        (r"\\?\GLOBALROOT\x", "the path is relative"),
        (r"C:\comet\console.txt", r"C:\comet\console.txt"),
        (r"C:x", "the path is relative"),
        (r"\x", "the path is relative"),
    ] {
        assert_eq!(normal(PathStyle::Windows, text), expected, "{text:?}");
    }
}

#[test]
fn names_that_windows_takes_for_others_are_refused() {
    for name in [
        "secret.",
        "secret ",
        "a:stream",
        "a::$DATA",
        "con",
        "NUL.txt",
        "com1",
        "Lpt9.x",
        "aux ",
        "COM\u{b9}",
        "CONIN$",
    ] {
        let path = format!(r"C:\x\{name}\y");
        let path = AbsPath::parse(PathStyle::Windows, path.as_bytes());
        assert_eq!(path, Err(PathError::Name), "{name:?}");
    }
}

#[test]
fn a_prefix_ends_at_a_component() {
    let base = AbsPath::posix("/a/b").unwrap();
    assert!(AbsPath::posix("/a/b/c").unwrap().starts_with(&base));
    assert!(!AbsPath::posix("/a/bc").unwrap().starts_with(&base));
    assert!(base.starts_with(&AbsPath::root()));
    let windows = |text: &str| AbsPath::parse(PathStyle::Windows, text.as_bytes()).unwrap();
    assert!(windows(r"C:\Users\X").starts_with(&windows(r"c:\users")));
}

#[test]
fn parents_sort_before_children_and_siblings_do_not_interleave() {
    let mut paths: Vec<AbsPath> = ["/a/b", "/a-b", "/a", "/a/b-c", "/"]
        .iter()
        .map(|text| AbsPath::posix(text).unwrap())
        .collect();
    paths.sort();
    let sorted: Vec<&[u8]> = paths.iter().map(AbsPath::as_bytes).collect();
    assert_eq!(sorted, [&b"/"[..], b"/a", b"/a/b", b"/a/b-c", b"/a-b"]);
}

#[test]
fn the_deepest_path_above_is_found_among_sorted_ones() {
    let names = ["/", "/a", "/a/b", "/a-b", "/a/b/c/d", "/ab", "/b/c"];
    let all: Vec<AbsPath> = names.iter().map(|text| AbsPath::posix(text).unwrap()).collect();
    // With every choice of paths, against the plain way.
    for chosen in 0..1u32 << all.len() {
        let mut sorted: Vec<&AbsPath> = all.iter().collect();
        sorted.retain(|path| chosen >> all.iter().position(|one| one == *path).unwrap() & 1 == 1);
        sorted.sort();
        for text in ["/", "/a", "/a/b/c", "/a/b/c/d/e", "/a/bc", "/a-b/x", "/b", "/b/c", "/c"] {
            let path = AbsPath::posix(text).unwrap();
            let plain = path.ancestors().find(|above| sorted.contains(&above));
            let found = path.deepest_above(&sorted, |path| path);
            assert_eq!(found.copied(), plain.as_ref(), "{text} among {sorted:?}");
        }
    }
    let windows = |text: &str| AbsPath::parse(PathStyle::Windows, text.as_bytes()).unwrap();
    let drives = [windows(r"\\srv\share"), windows(r"C:\"), windows(r"C:\a")];
    let above = |text: &str| windows(text).deepest_above(&drives, |path| path).cloned();
    assert_eq!(above(r"C:\b\c"), Some(drives[1].clone()));
    assert_eq!(above(r"C:\a\c"), Some(drives[2].clone()));
    assert_eq!(above(r"D:\a"), None);
    assert_eq!(above(r"\\srv\share\x"), Some(drives[0].clone()));
    assert_eq!(above(r"\\srv\other\x"), None);
    assert_eq!(windows(r"\\srv\share\x\y").depth(), 2);
    assert_eq!(windows(r"C:\x\y").depth(), 2);
    assert_eq!(windows(r"\\srv\share").depth() + windows(r"C:\").depth(), 0);
}

#[test]
fn any_byte_prints_as_one_word() {
    let path = AbsPath::posix(b"/a\n\"\xff".as_slice()).unwrap();
    assert_eq!(path.to_string(), r#""/a\n\"\xff""#);
}

#[test]
fn paths_sort_component_by_component_wherever_they_differ() {
    let mut paths = Vec::new();
    for length in 0..20 {
        for end in ["", "/", "/x", "a", "b", ".", "\u{e9}", "-/x"] {
            paths.push(AbsPath::posix(format!("/{}{end}", "n".repeat(length))).unwrap());
        }
    }
    let parts = |path: &AbsPath| {
        let parts = path.as_bytes()[1..].split(|byte| *byte == b'/');
        parts.filter(|part| !part.is_empty()).map(<[u8]>::to_vec).collect::<Vec<_>>()
    };
    for left in &paths {
        for right in &paths {
            assert_eq!(left.cmp(right), parts(left).cmp(&parts(right)), "{left} and {right}");
            let below = parts(left).starts_with(&parts(right));
            assert_eq!(left.starts_with(right), below, "{left} in {right}");
        }
    }
}
