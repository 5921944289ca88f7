//! Byte classes of SQL text, and searches that run over many bytes at a time.
//!
//! Source: MySQL manual, "Schema Object Names" (which bytes an unquoted name may hold) and
//! "Comments".

/// The byte may stand in an unquoted name: letters, digits, `_`, `$`, and everything above 0x7F.
const NAME: u8 = 1;
/// White space between tokens.
const SPACE: u8 = 2;
/// 0 to 9.
const DIGIT: u8 = 4;
/// 0x00 to 0x1F and 0x7F: ends the two dashes of a comment as white space does.
const CONTROL: u8 = 8;

/// Bytes looked at in one step when a literal or comment is skipped.
const STEP_BYTES: usize = 32;

static CLASS: [u8; 256] = classes();
static FOLD: [u8; 256] = folds();

pub(super) fn is_name(byte: u8) -> bool {
    class(byte) & NAME != 0
}

pub(super) fn is_space(byte: u8) -> bool {
    class(byte) & SPACE != 0
}

pub(super) fn is_digit(byte: u8) -> bool {
    class(byte) & DIGIT != 0
}

/// White space or a control byte.
pub(super) fn ends_dashes(byte: u8) -> bool {
    class(byte) & (SPACE | CONTROL) != 0
}

/// Lower case of an ASCII letter; any other byte as it is.
pub(super) fn fold(byte: u8) -> u8 {
    FOLD.get(usize::from(byte)).copied().unwrap_or(byte)
}

/// Where the first `a` or `b` stands. Steps over whole blocks, so that a literal of megabytes costs
/// little.
pub(super) fn find2(bytes: &[u8], a: u8, b: u8) -> Option<usize> {
    let mut passed = 0;
    for block in bytes.chunks(STEP_BYTES) {
        if block.iter().fold(false, |hit, &byte| hit | (byte == a) | (byte == b)) {
            let at = block.iter().position(|&byte| byte == a || byte == b)?;
            return Some(passed + at);
        }
        passed += block.len();
    }
    None
}

/// How many bytes at the start may stand in a name, and all of them in one: above 0x7F when one is.
pub(super) fn name_run(bytes: &[u8]) -> (usize, u8) {
    let mut seen = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if !is_name(byte) {
            return (at, seen);
        }
        seen |= byte;
    }
    (bytes.len(), seen)
}

/// How many bytes at the start may stand in a name.
pub(super) fn name_length(bytes: &[u8]) -> usize {
    bytes.iter().position(|&byte| !is_name(byte)).unwrap_or(bytes.len())
}

/// How many digits stand at the start.
pub(super) fn digits_length(bytes: &[u8]) -> usize {
    bytes.iter().position(|&byte| !is_digit(byte)).unwrap_or(bytes.len())
}

fn class(byte: u8) -> u8 {
    CLASS.get(usize::from(byte)).copied().unwrap_or(0)
}

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler, over 0 to 255")]
#[expect(clippy::cast_possible_truncation, reason = "the index stays below 256")]
const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        table[at] = match at as u8 {
            b'0'..=b'9' => NAME | DIGIT,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'$' | 0x80.. => NAME,
            b'\t'..=b'\r' => SPACE | CONTROL,
            b' ' => SPACE,
            0..=0x1F | 0x7F => CONTROL,
            _ => 0,
        };
        at += 1;
    }
    table
}

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler, over 0 to 255")]
#[expect(clippy::cast_possible_truncation, reason = "the index stays below 256")]
const fn folds() -> [u8; 256] {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        table[at] = (at as u8).to_ascii_lowercase();
        at += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_first_of_two() {
        let mut text = vec![b'x'; 100];
        assert_eq!(find2(&text, b'\'', b'\\'), None);
        text[70] = b'\\';
        text[71] = b'\'';
        assert_eq!(find2(&text, b'\'', b'\\'), Some(70));
        assert_eq!(find2(b"'", b'\'', b'\''), Some(0));
        assert_eq!(find2(b"", b'\'', b'\''), None);
    }

    #[test]
    fn classes_of_bytes() {
        for byte in 0..=255_u8 {
            assert_eq!(
                is_name(byte),
                byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte > 0x7F
            );
            assert_eq!(is_space(byte), (9..=13).contains(&byte) || byte == b' ');
            assert_eq!(fold(byte), byte.to_ascii_lowercase());
        }
    }
}
