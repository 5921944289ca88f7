//! Columns that line up, for a person at a terminal.

/// The rows as text, two blanks between columns, nothing after the last.
pub(super) fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (at, cell) in row.iter().enumerate() {
            let widest =
                rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max();
            line.push_str(&format!("{cell:<width$}  ", width = widest.unwrap_or(0)));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
