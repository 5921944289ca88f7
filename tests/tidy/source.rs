//! Rust sources as the rules see them: without comments, literals and test code, line by line.

use std::ops::Range;
use std::path::Path;

/// One source file.
#[derive(Debug)]
pub(crate) struct File {
    /// From the root of the repository, with `/`.
    pub(crate) path: String,
    /// The text with comments and literals blanked out; lines are where they were.
    pub(crate) all_code: String,
    /// `all_code` with test-only items blanked out as well; empty for a file of tests.
    pub(crate) code: String,
}

/// A breach of a rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) path: String,
    /// From 1.
    pub(crate) line: usize,
    /// What is wrong and what to do about it.
    pub(crate) sentence: String,
}

impl File {
    /// A file from its text. Whether all of it is test code is for [`mark_test_files`] to say.
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let all_code = blank_literals(text);
        let code = blank_test_items(&all_code);
        Self { path: path.to_owned(), all_code, code }
    }

    /// The path below `src/`, if it is there.
    pub(crate) fn in_src(&self) -> Option<&str> {
        self.path.strip_prefix("src/")
    }

    /// `sql` for `src/sql.rs` and for all files in `src/sql/`; `main` and `lib` for those two.
    pub(crate) fn module(&self) -> Option<&str> {
        let rest = self.in_src()?;
        Some(rest.split('/').next().unwrap_or(rest).trim_end_matches(".rs"))
    }

    /// The modules from the crate to this file: `["sql", "lexer"]`.
    pub(crate) fn module_path(&self) -> Vec<&str> {
        let parts = self.in_src().unwrap_or_default().trim_end_matches(".rs").split('/');
        parts.filter(|part| !matches!(*part, "mod" | "lib" | "main")).collect()
    }

    /// A finding at a byte of the code.
    pub(crate) fn finding(&self, at: usize, sentence: impl Into<String>) -> Finding {
        let before = self.all_code.get(..at).unwrap_or(&self.all_code);
        let line = before.matches('\n').count() + 1;
        Finding { path: self.path.clone(), line, sentence: sentence.into() }
    }
}

/// Every Rust file below the directories, in order of path.
pub(crate) fn read(root: &Path, directories: &[&str]) -> std::io::Result<Vec<File>> {
    let mut pending: Vec<_> = directories.iter().map(|directory| root.join(directory)).collect();
    let mut files = Vec::new();
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            for entry in std::fs::read_dir(&path)? {
                pending.push(entry?.path());
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let shown = path.strip_prefix(root).unwrap_or(&path).display().to_string();
            files.push(File::new(&shown.replace('\\', "/"), &std::fs::read_to_string(&path)?));
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    mark_test_files(&mut files);
    Ok(files)
}

/// Blanks the code of files whose module is declared under `#[cfg(test)]`.
pub(crate) fn mark_test_files(files: &mut [File]) {
    let mut test_paths = Vec::new();
    for file in files.iter() {
        let directory = match file.path.rsplit_once('/') {
            Some((directory, "mod.rs" | "lib.rs" | "main.rs")) => directory.to_owned(),
            _ => file.path.trim_end_matches(".rs").to_owned(),
        };
        for item in test_items(&file.all_code) {
            let item = file.all_code.get(item).unwrap_or_default();
            if let Some((_, rest)) = item.rsplit_once("mod ")
                && let Some(name) = rest.strip_suffix(';')
            {
                test_paths.push(format!("{directory}/{}", name.trim()));
            }
        }
    }
    for file in files {
        let stem = file.path.trim_end_matches(".rs");
        let is_test = |test: &String| {
            stem.strip_prefix(test.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if test_paths.iter().any(is_test) {
            file.code = blank(&file.code, 0..file.code.len());
        }
    }
}

/// Positions of a word of code: no letter, digit or underscore on either side.
pub(crate) fn words<'t>(code: &'t str, word: &'t str) -> impl Iterator<Item = usize> + 't {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = code.get(..*at).and_then(|text| text.chars().next_back());
        let after = code.get(at + word.len()..).and_then(|text| text.chars().next());
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

/// Replaces a byte range by spaces; line ends stay.
fn blank(text: &str, range: Range<usize>) -> String {
    let space = |(at, c): (usize, char)| {
        let keep = !range.contains(&at) || c == '\n';
        // As many bytes as there were, so that offsets still fit.
        if keep { c.to_string() } else { " ".repeat(c.len_utf8()) }
    };
    text.char_indices().map(space).collect()
}

/// Blanks comments and what stands between quotes.
fn blank_literals(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let last = code.chars().next_back();
        let after_word = last.is_some_and(|c| c.is_alphanumeric() || c == '_');
        let length = literal_length(rest, after_word);
        let (taken, left) = rest.split_at(length.max(first.len_utf8()));
        if length == 0 {
            code.push_str(taken);
        } else {
            code.push_str(&blank(taken, 0..taken.len()));
        }
        rest = left;
    }
    code
}

/// The length in bytes of the comment or literal that the text begins with; 0 when it is code.
/// `after_word`: a letter or digit stands before, so `r"` or `b'` cannot begin here.
fn literal_length(text: &str, after_word: bool) -> usize {
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return block_comment_length(text);
    }
    let prefix = if after_word {
        0
    } else {
        ["br", "cr", "r", "b", "c"]
            .iter()
            .find(|prefix| {
                text.strip_prefix(**prefix).is_some_and(|rest| {
                    let hashes = rest.trim_start_matches('#');
                    let raw_hashes = prefix.ends_with('r') || hashes.len() == rest.len();
                    (hashes.starts_with('"') && raw_hashes)
                        || (rest.starts_with('\'') && **prefix == "b")
                })
            })
            .map_or(0, |prefix| prefix.len())
    };
    let (start, rest) = text.split_at(prefix);
    if start.ends_with('r') {
        let hashes = rest.len() - rest.trim_start_matches('#').len();
        let end = format!("\"{}", "#".repeat(hashes));
        let body = rest.get(hashes + 1..).unwrap_or_default();
        return body.find(&end).map_or(text.len(), |at| prefix + hashes + 1 + at + end.len());
    }
    if rest.starts_with('"') {
        return prefix + quoted_length(rest, '"');
    }
    if rest.starts_with('\'') && !is_lifetime(rest) {
        return prefix + quoted_length(rest, '\'');
    }
    0
}

/// Block comments nest.
fn block_comment_length(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

/// `'a` and not `'a'`.
fn is_lifetime(text: &str) -> bool {
    let mut chars = text.chars().skip(1);
    let (first, second) = (chars.next(), chars.next());
    first.is_some_and(|c| c.is_alphabetic() || c == '_') && second != Some('\'')
}

/// From the opening to the closing quote, over escapes.
fn quoted_length(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

fn blank_test_items(code: &str) -> String {
    test_items(code).into_iter().fold(code.to_owned(), |code, item| blank(&code, item))
}

/// The byte ranges of items under `#[cfg(test)]`, attribute included.
fn test_items(code: &str) -> Vec<Range<usize>> {
    let starts = code.match_indices("#[cfg(test)]").map(|(at, _)| at);
    starts.map(|start| start..start + item_length(code.get(start..).unwrap_or_default())).collect()
}

/// From an item's first attribute to its `;` or the end of its braces.
fn item_length(text: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' | '[' | '(' => depth += 1,
            '}' | ']' | ')' => {
                depth = depth.saturating_sub(1);
                if c == '}' && depth == 0 {
                    return at + 1;
                }
            }
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[test]
fn literals_and_comments_are_blanked() {
    for (text, code) in [
        ("a // b\nc", "a     \nc"),
        ("a /* b /* c */ d */ e", "a                   e"),
        (r#"f("x\"y", 'z')"#, "f(      ,    )"),
        (r##"f(r#"a"b"#, b"c", br"d")"##, "f(        ,     ,      )"),
        ("fn f<'a>(x: &'a str) -> char { '\\'' }", "fn f<'a>(x: &'a str) -> char {      }"),
        ("b'\\n' b'x' r#type", "           r#type"),
        ("\"é\"x", "    x"),
        ("\"open", "     "),
    ] {
        assert_eq!(blank_literals(text), code, "{text}");
    }
}

#[test]
fn test_items_are_blanked() {
    let file = File::new("src/a.rs", "use x;\n#[cfg(test)]\nmod tests {\n use y; \n}\nuse z;");
    assert_eq!(file.code.split_whitespace().collect::<Vec<_>>(), ["use", "x;", "use", "z;"]);
    assert_eq!(file.code.len(), file.all_code.len());
    let mut files = [
        File::new("src/a/mod.rs", "#[cfg(test)]\nmod testing;\nmod b;"),
        File::new("src/a/testing.rs", "use y;"),
        File::new("src/a/b.rs", "#[cfg(test)]\n#[path = \"x\"]\npub(super) mod tests;"),
        File::new("src/a/b/tests.rs", "use y;"),
        File::new("src/testing.rs", "use y;"),
    ];
    mark_test_files(&mut files);
    let has_code = files.map(|file| !file.code.trim().is_empty());
    assert_eq!(has_code, [true, false, false, false, true]);
}
