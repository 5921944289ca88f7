//! Statements that were judged before, by fingerprint.

use std::cell::RefCell;
use std::sync::Arc;

use quick_cache::unsync::Cache;

use super::classify;
use super::fingerprint::fingerprint;
use super::parser::ParserThread;
use super::statement::{LexMode, Statement};

/// Judges statements, and remembers its judgements. One for each worker; it is not shared between
/// threads.
///
/// Memory: about 200 bytes an entry, and one buffer of at most [`super::FINGERPRINT_LIMIT_BYTES`].
#[derive(Debug)]
pub struct Classifier {
    known: RefCell<Cache<u128, Arc<Statement>>>,
    /// Holds a normalised text while it is hashed; kept so that nothing is allocated for a known
    /// statement.
    scratch: RefCell<Vec<u8>>,
    parser: ParserThread,
}

impl Classifier {
    /// Remembers about `entries` statements; the least used make room.
    pub fn new(entries: usize, parser: ParserThread) -> Self {
        Self { known: RefCell::new(Cache::new(entries)), scratch: RefCell::new(Vec::new()), parser }
    }

    /// What the statement is. Any bytes are accepted. A statement seen before costs one pass over
    /// its bytes; a new read costs a question to the parser's thread, 50 ms at most.
    pub fn classify(&self, sql: &[u8], mode: LexMode) -> Arc<Statement> {
        let name = fingerprint(sql, mode, &mut self.scratch.borrow_mut());
        if let Some(name) = name
            && let Some(known) = self.known.borrow().get(&name)
        {
            return Arc::clone(known);
        }
        let judged = classify::judge(sql, mode, &self.parser);
        let statement = Arc::new(judged.statement);
        if let Some(name) = name
            && judged.settled
        {
            self.known.borrow_mut().insert(name, Arc::clone(&statement));
        }
        statement
    }

    /// Remembers what running it has told: from now on the text is that statement.
    pub fn learn(&self, sql: &[u8], mode: LexMode, statement: Arc<Statement>) {
        if let Some(name) = fingerprint(sql, mode, &mut self.scratch.borrow_mut()) {
            self.known.borrow_mut().insert(name, statement);
        }
    }

    /// Statements remembered now.
    pub fn len(&self) -> usize {
        self.known.borrow().len()
    }

    /// Whether none is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
