//! What is wrong with a configuration file: every error, each with its line and a remedy.

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

/// So many errors are shown, in lines of the file; a file with more is no configuration at all.
const MAX_SHOWN: usize = 100;

/// So many errors are looked for; each costs a walk through the file to find its line.
const MAX_FOUND: usize = 1_000;

/// One error of a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// From 1; 0 when the error has no place in the file (it could not be read).
    pub line: usize,
    /// In characters, from 1; 0 when the error has no place in the file.
    pub column: usize,
    /// What is wrong, one clause that names the key.
    pub what: String,
    /// What would be right.
    pub remedy: String,
    /// Byte range in the file; `None` when the error has no place in it.
    pub span: Option<Range<usize>>,
}

/// Every error of one file, in file order.
///
/// `Display` shows each with file, line, the source line with a marker, and the remedy. Values of
/// password keys are starred out in those source lines.
#[derive(Clone)]
pub struct ConfigErrors {
    /// The name of the file, as it was given.
    pub file: String,
    /// At least one.
    pub errors: Vec<ConfigError>,
    /// The text of the file, passwords starred out byte by byte so that spans still fit.
    source: String,
}

impl ConfigErrors {
    /// The errors of a file that could be read. `hidden` are the byte ranges of passwords.
    pub(super) fn new(
        file: &str,
        text: &str,
        hidden: &[Range<usize>],
        mut errors: Vec<ConfigError>,
    ) -> Self {
        errors.sort_by_key(|error| (error.line, error.column));
        Self { file: file.to_owned(), errors, source: star_out(text, hidden) }
    }

    /// The error of a file that could not be read.
    pub(super) fn unread(file: &str, what: String, remedy: &str) -> Self {
        let error = ConfigError { line: 0, column: 0, what, remedy: remedy.to_owned(), span: None };
        Self { file: file.to_owned(), errors: vec![error], source: String::new() }
    }

    fn render(&self, renderer: &Renderer, error: &ConfigError) -> String {
        let title = Level::ERROR.primary_title(error.what.as_str());
        let help = Level::HELP.message(error.remedy.as_str());
        let Some((excerpt, span)) = error.span.as_ref().and_then(|span| self.excerpt(span)) else {
            return renderer.render(&[title.element(help)]);
        };
        let snippet = Snippet::source(excerpt)
            .path(self.file.as_str())
            .line_start(error.line)
            .annotation(AnnotationKind::Primary.span(span));
        renderer.render(&[title.element(snippet).element(help)])
    }

    /// The line in which the span begins, and the part of the span that lies in this line.
    fn excerpt(&self, span: &Range<usize>) -> Option<(&str, Range<usize>)> {
        let before = self.source.get(..span.start)?;
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = self.source.get(start..)?.lines().next().unwrap_or("");
        let from = span.start.saturating_sub(start).min(line.len());
        let to = span.end.saturating_sub(start).clamp(from, line.len());
        Some((line, from..to))
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.errors.len();
        let noun = if count == 1 { "error" } else { "errors" };
        let more = if count >= MAX_FOUND { " or more" } else { "" };
        writeln!(f, "{} has {count} {noun}{more}", self.file)?;
        let renderer = Renderer::plain();
        for error in self.errors.iter().take(MAX_SHOWN) {
            write!(f, "\n{}\n", self.render(&renderer, error))?;
        }
        if count > MAX_SHOWN {
            write!(f, "\nand {} more errors, not shown\n", count - MAX_SHOWN)?;
        }
        Ok(())
    }
}

/// Leaves the text of the file out: it may hold passwords that nobody recognised as such.
impl fmt::Debug for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigErrors")
            .field("file", &self.file)
            .field("errors", &self.errors)
            .finish_non_exhaustive()
    }
}

impl std::error::Error for ConfigErrors {}

/// Collects errors while the file is read; sections share it, so it takes `&self`.
#[derive(Debug)]
pub(super) struct Problems<'a> {
    text: &'a str,
    /// The byte at which each line begins.
    lines: Vec<usize>,
    /// Lines that are no TOML, as byte ranges; what was made of them is not worth an error.
    broken: Vec<Range<usize>>,
    /// One of them should have been a section's header: keys may have come to a wrong section.
    header_broken: bool,
    errors: std::cell::RefCell<Vec<ConfigError>>,
}

impl<'a> Problems<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let after_newline = |(at, _): (usize, &str)| at + 1;
        Self {
            text,
            lines: std::iter::once(0).chain(text.match_indices('\n').map(after_newline)).collect(),
            broken: Vec::new(),
            header_broken: false,
            errors: std::cell::RefCell::default(),
        }
    }

    /// Notes that the file is no TOML at that byte range. From then on only what is surely wrong
    /// is noted: the reader guesses on after such an error, and may have lost lines.
    pub(super) fn add_syntax(
        &mut self,
        span: Range<usize>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        if self.is_full() {
            return;
        }
        // One error a line: what follows it there follows from it.
        if self.broken.iter().any(|broken| broken.start <= span.start && span.start <= broken.end) {
            return;
        }
        self.push(span.clone(), what.into(), remedy.into());
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let after = self.text.get(span.end..).unwrap_or("");
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let end = span.end + after.find('\n').unwrap_or(after.len());
        let line = self.text.get(start..end).unwrap_or("");
        self.header_broken |= line.trim_start().starts_with('[');
        self.broken.push(start..end);
    }

    /// Notes an error at that byte range of the file.
    pub(super) fn add(
        &self,
        span: Range<usize>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let overlaps = |broken: &Range<usize>| span.start <= broken.end && broken.start <= span.end;
        if !self.broken.iter().any(overlaps) {
            self.push(span, what.into(), remedy.into());
        }
    }

    /// Notes that something is not there, at the byte range of what lacks it.
    pub(super) fn absent(
        &self,
        span: Range<usize>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        if self.broken.is_empty() {
            self.push(span, what.into(), remedy.into());
        }
    }

    /// Notes a key that has no business where it stands.
    pub(super) fn unknown(
        &self,
        span: Range<usize>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        if !self.header_broken {
            self.add(span, what, remedy);
        }
    }

    fn push(&self, span: Range<usize>, what: String, remedy: String) {
        if self.is_full() {
            return;
        }
        let (line, column) = self.position(span.start);
        let error = ConfigError { line, column, what, remedy, span: Some(span) };
        self.errors.borrow_mut().push(error);
    }

    /// Whether so much is wrong that nothing more is noted.
    pub(super) fn is_full(&self) -> bool {
        self.errors.borrow().len() >= MAX_FOUND
    }

    /// Whether nothing was noted so far.
    pub(super) fn is_empty(&self) -> bool {
        self.errors.borrow().is_empty()
    }

    /// Line and column (in characters) of a byte offset, both from 1.
    fn position(&self, offset: usize) -> (usize, usize) {
        let line = self.lines.partition_point(|start| *start <= offset).max(1);
        let start = self.lines.get(line - 1).copied().unwrap_or(0);
        let before = self.text.get(start..offset).or_else(|| self.text.get(start..));
        (line, before.unwrap_or("").chars().count() + 1)
    }

    pub(super) fn into_errors(self) -> Vec<ConfigError> {
        self.errors.into_inner()
    }
}

/// Replaces every byte of the hidden ranges by a star; line ends stay.
fn star_out(text: &str, hidden: &[Range<usize>]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for range in hidden {
        for byte in bytes.get_mut(range.clone()).unwrap_or_default() {
            if !matches!(byte, b'\n' | b'\r') {
                *byte = b'*';
            }
        }
    }
    // Ranges that cut a character in two cannot come from the parser; without the text, spans
    // show nothing, which is the safe way to be wrong here.
    String::from_utf8(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors_at(text: &str, spans: &[Range<usize>], hidden: &[Range<usize>]) -> String {
        let problems = Problems::new(text);
        for span in spans {
            problems.add(span.clone(), "it is wrong", "make it right");
        }
        ConfigErrors::new("x.toml", text, hidden, problems.into_errors()).to_string()
    }

    #[test]
    fn each_error_shows_its_place_and_remedy() {
        let shown = errors_at("a = 1\nbc = 2\n", &[6..8, 0..1], &[]);
        assert_eq!(
            shown,
            "x.toml has 2 errors\n\
             \n\
             error: it is wrong\n \
              --> x.toml:1:1\n  \
               |\n\
             1 | a = 1\n  \
               | ^\n  \
               |\n  \
               = help: make it right\n\
             \n\
             error: it is wrong\n \
              --> x.toml:2:1\n  \
               |\n\
             2 | bc = 2\n  \
               | ^^\n  \
               |\n  \
               = help: make it right\n"
        );
    }

    #[test]
    fn places_outside_the_text_do_not_panic() {
        for text in ["", "\n", "a", "é"] {
            for span in [0..0, 0..9, 1..1, 1..2, 7..9, 2..2] {
                assert!(errors_at(text, &[span], &[]).contains("it is wrong"));
            }
        }
    }

    #[test]
    fn hidden_values_are_starred_out_and_spans_still_fit() {
        let text = "password = \"gehé\\\"im\"\nx = 1";
        let shown = errors_at(text, &[0..8, 1..2], &[11..22, 11..12]);
        assert!(shown.contains("password = ***********"), "{shown}");
        assert!(!shown.contains("geh"), "{shown}");
    }

    #[test]
    fn a_flood_of_errors_is_cut() {
        let spans: Vec<_> = (0..150).map(|_| 0..1).collect();
        let shown = errors_at("x", &spans, &[]);
        assert!(shown.starts_with("x.toml has 150 errors"));
        assert!(shown.ends_with("and 50 more errors, not shown\n"));
    }
}
