//! From the bytes of a statement to what it is. No I/O.

mod statement;

pub use statement::{Kind, LexMode, Needs, Pins, Statement};
