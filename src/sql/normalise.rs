//! One statement written in one way: words in lower case, literals as placeholders, comments gone,
//! lists of literals cut to one. Two texts that are written alike here are alike to every rule.
//!
//! The result is itself SQL, in the standard lexing mode whatever mode the text was in: names stand
//! in backquotes, literals keep their kind (`1`, `'s'`, `0x1`, `?`). So what `sqlparser` says of it
//! holds for all texts with the same fingerprint.

use super::bytes;
use super::token::{Token, TokenKind};

const NUMBER: &[u8] = b"1";
const BASED_NUMBER: &[u8] = b"0x1";
const STRING: &[u8] = b"'s'";
const NATIONAL_STRING: &[u8] = b"n's'";
const PARAMETER: &[u8] = b"?";

/// What was written last, as far as the next token must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    Nothing,
    /// A word, name, variable: another one needs a space.
    Wordy,
    /// A literal, written so.
    Literal(&'static [u8]),
    /// A comma after such a literal.
    LiteralComma(&'static [u8]),
    Operator,
    /// A parenthesis, comma, dot: needs no space on either side.
    Fence,
}

/// Writes tokens to `out`. Returns false, and stops, when more than `limit_bytes` would be written.
pub(super) fn normalise<'a>(
    tokens: impl Iterator<Item = Token<'a>>,
    out: &mut Vec<u8>,
    limit_bytes: usize,
) -> bool {
    let mut writer = Writer { out, last: Last::Nothing, row: None };
    for token in tokens {
        writer.token(&token);
        if writer.out.len() > limit_bytes {
            return false;
        }
    }
    true
}

struct Writer<'o> {
    out: &'o mut Vec<u8>,
    last: Last,
    /// Where the last `(` stands in `out`, while only literals and commas followed it.
    row: Option<usize>,
}

impl Writer<'_> {
    fn token(&mut self, token: &Token<'_>) {
        match token.kind {
            TokenKind::Word => self.word(token),
            TokenKind::Quoted => self.quoted(token),
            TokenKind::Number => {
                let plain = token.text.first().is_some_and(|&byte| byte.is_ascii_digit())
                    && !matches!(token.text.get(1), Some(b'x' | b'b'));
                let dotted = token.text.first() == Some(&b'.');
                self.literal(if plain || dotted { NUMBER } else { BASED_NUMBER });
            }
            TokenKind::String => {
                let national = matches!(token.text.first(), Some(b'n' | b'N'));
                self.literal(if national { NATIONAL_STRING } else { STRING });
            }
            TokenKind::Parameter => self.literal(PARAMETER),
            TokenKind::UserVariable | TokenKind::SystemVariable => {
                self.space_after_wordy();
                self.fold(token.text);
                self.other(Last::Wordy);
            }
            TokenKind::Open => self.open(token),
            TokenKind::Close => self.close(),
            TokenKind::Comma => {
                self.out.push(b',');
                self.last = match self.last {
                    Last::Literal(literal) => Last::LiteralComma(literal),
                    _ => Last::Fence,
                };
            }
            TokenKind::Dot | TokenKind::Semicolon => {
                self.out.extend_from_slice(token.text);
                self.other(Last::Fence);
            }
            TokenKind::Assign | TokenKind::Operator => {
                if self.last == Last::Operator {
                    self.out.push(b' ');
                }
                self.out.extend_from_slice(token.text);
                self.other(Last::Operator);
            }
        }
    }

    fn other(&mut self, last: Last) {
        self.last = last;
        self.row = None;
    }

    fn space_after_wordy(&mut self) {
        if matches!(self.last, Last::Wordy | Last::Literal(_)) {
            self.out.push(b' ');
        }
    }

    fn fold(&mut self, text: &[u8]) {
        self.out.extend(text.iter().map(|&byte| bytes::fold(byte)));
    }

    fn word(&mut self, token: &Token<'_>) {
        self.space_after_wordy();
        self.fold(token.text);
        self.last = Last::Wordy;
        // A row with NULL or DEFAULT in it is still a row of constants.
        if self.row.is_some() && !token.is_word("null") && !token.is_word("default") {
            self.row = None;
        }
    }

    fn quoted(&mut self, token: &Token<'_>) {
        self.space_after_wordy();
        if token.text.first() == Some(&b'`') {
            self.out.extend_from_slice(token.text);
        } else {
            self.out.push(b'`');
            for &byte in token.name().iter() {
                if byte == b'`' {
                    self.out.push(b'`');
                }
                self.out.push(byte);
            }
            self.out.push(b'`');
        }
        self.other(Last::Wordy);
    }

    fn literal(&mut self, literal: &'static [u8]) {
        match self.last {
            Last::LiteralComma(before) if before == literal => {
                self.out.pop();
            }
            // Strings side by side are one string.
            Last::Literal(before) if before == literal && literal == STRING => {}
            Last::Wordy | Last::Literal(_) => {
                self.out.push(b' ');
                self.out.extend_from_slice(literal);
            }
            _ => self.out.extend_from_slice(literal),
        }
        self.last = Last::Literal(literal);
    }

    /// The space before it tells `count (x)`, perhaps a stored function, from `count(x)`.
    fn open(&mut self, token: &Token<'_>) {
        if token.spaced && self.last == Last::Wordy {
            self.out.push(b' ');
        }
        self.row = Some(self.out.len());
        self.out.push(b'(');
        self.last = Last::Fence;
    }

    /// Cuts `(1,'s'),(1,'s'` back to `(1,'s'`.
    fn close(&mut self) {
        if let Some(open) = self.row
            && let Some((before, row)) = self.out.split_at_checked(open)
            && let Some(before) = before.strip_suffix(b"),")
            && before.ends_with(row)
        {
            self.out.truncate(open.saturating_sub(2));
        }
        self.out.push(b')');
        self.other(Last::Fence);
    }
}
