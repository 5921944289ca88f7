//! Rewrites the few harmless forms that MySQL has and `sqlparser` does not, so that they can be
//! proven reads: infix MOD and DIV, `!`, SOUNDS LIKE, a character set in a CAST, intervals of two
//! units. The meaning need not survive, only the shape; nothing is taken away that could write.

use super::token::{Folded, Token, TokenKind};

/// Passes tokens on, in simpler words.
pub(super) struct Simpler<'a, I> {
    tokens: I,
    /// Read ahead, next first.
    ahead: [Option<Token<'a>>; 2],
    before: Option<Token<'a>>,
    depth: u32,
}

impl<'a, I: Iterator<Item = Token<'a>>> Simpler<'a, I> {
    pub(super) fn new(mut tokens: I) -> Self {
        let ahead = [tokens.next(), tokens.next()];
        Self { tokens, ahead, before: None, depth: 0 }
    }

    fn shift(&mut self) -> Option<Token<'a>> {
        let [first, second] = self.ahead;
        self.ahead = [second, self.tokens.next()];
        first
    }

    fn next_is(&self, test: impl Fn(&Token<'_>) -> bool) -> bool {
        self.ahead.first().is_some_and(|token| token.as_ref().is_some_and(test))
    }

    /// The token to pass on instead of this one; none when it is dropped.
    fn simpler(&mut self, token: Token<'a>) -> Option<Token<'a>> {
        match token.kind {
            TokenKind::Open => self.depth = self.depth.saturating_add(1),
            TokenKind::Close => self.depth = self.depth.saturating_sub(1),
            TokenKind::Operator if token.text == b"!" => {
                return Some(Token { kind: TokenKind::Word, text: b"not", spaced: true });
            }
            TokenKind::Word if !self.follows_dot() => return self.word(token),
            _ => {}
        }
        Some(token)
    }

    fn word(&mut self, token: Token<'a>) -> Option<Token<'a>> {
        match Folded::new(token.text).as_bytes() {
            // The parser copies all that stands left of a DIV: a chain of them would take it long.
            b"div" => Some(Token { kind: TokenKind::Operator, text: b"%", spaced: true }),
            b"mod" if self.is_infix() => {
                Some(Token { kind: TokenKind::Operator, text: b"%", spaced: true })
            }
            b"sounds" if self.next_is(|next| next.is_word("like")) => None,
            b"character" | b"char" | b"charset" if self.depth > 0 && self.names_charset(&token) => {
                if !token.is_word("charset") {
                    self.shift();
                }
                self.shift();
                None
            }
            unit if is_double_unit(unit) => Some(Token { text: b"day", ..token }),
            _ => Some(token),
        }
    }

    fn follows_dot(&self) -> bool {
        self.before.is_some_and(|before| before.kind == TokenKind::Dot)
    }

    /// MOD between two operands; `MOD(a, b)` follows an operator or a keyword.
    fn is_infix(&self) -> bool {
        let operand = self.before.is_some_and(|before| {
            matches!(
                before.kind,
                TokenKind::Number
                    | TokenKind::String
                    | TokenKind::Parameter
                    | TokenKind::Quoted
                    | TokenKind::UserVariable
                    | TokenKind::SystemVariable
                    | TokenKind::Close
            )
        });
        let before_word = self.before.is_some_and(|before| before.kind == TokenKind::Word);
        operand || (before_word && !self.next_is(|next| next.kind == TokenKind::Open))
    }

    /// `CHARACTER SET x`, `CHARSET x` after a type in a CAST or JSON_TABLE.
    fn names_charset(&self, token: &Token<'_>) -> bool {
        let [Some(next), second] = self.ahead else {
            return false;
        };
        let name = |token: &Token<'_>| {
            token.is_name() || matches!(token.kind, TokenKind::String | TokenKind::Number)
        };
        if token.is_word("charset") {
            let after_type = self.before.is_some_and(|before| {
                before.kind == TokenKind::Close || before.is_word("char") || before.is_word("text")
            });
            return after_type && name(&next);
        }
        next.is_word("set") && second.is_some_and(|second| name(&second))
    }
}

impl<'a, I: Iterator<Item = Token<'a>>> Iterator for Simpler<'a, I> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        loop {
            let token = self.shift()?;
            if let Some(token) = self.simpler(token) {
                self.before = Some(token);
                return Some(token);
            }
        }
    }
}

/// `INTERVAL '1:2' HOUR_MINUTE`: reserved words, all with an underscore.
fn is_double_unit(word: &[u8]) -> bool {
    matches!(
        word,
        b"second_microsecond"
            | b"minute_microsecond"
            | b"minute_second"
            | b"hour_microsecond"
            | b"hour_second"
            | b"hour_minute"
            | b"day_microsecond"
            | b"day_second"
            | b"day_minute"
            | b"day_hour"
            | b"year_month"
    )
}
