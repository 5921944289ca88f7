//! Rows as SQL that gives the same rows again, byte by byte. Pure.
//!
//! Both sides speak with `SET NAMES binary`, so that no text is converted on its way; a column's kind decides how
//! it is asked for and written.

use mysql_async::Value;

use super::super::accounts::name;

/// An INSERT is sent when it has grown to this, bytes; a single row may be larger.
const INSERT_BYTES: usize = 1 << 20;

/// One table, with all that is needed to fill another of the same definition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Table {
    pub schema: String,
    pub name: String,
    /// Without those that the server computes.
    pub columns: Vec<Column>,
    /// What the server estimates that its rows take.
    pub bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub name: String,
    pub kind: Kind,
}

/// How values of a column are asked for and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Digits, which need no quotes.
    Number,
    /// The number of the word instead of the word: exact, also for what is no word of the list.
    Word,
    /// As DOUBLE: the text of a FLOAT leaves digits out.
    Float,
    /// Its text is always utf8mb4, and wants to be called so.
    Json,
    /// The bytes as they are.
    Bytes,
}

impl Kind {
    /// Of `DATA_TYPE` in `information_schema.columns`.
    pub(super) fn of(data_type: &str) -> Self {
        match data_type {
            "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "decimal" | "year" => {
                Self::Number
            }
            "enum" | "set" => Self::Word,
            "float" => Self::Float,
            "json" => Self::Json,
            _ => Self::Bytes,
        }
    }
}

impl Table {
    /// "`app`.`orders`"
    pub(super) fn full_name(&self) -> String {
        format!("{}.{}", name(&self.schema), name(&self.name))
    }

    /// All rows, in any order.
    pub(super) fn select(&self) -> String {
        let columns: Vec<String> = self
            .columns
            .iter()
            .map(|column| {
                let name = name(&column.name);
                match column.kind {
                    Kind::Word => format!("CAST({name} AS UNSIGNED)"),
                    Kind::Float => format!("CAST({name} AS DOUBLE)"),
                    Kind::Number | Kind::Json | Kind::Bytes => name,
                }
            })
            .collect();
        // A table may have nothing but columns that the server computes.
        let columns = if columns.is_empty() { "1".to_owned() } else { columns.join(", ") };
        format!("SELECT {columns} FROM {}", self.full_name())
    }
}

/// Gathers rows into INSERT statements of bounded size.
#[derive(Debug)]
pub(super) struct Insert {
    head: Vec<u8>,
    kinds: Vec<Kind>,
    statement: Vec<u8>,
}

impl Insert {
    pub(super) fn new(table: &Table) -> Self {
        let columns: Vec<String> = table.columns.iter().map(|column| name(&column.name)).collect();
        let head = format!("INSERT INTO {} ({}) VALUES ", table.full_name(), columns.join(", "));
        let kinds = table.columns.iter().map(|column| column.kind).collect();
        Self { head: head.into_bytes(), kinds, statement: Vec::new() }
    }

    /// Adds a row as the text protocol gave it; a statement when it is long enough to be sent.
    pub(super) fn push(&mut self, row: &[Value]) -> Option<Vec<u8>> {
        if self.statement.is_empty() {
            self.statement.extend_from_slice(&self.head);
        } else {
            self.statement.push(b',');
        }
        self.statement.push(b'(');
        for (at, (kind, value)) in self.kinds.iter().zip(row).enumerate() {
            if at > 0 {
                self.statement.push(b',');
            }
            write(&mut self.statement, *kind, value);
        }
        self.statement.push(b')');
        if self.statement.len() < INSERT_BYTES { None } else { self.rest() }
    }

    /// What is left to be sent.
    pub(super) fn rest(&mut self) -> Option<Vec<u8>> {
        let statement = std::mem::take(&mut self.statement);
        (!statement.is_empty()).then_some(statement)
    }
}

/// One value as a literal; sessions here run with a sql_mode in which a backslash escapes.
fn write(to: &mut Vec<u8>, kind: Kind, value: &Value) {
    match (value, kind) {
        (Value::NULL, _) => to.extend_from_slice(b"NULL"),
        (Value::Bytes(digits), Kind::Number | Kind::Word) => to.extend_from_slice(digits),
        (Value::Bytes(bytes), Kind::Float | Kind::Json | Kind::Bytes) => {
            if kind == Kind::Json {
                to.extend_from_slice(b"_utf8mb4");
            }
            to.push(b'\'');
            for byte in bytes {
                match byte {
                    0 => to.extend_from_slice(b"\\0"),
                    b'\'' | b'\\' => to.extend_from_slice(&[b'\\', *byte]),
                    other => to.push(*other),
                }
            }
            to.push(b'\'');
        }
        // The text protocol has no others.
        (other, _) => to.extend_from_slice(other.as_sql(false).as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(kinds: &[(&str, &str)]) -> Table {
        let columns = kinds
            .iter()
            .map(|(name, kind)| Column { name: (*name).to_owned(), kind: Kind::of(kind) })
            .collect();
        Table { schema: "a".to_owned(), name: "t`".to_owned(), columns, bytes: 0 }
    }

    fn bytes(bytes: &[u8]) -> Value {
        Value::Bytes(bytes.to_vec())
    }

    #[test]
    fn columns_are_asked_for_by_kind() {
        let all = table(&[("n", "bigint"), ("e", "enum"), ("f", "float"), ("j", "json")]);
        assert_eq!(
            all.select(),
            "SELECT `n`, CAST(`e` AS UNSIGNED), CAST(`f` AS DOUBLE), `j` FROM `a`.`t```"
        );
        assert_eq!(table(&[]).select(), "SELECT 1 FROM `a`.`t```");
    }

    #[test]
    fn rows_become_literals() {
        let mut insert = Insert::new(&table(&[
            ("n", "decimal"),
            ("s", "set"),
            ("f", "float"),
            ("j", "json"),
            ("b", "blob"),
        ]));
        let row = [
            bytes(b"-1.50"),
            bytes(b"3"),
            bytes(b"-0"),
            bytes(br#"{"a":"\\"}"#),
            bytes(b"'\0\xff\\"),
        ];
        assert_eq!(insert.push(&row), None);
        assert_eq!(insert.push(&[const { Value::NULL }; 5]), None);
        let mut expected = b"INSERT INTO `a`.`t``` (`n`, `s`, `f`, `j`, `b`) VALUES ".to_vec();
        expected.extend_from_slice(br#"(-1.50,3,'-0',_utf8mb4'{"a":"\\\\"}','\'\0"#);
        expected.extend_from_slice(b"\xff\\\\'),(NULL,NULL,NULL,NULL,NULL)");
        assert_eq!(insert.rest(), Some(expected));
        assert_eq!(insert.rest(), None);
    }

    #[test]
    fn a_table_of_computed_columns_keeps_its_rows() {
        let mut insert = Insert::new(&table(&[]));
        insert.push(&[bytes(b"1")]);
        insert.push(&[bytes(b"1")]);
        assert_eq!(insert.rest().unwrap(), b"INSERT INTO `a`.`t``` () VALUES (),()");
    }

    #[test]
    fn statements_are_bounded() {
        let mut insert = Insert::new(&table(&[("b", "longblob")]));
        let half = [bytes(&vec![b'x'; INSERT_BYTES / 2])];
        assert_eq!(insert.push(&half), None);
        let full = insert.push(&half).unwrap();
        assert!(full.len() < INSERT_BYTES + 100, "{}", full.len());
        assert_eq!(insert.rest(), None);
        // One that is larger goes alone.
        assert!(insert.push(&[bytes(&vec![b'x'; 2 * INSERT_BYTES])]).is_some());
    }
}
