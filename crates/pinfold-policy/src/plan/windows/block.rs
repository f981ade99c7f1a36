//! The environment of a process as Windows takes it.

use std::collections::BTreeMap;

/// Why variables cannot be an environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockError {
    /// A name is empty, or holds `=` after its first unit.
    Name,
    /// A NUL would end the block early.
    Nul,
}

impl std::fmt::Display for BlockError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            BlockError::Name => "a variable's name is empty or holds an equals sign",
            BlockError::Nul => "a variable holds a NUL",
        })
    }
}

impl std::error::Error for BlockError {}

/// The block in UTF-16 units: sorted without case, of two spellings of a name
/// the last, ended by two NULs. A name may begin with `=` (`=C:`).
pub fn environment_block(variables: &[(Vec<u16>, Vec<u16>)]) -> Result<Vec<u16>, BlockError> {
    let equals = u16::from(b'=');
    let mut sorted: BTreeMap<Vec<u16>, &(Vec<u16>, Vec<u16>)> = BTreeMap::new();
    for variable in variables {
        let (name, value) = variable;
        if name.contains(&0) || value.contains(&0) {
            return Err(BlockError::Nul);
        }
        if name.is_empty() || name.iter().skip(1).any(|unit| *unit == equals) {
            return Err(BlockError::Name);
        }
        sorted.insert(name.iter().map(|unit| upper(*unit)).collect(), variable);
    }
    let mut block = Vec::new();
    for (name, value) in sorted.into_values() {
        block.extend_from_slice(name);
        block.push(equals);
        block.extend_from_slice(value);
        block.push(0);
    }
    if block.is_empty() {
        block.push(0);
    }
    block.push(0);
    Ok(block)
}

/// One unit in upper case, where that is one unit too.
fn upper(unit: u16) -> u16 {
    let Some(character) = char::from_u32(u32::from(unit)) else { return unit };
    let mut upper = character.to_uppercase();
    match (upper.next().map(|one| u16::try_from(u32::from(one))), upper.next()) {
        (Some(Ok(one)), None) => one,
        _ => unit,
    }
}
