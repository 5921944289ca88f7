//! Cuts a statement into tokens as a MySQL server would, in one pass, over any bytes.
//!
//! Source: MySQL manual, "Language Structure" (literals, names, comments) and the sql_modes
//! `ANSI_QUOTES` and `NO_BACKSLASH_ESCAPES`. Nothing here allocates, and no input panics: what the
//! server would refuse is marked in [`Trouble`] and left for the server to refuse.

use super::bytes;
use super::statement::LexMode;
use super::token::{Token, TokenKind};

/// `/*!` comments up to this version are code on every server that Weir works with (8.0.0).
const CODE_UP_TO_MYSQL: u32 = 80_000;
/// MariaDB leaves `/*!50700` to `/*!99999` out, for they speak to MySQL alone.
const CODE_UP_TO_MARIA: u32 = 50_699;
/// Digits of a version in an executable comment.
const VERSION_DIGITS: usize = 6;
/// A space in latin1 and its kin, a letter elsewhere: the session's character set decides, and is
/// not asked.
const NO_BREAK_SPACE: u8 = 0xA0;

/// Why the tokens may not be what the server sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Trouble {
    /// A literal, quoted name or comment has no end: the server answers with an error.
    pub malformed: bool,
    /// Servers differ in how they read this: version-gated comments, `/*M!`, `$$`.
    pub uncertain: bool,
}

impl Trouble {
    /// Whether there is any.
    pub fn any(self) -> bool {
        self.malformed || self.uncertain
    }
}

/// A place in a text. Cloning it marks the place; the clone reads on from there.
#[derive(Debug, Clone)]
pub struct Lexer<'a> {
    sql: &'a [u8],
    position: usize,
    mode: LexMode,
    /// Inside `/*! .. */`: the next `*/` is no operator.
    in_executable: bool,
    /// After `name.`: what starts here is a name, digits too.
    name_at: usize,
    /// The end of the last unquoted name, for the same rule.
    name_end: usize,
    trouble: Trouble,
}

impl<'a> Lexer<'a> {
    /// Starts at the first byte.
    pub fn new(sql: &'a [u8], mode: LexMode) -> Self {
        Self {
            sql,
            position: 0,
            mode,
            in_executable: false,
            name_at: usize::MAX,
            name_end: usize::MAX,
            trouble: Trouble::default(),
        }
    }

    /// Bytes read.
    pub fn position(&self) -> usize {
        self.position
    }

    /// What was met so far that makes the tokens doubtful.
    pub fn trouble(&self) -> Trouble {
        self.trouble
    }

    /// The mode it cuts with.
    pub fn mode(&self) -> LexMode {
        self.mode
    }

    /// The next token; none at the end of the text.
    pub fn next_token(&mut self) -> Option<Token<'a>> {
        let before = self.position;
        self.skip_blank();
        let start = self.position;
        let first = self.peek(0)?;
        let kind = match first {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'$' | 0x80.. => self.word(first),
            b'0'..=b'9' => self.number_or_word(),
            b'\'' => self.quoted(b'\'', !self.mode.no_backslash_escapes, TokenKind::String),
            b'"' if self.mode.ansi_quotes => self.quoted(b'"', false, TokenKind::Quoted),
            b'"' => self.quoted(b'"', !self.mode.no_backslash_escapes, TokenKind::String),
            b'`' => self.quoted(b'`', false, TokenKind::Quoted),
            b'@' => self.variable(),
            b'.' => self.dot(start == self.name_end),
            _ => self.sign(first),
        };
        let text = self.sql.get(start..self.position).unwrap_or(&[]);
        Some(Token { kind, text, spaced: start != before })
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.sql.get(self.position + ahead).copied()
    }

    fn rest(&self) -> &'a [u8] {
        self.sql.get(self.position..).unwrap_or(&[])
    }

    /// Passes bytes that are known to be there.
    fn advance(&mut self, bytes: usize) {
        self.position += bytes;
    }

    /// Passes one byte, if there is one.
    fn advance_over_any(&mut self) {
        self.position = (self.position + 1).min(self.sql.len());
    }

    /// Passes white space, comments, and the fences of executable comments.
    #[inline]
    fn skip_blank(&mut self) {
        loop {
            match self.peek(0) {
                Some(byte) if bytes::is_name(byte) => return,
                Some(byte) if bytes::is_space(byte) => self.advance(1),
                Some(b'#') => self.skip_line(),
                Some(b'-')
                    if self.peek(1) == Some(b'-')
                        && self.peek(2).is_none_or(bytes::ends_dashes) =>
                {
                    self.skip_line();
                }
                Some(b'/') if self.peek(1) == Some(b'*') => self.comment(),
                Some(b'*') if self.in_executable && self.peek(1) == Some(b'/') => {
                    self.in_executable = false;
                    self.advance(2);
                }
                Some(_) => return,
                None => {
                    self.trouble.malformed |= self.in_executable;
                    return;
                }
            }
        }
    }

    fn skip_line(&mut self) {
        match bytes::find2(self.rest(), b'\n', b'\n') {
            Some(at) => self.advance(at + 1),
            None => self.position = self.sql.len(),
        }
    }

    /// At `/*`: either steps into an executable comment, or over a plain one (hints are plain).
    fn comment(&mut self) {
        match (self.peek(2), self.peek(3)) {
            (Some(b'!'), _) => self.enter_executable(3),
            (Some(b'M'), Some(b'!')) => {
                self.trouble.uncertain = true;
                self.enter_executable(4);
            }
            _ => self.skip_comment(),
        }
    }

    fn enter_executable(&mut self, fence_bytes: usize) {
        // One inside the other ends at the first `*/` on some servers and at the second on others.
        self.trouble.uncertain |= self.in_executable;
        self.in_executable = true;
        self.advance(fence_bytes);
        let digits = bytes::digits_length(self.rest()).min(VERSION_DIGITS);
        let version = self.rest().iter().take(digits);
        let version = version.fold(0_u32, |sum, &digit| sum * 10 + u32::from(digit & 0x0F));
        let known = if self.mode.maria { CODE_UP_TO_MARIA } else { CODE_UP_TO_MYSQL };
        // Fewer than five digits are no version but code. Six are read as five by older servers.
        if digits >= 5 {
            let six_and_old = digits == VERSION_DIGITS && self.peek(0) != Some(b'0');
            self.trouble.uncertain |= version > known || six_and_old;
            self.advance(digits);
        }
    }

    fn skip_comment(&mut self) {
        self.advance(2);
        while let Some(at) = bytes::find2(self.rest(), b'*', b'*') {
            self.advance(at + 1);
            if self.peek(0) == Some(b'/') {
                self.advance(1);
                return;
            }
        }
        self.position = self.sql.len();
        self.trouble.malformed = true;
    }

    fn word(&mut self, first: u8) -> TokenKind {
        let rest = self.rest();
        let (length, seen) = bytes::name_run(rest);
        self.advance(length);
        if length == 1 && self.peek(0) == Some(b'\'') {
            match first {
                b'n' | b'N' => {
                    let escapes = !self.mode.no_backslash_escapes;
                    return self.quoted(b'\'', escapes, TokenKind::String);
                }
                b'x' | b'X' | b'b' | b'B' => return self.quoted(b'\'', false, TokenKind::Number),
                _ => {}
            }
        }
        if first == b'$' || seen > 0x7F {
            let text = rest.get(..length).unwrap_or(rest);
            // `$tag$ .. $tag$` is a literal for servers with stored programs in other languages.
            let dollars = first == b'$' && text.iter().skip(1).any(|&byte| byte == b'$');
            self.trouble.uncertain |= dollars || text.contains(&NO_BREAK_SPACE);
        }
        self.name_end = self.position;
        TokenKind::Word
    }

    fn end_name(&mut self, text: &[u8]) -> TokenKind {
        self.trouble.uncertain |= text.contains(&NO_BREAK_SPACE);
        self.name_end = self.position;
        TokenKind::Word
    }

    /// Digits start a number, unless letters follow that are no exponent: `1a` is a name.
    fn number_or_word(&mut self) -> TokenKind {
        let rest = self.rest();
        let length = bytes::name_length(rest);
        let run = rest.get(..length).unwrap_or(rest);
        let digits = bytes::digits_length(run);
        if self.position == self.name_at {
            self.advance(length);
            return self.end_name(run);
        }
        if is_based_literal(run) {
            self.advance(length);
            return TokenKind::Number;
        }
        self.advance(digits);
        if digits == length && self.peek(0) == Some(b'.') {
            self.advance(1);
            let fraction = bytes::digits_length(self.rest());
            self.advance(fraction);
        }
        if self.exponent() || digits == length {
            return TokenKind::Number;
        }
        self.advance(length - digits);
        self.end_name(run)
    }

    /// Passes `e5`, `e+5`, `E-5`; whether there was one.
    fn exponent(&mut self) -> bool {
        let signed = matches!(self.peek(1), Some(b'+' | b'-'));
        let at = if signed { 2 } else { 1 };
        if !matches!(self.peek(0), Some(b'e' | b'E')) || !self.peek(at).is_some_and(bytes::is_digit)
        {
            return false;
        }
        self.advance(at);
        let digits = bytes::digits_length(self.rest());
        self.advance(digits);
        true
    }

    /// At the opening quote: passes the closing one.
    fn quoted(&mut self, quote: u8, escapes: bool, kind: TokenKind) -> TokenKind {
        self.advance(1);
        let other = if escapes { b'\\' } else { quote };
        while let Some(at) = bytes::find2(self.rest(), quote, other) {
            let is_quote = self.peek(at) == Some(quote);
            self.advance(at + 1);
            if is_quote && self.peek(0) != Some(quote) {
                return kind;
            }
            // The second of a doubled quote, or what the backslash keeps.
            self.advance_over_any();
        }
        self.position = self.sql.len();
        self.trouble.malformed = true;
        kind
    }

    fn variable(&mut self) -> TokenKind {
        self.advance(1);
        if self.peek(0) == Some(b'@') {
            self.advance(1);
            self.variable_name();
            while self.peek(0) == Some(b'.') {
                self.advance(1);
                self.variable_name();
            }
            return TokenKind::SystemVariable;
        }
        match self.peek(0) {
            Some(quote @ (b'\'' | b'"' | b'`')) => {
                let named = quote == b'`' || (quote == b'"' && self.mode.ansi_quotes);
                let escapes = !named && !self.mode.no_backslash_escapes;
                self.quoted(quote, escapes, TokenKind::UserVariable)
            }
            _ => {
                let rest = self.rest();
                let ends = rest.iter().position(|&byte| !bytes::is_name(byte) && byte != b'.');
                self.advance(ends.unwrap_or(rest.len()));
                TokenKind::UserVariable
            }
        }
    }

    fn variable_name(&mut self) {
        if self.peek(0) == Some(b'`') {
            self.quoted(b'`', false, TokenKind::Quoted);
        } else {
            let length = bytes::name_length(self.rest());
            self.advance(length);
        }
    }

    fn dot(&mut self, after_name: bool) -> TokenKind {
        let digit = self.peek(1).is_some_and(bytes::is_digit);
        self.advance(1);
        if digit && !after_name {
            let fraction = bytes::digits_length(self.rest());
            self.advance(fraction);
            self.exponent();
            return TokenKind::Number;
        }
        if after_name {
            self.name_at = self.position;
        }
        TokenKind::Dot
    }

    fn sign(&mut self, first: u8) -> TokenKind {
        let (kind, length) = match (first, self.peek(1), self.peek(2)) {
            (b'(', ..) => (TokenKind::Open, 1),
            (b')', ..) => (TokenKind::Close, 1),
            (b',', ..) => (TokenKind::Comma, 1),
            (b';', ..) => (TokenKind::Semicolon, 1),
            (b'?', ..) => (TokenKind::Parameter, 1),
            (b':', Some(b'='), _) => (TokenKind::Assign, 2),
            (b'<', Some(b'='), Some(b'>')) | (b'-', Some(b'>'), Some(b'>')) => {
                (TokenKind::Operator, 3)
            }
            (b'<', Some(b'=' | b'>' | b'<'), _)
            | (b'>', Some(b'=' | b'>'), _)
            | (b'!', Some(b'='), _)
            | (b'|', Some(b'|'), _)
            | (b'&', Some(b'&'), _)
            | (b'-', Some(b'>'), _) => (TokenKind::Operator, 2),
            _ => (TokenKind::Operator, 1),
        };
        self.advance(length);
        kind
    }
}

/// `0x1F`, `0b01`: small letters only, as the server has it.
fn is_based_literal(run: &[u8]) -> bool {
    match run {
        [b'0', b'x', digits @ ..] => !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit),
        [b'0', b'b', digits @ ..] => {
            !digits.is_empty() && digits.iter().all(|digit| matches!(digit, b'0' | b'1'))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STANDARD: LexMode = LexMode {
        ansi_quotes: false,
        no_backslash_escapes: false,
        multi_byte_unsafe: false,
        maria: false,
    };

    /// The tokens as `kind:text`, and `!` when malformed, `~` when uncertain.
    fn cut(sql: &str, mode: LexMode) -> String {
        let mut lexer = Lexer::new(sql.as_bytes(), mode);
        let mut words = Vec::new();
        while let Some(token) = lexer.next_token() {
            let kind = match token.kind {
                TokenKind::Word => 'w',
                TokenKind::Quoted => 'q',
                TokenKind::String => 's',
                TokenKind::Number => 'n',
                TokenKind::Parameter => 'p',
                TokenKind::UserVariable => 'u',
                TokenKind::SystemVariable => 'v',
                _ => 'o',
            };
            words.push(format!("{kind}:{}", String::from_utf8_lossy(token.text)));
        }
        if lexer.trouble().malformed {
            words.push("!".to_owned());
        }
        if lexer.trouble().uncertain {
            words.push("~".to_owned());
        }
        words.join(" ")
    }

    #[test]
    fn cuts_as_the_server_does() {
        let check = |sql: &str, tokens: &str| assert_eq!(cut(sql, STANDARD), tokens, "{sql}");
        check(
            "a.1b 1a 1.5 .5 1e5 1e+5 1.5e-3 1.",
            "w:a o:. w:1b w:1a n:1.5 n:.5 n:1e5 n:1e+5 n:1.5e-3 n:1.",
        );
        check(
            "0x1F 0X1F 0xG x'1' b'0' N'a' n\"b\"",
            "n:0x1F w:0X1F w:0xG n:x'1' n:b'0' s:N'a' w:n s:\"b\"",
        );
        check(
            "'a''b' 'a\\'b' \"a\\\"b\" `a\\` `a``b`",
            "s:'a''b' s:'a\\'b' s:\"a\\\"b\" q:`a\\` q:`a``b`",
        );
        check(
            "@a.b @'a b' @`c` @@x @@global.`y` @",
            "u:@a.b u:@'a b' u:@`c` v:@@x v:@@global.`y` u:@",
        );
        check(
            "a:=b a<=>b a->>b a->b a<>b a||b",
            "w:a o::= w:b w:a o:<=> w:b w:a o:->> w:b w:a o:-> w:b w:a o:<> w:b w:a o:|| w:b",
        );
        check("5--1 5-- 1\n2 --", "n:5 o:- o:- n:1 n:5 n:2");
        check("a # b\n c /* d */ e /*+ f */ g", "w:a w:c w:e w:g");
        check("/*!50001 a */ /*! b*/ /*!4 c */", "w:a w:b n:4 w:c");
        check("/*!99999 a */", "w:a ~");
        check("/*M!100100 a */", "w:a ~");
        check("/*! a /* b */ c */ d", "w:a w:c w:d");
        check("/*! 'a*/' */ b", "s:'a*/' w:b");
        check("a */ b", "w:a o:* o:/ w:b");
        check("/*/ a */ b", "w:b");
        check("/* a", "!");
        check("/*! a", "w:a !");
        check("'a", "s:'a !");
        check("'a\\", "s:'a\\ !");
        check("$$ a $$", "w:$$ w:a w:$$ ~");
        check("a\u{a0}b", "w:a\u{a0}b ~");
        check("é ñ", "w:é w:ñ");
        check("?,?", "p:? o:, p:?");
    }

    #[test]
    fn quotes_go_by_mode() {
        let ansi = LexMode { ansi_quotes: true, ..STANDARD };
        let plain = LexMode { no_backslash_escapes: true, ..STANDARD };
        assert_eq!(cut("\"it's\" 'a\\'b'", ansi), "q:\"it's\" s:'a\\'b'");
        assert_eq!(cut("@\"a\\\"", ansi), "u:@\"a\\\"");
        assert_eq!(cut("'\\' a", plain), "s:'\\' w:a");
        assert_eq!(cut("/*!50701 a */", LexMode { maria: true, ..STANDARD }), "w:a ~");
    }

    #[test]
    fn tells_what_stands_before() {
        let mut lexer = Lexer::new(b"a(b (c/**/(", STANDARD);
        let mut spaced = Vec::new();
        while let Some(token) = lexer.next_token() {
            spaced.push(token.spaced);
        }
        assert_eq!(spaced, [false, false, false, true, false, true]);
    }
}
