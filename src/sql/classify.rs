//! From text to [`Statement`]: cuts the text into its statements, judges each by the rules of its
//! verb, and unites the judgements.

use super::class::Class;
use super::fingerprint::hides_quotes;
use super::lexer::Lexer;
use super::parser::ParserThread;
use super::part::Part;
use super::rules;
use super::statement::{Kind, LexMode, Needs, Pins, Statement};

/// Statements of one text that are proven reads one by one; a text with more is not worth the
/// parser's time.
const PROVEN_PARTS_LIMIT: u32 = 16;

/// A judgement, and whether it would be the same the next time.
#[derive(Debug)]
pub(super) struct Judged {
    pub statement: Statement,
    /// False when the parser did not answer: do not remember it.
    pub settled: bool,
}

/// Judges a text. Reads every byte once or twice, and takes memory for a few tokens only.
pub(super) fn judge(sql: &[u8], mode: LexMode, parser: &ParserThread) -> Judged {
    let mut lexer = Lexer::new(sql, mode);
    let mut whole: Option<Class> = None;
    let mut count = 0_u32;
    while let Some(part) = Part::read(&mut lexer) {
        count = count.saturating_add(1);
        // A write stays one, whatever else the parser could say.
        let decided = whole.as_ref().is_some_and(|class| class.kind == Kind::Write);
        let may_ask = count <= PROVEN_PARTS_LIMIT && !decided;
        let class = rules::judge(&part, may_ask.then_some(parser));
        whole = Some(match whole {
            None => class,
            Some(before) => unite(before, class),
        });
    }
    let mut class = whole.unwrap_or_else(|| Class::new(Kind::PrimaryRead, "empty statement"));
    if hides_quotes(sql, mode) {
        class = class.at_least_write("the client's character set can hide quotes in it");
    }
    if count > 1 {
        class = class.need(Needs::MULTI);
    }
    let Class { kind, pins, unpins, needs, reason, settled } = class;
    Judged { statement: Statement { kind, pins, unpins, needs, count, reason }, settled }
}

/// Two statements of one text go to one place: the one that serves both.
///
/// Pins unite. So do unpins, which whoever keeps them must apply first:
/// `RELEASE_ALL_LOCKS(); GET_LOCK()` holds a lock afterwards, and for the other order holding on is
/// merely slow.
fn unite(a: Class, b: Class) -> Class {
    let (kind, reason) = match (a.kind, b.kind) {
        (Kind::Denied, _) => (Kind::Denied, a.reason),
        (_, Kind::Denied) => (Kind::Denied, b.reason),
        // The id in it is Weir's: only a KILL that stands alone can be mapped.
        (Kind::Kill, _) | (_, Kind::Kill) => (Kind::Denied, "KILL among other statements"),
        (Kind::Read, Kind::Read) => (Kind::Read, "reads only"),
        (Kind::PrimaryRead | Kind::ConnectionId, Kind::Read) => (Kind::PrimaryRead, a.reason),
        (
            Kind::Read | Kind::PrimaryRead | Kind::ConnectionId,
            Kind::PrimaryRead | Kind::ConnectionId,
        ) => (Kind::PrimaryRead, b.reason),
        (Kind::Write, _) => (Kind::Write, a.reason),
        (_, Kind::Write) => (Kind::Write, b.reason),
        _ => (Kind::Write, "several statements, one of them about the session or transaction"),
    };
    let pins: Pins = a.pins.with(b.pins);
    Class {
        kind,
        pins,
        unpins: a.unpins.with(b.unpins),
        needs: a.needs.with(b.needs),
        reason,
        settled: a.settled && b.settled,
    }
}
