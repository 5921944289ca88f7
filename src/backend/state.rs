//! What a session set and a server connection has: schema, variables, options. Compared by hash,
//! brought together by commands that are sent ahead of the session's own.

use std::hash::{BuildHasher, Hasher};
use std::rc::Rc;

use xxhash_rust::xxh3::Xxh3Builder;

/// Variables that one session may have set, at most; more close it with an error.
pub const MAX_VARIABLES: usize = 256;

/// Not a variable: the collation that a login, or SET NAMES .. COLLATE, gave to the client's character
/// sets, where it is not their own. Metadata of results shows it, no variable does.
pub const NAMES: &[u8] = b"names";

/// The variables that SET NAMES sets.
const CLIENT_CHARSETS: [&[u8]; 3] =
    [b"character_set_client", b"character_set_connection", b"character_set_results"];

/// A variable's name and value.
type Entry = (Box<[u8]>, Box<[u8]>);

/// Session variables as the server's trackers reported them, sorted by name. Immutable: a change
/// makes a new one, so that sessions and connections share it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Variables {
    entries: Vec<Entry>,
    hash: u64,
}

impl Variables {
    /// What a login with the collation sets: the four character set variables. Unknown ids set nothing.
    pub fn of_collation(id: u8) -> Self {
        let collation = mysql_common::collations::CollationId::from(u16::from(id));
        let collation = mysql_common::collations::Collation::resolve(collation);
        let charset = match collation.charset() {
            "utf8" => "utf8mb3",
            other => other,
        };
        let name = collation.collation().replace("utf8_", "utf8mb3_");
        if charset.is_empty() || charset == "UNKNOWN_CHARSET" || name.starts_with("UNKNOWN") {
            return Self::default();
        }
        let mut entries: Vec<(&[u8], &[u8])> = vec![
            (b"character_set_client", charset.as_bytes()),
            (b"character_set_connection", charset.as_bytes()),
            (b"character_set_results", charset.as_bytes()),
            (b"collation_connection", name.as_bytes()),
        ];
        if !collation.is_default() {
            entries.push((NAMES, name.as_bytes()));
        }
        Self::default().with(&entries)
    }

    /// The value of a variable that was set.
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        let at = self.entries.binary_search_by(|(have, _)| have.as_ref().cmp(name)).ok()?;
        self.entries.get(at).map(|(_, value)| value.as_ref())
    }

    /// How many were set.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing was set.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// With these changes made. A character set without its collation forgets the collation: the
    /// server then takes the character set's own.
    #[must_use]
    pub fn with(&self, changes: &[(&[u8], &[u8])]) -> Self {
        let mut entries = self.entries.clone();
        if changes.iter().any(|(name, _)| CLIENT_CHARSETS.contains(name)) {
            entries.retain(|(name, _)| name.as_ref() != NAMES);
        }
        let sets = |name: &[u8]| changes.iter().any(|(changed, _)| *changed == name);
        if sets(b"character_set_connection") && !sets(b"collation_connection") {
            entries.retain(|(name, _)| name.as_ref() != b"collation_connection");
        }
        for (name, value) in changes {
            match entries.binary_search_by(|(have, _)| have.as_ref().cmp(name)) {
                Ok(at) => {
                    if let Some(entry) = entries.get_mut(at) {
                        entry.1 = Box::from(*value);
                    }
                }
                Err(at) => entries.insert(at, (Box::from(*name), Box::from(*value))),
            }
        }
        let hash = hash(&entries);
        Self { entries, hash }
    }

    /// Whether both hold the same.
    pub fn same(&self, other: &Self) -> bool {
        self.hash == other.hash && self.entries == other.entries
    }

    /// The SET statement that turns `self` (what the connection has) into `wanted`; `None` when
    /// they are the same. Character sets come first and the collation last, as each overrides others.
    pub fn difference(&self, wanted: &Self) -> Option<Vec<u8>> {
        if self.same(wanted) {
            return None;
        }
        let mut parts: Vec<(u8, Vec<u8>)> = Vec::new();
        let names = wanted.get(NAMES);
        let names_move = self.get(NAMES) != names;
        if let Some(collation) = names.filter(|_| names_move) {
            let charset = charset_of(collation);
            parts.push((0, [b"NAMES ".as_slice(), charset, b" COLLATE ", collation].concat()));
        }
        for (name, _) in &self.entries {
            let is_apart = matches!(name.as_ref(), b"collation_connection" | NAMES);
            if wanted.get(name).is_none() && !is_apart {
                parts.push((rank(name), assignment(name, b"DEFAULT")));
            }
        }
        let charset_moves =
            self.get(b"character_set_connection") != wanted.get(b"character_set_connection");
        let collation_gone = self.get(b"collation_connection").is_some()
            && wanted.get(b"collation_connection").is_none();
        // What NAMES set is not to be set again: that would take its collation away.
        let named = names.filter(|_| names_move).map(charset_of);
        for (name, value) in wanted.entries.iter().filter(|(name, _)| name.as_ref() != NAMES) {
            let have = self.get(name);
            let differs = match (name.as_ref(), named) {
                (charset, Some(named)) if CLIENT_CHARSETS.contains(&charset) => {
                    value.as_ref() != named
                }
                (charset, None) if names_move && CLIENT_CHARSETS.contains(&charset) => true,
                (b"collation_connection", _) => charset_moves || names_move || have != Some(value),
                (b"character_set_connection", _) => collation_gone || have != Some(value),
                _ => have != Some(value),
            };
            if differs {
                parts.push((rank(name), assignment(name, &value_of(name, value))));
            }
        }
        parts.sort_by_key(|part| part.0);
        let body: Vec<Vec<u8>> = parts.into_iter().map(|part| part.1).collect();
        (!body.is_empty()).then(|| [b"SET ".as_slice(), &body.join(b", ".as_slice())].concat())
    }
}

/// The character set that a collation belongs to: its name up to the first `_`.
fn charset_of(collation: &[u8]) -> &[u8] {
    collation.split(|byte| *byte == b'_').next().unwrap_or_default()
}

fn hash(entries: &[Entry]) -> u64 {
    let mut hasher = Xxh3Builder::new().build_hasher();
    for (name, value) in entries {
        hasher.write_usize(name.len());
        hasher.write(name);
        hasher.write_usize(value.len());
        hasher.write(value);
    }
    hasher.finish()
}

fn rank(name: &[u8]) -> u8 {
    match name {
        b"collation_connection" => 3,
        name if name.starts_with(b"character_set_") => 2,
        _ => 1,
    }
}

fn assignment(name: &[u8], value: &[u8]) -> Vec<u8> {
    [b"SESSION `".as_slice(), name, b"`=", value].concat()
}

/// The value as SQL. `character_set_results` is reported empty when it is NULL (no conversion).
fn value_of(name: &[u8], value: &[u8]) -> Vec<u8> {
    match (name, value) {
        (b"character_set_results", b"") => b"NULL".to_vec(),
        _ => literal(value),
    }
}

/// The value as SQL: numbers bare (a quoted one is refused by numeric variables), everything else in
/// hexadecimal, which neither `sql_mode` nor the client's character set can change the meaning of.
fn literal(value: &[u8]) -> Vec<u8> {
    let digits = value.strip_prefix(b"-").unwrap_or(value);
    let is_number = !digits.is_empty()
        && digits.iter().all(|b| b.is_ascii_digit() || *b == b'.')
        && digits.iter().filter(|b| **b == b'.').count() <= 1;
    if is_number {
        return value.to_vec();
    }
    if value.iter().all(|b| b.is_ascii_graphic() && !matches!(b, b'\'' | b'\\') || *b == b' ') {
        return [b"'".as_slice(), value, b"'"].concat();
    }
    let hex: String = value.iter().map(|b| format!("{b:02x}")).collect();
    format!("_utf8mb4 x'{hex}'").into_bytes()
}

/// What a server connection is in, or a session wants it to be in.
#[derive(Debug, Clone)]
pub struct State {
    /// The current schema; `None` when none was chosen.
    pub schema: Option<Rc<[u8]>>,
    /// Session variables.
    pub variables: Rc<Variables>,
    /// CLIENT_MULTI_STATEMENTS as COM_SET_OPTION last left it.
    pub multi_statements: bool,
}

impl State {
    /// Whether nothing need be sent to turn one into the other.
    pub fn same(&self, other: &Self) -> bool {
        self.schema == other.schema
            && self.multi_statements == other.multi_statements
            && (Rc::ptr_eq(&self.variables, &other.variables)
                || self.variables.same(&other.variables))
    }

    /// Whether commands can turn `self` into `wanted`: a chosen schema cannot be un-chosen.
    pub fn can_become(&self, wanted: &Self) -> bool {
        self.schema.is_none() || wanted.schema.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Variables {
        let pairs: Vec<(&[u8], &[u8])> =
            pairs.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
        Variables::default().with(&pairs)
    }

    #[track_caller]
    fn check(have: &[(&str, &str)], want: &[(&str, &str)], sql: Option<&str>) {
        let got = variables(have).difference(&variables(want));
        assert_eq!(got.as_deref().map(|s| String::from_utf8_lossy(s).into_owned()).as_deref(), sql);
    }

    #[test]
    fn differences() {
        check(&[("a", "1")], &[("a", "1")], None);
        check(
            &[],
            &[("sql_mode", "ANSI,TRADITIONAL")],
            Some("SET SESSION `sql_mode`='ANSI,TRADITIONAL'"),
        );
        check(&[], &[("a", "-12.5"), ("b", "")], Some("SET SESSION `a`=-12.5, SESSION `b`=''"));
        check(&[("a", "1")], &[], Some("SET SESSION `a`=DEFAULT"));
        check(&[], &[("a", "it's")], Some("SET SESSION `a`=_utf8mb4 x'69742773'"));
    }

    #[test]
    fn the_collation_comes_after_its_character_set() {
        check(
            &[("character_set_connection", "latin1"), ("collation_connection", "latin1_bin")],
            &[("character_set_connection", "utf8mb4"), ("collation_connection", "utf8mb4_bin")],
            Some(
                "SET SESSION `character_set_connection`='utf8mb4', SESSION `collation_connection`='utf8mb4_bin'",
            ),
        );
        check(
            &[("character_set_connection", "latin1"), ("collation_connection", "latin1_bin")],
            &[("character_set_connection", "latin1")],
            Some("SET SESSION `character_set_connection`='latin1'"),
        );
    }

    #[test]
    fn the_collation_of_a_login_is_more_than_its_variables_tell() {
        let login = Variables::of_collation(45);
        let named = login.with(&[
            (b"character_set_client", b"utf8mb4"),
            (b"character_set_connection", b"utf8mb4"),
            (b"character_set_results", b"utf8mb4"),
        ]);
        let there = String::from_utf8(login.difference(&named).unwrap()).unwrap();
        assert_eq!(
            there,
            "SET SESSION `character_set_client`='utf8mb4', SESSION `character_set_connection`='utf8mb4', \
             SESSION `character_set_results`='utf8mb4'"
        );
        let from_latin1 = Variables::of_collation(8).difference(&login).unwrap();
        assert_eq!(
            String::from_utf8(from_latin1).unwrap(),
            "SET NAMES utf8mb4 COLLATE utf8mb4_general_ci, SESSION `collation_connection`='utf8mb4_general_ci'"
        );
        let back = String::from_utf8(named.difference(&login).unwrap()).unwrap();
        assert_eq!(
            back,
            "SET NAMES utf8mb4 COLLATE utf8mb4_general_ci, SESSION `collation_connection`='utf8mb4_general_ci'"
        );
    }

    #[test]
    fn set_names_forgets_the_old_collation() {
        let before = Variables::of_collation(255);
        assert_eq!(before.get(b"collation_connection"), Some(b"utf8mb4_0900_ai_ci".as_slice()));
        let after = before.with(&[(b"character_set_connection", b"latin1")]);
        assert_eq!(after.get(b"collation_connection"), None);
        assert_eq!(after.get(b"character_set_client"), Some(b"utf8mb4".as_slice()));
    }

    #[test]
    fn old_names_of_utf8_are_not_replayed() {
        let old = Variables::of_collation(33);
        assert_eq!(old.get(b"character_set_client"), Some(b"utf8mb3".as_slice()));
        assert_eq!(old.get(b"collation_connection"), Some(b"utf8mb3_general_ci".as_slice()));
    }
}
