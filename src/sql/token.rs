//! A token of a statement: its kind and the bytes it was written with.

use std::borrow::Cow;

use super::bytes;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// An unquoted name or keyword.
    Word,
    /// A name in backquotes, or in double quotes under `ANSI_QUOTES`.
    Quoted,
    /// A string literal with its quotes: `'..'`, `".."`, `N'..'`.
    String,
    /// A decimal, float, hexadecimal or bit literal: `1`, `.5e3`, `0x1F`, `x'1F'`, `b'01'`.
    Number,
    /// `?`.
    Parameter,
    /// `@name`, `@'name'`, `` @`name` ``.
    UserVariable,
    /// `@@name`, `@@session.name`, with all its dots.
    SystemVariable,
    /// `(`.
    Open,
    /// `)`.
    Close,
    /// `,`.
    Comma,
    /// `.`.
    Dot,
    /// `;`.
    Semicolon,
    /// `:=`.
    Assign,
    /// Any other sign, longest first: `<=>`, `->>`, `=`.
    Operator,
}

/// A token and its place in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token<'a> {
    pub kind: TokenKind,
    /// The bytes as written, quotes and `@` included.
    pub text: &'a [u8],
    /// White space or a comment stands before it. `count (` is not `count(`.
    pub spaced: bool,
}

impl<'a> Token<'a> {
    /// Whether it is the unquoted word `word` (given in lower case), in any case.
    pub fn is_word(&self, word: &str) -> bool {
        self.kind == TokenKind::Word && self.text.eq_ignore_ascii_case(word.as_bytes())
    }

    /// Whether it is a sign written exactly so.
    pub fn is_sign(&self, sign: &str) -> bool {
        self.kind == TokenKind::Operator && self.text == sign.as_bytes()
    }

    /// Whether it can be a name: a word or a quoted name.
    pub fn is_name(&self) -> bool {
        matches!(self.kind, TokenKind::Word | TokenKind::Quoted)
    }

    /// The name without its quotes; for anything but a quoted name or a string, the text itself.
    pub fn name(&self) -> Cow<'a, [u8]> {
        match self.kind {
            TokenKind::Quoted | TokenKind::String => unquote(self.text),
            _ => Cow::Borrowed(self.text),
        }
    }
}

/// A name or word in lower case, on the stack: what the tables are searched with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Folded {
    bytes: [u8; Self::LIMIT],
    length: usize,
}

impl Folded {
    /// No keyword and no built-in function is longer, in bytes.
    const LIMIT: usize = 48;

    /// `text` in lower case; empty when it is too long to be in any table.
    pub(super) fn new(text: &[u8]) -> Self {
        let mut folded = Self { bytes: [0; Self::LIMIT], length: 0 };
        if text.len() <= Self::LIMIT {
            for (to, &from) in folded.bytes.iter_mut().zip(text) {
                *to = bytes::fold(from);
            }
            folded.length = text.len();
        }
        folded
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&[])
    }
}

/// The content between two quotes, doubled quotes made single. Backslashes stay: no name that
/// matters has one.
fn unquote(text: &[u8]) -> Cow<'_, [u8]> {
    let (Some(&quote), Some(inner)) = (text.first(), text.get(1..text.len().saturating_sub(1)))
    else {
        return Cow::Borrowed(text);
    };
    if !matches!(quote, b'`' | b'"' | b'\'') {
        return Cow::Borrowed(text);
    }
    if !inner.contains(&quote) {
        return Cow::Borrowed(inner);
    }
    let mut single = Vec::with_capacity(inner.len());
    let mut rest = inner.iter().peekable();
    while let Some(&byte) = rest.next() {
        single.push(byte);
        if byte == quote && rest.peek() == Some(&&quote) {
            rest.next();
        }
    }
    Cow::Owned(single)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_their_quotes() {
        let check = |text: &'static str, name: &str| {
            let token = Token { kind: TokenKind::Quoted, text: text.as_bytes(), spaced: false };
            assert_eq!(token.name(), name.as_bytes(), "{text}");
        };
        check("`a`", "a");
        check("`a``b`", "a`b");
        check("\"a\"\"b\"", "a\"b");
        check("``", "");
        check("`", "`");
    }

    #[test]
    fn folds_what_fits() {
        assert_eq!(Folded::new(b"SeLeCt").as_bytes(), b"select");
        assert_eq!(Folded::new(&[b'A'; 49]).as_bytes(), b"");
    }
}
