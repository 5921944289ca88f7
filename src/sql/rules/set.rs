//! SET in all its forms.
//!
//! Source: MySQL manual 9.7, "SET Syntax for Variable Assignment", "SET TRANSACTION Statement";
//! MariaDB knowledge base, "SET STATEMENT".

use super::super::class::Class;
use super::super::parser::ParserThread;
use super::super::part::Part;
use super::super::statement::{Kind, Needs, Pins};
use super::super::token::{Folded, Token, TokenKind};
use super::super::variables;

/// Judges a SET by each of its targets: `SET a = 1, GLOBAL b = 2, @c = 3`.
pub(super) fn set(part: &Part<'_>, parser: Option<&ParserThread>) -> Class {
    if part.is(1, "statement") {
        return set_statement(part, parser);
    }
    if let Some(class) = whole_form(part) {
        return class;
    }
    let mut class = Class::new(Kind::Session, "sets session variables");
    let mut targets = Targets { tokens: part.tokens().skip(1), depth: 0 };
    while let Some(tokens) = targets.next_target() {
        class = target(class, &tokens);
    }
    let class = super::with_effects(class, &part.facts);
    if part.facts.unknown_function || part.facts.writing_function {
        return class.at_least_write("sets a variable from a function that may write");
    }
    class
}

/// The forms that are no list of assignments.
fn whole_form(part: &Part<'_>) -> Option<Class> {
    if part.is(1, "password") || part.are(1, &["default", "role"]) {
        return Some(Class::write("changes accounts"));
    }
    if part.is(1, "role") {
        return Some(Class::new(Kind::Session, "sets the session's roles"));
    }
    if part.are(1, &["resource", "group"]) {
        let class = Class::write("moves threads between resource groups");
        let other_threads = part.tokens().any(|token| token.is_word("for"));
        return Some(if other_threads { class } else { class.pin(Pins::VARIABLE) });
    }
    if part.is(1, "transaction") {
        let class = Class::new(Kind::Session, "sets the next transaction's characteristics");
        return Some(class.pin(Pins::NEXT_TRANSACTION));
    }
    if part.is(2, "transaction") {
        let session = part.is_any(1, &["session", "local"]);
        return Some(if session {
            Class::new(Kind::Session, "sets how the session's transactions behave")
        } else {
            Class::write("sets a variable of the whole server")
        });
    }
    None
}

/// Adds what one target asks for.
fn target(class: Class, tokens: &[Option<Token<'_>>; 3]) -> Class {
    let [Some(first), second, third] = tokens else {
        return class;
    };
    match first.kind {
        TokenKind::UserVariable => class.pin(Pins::USER_VARIABLE),
        TokenKind::SystemVariable => {
            let (global, name) = variables::scope_and_name(first.text);
            let name = Folded::new(name);
            let bare = first.text.len() == name.as_bytes().len() + 2;
            if bare && variables::is_transaction_characteristic(name.as_bytes()) {
                return class.pin(Pins::NEXT_TRANSACTION);
            }
            variable(class, global, name.as_bytes())
        }
        _ if first.is_word("names") || first.is_word("charset") => class.need(Needs::CHARSET),
        _ if (first.is_word("character") || first.is_word("char"))
            && second.as_ref().is_some_and(|token| token.is_word("set")) =>
        {
            class.need(Needs::CHARSET)
        }
        TokenKind::Word | TokenKind::Quoted => {
            let name = |token: &Token<'_>| Folded::new(&token.name());
            let scoped = second.as_ref().filter(|token| token.is_name());
            match scoped {
                Some(second) if variables::is_global_scope(first.text) => {
                    variable(class, true, name(second).as_bytes())
                }
                Some(second) if variables::is_session_scope(first.text) => {
                    variable(class, false, name(second).as_bytes())
                }
                // `NEW.a = 1` in a trigger, a component's variable, or an error.
                _ if second.as_ref().is_some_and(|token| token.kind == TokenKind::Dot) => {
                    let name = third.as_ref().map_or_else(|| Folded::new(b""), name);
                    variable(class, false, name.as_bytes())
                }
                _ => variable(class, false, name(first).as_bytes()),
            }
        }
        _ => class.at_least_write("a SET that is not understood"),
    }
}

fn variable(class: Class, global: bool, name: &[u8]) -> Class {
    if global {
        return class.at_least_write("sets a variable of the whole server");
    }
    let class = if variables::binds_session(name) { class.pin(Pins::VARIABLE) } else { class };
    if variables::is_charset(name) { class.need(Needs::CHARSET) } else { class }
}

/// MariaDB's `SET STATEMENT a = 1 FOR ..` is what follows FOR, under other variables.
fn set_statement(part: &Part<'_>, parser: Option<&ParserThread>) -> Class {
    let (place, _) = part.place();
    if !place.mode().maria {
        return super::write(part, "a SET that is not understood");
    }
    let mut depth = 0_u32;
    let at = part.tokens().position(|token| {
        match token.kind {
            TokenKind::Open => depth = depth.saturating_add(1),
            TokenKind::Close => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && token.is_word("for")
    });
    let Some(at) = at else {
        return super::write(part, "a SET that is not understood");
    };
    if part.facts.unknown_function {
        return super::write(part, "calls a function that is not known to be read-only");
    }
    let inner = part.inner(at + 1);
    if inner.is(0, "set") {
        return super::write(&inner, "a SET that is not understood");
    }
    let class = super::by_verb(&inner, parser);
    match class.kind {
        Kind::Read | Kind::PrimaryRead | Kind::Previous | Kind::Write | Kind::Denied => class,
        Kind::ConnectionId => Class::primary("holds CONNECTION_ID() beside other things"),
        _ => class.at_least_write("a session or transaction statement under SET STATEMENT"),
    }
}

/// Walks the targets of a SET: what stands first, and after each comma that no parenthesis holds.
struct Targets<I> {
    tokens: I,
    depth: u32,
}

impl<'a, I: Iterator<Item = Token<'a>>> Targets<I> {
    /// The first tokens of the next assignment.
    fn next_target(&mut self) -> Option<[Option<Token<'a>>; 3]> {
        let mut first = [None; 3];
        let mut taken = 0_usize;
        loop {
            let Some(token) = self.tokens.next() else {
                return (taken > 0).then_some(first);
            };
            match token.kind {
                TokenKind::Open => self.depth = self.depth.saturating_add(1),
                TokenKind::Close => self.depth = self.depth.saturating_sub(1),
                TokenKind::Comma if self.depth == 0 && taken > 0 => return Some(first),
                _ => {}
            }
            if let Some(place) = first.get_mut(taken) {
                *place = Some(token);
            }
            taken += 1;
        }
    }
}
