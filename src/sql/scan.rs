//! What can be seen in the tokens of one statement, whatever verb it starts with: locks, INTO,
//! assignments, functions, variables, and how hard it would be on a parser.
//!
//! Everything is counted in one pass with a few tokens of memory, so a statement of any size costs
//! no more than its bytes. The rules (`rules/`) decide what the facts mean for a verb.

use super::functions::{self, Role};
use super::token::{Folded, Token, TokenKind};
use super::variables::{self, Answer};

/// WITH clauses open at once that are told apart; beyond it nothing is proven.
const OPEN_WITHS_LIMIT: usize = 64;

/// What was seen anywhere in a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Facts {
    /// FOR UPDATE, FOR SHARE, LOCK (.. IN SHARE MODE).
    pub locks: bool,
    /// INTO, OUTFILE.
    pub into: bool,
    /// A user variable stands somewhere after INTO.
    pub into_variable: bool,
    /// `@v := ..`.
    pub assigns: bool,
    /// A reserved word that only statements that write begin with.
    pub write_word: bool,
    pub unknown_function: bool,
    pub takes_lock: bool,
    pub releases_lock: bool,
    pub releases_locks: bool,
    /// LAST_INSERT_ID(), @@last_insert_id, @@identity, LASTVAL(s).
    pub last_insert_id: bool,
    /// LAST_INSERT_ID(x).
    pub sets_last_insert_id: bool,
    /// FOUND_ROWS(), ROW_COUNT(), @@warning_count, @@error_count.
    pub previous: bool,
    pub calc_found_rows: bool,
    pub connection_id: bool,
    /// A function that only the primary answers rightly.
    pub primary_function: bool,
    /// A function or sequence that writes.
    pub writing_function: bool,
    /// A system variable that differs from server to server.
    pub server_variable: bool,
    pub user_variable: bool,
    /// performance_schema, PROCESSLIST and their like.
    pub instance_table: bool,
    /// More WITH clauses open at once than are told apart.
    pub lost: bool,
    pub effort: Effort,
}

/// What a parser would have to go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Effort {
    pub joins: u32,
    pub unions: u32,
    /// Operators of any sort, AND and OR among them.
    pub terms: u32,
    /// The most parentheses and CASEs open at once.
    pub depth: u32,
    /// The most prefix operators in a row: `NOT NOT -x`.
    pub prefixes: u32,
}

/// Takes the tokens of one statement, in order.
#[derive(Debug)]
pub(super) struct Scanner<'a> {
    facts: Facts,
    /// The last tokens, newest first.
    before: [Option<Token<'a>>; 3],
    depth: u32,
    cases: u32,
    prefixes: u32,
    /// The depths at which a WITH clause lists its queries.
    withs: Vec<u32>,
    /// INSERT or REPLACE was last: functions when `(` follows.
    maybe_write_word: bool,
    /// `LAST_INSERT_ID (` was last: sets when anything but `)` follows.
    maybe_sets_id: bool,
    maria: bool,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(maria: bool) -> Self {
        Self {
            facts: Facts::default(),
            before: [None; 3],
            depth: 0,
            cases: 0,
            prefixes: 0,
            withs: Vec::new(),
            maybe_write_word: false,
            maybe_sets_id: false,
            maria,
        }
    }

    /// What was seen. Call it after the last token.
    pub(super) fn finish(mut self) -> Facts {
        self.facts.write_word |= self.maybe_write_word;
        self.facts
    }

    pub(super) fn token(&mut self, token: Token<'a>) {
        self.settle(&token);
        match token.kind {
            TokenKind::Word | TokenKind::Quoted => self.name(&token),
            TokenKind::Open => {
                self.call(&token);
                self.depth += 1;
            }
            TokenKind::Close => {
                self.depth = self.depth.saturating_sub(1);
                while self.withs.last().is_some_and(|&depth| depth > self.depth) {
                    self.withs.pop();
                }
            }
            TokenKind::UserVariable => {
                self.facts.user_variable = true;
                self.facts.into_variable |= self.facts.into;
            }
            TokenKind::SystemVariable => self.system_variable(&token),
            TokenKind::Assign => {
                self.facts.assigns |= self.before_is(0, |t| t.kind == TokenKind::UserVariable);
            }
            _ => {}
        }
        self.measure(&token);
        let [first, second, _] = self.before;
        self.before = [Some(token), first, second];
    }

    /// Decides what the token before left open.
    fn settle(&mut self, token: &Token<'_>) {
        if std::mem::take(&mut self.maybe_write_word) {
            self.facts.write_word |= token.kind != TokenKind::Open;
        }
        if std::mem::take(&mut self.maybe_sets_id) {
            let empty = token.kind == TokenKind::Close;
            self.facts.last_insert_id |= empty;
            self.facts.sets_last_insert_id |= !empty;
        }
        // A query begins after the list of a WITH: the list is over.
        let begins =
            token.kind == TokenKind::Open && self.before_is(0, |t| t.kind == TokenKind::Close);
        if begins && self.withs.last() == Some(&self.depth) {
            self.withs.pop();
        }
    }

    fn before_is(&self, at: usize, test: impl Fn(&Token<'_>) -> bool) -> bool {
        self.before.get(at).is_some_and(|token| token.as_ref().is_some_and(test))
    }

    fn before_word(&self, at: usize, word: &str) -> bool {
        self.before_is(at, |token| token.is_word(word))
    }

    fn name(&mut self, token: &Token<'_>) {
        let name = token.name();
        let folded = Folded::new(&name);
        // A reserved word after a dot is a name.
        let after_dot = self.before_is(0, |t| t.kind == TokenKind::Dot);
        if after_dot {
            let schema = self.before.get(1).copied().flatten();
            let schema = schema.map(|schema| schema.name());
            let schema = Folded::new(schema.as_deref().unwrap_or_default());
            self.facts.instance_table |=
                variables::is_of_one_server(schema.as_bytes(), folded.as_bytes());
            if self.maria && !self.before_is(1, |t| t.kind == TokenKind::Operator) {
                self.facts.writing_function |= folded.as_bytes() == b"nextval";
                self.facts.last_insert_id |= folded.as_bytes() == b"currval";
            }
        } else {
            self.facts.instance_table |= folded.as_bytes() == b"processlist";
        }
        if token.kind == TokenKind::Word && !after_dot {
            self.word(folded.as_bytes());
        }
    }

    fn word(&mut self, word: &[u8]) {
        match word {
            b"into" | b"outfile" => self.facts.into = true,
            b"lock" => self.facts.locks = true,
            b"update" | b"share" if self.before_word(0, "for") => self.facts.locks = true,
            b"update" | b"delete" | b"call" | b"create" | b"alter" | b"drop" | b"grant"
            | b"revoke" | b"load" | b"rename" | b"infile" | b"procedure" => {
                self.facts.write_word = true;
            }
            b"insert" | b"replace" => self.maybe_write_word = true,
            b"sql_calc_found_rows" => self.facts.calc_found_rows = true,
            b"for" if self.before_word(0, "value") => {
                self.facts.writing_function |= self.before_word(1, "next");
                self.facts.last_insert_id |= self.before_word(1, "previous");
            }
            b"with" => {
                self.facts.lost |= self.withs.len() >= OPEN_WITHS_LIMIT;
                if !self.facts.lost {
                    self.withs.push(self.depth);
                }
            }
            b"rollup" | b"select" | b"table" | b"values"
                if self.withs.last() == Some(&self.depth) =>
            {
                self.withs.pop();
            }
            _ => {}
        }
    }

    /// At `(`: what the name before it calls.
    fn call(&mut self, open: &Token<'_>) {
        let Some(called) = self.before.first().copied().flatten().filter(Token::is_name) else {
            return;
        };
        let name = called.name();
        let folded = Folded::new(&name);
        let qualified = self.before_is(1, |t| t.kind == TokenKind::Dot);
        let role = match called.kind {
            _ if qualified => Role::Unknown,
            _ if self.names_columns() => Role::Syntax,
            TokenKind::Quoted => functions::native_role(folded.as_bytes()),
            _ => functions::role(folded.as_bytes(), open.spaced),
        };
        let facts = &mut self.facts;
        match role {
            Role::Reads | Role::Syntax => {}
            Role::Primary => facts.primary_function = true,
            Role::TakesLock => facts.takes_lock = true,
            Role::ReleasesLock => facts.releases_lock = true,
            Role::ReleasesLocks => facts.releases_locks = true,
            Role::LastInsertId => self.maybe_sets_id = true,
            Role::Previous => facts.previous = true,
            Role::ConnectionId => facts.connection_id = true,
            Role::Writes => facts.writing_function = true,
            Role::LastValue => facts.last_insert_id = true,
            Role::Unknown => facts.unknown_function = true,
        }
    }

    /// Whether the last token is an alias or the name of a WITH query, so that columns or a length
    /// follow it, not arguments: `WITH c (a)`, `) AS x (a)`, `) x (a)`, `CAST(1 AS char (3))`.
    fn names_columns(&self) -> bool {
        let Some(before) = self.before.get(1).copied().flatten() else {
            return false;
        };
        match before.kind {
            TokenKind::Close => true,
            TokenKind::Comma => self.withs.last() == Some(&self.depth),
            _ if before.is_word("as") => true,
            _ if before.is_word("with") || before.is_word("recursive") => {
                self.withs.last() == Some(&self.depth)
            }
            _ => false,
        }
    }

    fn system_variable(&mut self, token: &Token<'_>) {
        match variables::answer(token.text) {
            Answer::Anywhere => {}
            Answer::Primary => self.facts.server_variable = true,
            Answer::LastInsertId => self.facts.last_insert_id = true,
            Answer::Previous => self.facts.previous = true,
        }
    }

    fn measure(&mut self, token: &Token<'_>) {
        let effort = &mut self.facts.effort;
        let mut prefix = false;
        match token.kind {
            TokenKind::Operator => {
                effort.terms = effort.terms.saturating_add(1);
                prefix = matches!(token.text, b"-" | b"+" | b"~" | b"!");
            }
            TokenKind::Word => match Folded::new(token.text).as_bytes() {
                b"join" | b"straight_join" => effort.joins = effort.joins.saturating_add(1),
                b"union" | b"except" | b"intersect" => {
                    effort.unions = effort.unions.saturating_add(1);
                }
                b"and" | b"or" | b"xor" | b"div" | b"mod" | b"like" | b"between" | b"is"
                | b"collate" | b"regexp" | b"rlike" | b"in" => {
                    effort.terms = effort.terms.saturating_add(1);
                }
                b"not" | b"binary" | b"interval" | b"exists" => prefix = true,
                b"case" => self.cases = self.cases.saturating_add(1),
                b"end" => self.cases = self.cases.saturating_sub(1),
                _ => {}
            },
            _ => {}
        }
        self.prefixes = if prefix { self.prefixes.saturating_add(1) } else { 0 };
        effort.prefixes = effort.prefixes.max(self.prefixes);
        effort.depth = effort.depth.max(self.depth.saturating_add(self.cases));
    }
}
