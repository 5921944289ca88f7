//! From the bytes of a statement to what it is. No I/O.
//!
//! [`Classifier::classify`] is the way in. It takes a fingerprint of the text (`lexer`,
//! `normalise`, `fingerprint`), looks it up, and on a miss judges the text: `part` cuts it into
//! statements, `scan` gathers what can be seen in their tokens, `rules` decides by verb, and
//! `parser` has the last word on what looks like a read. Whatever is not proven to be read-only
//! goes to the primary.

mod bytes;
mod cache;
mod class;
mod classify;
mod extract;
mod fingerprint;
mod functions;
mod lexer;
mod normalise;
mod parser;
mod part;
mod rules;
mod scan;
mod shape;
mod simplify;
mod statement;
mod token;
mod variables;

#[cfg(test)]
mod tests;

pub use cache::Classifier;
pub use extract::{
    Kill, SetNames, kill_target, select_call_alias, select_connection_id_alias, set_names,
    use_schema,
};
pub use fingerprint::{FINGERPRINT_LIMIT_BYTES, fingerprint};
pub use lexer::{Lexer, Trouble};
pub use parser::ParserThread;
pub use statement::{Kind, LexMode, Needs, Pins, Statement};
pub use token::{Token, TokenKind};
