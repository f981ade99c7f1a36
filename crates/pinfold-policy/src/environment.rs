//! The environment of the command, made from the caller's by the policy.

use std::fmt;

use crate::decide;
use crate::path::AbsPath;
use crate::profile::{Access, Confinement, EnvInherit, EnvPolicy, NetAccess, Profile};

/// Names that `inherit = "core"` keeps.
const CORE: [&str; 11] = [
    "PATH", "SHELL", "TMPDIR", "TEMP", "TMP", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "LOGNAME",
    "USER",
];

/// Names of the directory for temporary files.
const TEMPORARY: [&str; 3] = ["TMPDIR", "TEMP", "TMP"];

/// Names that look like credentials.
pub const DEFAULT_EXCLUDES: [&str; 9] = [
    "*KEY*",
    "*SECRET*",
    "*TOKEN*",
    "*PASSW*",
    "*CREDENTIAL*",
    "*AUTH",
    "*_PWD",
    "*COOKIE*",
    "*SESSION_ID*",
];

/// Names that look like credentials but are addresses or settings that programs
/// cannot do without.
const NOT_CREDENTIALS: [&str; 3] = ["SSH_AUTH_SOCK", "XAUTHORITY", "KEYBOARD_LAYOUT"];

/// Variables that tell a program that it runs inside.
pub const MARKER: &str = "PINFOLD_SANDBOX";
/// Set to 1 when there is no network.
pub const NO_NETWORK_MARKER: &str = "PINFOLD_SANDBOX_NETWORK_DISABLED";

/// Why a variable reaches the command, or does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is passed on.
    Passed,
    /// `inherit` leaves it out.
    NotInherited,
    /// It looks like a credential: this default pattern matches.
    LooksSecret(&'static str),
    /// This pattern of `exclude` matches.
    Excluded(String),
    /// No pattern of `include_only` matches.
    NotIncluded,
    /// `set` gives it a value.
    Set,
    /// `--env` lets it through.
    LetThrough,
    /// `--env` gives it a value.
    Given,
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fate::Passed => f.write_str("passed on"),
            Fate::NotInherited => f.write_str("left out: not inherited"),
            Fate::LooksSecret(pattern) => {
                write!(f, "left out: looks like a credential ({pattern})")
            }
            Fate::Excluded(pattern) => write!(f, "left out: exclude \"{pattern}\""),
            Fate::NotIncluded => f.write_str("left out: not in include_only"),
            Fate::Set => f.write_str("set by the profile"),
            Fate::LetThrough => f.write_str("let through by --env"),
            Fate::Given => f.write_str("set by --env"),
        }
    }
}

/// What happens to the caller's variable of this name.
pub fn fate(policy: &EnvPolicy, name: &[u8]) -> Fate {
    let upper = name.to_ascii_uppercase();
    let matches = |pattern: &String| wildcard(pattern.to_ascii_uppercase().as_bytes(), &upper);
    if policy.given.contains_key(name) {
        return Fate::Given;
    }
    if policy.pass.iter().any(|pass| pass == name) {
        return Fate::LetThrough;
    }
    let set = policy.set.keys().any(|key| key.as_bytes() == name);
    if !policy.include_only.is_empty() && !policy.include_only.iter().any(matches) {
        return Fate::NotIncluded;
    }
    if set {
        return Fate::Set;
    }
    let inherited = match policy.inherit {
        EnvInherit::All => true,
        EnvInherit::Core => CORE.iter().any(|core| core.as_bytes() == name),
        EnvInherit::None => false,
    };
    if !inherited {
        return Fate::NotInherited;
    }
    if policy.default_excludes && !NOT_CREDENTIALS.iter().any(|known| known.as_bytes() == upper) {
        let secret = DEFAULT_EXCLUDES.iter().find(|pattern| wildcard(pattern.as_bytes(), &upper));
        if let Some(pattern) = secret {
            return Fate::LooksSecret(pattern);
        }
    }
    match policy.exclude.iter().find(|pattern| matches(pattern)) {
        Some(pattern) => Fate::Excluded(pattern.clone()),
        None => Fate::Passed,
    }
}

/// The environment of the command, as `NAME=value`, from the caller's in the
/// same form. Entries without a name are dropped.
pub fn build<'a>(profile: &Profile, caller: impl IntoIterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
    let policy = &profile.environment;
    let mut result = Vec::new();
    for entry in caller {
        let Some(split) = entry.iter().position(|byte| *byte == b'=').filter(|at| *at > 0) else {
            continue;
        };
        let name = &entry[..split];
        let fate = fate(policy, name);
        if is_marker(name) || !matches!(fate, Fate::Passed | Fate::LetThrough) {
            continue;
        }
        match private_instead(profile, name, &entry[split + 1..]) {
            Some(directory) if fate == Fate::Passed => {
                result.push([name, b"=", directory.as_bytes()].concat());
            }
            _ => result.push(entry.to_vec()),
        }
    }
    for (name, value) in &policy.set {
        if !is_marker(name.as_bytes()) && fate(policy, name.as_bytes()) == Fate::Set {
            result.push(format!("{name}={value}").into_bytes());
        }
    }
    for (name, value) in policy.given.iter().filter(|(name, _)| !is_marker(name)) {
        result.push([name, &b"="[..], value].concat());
    }
    if profile.confinement == Confinement::Confined {
        result.push(format!("{MARKER}=1").into_bytes());
        if profile.network.access == NetAccess::Off {
            result.push(format!("{NO_NETWORK_MARKER}=1").into_bytes());
        }
    }
    result
}

/// The private directory, where a variable names another one for temporary files that
/// the command cannot write, or that it does not see.
fn private_instead<'p>(profile: &'p Profile, name: &[u8], value: &[u8]) -> Option<&'p AbsPath> {
    let policy = &profile.filesystem;
    let (private, _) = policy.private.first()?;
    if !TEMPORARY.iter().any(|known| known.as_bytes() == name) {
        return None;
    }
    let named = AbsPath::posix(value).ok()?;
    let serves = match decide::private(policy, &named) {
        Some((directory, _)) => named == *directory,
        None => decide::access(policy, &named).0 == Access::Write,
    };
    (!serves).then_some(private)
}

/// Whether only pinfold itself sets this variable.
fn is_marker(name: &[u8]) -> bool {
    name == MARKER.as_bytes() || name == NO_NETWORK_MARKER.as_bytes()
}

/// Whether `pattern`, with `*` and `?`, matches all of `text`. Linear but for
/// going back to the last star.
fn wildcard(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                p += 1;
                // Nothing before the next byte of the pattern can begin a match.
                let next = pattern.get(p).filter(|byte| !matches!(byte, b'*' | b'?'));
                if let Some(next) = next {
                    match text[t..].iter().position(|byte| byte == next) {
                        Some(skipped) => t += skipped,
                        None => return false,
                    }
                }
                star = Some((p - 1, t));
            }
            Some(byte) if *byte == b'?' || *byte == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, reached)) => {
                    p = at;
                    t = reached + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a pattern means, the slow way.
    fn plain(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], _) => text.is_empty(),
            ([b'*', rest @ ..], _) => (0..=text.len()).any(|skip| plain(rest, &text[skip..])),
            ([b'?', rest @ ..], [_, after @ ..]) => plain(rest, after),
            ([byte, rest @ ..], [same, after @ ..]) => byte == same && plain(rest, after),
            (_, []) => false,
        }
    }

    /// All words of at most `length` of these bytes.
    fn words(bytes: &[u8], length: u32) -> Vec<Vec<u8>> {
        let letters = bytes.len() + 1;
        (0..letters.pow(length))
            .map(|number| {
                let digits = (0..length).map(|place| number / letters.pow(place) % letters);
                digits.filter_map(|digit| bytes.get(digit).copied()).collect()
            })
            .collect()
    }

    #[test]
    fn wildcards_match_as_they_are_defined() {
        let texts = words(b"ab", 5);
        for pattern in words(b"a*?b", 4) {
            for text in &texts {
                let expected = plain(&pattern, text);
                assert_eq!(wildcard(&pattern, text), expected, "{pattern:?} on {text:?}");
            }
        }
    }
}
