//! Where passwords stand in a file, so that no error message shows one.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::nearest::nearest;

/// The byte ranges of passwords: by what was understood of the file, and by its bare lines for the
/// parts that were not.
pub(super) fn find(text: &str, root: &DeTable<'_>) -> Vec<Range<usize>> {
    let mut hidden = Vec::new();
    in_table(root, &mut hidden);
    in_lines(text, &mut hidden);
    hidden
}

fn in_table(table: &DeTable<'_>, hidden: &mut Vec<Range<usize>>) {
    for (key, value) in table {
        if is_secret(key.get_ref()) {
            hidden.push(value.span());
        } else {
            in_value(value.get_ref(), hidden);
        }
    }
}

fn in_value(value: &DeValue<'_>, hidden: &mut Vec<Range<usize>>) {
    match value {
        DeValue::Table(table) => in_table(table, hidden),
        DeValue::Array(items) => items.iter().for_each(|item| in_value(item.get_ref(), hidden)),
        _ => {}
    }
}

/// Lines `key = ..` whose key means a password: the rest of the line, whatever it is. The recovery
/// from a syntax error may have lost such a line or given its value a wrong range.
fn in_lines(text: &str, hidden: &mut Vec<Range<usize>>) {
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        if let Some((key, _)) = line.split_once('=') {
            let name = key.trim().trim_matches(['"', '\'']);
            let name = name.rsplit('.').next().unwrap_or(name).trim();
            if is_secret(name) {
                hidden.push(start + key.len() + 1..start + line.len());
            }
        }
        start += line.len();
    }
}

/// The key means a password, perhaps with a typo, and not the place of one.
fn is_secret(key: &str) -> bool {
    let key = key.to_lowercase();
    if key.ends_with("_file") || key.ends_with("_env") {
        return false;
    }
    key.contains("pass")
        || key.contains("secret")
        || nearest(&key, ["password", "application_password"]).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_found_in_good_and_broken_text() {
        for text in [
            "password = \"geheim\"",
            "[monitor]\npasword=\"geheim\"",
            "[monitor\npassword = \"geheim",
            "application_password = '''\ngeheim'''",
            "monitor = { user = \"a\", password = \"geheim\", x = 1 }",
            "monitor.password = \"geheim\"",
            "[[users]]\npassphrase = \"geheim\"",
        ] {
            let (root, _) = DeTable::parse_recoverable(text);
            let at = text.find("geheim").unwrap();
            let hidden = find(text, root.get_ref());
            assert!(hidden.iter().any(|range| range.start <= at && at + 6 <= range.end), "{text}");
        }
    }

    #[test]
    fn places_of_passwords_are_no_secret() {
        let text = "password_file = \"a\"\npassword_env = \"b\"\nlisten = \"c\"";
        let (root, _) = DeTable::parse_recoverable(text);
        assert!(find(text, root.get_ref()).is_empty());
    }
}
