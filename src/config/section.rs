//! A typed reader of one section of the file. It knows which keys were asked for, so that what is
//! left over is reported as unknown, and it notes every error instead of stopping at the first.

use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::errors::Problems;

/// What every section shares.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub problems: &'a Problems<'a>,
    /// Where relative paths start.
    pub base_dir: &'a Path,
    /// The environment.
    pub env: &'a dyn Fn(&str) -> Option<String>,
}

/// A string of the file and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text<'a> {
    pub value: &'a str,
    pub span: Range<usize>,
}

/// A key of the section, its value, and where both stand.
struct Entry<'a> {
    key: &'static str,
    value: &'a DeValue<'a>,
    span: Range<usize>,
}

/// One section, `[name]` or one of `[[name]]`; also stands for an absent one, all defaults.
pub(super) struct Section<'a> {
    pub source: Source<'a>,
    /// As it is written: `[proxy]`, `[[servers]]`.
    pub name: &'static str,
    /// Where its header stands; an absent one has none.
    pub span: Range<usize>,
    table: Option<&'a DeTable<'a>>,
    asked: Vec<&'static str>,
    /// Sections below this one that were read.
    children: Vec<Finished>,
}

/// A key that no section asked for; judged when all sections were read.
#[derive(Debug)]
pub(super) struct Unknown {
    pub key: String,
    pub span: Range<usize>,
    pub section: &'static str,
}

/// What remains of a section when it was read.
#[derive(Debug)]
pub(super) struct Finished {
    pub name: &'static str,
    pub keys: Vec<&'static str>,
    pub unknown: Vec<Unknown>,
    /// The sections below it.
    pub children: Vec<Self>,
}

impl<'a> Section<'a> {
    /// The section of that table; `None` when the file does not have it.
    pub(super) fn new(
        source: Source<'a>,
        name: &'static str,
        value: Option<(&'a DeTable<'a>, Range<usize>)>,
    ) -> Self {
        let (table, span) = match value {
            Some((table, span)) => (Some(table), span),
            None => (None, 0..0),
        };
        Self { source, name, span, table, asked: Vec::new(), children: Vec::new() }
    }

    /// Whether the key is there, whatever its value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// An integer in the range; the default when absent or wrong.
    pub(super) fn integer<N>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<N>,
        default: N,
    ) -> N
    where
        N: Copy + Display + PartialOrd + TryFrom<i128>,
    {
        let Some(entry) = self.entry(key) else { return default };
        let allowed = format!("an integer from {} to {}", range.start(), range.end());
        let convert = |value: i128| N::try_from(value).ok().filter(|n| range.contains(n));
        match entry.value {
            DeValue::Integer(integer) => {
                let value = i128::from_str_radix(integer.as_str(), integer.radix()).ok();
                if let Some(value) = value.and_then(convert) {
                    return value;
                }
                let what = format!("`{key}` is {integer}, out of its range");
                self.report(&entry, what, format!("write {allowed}; the default is {default}"));
            }
            DeValue::String(text) if text.trim().parse().ok().and_then(convert).is_some() => {
                let remedy = format!("write it without quotes: {key} = {}", text.trim());
                self.report_type(&entry, "an integer", remedy);
            }
            _ => {
                let remedy = format!("write {allowed}; the default is {default}");
                self.report_type(&entry, "an integer", remedy);
            }
        }
        default
    }

    /// A time in seconds, fractions allowed; the default when absent or wrong.
    pub(super) fn seconds(
        &mut self,
        key: &'static str,
        range: RangeInclusive<f64>,
        default: f64,
    ) -> Duration {
        let seconds = self.number(key, "seconds", range, default);
        Duration::try_from_secs_f64(seconds).unwrap_or_default()
    }

    /// A time in milliseconds, fractions allowed; the default when absent or wrong.
    pub(super) fn milliseconds(
        &mut self,
        key: &'static str,
        range: RangeInclusive<f64>,
        default: f64,
    ) -> Duration {
        let milliseconds = self.number(key, "milliseconds", range, default);
        Duration::try_from_secs_f64(milliseconds / 1_000.0).unwrap_or_default()
    }

    fn number(
        &mut self,
        key: &'static str,
        unit: &str,
        range: RangeInclusive<f64>,
        default: f64,
    ) -> f64 {
        let Some(entry) = self.entry(key) else { return default };
        let (low, high) = (range.start(), range.end());
        let remedy = format!("write {unit} from {low} to {high}; the default is {default}");
        let Some(value) = float(entry.value) else {
            self.report_type(&entry, "a number", format!("{remedy} (no quotes, no unit)"));
            return default;
        };
        // NaN is in no range, so it ends here too.
        if range.contains(&value) {
            return value;
        }
        self.report(&entry, format!("`{key}` is {value}, out of its range"), remedy);
        default
    }

    /// `true` or `false`; the default when absent or wrong.
    pub(super) fn boolean(&mut self, key: &'static str, default: bool) -> bool {
        let Some(entry) = self.entry(key) else { return default };
        if let DeValue::Boolean(value) = entry.value {
            return *value;
        }
        let remedy = format!("write {key} = true or {key} = false, without quotes");
        self.report_type(&entry, "true or false", remedy);
        default
    }

    /// A string; `None` when absent or wrong.
    pub(super) fn text(&mut self, key: &'static str, example: &str) -> Option<Text<'a>> {
        let entry = self.entry(key)?;
        if let DeValue::String(text) = entry.value {
            return Some(Text { value: text, span: entry.span });
        }
        self.report_type(
            &entry,
            "a string",
            format!("write it in quotes, as {key} = \"{example}\""),
        );
        None
    }

    /// A list of strings; empty when absent or wrong, without those that are no strings.
    pub(super) fn texts(&mut self, key: &'static str, example: &str) -> Vec<Text<'a>> {
        let Some(entry) = self.entry(key) else { return Vec::new() };
        let remedy = format!("write a list, as {key} = [{example}]");
        let DeValue::Array(items) = entry.value else {
            self.report_type(&entry, "a list", remedy);
            return Vec::new();
        };
        let mut texts = Vec::new();
        for item in items {
            match item.get_ref() {
                DeValue::String(text) => texts.push(Text { value: text, span: item.span() }),
                other => {
                    let what = format!("`{key}` holds {}", kind(other));
                    self.source.problems.add(item.span(), what, remedy.clone());
                }
            }
        }
        texts
    }

    /// A string that must be there: its absence is an error as well.
    pub(super) fn required_text(&mut self, key: &'static str, example: &str) -> Option<Text<'a>> {
        if !self.has(key) {
            self.asked.push(key);
            let what = format!("{} has no `{key}`", self.name);
            self.absent(what, format!("add {key} = \"{example}\""));
            return None;
        }
        self.text(key, example)
    }

    /// One of the named values; `None` when absent or wrong.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        choices: &[(&'static str, T)],
    ) -> Option<T> {
        let entry = self.entry(key)?;
        let names: Vec<String> = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        let remedy = format!("write one of {}", names.join(", "));
        let DeValue::String(text) = entry.value else {
            self.report_type(&entry, "a string", remedy);
            return None;
        };
        let found = choices.iter().find(|(name, _)| *name == text.as_ref());
        if found.is_none() {
            self.report(&entry, format!("`{key}` is {text:?}, which means nothing here"), remedy);
        }
        found.map(|(_, value)| *value)
    }

    /// A path, made absolute or relative to the program's directory by way of `base_dir`.
    pub(super) fn path(
        &mut self,
        key: &'static str,
        example: &str,
    ) -> Option<(PathBuf, Range<usize>)> {
        let text = self.text(key, example)?;
        if text.value.is_empty() {
            let what = format!("`{key}` is empty");
            self.source.problems.add(text.span, what, format!("name a file, as {example:?}"));
            return None;
        }
        Some((self.source.base_dir.join(text.value), text.span))
    }

    /// The entries of a sub-table whose keys are free, in file order; empty when absent or wrong.
    pub(super) fn free_table(
        &mut self,
        key: &'static str,
        example: &str,
    ) -> Vec<(Text<'a>, &'a Spanned<DeValue<'a>>)> {
        let Some(entry) = self.entry(key) else { return Vec::new() };
        let DeValue::Table(table) = entry.value else {
            self.report_type(&entry, "a table", example.to_owned());
            return Vec::new();
        };
        let mut entries: Vec<_> = table
            .iter()
            .map(|(key, value)| (Text { value: key.get_ref(), span: key.span() }, value))
            .collect();
        entries.sort_by_key(|(key, _)| key.span.start);
        entries
    }

    /// Reads the section below this one that is under `key`; `None` when absent or no section. `name` is how it
    /// is written.
    pub(super) fn child<T>(
        &mut self,
        key: &'static str,
        name: &'static str,
        read: impl FnOnce(&mut Self) -> T,
    ) -> Option<T> {
        let entry = self.entry(key)?;
        let DeValue::Table(table) = entry.value else {
            self.report_type(&entry, "a section", format!("write {name} on a line of its own"));
            return None;
        };
        Some(self.below(name, table, entry.span, read))
    }

    /// Reads each section below `key`, whose keys are free, in file order.
    pub(super) fn children<T>(
        &mut self,
        key: &'static str,
        name: &'static str,
        mut read: impl FnMut(&Text<'a>, &mut Self) -> T,
    ) -> Vec<T> {
        let example = format!("write {name} on a line of its own");
        let mut results = Vec::new();
        for (text, value) in self.free_table(key, &example) {
            let DeValue::Table(table) = value.get_ref() else {
                let what = format!(
                    "`{key}.{}` must be a section, not {}",
                    text.value,
                    kind(value.get_ref())
                );
                self.source.problems.add(value.span(), what, example.clone());
                continue;
            };
            results.push(self.below(name, table, value.span(), |section| read(&text, section)));
        }
        results
    }

    fn below<T>(
        &mut self,
        name: &'static str,
        table: &'a DeTable<'a>,
        span: Range<usize>,
        read: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let mut section = Section::new(self.source, name, Some((table, span)));
        let result = read(&mut section);
        self.children.push(section.finish());
        result
    }

    /// Notes an error about this section as a whole.
    pub(super) fn problem(&self, what: impl Into<String>, remedy: impl Into<String>) {
        self.source.problems.add(self.span.clone(), what, remedy);
    }

    /// Notes that this section lacks something.
    pub(super) fn absent(&self, what: impl Into<String>, remedy: impl Into<String>) {
        self.source.problems.absent(self.span.clone(), what, remedy);
    }

    /// Where the key itself stands.
    pub(super) fn key_span(&self, key: &str) -> Option<Range<usize>> {
        self.table?.get_key_value(key).map(|(key, _)| key.span())
    }

    /// Ends the reading: what was not asked for is unknown.
    pub(super) fn finish(self) -> Finished {
        let unknown = self
            .table
            .into_iter()
            .flat_map(DeTable::keys)
            .filter(|key| !self.asked.contains(&key.get_ref().as_ref()))
            .map(|key| Unknown {
                key: key.get_ref().to_string(),
                span: key.span(),
                section: self.name,
            })
            .collect();
        Finished { name: self.name, keys: self.asked, unknown, children: self.children }
    }

    /// Looks the key up and remembers that it is known.
    fn entry(&mut self, key: &'static str) -> Option<Entry<'a>> {
        self.asked.push(key);
        let value = self.table?.get(key)?;
        Some(Entry { key, value: value.get_ref(), span: value.span() })
    }

    fn report(&self, entry: &Entry<'_>, what: String, remedy: String) {
        self.source.problems.add(entry.span.clone(), what, remedy);
    }

    fn report_type(&self, entry: &Entry<'_>, wanted: &str, remedy: String) {
        let Entry { key, value, .. } = entry;
        self.report(entry, format!("`{key}` must be {wanted}, not {}", kind(value)), remedy);
    }
}

/// What a value is, with its article.
pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// The value of an integer or a fraction.
fn float(value: &DeValue<'_>) -> Option<f64> {
    match value {
        DeValue::Integer(integer) => {
            let value = i64::from_str_radix(integer.as_str(), integer.radix()).ok();
            // Precision is lost only far outside every range.
            Some(value.map_or(f64::INFINITY, |value| value as f64))
        }
        DeValue::Float(float) => float.as_str().parse().ok(),
        _ => None,
    }
}
