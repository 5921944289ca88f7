//! GTID sets: MySQL `uuid:1-5:7`, tagged `uuid:tag:1-3` (8.3+), MariaDB `domain-server-seq`.
//!
//! Two uses: what a server has executed (few intervals, long), and the token of a session (few
//! transactions that a replica must have before the session reads from it). The question asked
//! most is `executed.contains(&token)`, once per replica and read.
//!
//! Sources: MySQL manual, "GTID Format and Storage"; MariaDB manual, "Global Transaction ID".

use std::collections::BTreeMap;
use std::fmt;

mod intervals;
mod parse;

use intervals::Intervals;

/// Intervals that one text may hold; a longer one is hostile or a server nobody can use.
pub const MAX_INTERVALS: usize = 100_000;

/// A set of transactions, of MySQL or of MariaDB.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GtidSet {
    /// MySQL: transactions by source. No entry is empty.
    sources: BTreeMap<Source, Intervals>,
    /// MariaDB: the position in each domain, which stands for all transactions up to it.
    domains: BTreeMap<u32, Position>,
}

/// Who committed: a server's UUID and, since 8.3, perhaps a tag. The untagged one sorts first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Source {
    uuid: [u8; 16],
    /// In lower case, at most 32 bytes; empty for none.
    tag: Box<str>,
}

/// The last transaction of a MariaDB domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Position {
    server: u32,
    sequence: u64,
}

/// Why a text is no GTID set. Offsets are in bytes from its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GtidError {
    #[error("the GTID set ends at byte {at} where {wanted} should follow")]
    Truncated { at: usize, wanted: &'static str },
    #[error("the GTID set has something else at byte {at} where {wanted} should stand")]
    Unexpected { at: usize, wanted: &'static str },
    #[error("the GTID set has a number at byte {at} that is not between {min} and {max}")]
    OutOfRange { at: usize, min: u64, max: u64 },
    #[error("the GTID set has an interval at byte {at} that ends before it begins")]
    Backwards { at: usize },
    #[error("the GTID set mixes GTIDs of MySQL and of MariaDB, from byte {at}")]
    Mixed { at: usize },
    #[error("the GTID set has more than {MAX_INTERVALS} intervals")]
    TooMany,
}

impl GtidSet {
    /// The empty set.
    pub const fn new() -> Self {
        Self { sources: BTreeMap::new(), domains: BTreeMap::new() }
    }

    /// Reads the text of a set, as `@@gtid_executed`, `@@gtid_binlog_pos` or a session tracker
    /// gives it. White space is allowed between its parts, and so is a missing part between two
    /// commas; upper and lower case mean the same.
    ///
    /// # Errors
    /// The text is no GTID set, or has more than [`MAX_INTERVALS`] intervals.
    pub fn parse(text: &[u8]) -> Result<Self, GtidError> {
        parse::set(text)
    }

    /// Adds the transactions of a text, such as a session tracker's value. On an error the set is
    /// as it was.
    ///
    /// # Errors
    /// As [`GtidSet::parse`].
    pub fn insert_text(&mut self, text: &[u8]) -> Result<(), GtidError> {
        self.union(&Self::parse(text)?);
        Ok(())
    }

    /// Adds all transactions of the other set. In a MariaDB domain the later position stays.
    pub fn union(&mut self, other: &Self) {
        for (source, intervals) in &other.sources {
            match self.sources.get_mut(source) {
                Some(own) => own.union(intervals),
                None => {
                    self.sources.insert(source.clone(), intervals.clone());
                }
            }
        }
        for (&domain, &position) in &other.domains {
            let own = self.domains.entry(domain).or_insert(position);
            if own.sequence < position.sequence {
                *own = position;
            }
        }
    }

    /// Whether every transaction of the other set is in this one. Costs a binary search for each
    /// interval of the other.
    pub fn contains(&self, other: &Self) -> bool {
        other.sources.iter().all(|(source, intervals)| {
            self.sources.get(source).is_some_and(|own| own.contains(intervals))
        }) && other.domains.iter().all(|(domain, position)| {
            // The sequence grows through the whole domain, whichever server commits.
            self.domains.get(domain).is_some_and(|own| own.sequence >= position.sequence)
        })
    }

    /// The transactions of this set that the other lacks. A MariaDB domain in which the other is
    /// behind stays as this set has it, for positions cannot name what lies between two of them.
    #[must_use]
    pub fn subtract(&self, other: &Self) -> Self {
        let left = |(source, intervals): (&Source, &Intervals)| match other.sources.get(source) {
            Some(taken) => (source.clone(), intervals.subtract(taken)),
            None => (source.clone(), intervals.clone()),
        };
        let behind = |(domain, position): &(&u32, &Position)| {
            other.domains.get(domain).is_none_or(|has| has.sequence < position.sequence)
        };
        Self {
            sources: self.sources.iter().map(left).filter(|(_, left)| !left.is_empty()).collect(),
            domains: self.domains.iter().filter(behind).map(|(&d, &p)| (d, p)).collect(),
        }
    }

    /// Whether there is no transaction in the set.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty() && self.domains.is_empty()
    }

    /// How many intervals and positions it takes to write the set down.
    pub fn interval_count(&self) -> usize {
        self.sources.values().map(Intervals::len).sum::<usize>() + self.domains.len()
    }

    /// How many transactions are in the set, `u64::MAX` for more. A MariaDB position counts as its
    /// sequence number, which is exact only where no number of the domain was left out.
    pub fn count(&self) -> u64 {
        let sources = self.sources.values().map(Intervals::count);
        let domains = self.domains.values().map(|position| position.sequence);
        sources.chain(domains).fold(0, u64::saturating_add)
    }

    /// How many transactions of the other set are not in this one: how far behind it is. Unlike
    /// `subtract` and `count` it is right for MariaDB positions too.
    pub fn missing(&self, other: &Self) -> u64 {
        let sources = other.sources.iter().map(|(source, wanted)| match self.sources.get(source) {
            Some(own) => wanted.subtract(own).count(),
            None => wanted.count(),
        });
        let domains = other.domains.iter().map(|(domain, wanted)| {
            let own = self.domains.get(domain).map_or(0, |own| own.sequence);
            wanted.sequence.saturating_sub(own)
        });
        sources.chain(domains).fold(0, u64::saturating_add)
    }

    /// Bounds the memory of a session's token: with more than `max_intervals` intervals, those of
    /// each source are joined into one, from its first transaction to its last.
    ///
    /// The joined set contains the old one, so whoever has it has all that the session must see:
    /// reads may wait for more than they need, or go to the primary, but never miss a write. One
    /// interval for each source remains even when there are more sources than `max_intervals`.
    pub fn collapse(&mut self, max_intervals: usize) {
        if self.interval_count() > max_intervals {
            self.sources.values_mut().for_each(Intervals::collapse);
        }
    }
}

/// The canonical text, as the server writes it but on one line: sources in order, tags after
/// their UUID, no white space.
impl fmt::Display for GtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        let mut last = None;
        for (Source { uuid, tag }, intervals) in &self.sources {
            if last != Some(uuid) {
                write!(f, "{comma}")?;
                write_uuid(f, uuid)?;
                last = Some(uuid);
                comma = ",";
            }
            if !tag.is_empty() {
                write!(f, ":{tag}")?;
            }
            write!(f, "{intervals}")?;
        }
        for (domain, Position { server, sequence }) in &self.domains {
            write!(f, "{comma}{domain}-{server}-{sequence}")?;
            comma = ",";
        }
        Ok(())
    }
}

fn write_uuid(f: &mut fmt::Formatter<'_>, uuid: &[u8; 16]) -> fmt::Result {
    for (n, byte) in uuid.iter().enumerate() {
        let dash = if matches!(n, 4 | 6 | 8 | 10) { "-" } else { "" };
        write!(f, "{dash}{byte:02x}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
