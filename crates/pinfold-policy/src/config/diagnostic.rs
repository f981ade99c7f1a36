//! One problem in a configuration, with everything that helps to mend it.

use std::fmt;

use super::place::Place;

/// What helps where nothing more exact is known.
const GENERAL_HINT: &str = "docs/configuration.md says what can be written there";

/// A problem. `Display` prints it over several lines, without a final newline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// What is wrong, in lower case, without a final period.
    pub message: String,
    /// Where, when it is anywhere.
    pub place: Option<Place>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// A problem at a place.
    pub fn at(place: &Place, message: impl Into<String>) -> Diagnostic {
        Diagnostic { message: message.into(), place: Some(place.clone()), hint: None }
    }

    /// A problem of the whole.
    pub fn general(message: impl Into<String>) -> Diagnostic {
        Diagnostic { message: message.into(), place: None, hint: None }
    }

    /// Adds what to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Diagnostic {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        if let Some(Place::In { source, start, end }) = &self.place {
            let place = Place::In { source: source.clone(), start: *start, end: *end };
            if let Some((line, column)) = place.line_and_column() {
                write!(f, "\n  --> {}:{line}:{column}", source.name)?;
                excerpt(f, &source.text, (line, column), (*start, *end))?;
            }
        }
        let hint = self.hint.as_deref().unwrap_or(GENERAL_HINT);
        write!(f, "\nhint: {hint}")
    }
}

/// The line with carets below the span. Control characters are left out.
fn excerpt(
    f: &mut fmt::Formatter<'_>,
    text: &str,
    (line, column): (u32, u32),
    (start, end): (usize, usize),
) -> fmt::Result {
    let Some(shown) = text.lines().nth(line as usize - 1) else { return Ok(()) };
    let shown: String = shown.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let span = text.get(start..end).unwrap_or_default();
    let width = span.lines().next().map_or(1, |first| first.chars().count().max(1));
    let number = line.to_string();
    let margin = " ".repeat(number.len());
    let before = " ".repeat(column as usize - 1);
    write!(f, "\n{margin} |\n{number} | {shown}\n{margin} | {before}{}", "^".repeat(width))
}

/// The name among `known` that was most likely meant, if one is near enough.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (name.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

/// The number of characters to insert, remove, replace or swap with the next
/// (optimal string alignment).
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().take(64).collect();
    let right: Vec<char> = right.chars().take(64).collect();
    let mut rows = vec![(0..=right.len()).collect::<Vec<usize>>()];
    for (i, a) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in right.iter().enumerate() {
            let replaced = rows[i][j] + usize::from(a != b);
            let mut best = replaced.min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == right[j - 1] && left[i - 1] == *b {
                best = best.min(rows[i - 1][j - 1] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[left.len()][right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggestions_are_near_or_absent() {
        let known = ["read", "write", "deny", "filesystem"];
        for (name, expected) in [
            ("wirte", Some("write")),
            ("file_system", Some("filesystem")),
            ("red", Some("read")),
            ("execute", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, known), expected, "{name:?}");
        }
    }
}
