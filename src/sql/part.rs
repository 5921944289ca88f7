//! One statement of a text: its first tokens, its facts, and where it ends.

use super::bytes;
use super::lexer::{Lexer, Trouble};
use super::scan::{Facts, Scanner};
use super::token::{Token, TokenKind};

/// Tokens kept from the start of a statement; every rule on verbs is decided within them.
const HEAD_TOKENS: usize = 24;

/// A statement up to its `;` or the end of the text.
#[derive(Debug, Clone)]
pub(super) struct Part<'a> {
    start: Lexer<'a>,
    end: usize,
    head: Vec<Token<'a>>,
    tokens: u64,
    pub facts: Facts,
    pub trouble: Trouble,
}

impl<'a> Part<'a> {
    /// Reads the next statement that is not empty; none at the end of the text. `lexer` then stands
    /// behind its `;`.
    pub(super) fn read(lexer: &mut Lexer<'a>) -> Option<Self> {
        loop {
            let known = lexer.trouble().any();
            let (part, ended) = Self::read_one(lexer);
            // Nothing but a comment without an end is a statement too, once.
            if part.tokens > 0 || (part.trouble.any() && !known) {
                return Some(part);
            }
            if ended {
                return None;
            }
        }
    }

    /// The rest of this statement from its token `skip` on, as a statement of its own.
    pub(super) fn inner(&self, skip: usize) -> Self {
        let mut lexer = self.start.clone();
        for _ in 0..skip {
            lexer.next_token();
        }
        let mut inner = Self { start: lexer.clone(), tokens: 0, head: Vec::new(), ..self.clone() };
        let mut scanner = Scanner::new(lexer.mode().maria);
        while lexer.position() < self.end
            && let Some(token) = lexer.next_token()
        {
            inner.take(&mut scanner, token);
        }
        inner.facts = scanner.finish();
        inner
    }

    /// The tokens, from the first.
    pub(super) fn tokens(&self) -> impl Iterator<Item = Token<'a>> + use<'a> {
        let (mut lexer, end) = (self.start.clone(), self.end);
        std::iter::from_fn(move || if lexer.position() < end { lexer.next_token() } else { None })
    }

    /// Where it starts, and the position of its end.
    pub(super) fn place(&self) -> (Lexer<'a>, usize) {
        (self.start.clone(), self.end)
    }

    /// How many tokens it has.
    pub(super) fn length(&self) -> u64 {
        self.tokens
    }

    /// A token among the first.
    pub(super) fn token(&self, at: usize) -> Option<&Token<'a>> {
        self.head.get(at)
    }

    /// Whether token `at` is this word (lower case given), not quoted.
    pub(super) fn is(&self, at: usize, word: &str) -> bool {
        self.token(at).is_some_and(|token| token.is_word(word))
    }

    /// Whether these words stand at `at`, one after the other.
    pub(super) fn are(&self, at: usize, words: &[&str]) -> bool {
        words.iter().enumerate().all(|(offset, word)| self.is(at + offset, word))
    }

    /// Whether token `at` is one of these words.
    pub(super) fn is_any(&self, at: usize, words: &[&str]) -> bool {
        words.iter().any(|word| self.is(at, word))
    }

    /// The place of the first token that is no `(`.
    pub(super) fn after_opens(&self) -> usize {
        self.head.iter().take_while(|token| token.kind == TokenKind::Open).count()
    }

    fn take(&mut self, scanner: &mut Scanner<'a>, token: Token<'a>) {
        if self.head.len() < HEAD_TOKENS {
            self.head.push(token);
        }
        self.tokens += 1;
        scanner.token(token);
    }

    /// Reads to the next `;` that ends a statement; true when the text ended instead.
    fn read_one(lexer: &mut Lexer<'a>) -> (Self, bool) {
        let before = lexer.trouble();
        let mut part = Self {
            start: lexer.clone(),
            end: lexer.position(),
            head: Vec::new(),
            tokens: 0,
            facts: Facts::default(),
            trouble: Trouble::default(),
        };
        let mut scanner = Scanner::new(lexer.mode().maria);
        let mut body = Body::default();
        let mut ended = true;
        while let Some(token) = lexer.next_token() {
            if token.kind == TokenKind::Semicolon && !body.is_open() {
                ended = false;
                break;
            }
            part.end = lexer.position();
            body.token(&token, part.tokens);
            part.take(&mut scanner, token);
        }
        part.facts = scanner.finish();
        part.trouble = new_trouble(before, lexer.trouble());
        (part, ended)
    }
}

/// What was met between two places. The marks of a lexer only ever rise, so once one stands, all
/// that follows shares it: right, for after a doubtful fence nothing is sure.
fn new_trouble(before: Trouble, after: Trouble) -> Trouble {
    Trouble {
        malformed: before.malformed || after.malformed,
        uncertain: before.uncertain || after.uncertain,
    }
}

/// Follows BEGIN .. END in the body of a stored program, whose `;` end no statement.
///
/// It may err where names are spelled like BEGIN or END; the statement is a write either way.
#[derive(Debug, Default)]
struct Body {
    first: First,
    /// PROCEDURE, FUNCTION, TRIGGER, EVENT was seen, or BEGIN NOT ATOMIC.
    stored_program: bool,
    depth: u32,
    after_end: bool,
    after_dot: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum First {
    #[default]
    Other,
    Definition,
    Begin,
}

impl Body {
    fn is_open(&self) -> bool {
        self.depth > 0
    }

    fn token(&mut self, token: &Token<'_>, at: u64) {
        if at == 0 {
            self.first = if token.is_word("create") || token.is_word("alter") {
                First::Definition
            } else if token.is_word("begin") {
                First::Begin
            } else {
                First::Other
            };
        }
        if self.first == First::Other {
            return;
        }
        let after_end = std::mem::take(&mut self.after_end);
        let after_dot = std::mem::replace(&mut self.after_dot, token.kind == TokenKind::Dot);
        if token.kind == TokenKind::Word && !after_dot {
            self.word(token, at, after_end);
        }
    }

    fn word(&mut self, token: &Token<'_>, at: u64, after_end: bool) {
        if self.first == First::Begin {
            if at == 1 && token.is_word("not") {
                self.stored_program = true;
                self.depth = 1;
            }
        } else if !self.stored_program {
            let others = ["table", "view", "index", "database", "schema", "user", "select"];
            if others.iter().any(|other| token.is_word(other)) {
                self.first = First::Other;
            }
            let kinds = ["procedure", "function", "trigger", "event", "package"];
            self.stored_program = kinds.iter().any(|kind| token.is_word(kind));
            return;
        }
        if !self.stored_program || token.text.first().is_none_or(|&byte| !begins_block(byte)) {
            return;
        }
        if after_end {
            // END IF, END LOOP: what they close was not counted. END CASE closes a CASE: already
            // done.
            let uncounted = ["if", "loop", "while", "repeat", "for"];
            if uncounted.iter().any(|word| token.is_word(word)) {
                self.depth += 1;
            }
        } else if token.is_word("begin") || (token.is_word("case") && self.depth > 0) {
            self.depth += 1;
        } else if token.is_word("end") {
            self.depth = self.depth.saturating_sub(1);
            self.after_end = true;
        }
    }
}

/// The first letters of BEGIN, CASE, END, IF, LOOP, WHILE, REPEAT, FOR.
fn begins_block(byte: u8) -> bool {
    matches!(bytes::fold(byte), b'b' | b'c' | b'e' | b'i' | b'l' | b'w' | b'r' | b'f')
}
