//! Paths of both styles: normal in one step, and their relations agree.
//!
//! Input: two paths, one a line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pinfold_policy::path::{AbsPath, PathStyle};

fuzz_target!(|bytes: &[u8]| {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let (first, second) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    for style in [PathStyle::Posix, PathStyle::Windows] {
        let Ok(path) = AbsPath::parse(style, first) else { continue };
        assert_eq!(AbsPath::parse(style, path.as_bytes()).as_ref(), Ok(&path), "normal at once");
        assert_eq!(path.ancestors().count(), path.depth() + 1);
        assert!(path.ancestors().all(|above| path.starts_with(&above)));
        let names: Vec<&[u8]> = path.components().collect();
        assert!(names.iter().all(|name| !matches!(*name, b"" | b"." | b"..")));
        if let (Some(name), Some(above)) = (path.name(), path.parent()) {
            assert_eq!(above.join(name).as_ref(), Ok(&path), "{above} and its name");
        }
        if let Ok(joined) = path.join(second) {
            assert_eq!(AbsPath::parse(style, joined.as_bytes()).as_ref(), Ok(&joined));
        }
        let Ok(other) = AbsPath::parse(style, second) else { continue };
        assert_eq!(path == other, path.cmp(&other).is_eq());
        assert_eq!(path.cmp(&other), other.cmp(&path).reverse());
        if other.starts_with(&path) {
            assert!(other.depth() >= path.depth());
            if style == PathStyle::Posix {
                assert!(path <= other, "directories come before what is in them");
            }
        }
    }
});
