//! Tables of what faults cost, as tests measured it: `make soak` has them written into docs/cluster.md, each between two
//! lines that name it.

use std::path::Path;
use std::sync::Mutex;

/// Rows of this process, each with its table.
static ROWS: Mutex<Vec<(&str, String)>> = Mutex::new(Vec::new());
/// One test writes to the document at a time.
static DOCUMENT: Mutex<()> = Mutex::new(());

/// Adds a row with these cells to the table of that name.
pub(crate) fn row(table: &'static str, cells: &[&str]) {
    let row = format!("| {} |\n", cells.join(" | "));
    eprint!("{table}: {row}");
    ROWS.lock().unwrap().push((table, row));
}

/// Puts the rows of that table into the document, under these heads, when all of them are there: several tests may give
/// some. Only where all faults are made.
pub(crate) fn publish_rows(table: &'static str, heads: &[&str], all: usize) {
    let rows = ROWS.lock().unwrap();
    let rows = rows.iter().filter(|(of, _)| *of == table).map(|(_, row)| row.as_str());
    if rows.clone().count() < all {
        return;
    }
    let rule = format!("|{}\n", "---|".repeat(heads.len()));
    let text = format!("| {} |\n{rule}{}", heads.join(" | "), rows.collect::<String>());
    publish(table, &text);
}

/// Puts the text into the document in the place of the one before; only where all faults are made.
pub(crate) fn publish(table: &str, text: &str) {
    if std::env::var_os("SOAK_MINUTES").is_none() || std::env::var_os("SOAK_FAULT").is_some() {
        return;
    }
    let _one_at_a_time = DOCUMENT.lock().unwrap();
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cluster.md");
    let all = std::fs::read_to_string(&document).unwrap();
    let [begin, end] =
        ["begin", "end"].map(|edge| format!("<!-- {table}, measured by `make soak`: {edge} -->\n"));
    let (before, rest) = all.split_once(&begin).expect("the line where the table begins");
    let (_, after) = rest.split_once(&end).expect("the line where the table ends");
    std::fs::write(&document, format!("{before}{begin}{text}{end}{after}")).unwrap();
}
