//! Durations and sizes with units.

use std::time::Duration;

const DURATIONS: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];

const SIZES: [(&str, u64); 9] = [
    ("B", 1),
    ("kB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// A duration such as `10m`, `1h30m` or `500 ms`; more than zero.
///
/// # Errors
/// Says what is wrong and which units there are.
pub fn duration(text: &str) -> Result<Duration, String> {
    let mut rest = text.trim();
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (number, after) = number(rest)?;
        let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let unit = after[..end].trim();
        let Some((_, factor)) = DURATIONS.iter().find(|(name, _)| *name == unit) else {
            return Err(format!("unknown unit \"{unit}\", use ms, s, m or h as in \"10m\""));
        };
        let part = number.checked_mul(*factor);
        total = part.and_then(|part| total.checked_add(part)).ok_or("the duration is too long")?;
        rest = after[end..].trim_start();
    }
    match total {
        0 => Err(String::from("the duration must be more than zero, as in \"10m\"")),
        total => Ok(Duration::from_millis(total)),
    }
}

/// A size such as `4 GiB` or `500MB` in bytes; more than zero.
///
/// # Errors
/// Says what is wrong and which units there are.
pub fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = number(text.trim())?;
    let unit = unit.trim();
    let Some((_, factor)) = SIZES.iter().find(|(name, _)| *name == unit) else {
        return Err(format!("unknown unit \"{unit}\", use B, kB, MB, GB, KiB, MiB or GiB"));
    };
    match number.checked_mul(*factor) {
        None => Err(String::from("the size is too large")),
        Some(0) => Err(String::from("the size must be more than zero")),
        Some(size) => Ok(size),
    }
}

fn number(text: &str) -> Result<(u64, &str), String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    match digits.parse() {
        Ok(number) => Ok((number, rest)),
        Err(_) if digits.is_empty() => Err(String::from("it must begin with a whole number")),
        Err(_) => Err(String::from("the number is too large")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_have_units_and_bounds() {
        for (text, expected) in [
            ("10m", Some(600_000)),
            ("1h30m", Some(5_400_000)),
            ("500 ms", Some(500)),
            ("2s", Some(2000)),
            ("", None),
            ("0s", None),
            ("10", None),
            ("-1s", None),
            ("99999999999999999999s", None),
        ] {
            let got = duration(text).ok().map(|d| d.as_millis() as u64);
            assert_eq!(got, expected, "{text:?}");
        }
        for (text, expected) in [
            ("4 GiB", Some(4 << 30)),
            ("500MB", Some(500_000_000)),
            ("1", None),
            ("0 B", None),
            ("1 gib", None),
            ("99999999999 TiB", None),
        ] {
            assert_eq!(size(text).ok(), expected, "{text:?}");
        }
    }
}
