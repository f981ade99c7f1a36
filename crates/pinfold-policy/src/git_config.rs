//! The text of git's configuration files, as git-config(1) describes it.
//!
//! Who writes these files may be hostile. What git itself would refuse is passed
//! over up to the end of its line, so that nothing after it is missed.

/// One `name = value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The section, in lower case: `core` of `[core]`, `includeif` of
    /// `[includeIf "onbranch:main"]`.
    pub section: Vec<u8>,
    /// Whether the section has a subsection; which one does not matter here.
    pub subsection: bool,
    /// The name, in lower case.
    pub name: Vec<u8>,
    /// The value without quotes, escapes and comments; nothing for a name alone,
    /// which means true.
    pub value: Option<Vec<u8>>,
}

/// Every setting of a file, in its order.
///
/// ```
/// let settings = pinfold_policy::git_config::settings(b"[core] hooksPath = \"a\" b # c");
/// assert_eq!(settings[0].name, b"hookspath");
/// assert_eq!(settings[0].value.as_deref(), Some(&b"a b"[..]));
/// ```
pub fn settings(text: &[u8]) -> Vec<Setting> {
    let mut reader = Reader { rest: text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text) };
    let (mut section, mut subsection) = (Vec::new(), false);
    let mut found = Vec::new();
    while let Some(byte) = reader.peek() {
        match byte {
            b'#' | b';' => reader.skip_line(),
            b'[' => {
                if let Some(header) = reader.header() {
                    (section, subsection) = header;
                }
            }
            byte if byte.is_ascii_alphabetic() => {
                let name = reader.word();
                let value = reader.value();
                found.push(Setting { section: section.clone(), subsection, name, value });
            }
            byte if byte.is_ascii_whitespace() => reader.skip(),
            _ => reader.skip_line(),
        }
    }
    found
}

struct Reader<'t> {
    rest: &'t [u8],
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    fn skip(&mut self) {
        self.rest = self.rest.get(1..).unwrap_or_default();
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.skip();
        // The end of a line may have a carriage return before it.
        if byte == b'\r' && self.peek() == Some(b'\n') {
            self.skip();
            return Some(b'\n');
        }
        Some(byte)
    }

    fn skip_line(&mut self) {
        while self.next().is_some_and(|byte| byte != b'\n') {}
    }

    /// Letters, digits and hyphens, in lower case.
    fn word(&mut self) -> Vec<u8> {
        let mut word = Vec::new();
        while let Some(byte) =
            self.peek().filter(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
        {
            word.push(byte.to_ascii_lowercase());
            self.skip();
        }
        word
    }

    /// `[section]`, `[section "subsection"]` or the old `[section.subsection]`;
    /// nothing at the end of a line that has no more of it.
    fn header(&mut self) -> Option<(Vec<u8>, bool)> {
        self.skip();
        let section = self.word();
        let mut subsection = false;
        loop {
            match self.next()? {
                b']' => return Some((section, subsection)),
                b'"' => {
                    subsection = true;
                    self.quoted()?;
                }
                b'\n' => return None,
                b' ' | b'\t' => {}
                _ => subsection = true,
            }
        }
    }

    /// The rest of a quoted subsection.
    fn quoted(&mut self) -> Option<()> {
        loop {
            match self.next()? {
                b'"' => return Some(()),
                b'\n' => return None,
                b'\\' => {
                    let escaped = self.next()?;
                    // A line does not go on in here.
                    if escaped == b'\n' {
                        return None;
                    }
                }
                _ => {}
            }
        }
    }

    /// What follows a name, up to the end of its line or lines.
    fn value(&mut self) -> Option<Vec<u8>> {
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.skip();
        }
        if self.peek() != Some(b'=') {
            self.skip_line();
            return None;
        }
        self.skip();
        let (mut value, mut quoted, mut kept) = (Vec::new(), false, 0);
        while let Some(byte) = self.next() {
            match byte {
                b'\n' => break,
                b'#' | b';' if !quoted => {
                    self.skip_line();
                    break;
                }
                b' ' | b'\t' if !quoted => {
                    // Space counts only between other characters.
                    if !value.is_empty() {
                        value.push(byte);
                    }
                    continue;
                }
                b'"' => quoted = !quoted,
                b'\\' => match self.next() {
                    Some(b'\n') | None => continue,
                    Some(b'n') => value.push(b'\n'),
                    Some(b't') => value.push(b'\t'),
                    Some(b'b') => value.push(8),
                    Some(other) => value.push(other),
                },
                byte => value.push(byte),
            }
            kept = value.len();
        }
        value.truncate(kept);
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_git_reads_them() {
        for (text, expected) in [
            ("[core]\n\thooksPath = x\n", Some("x")),
            ("[core] hooksPath = x", Some("x")),
            ("[CORE]HOOKSPATH=x", Some("x")),
            ("\u{feff}[core]\r\nhookspath=x\r\n", Some("x")),
            ("[core] hooksPath = a b  # why\n", Some("a b")),
            ("[core] hooksPath = \"a # b\" ; why\n", Some("a # b")),
            ("[core] hooksPath = \" a \"\n", Some(" a ")),
            ("[core] hooksPath = a\\\n  b\n", Some("a  b")),
            ("[core] hooksPath = a\\\\b\\t\\\"\n", Some("a\\b\t\"")),
            ("[core] hooksPath =\n", Some("")),
            ("[core]\nhooksPath = x\n[user]\nhooksPath = y\n", Some("x")),
            ("[core] bare\nhooksPath = x", Some("x")),
            ("[core] = bad\nhooksPath = x", Some("x")),
            ("[bad\n[core] hooksPath = x", Some("x")),
            ("; [core] hooksPath = x\n", None),
            ("[core \"sub\"] hooksPath = x", None),
            ("[core.sub] hooksPath = x", None),
            ("[user \"]\\\"\"] name = [core] hooksPath = x", None),
            ("[core] hooksPath", None),
            ("[core]\n[", None),
            ("[user \"a\\\n[core] hooksPath = x", Some("x")),
        ] {
            let found = settings(text.as_bytes());
            let found = found.iter().filter(|setting| {
                setting.section == b"core" && !setting.subsection && setting.name == b"hookspath"
            });
            let value = found.filter_map(|setting| setting.value.as_deref()).next_back();
            assert_eq!(value, expected.map(str::as_bytes), "{text:?}");
        }
    }
}
