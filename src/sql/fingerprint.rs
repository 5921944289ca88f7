//! The 128-bit name of a statement's shape: equal for texts that every rule treats alike.

use xxhash_rust::xxh3::xxh3_128;

use super::lexer::Lexer;
use super::normalise::normalise;
use super::statement::LexMode;

/// Statements whose normalised text is longer have no fingerprint and are classified each time.
pub const FINGERPRINT_LIMIT_BYTES: usize = 64 * 1024;

/// Reads the text once. `scratch` is cleared first and holds the normalised text afterwards; give
/// the same one each time and nothing is allocated. None when the text is longer than the limit, or
/// is in a character set in which a byte like a quote may be half a character.
pub fn fingerprint(sql: &[u8], mode: LexMode, scratch: &mut Vec<u8>) -> Option<u128> {
    scratch.clear();
    if hides_quotes(sql, mode) {
        return None;
    }
    let mut lexer = Lexer::new(sql, mode);
    let tokens = std::iter::from_fn(|| lexer.next_token());
    if !normalise(tokens, scratch, FINGERPRINT_LIMIT_BYTES) {
        return None;
    }
    let trouble = lexer.trouble();
    // Always one byte more than the text, so no text can pass for another with other marks.
    scratch.push(
        mode_bits(mode) | u8::from(trouble.malformed) << 4 | u8::from(trouble.uncertain) << 5,
    );
    let hash = xxh3_128(scratch);
    scratch.pop();
    Some(hash)
}

/// Whether quotes or backslashes may be halves of characters: in GBK, SJIS, Big5, GB18030 and CP932
/// the second byte of a character can be 0x5C or 0x60. Then no cut into tokens is sure.
pub(super) fn hides_quotes(sql: &[u8], mode: LexMode) -> bool {
    if !mode.multi_byte_unsafe {
        return false;
    }
    let high = sql.iter().position(|&byte| byte > 0x7F);
    let after = high.and_then(|at| sql.get(at..)).unwrap_or(&[]);
    after.iter().any(|byte| matches!(byte, b'\\' | b'\'' | b'"' | b'`'))
}

fn mode_bits(mode: LexMode) -> u8 {
    u8::from(mode.ansi_quotes)
        | u8::from(mode.no_backslash_escapes) << 1
        | u8::from(mode.multi_byte_unsafe) << 2
        | u8::from(mode.maria) << 3
}
