//! Values that stand in a statement: the id of a KILL, the charset of a SET NAMES. None means that
//! the text does not say it for certain.

use super::lexer::Lexer;
use super::part::Part;
use super::rules;
use super::statement::LexMode;
use super::token::{Token, TokenKind};
use super::variables;

/// `KILL [QUERY | CONNECTION] id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kill {
    /// Only the statement that runs is ended, not its session.
    pub query: bool,
    pub id: u64,
}

/// `SET NAMES x [COLLATE y]` or `SET CHARACTER SET x`. Both values None: DEFAULT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetNames {
    pub charset: Option<Vec<u8>>,
    pub collation: Option<Vec<u8>>,
    /// SET NAMES sets `character_set_connection` to the same; SET CHARACTER SET to the schema's.
    pub connection_too: bool,
}

/// The id of a KILL with a plain number. None for expressions and MariaDB's KILL USER.
pub fn kill_target(sql: &[u8]) -> Option<Kill> {
    let part = only_part(sql, LexMode::default())?;
    let mut at = 1;
    while part.is_any(at, &["hard", "soft"]) {
        at += 1;
    }
    let query = part.is(at, "query");
    if query || part.is(at, "connection") {
        at += 1;
    }
    let id = part.token(at).filter(|token| token.kind == TokenKind::Number)?;
    let id = std::str::from_utf8(id.text).ok()?.parse().ok()?;
    let ends = part.length() == u64::try_from(at).ok()?.checked_add(1)?;
    (part.is(0, "kill") && ends).then_some(Kill { query, id })
}

/// What a SET NAMES or SET CHARACTER SET sets, when it stands first in its SET and nothing after it
/// sets a charset or collation too.
pub fn set_names(sql: &[u8], mode: LexMode) -> Option<SetNames> {
    let part = only_part(sql, mode)?;
    if !part.is(0, "set") {
        return None;
    }
    let (connection_too, mut at) = if part.is(1, "names") {
        (true, 2)
    } else if part.is(1, "charset") {
        (false, 2)
    } else if part.is_any(1, &["character", "char"]) && part.is(2, "set") {
        (false, 3)
    } else {
        return None;
    };
    let charset = charset_name(part.token(at)?)?;
    at += 1;
    let mut collation = None;
    if connection_too && part.is(at, "collate") {
        collation = charset_name(part.token(at + 1)?)?;
        at += 2;
    }
    let certain = match part.token(at) {
        None => true,
        Some(token) => {
            token.kind == TokenKind::Comma
                && !part.tokens().skip(at).any(|token| is_charset(&token))
        }
    };
    certain.then_some(SetNames { charset, collation, connection_too })
}

/// The schema of `USE name`.
pub fn use_schema(sql: &[u8]) -> Option<Vec<u8>> {
    let part = only_part(sql, LexMode::default())?;
    let name = part.token(1).filter(|token| token.is_name())?;
    (part.is(0, "use") && part.length() == 2).then(|| name.name().into_owned())
}

/// The column name that MySQL gives the result of exactly `SELECT CONNECTION_ID()`: its alias, or
/// the expression as written.
pub fn select_connection_id_alias(sql: &[u8]) -> Option<Vec<u8>> {
    select_call_alias(sql, "connection_id")
}

/// The column name of exactly `SELECT function()`, for a function without arguments (in small
/// letters); `None` for any other statement.
pub fn select_call_alias(sql: &[u8], function: &'static str) -> Option<Vec<u8>> {
    let part = only_part(sql, LexMode::default())?;
    if !rules::is_bare_call(&part, function) {
        return None;
    }
    if part.length() > 4 {
        let alias = part.tokens().last()?;
        return Some(alias.name().into_owned());
    }
    let (mut lexer, end) = part.place();
    lexer.next_token()?;
    let name = lexer.next_token()?;
    let start = lexer.position().checked_sub(name.text.len())?;
    Some(sql.get(start..end)?.to_vec())
}

/// The statement, when there is exactly one and nothing about it is doubtful.
fn only_part(sql: &[u8], mode: LexMode) -> Option<Part<'_>> {
    let mut lexer = Lexer::new(sql, mode);
    let part = Part::read(&mut lexer)?;
    let alone = Part::read(&mut lexer).is_none() && !lexer.trouble().any();
    alone.then_some(part)
}

/// The inner None is DEFAULT.
#[expect(clippy::option_option, reason = "no name, the default, and a name are three things")]
fn charset_name(token: &Token<'_>) -> Option<Option<Vec<u8>>> {
    match token.kind {
        TokenKind::Word if token.is_word("default") => Some(None),
        TokenKind::Word | TokenKind::String | TokenKind::Quoted => {
            Some(Some(token.name().to_ascii_lowercase()))
        }
        _ => None,
    }
}

fn is_charset(token: &Token<'_>) -> bool {
    let name = match token.kind {
        TokenKind::SystemVariable => variables::scope_and_name(token.text).1,
        _ => token.text,
    };
    let name = name.to_ascii_lowercase();
    let bare = name.strip_prefix(b"`").unwrap_or(&name);
    variables::is_charset(bare) || matches!(bare, b"names" | b"charset" | b"character" | b"char")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills() {
        let check = |sql: &str, expected: Option<(bool, u64)>| {
            let expected = expected.map(|(query, id)| Kill { query, id });
            assert_eq!(kill_target(sql.as_bytes()), expected, "{sql}");
        };
        check("KILL 5", Some((false, 5)));
        check("kill connection 18446744073709551615;", Some((false, u64::MAX)));
        check("KILL /* x */ QUERY 7 -- y", Some((true, 7)));
        check("KILL SOFT QUERY 7", Some((true, 7)));
        check("KILL 18446744073709551616", None);
        check("KILL -1", None);
        check("KILL 0x10", None);
        check("KILL 1 + 1", None);
        check("KILL CONNECTION_ID()", None);
        check("KILL USER a", None);
        check("KILL", None);
        check("KILL 1; KILL 2", None);
        check("KILL 1 /*!99999 + 1 */", None);
    }

    #[test]
    fn charsets() {
        let check = |sql: &str, expected: Option<(&str, &str, bool)>| {
            let some = |text: &str| (!text.is_empty()).then(|| text.as_bytes().to_vec());
            let expected = expected.map(|(charset, collation, connection_too)| SetNames {
                charset: some(charset),
                collation: some(collation),
                connection_too,
            });
            assert_eq!(set_names(sql.as_bytes(), LexMode::default()), expected, "{sql}");
        };
        check("SET NAMES utf8mb4", Some(("utf8mb4", "", true)));
        check(
            "set names 'UTF8MB4' collate \"utf8mb4_bin\";",
            Some(("utf8mb4", "utf8mb4_bin", true)),
        );
        check("SET NAMES binary", Some(("binary", "", true)));
        check("SET NAMES DEFAULT", Some(("", "", true)));
        check("SET CHARACTER SET latin1", Some(("latin1", "", false)));
        check("SET CHARSET DEFAULT", Some(("", "", false)));
        check("SET NAMES utf8mb4, sql_mode = 'ANSI'", Some(("utf8mb4", "", true)));
        check("SET NAMES utf8mb4, collation_connection = 'x'", None);
        check("SET NAMES utf8mb4, @@session.`character_set_client` = 'x'", None);
        check("SET NAMES utf8mb4, NAMES latin1", None);
        check("SET NAMES @x", None);
        check("SET NAMES utf8mb4 garbage", None);
        check("SET NAMES utf8mb4; SELECT 1", None);
        check("SET NAMES", None);
        check("SET a = 1, NAMES utf8mb4", None);
    }

    #[test]
    fn schemas() {
        let check = |sql: &str, expected: Option<&str>| {
            let expected = expected.map(|name| name.as_bytes().to_vec());
            assert_eq!(use_schema(sql.as_bytes()), expected, "{sql}");
        };
        check("USE db", Some("db"));
        check("/* c */ use `a``b`;", Some("a`b"));
        check("USE", None);
        check("USE a b", None);
        check("USE 'a'", None);
    }

    #[test]
    fn column_names() {
        let check = |sql: &str, expected: Option<&str>| {
            let expected = expected.map(|name| name.as_bytes().to_vec());
            assert_eq!(select_connection_id_alias(sql.as_bytes()), expected, "{sql}");
        };
        check("SELECT CONNECTION_ID()", Some("CONNECTION_ID()"));
        check("select  connection_id ( ) ;", Some("connection_id ( )"));
        check("SELECT CONNECTION_ID() AS id", Some("id"));
        check("SELECT CONNECTION_ID() `my id`", Some("my id"));
        check("SELECT CONNECTION_ID() 'x'", Some("x"));
        check("SELECT CONNECTION_ID() + 1", None);
        check("SELECT CONNECTION_ID() FROM t", None);
        check("SELECT CONNECTION_ID() INTO", None);
    }
}
