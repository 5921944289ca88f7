//! Option files of the operator's, by MySQL's rules
//! (<https://dev.mysql.com/doc/refman/8.4/en/option-files.html>).
//!
//! They are read here and their options handed to mysqld one by one, so that what was judged is what the
//! server gets, whatever else the image reads. Of the groups only those of the server count.

use std::path::Path;

use super::files;
use super::options::{self, MAX_OPTIONS, Refusal};
use super::section::Section;
use super::types::OptionFile;

/// The longest option file, in bytes.
const MAX_FILE_BYTES: u64 = 64 << 10;
/// Errors of one file that are told.
const MAX_TOLD: usize = 10;

/// The key `option_file` of a section: the file, read and judged; `None` when absent or wrong.
pub(super) fn read(section: &mut Section<'_>, one_node: bool) -> Option<OptionFile> {
    let (path, span) = section.path("option_file", "my.cnf")?;
    let problems = section.source.problems;
    let text = match files::read_text(&path, MAX_FILE_BYTES) {
        Ok(text) => text,
        Err(problem) => {
            let remedy = "name an option file; relative paths start at the configuration file";
            problems.add(span, format!("`option_file`: {problem}"), remedy);
            return None;
        }
    };
    let Parsed { options, errors } = parse(&text, one_node);
    for (line, Refusal { what, remedy }) in errors.into_iter().take(MAX_TOLD) {
        problems.add(span.clone(), format!("{}, line {line}: {what}", shown(&path)), remedy);
    }
    if options.len() > MAX_OPTIONS {
        let what = format!("{} has {} options", shown(&path), options.len());
        problems.add(span, what, format!("write {MAX_OPTIONS} options or fewer"));
    }
    Some(OptionFile { path, options })
}

fn shown(path: &Path) -> std::path::Display<'_> {
    path.display()
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Parsed {
    options: Vec<(String, String)>,
    /// Each with its line, from 1.
    errors: Vec<(usize, Refusal)>,
}

/// Which options a line belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Group {
    /// Before the first group.
    None,
    Server,
    /// Of client programs.
    Other,
}

fn parse(text: &str, one_node: bool) -> Parsed {
    let mut parsed = Parsed::default();
    let mut group = Group::None;
    for (number, line) in (1..).zip(text.lines()) {
        match line_of(line.trim(), &mut group, one_node) {
            Ok(Some(option)) => parsed.options.push(option),
            Ok(None) => {}
            Err(refusal) => parsed.errors.push((number, refusal)),
        }
    }
    parsed
}

fn line_of(
    line: &str,
    group: &mut Group,
    one_node: bool,
) -> Result<Option<(String, String)>, Refusal> {
    let refuse = |what: String, remedy: &str| Err(Refusal { what, remedy: remedy.to_owned() });
    if line.is_empty() || line.starts_with(['#', ';']) {
        return Ok(None);
    }
    if line.starts_with('!') {
        return refuse(format!("{line:?} names other files"), "write their lines into this file");
    }
    if let Some(rest) = line.strip_prefix('[') {
        let Some((name, _)) = rest.split_once(']') else {
            return refuse(format!("{line:?} has no closing bracket"), "write [mysqld]");
        };
        *group = match name.trim() {
            "mysqld" | "server" => Group::Server,
            name if name.starts_with("mysqld-") => {
                *group = Group::Other;
                let what = format!("[{name}] holds for one version of the server only");
                return refuse(what, "write its lines below [mysqld]");
            }
            _ => Group::Other,
        };
        return Ok(None);
    }
    match group {
        Group::None => {
            refuse(format!("{line:?} stands before any group"), "write [mysqld] above it")
        }
        Group::Other => Ok(None),
        Group::Server => option(line, one_node).map(Some),
    }
}

fn option(line: &str, one_node: bool) -> Result<(String, String), Refusal> {
    let line = without_comment(line);
    let (name, value) = match line.split_once('=') {
        Some((name, value)) => (name.trim(), unquoted(value.trim())),
        None => (line.trim(), bare(line.trim()).to_owned()),
    };
    options::judge(name, one_node)?;
    if value.chars().any(char::is_control) {
        return Err(Refusal {
            what: format!("the option {name} holds a line end or control character"),
            remedy: "remove it".to_owned(),
        });
    }
    Ok((name.to_owned(), value))
}

/// The value of an option that has none: those that switch something off or on by their name take none,
/// for others it means "on".
fn bare(name: &str) -> &'static str {
    if options::switches(name) { "" } else { "ON" }
}

/// A `#` outside of quotes ends the line.
fn without_comment(line: &str) -> &str {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (_, '\\') => escaped = true,
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            (None, '#') => return line.get(..at).unwrap_or(line),
            _ => {}
        }
    }
    line
}

/// Without quotes around it, and with MySQL's escapes undone.
fn unquoted(value: &str) -> String {
    let inner =
        ['\'', '"'].into_iter().find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote));
    let mut text = String::new();
    let mut chars = inner.unwrap_or(value).chars();
    while let Some(c) = chars.next() {
        let plain = match c {
            '\\' => match chars.next() {
                Some('b') => '\u{8}',
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('s') => ' ',
                Some('\\') | None => '\\',
                Some(other) => {
                    text.push('\\');
                    other
                }
            },
            c => c,
        };
        text.push(plain);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_the_server_count() {
        let text = "# a comment\n; another\n[client]\nport = 3307\n\n[mysqld]\nmax_connections=77\n\
                    character-set-server = latin1 # why not\ninit-connect = 'SELECT \"a#b\"'\n\
                    general_log\nskip-external-locking\nsql_mode =\nft_stopword_file=\"C:\\\\a\\sb\"\n\
                    [mysql]\nno-auto-rehash\n[server]\nmax_allowed_packet = 16M\n";
        let parsed = parse(text, false);
        assert_eq!(parsed.errors, []);
        let options: Vec<_> =
            parsed.options.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(
            options,
            [
                ("max_connections", "77"),
                ("character-set-server", "latin1"),
                ("init-connect", "SELECT \"a#b\""),
                ("general_log", "ON"),
                ("skip-external-locking", ""),
                ("sql_mode", ""),
                ("ft_stopword_file", "C:\\a b"),
                ("max_allowed_packet", "16M"),
            ]
        );
    }

    #[test]
    fn what_is_refused_is_refused_with_its_line() {
        let text = "a = 1\n[mysqld]\nserver_id = 7\n!include /etc/other.cnf\n!includedir /etc/x/\n\
                    [mysqld-9.7]\ngtid_mode = OFF\n[mysqld]\nskip-log-bin\nx = \"a\\nb\"\n[mysqld\n\
                    lower_case_table_names = 1\n";
        let errors = parse(text, true).errors;
        let lines: Vec<usize> = errors.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [1, 3, 4, 5, 6, 9, 10, 11, 12]);
        for ((_, refusal), words) in errors.iter().zip([
            "before any group",
            "Weir's own",
            "other files",
            "other files",
            "one version",
            "Weir's own",
            "line end",
            "closing bracket",
            "same on every node",
        ]) {
            assert!(refusal.what.contains(words), "{refusal:?}");
        }
    }
}
