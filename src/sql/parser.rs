//! The parser's word on statements that look like reads.
//!
//! `sqlparser` is written for text that is meant well. A few kilobytes of chained joins overflow a
//! thread's stack, and that ends the process. So it runs on a thread of its own with a large stack,
//! is given the normalised text (literals and lists are short there, quoting is standard), and only
//! what the limits below let through. It is asked once for each new fingerprint.

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::Duration;

use sqlparser::dialect::MySqlDialect;
use sqlparser::parser::Parser;

use super::normalise::normalise;
use super::part::Part;
use super::scan::Effort;
use super::shape;
use super::simplify::Simpler;

/// Stack of the parser's thread, in bytes. Only what is used of it is ever resident.
const STACK_BYTES: usize = 64 * 1024 * 1024;
/// The longest normalised text that is parsed, in bytes.
const TEXT_LIMIT_BYTES: usize = 32 * 1024;
/// MySQL itself joins 61 tables at most.
const JOINS_LIMIT: u32 = 61;
/// Its time grows faster than the number of UNIONs.
const UNIONS_LIMIT: u32 = 30;
/// Parentheses and CASEs open at once.
const DEPTH_LIMIT: u32 = 50;
/// Prefix operators in a row.
const PREFIXES_LIMIT: u32 = 20;
/// Operators: a chain of them becomes a tree as deep as it is long.
const TERMS_LIMIT: u32 = 2_000;
/// The parser's own limit of recursion: several levels go with each parenthesis.
const RECURSION_LIMIT: usize = 400;
/// Questions that wait at once, from all workers.
const WAITING_LIMIT: usize = 64;
/// How long a worker waits for an answer. 99 of 100 take less than 0.1 ms.
#[cfg(not(test))]
const ANSWER_TIMEOUT: Duration = Duration::from_millis(50);

/// A machine busy with other tests must not change what they see.
#[cfg(test)]
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// What the parser says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// One query, all of it known, that locks nothing and writes nowhere.
    Reads,
    /// It is understood, and is more than that.
    Other,
    /// It is not understood.
    Unknown,
    /// It was not asked: the statement is beyond a limit.
    TooHard,
    /// No answer in time. Another time there may be one.
    Unanswered,
}

/// A handle to the parser's thread, which ends when the last handle is dropped.
#[derive(Debug, Clone)]
pub struct ParserThread {
    questions: SyncSender<Question>,
    /// An answer is overdue: nobody else should wait behind it.
    overdue: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Question {
    text: String,
    answer: SyncSender<Verdict>,
}

impl ParserThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn spawn() -> io::Result<Self> {
        let (questions, waiting) = mpsc::sync_channel(WAITING_LIMIT);
        let overdue = Arc::new(AtomicBool::new(false));
        let answered = Arc::clone(&overdue);
        thread::Builder::new()
            .name("sql-parser".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || answer_all(&waiting, &answered))?;
        Ok(Self { questions, overdue })
    }

    /// Asks about a statement, and waits at most [`ANSWER_TIMEOUT`].
    pub(super) fn verdict(&self, part: &Part<'_>) -> Verdict {
        if !within_limits(&part.facts.effort) {
            return Verdict::TooHard;
        }
        let mut text = Vec::new();
        if !normalise(Simpler::new(part.tokens()), &mut text, TEXT_LIMIT_BYTES) {
            return Verdict::TooHard;
        }
        // Bytes that are no UTF-8 can only be in names now, where one letter is as good as another.
        self.ask(String::from_utf8_lossy(&text).into_owned())
    }

    fn ask(&self, text: String) -> Verdict {
        if self.overdue.load(Ordering::Relaxed) {
            return Verdict::Unanswered;
        }
        let (answer, answers) = mpsc::sync_channel(1);
        if self.questions.try_send(Question { text, answer }).is_err() {
            return Verdict::Unanswered;
        }
        match answers.recv_timeout(ANSWER_TIMEOUT) {
            Ok(verdict) => verdict,
            Err(RecvTimeoutError::Timeout) => {
                self.overdue.store(true, Ordering::Relaxed);
                Verdict::Unanswered
            }
            Err(RecvTimeoutError::Disconnected) => Verdict::Unanswered,
        }
    }
}

fn answer_all(waiting: &Receiver<Question>, overdue: &AtomicBool) {
    for Question { text, answer } in waiting {
        let verdict = panic::catch_unwind(AssertUnwindSafe(|| parse(&text)));
        overdue.store(false, Ordering::Relaxed);
        // Whoever asked may have stopped waiting.
        let _ = answer.try_send(verdict.unwrap_or(Verdict::Unknown));
    }
}

fn parse(text: &str) -> Verdict {
    let dialect = MySqlDialect {};
    let parser = Parser::new(&dialect).with_recursion_limit(RECURSION_LIMIT);
    let statements = parser.try_with_sql(text).and_then(|mut parser| parser.parse_statements());
    match statements {
        Ok(statements) if shape::reads_only(&statements) => Verdict::Reads,
        Ok(_) => Verdict::Other,
        Err(_) => Verdict::Unknown,
    }
}

fn within_limits(effort: &Effort) -> bool {
    effort.joins <= JOINS_LIMIT
        && effort.unions <= UNIONS_LIMIT
        && effort.depth <= DEPTH_LIMIT
        && effort.prefixes <= PREFIXES_LIMIT
        && effort.terms <= TERMS_LIMIT
}
