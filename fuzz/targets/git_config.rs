//! Git's configuration, which whoever made a repository has written.
//!
//! Nothing that stands in front hides what comes after: a setting on lines of its own is
//! always found. Names are in lower case and values stand in the text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pinfold_policy::git_config::settings;

fuzz_target!(|text: &[u8]| {
    for setting in settings(text) {
        assert!(setting.section.iter().chain(&setting.name).all(|byte| !byte.is_ascii_uppercase()));
        assert!(!setting.name.is_empty());
    }
    // Unless a quote or an escape at the very end takes it in, which git refuses.
    if text.contains(&b'"') || text.ends_with(b"\\") || text.ends_with(b"\\\r") {
        return;
    }
    let more = [text, b"\n[core]\nhooksPath = /elsewhere\n"].concat();
    let found = settings(&more).pop();
    let found = found.map(|last| (last.section, last.name, last.value));
    let expected = (b"core".to_vec(), b"hookspath".to_vec(), Some(b"/elsewhere".to_vec()));
    assert_eq!(found, Some(expected));
});
