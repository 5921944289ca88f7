//! Cuts the wanted transactions out of a server's binary logs, as they are: a log's beginning, which says how to read
//! it, and then those transactions alone make a log again.

use std::path::{Path, PathBuf};

use crate::cluster::accounts;
use crate::cluster::error::ClusterError;
use crate::cluster::node::data_dir;
use crate::cluster::sql::{self, Client};
use crate::cluster::world::World;
use crate::gtid::GtidSet;

use super::{not_kept, write};

/// Every binary log begins with these bytes; one that is encrypted with others
/// (<https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_replication.html>).
const MAGIC: &[u8] = b"\xfebin";
/// Pieces of one log: they go on a command line.
const MOST_PIECES: usize = 1_000;
/// Each event of a log, as the server lists them.
const EVENTS: &str = "SHOW BINLOG EVENTS IN";
/// Writes each piece of the file: its first byte, counted from 1, and its length, by turns.
const CUT: &str = "file=$0; while [ $# -gt 0 ]; do tail -c \"+$1\" \"$file\" | head -c \"$2\" || exit; shift 2; done";
/// Where a log's first event is, after the magic.
const FIRST_EVENT: u64 = 4;
/// A log may have millions of events.
const PAGE_ROWS: usize = 10_000;
const DOING: &str = "asking for its binary logs";

/// Writes `<begin>.<log>` for each log that holds some of `own`; all of them at most `most` bytes.
pub(super) async fn keep(
    world: &World,
    node: u32,
    own: &str,
    begin: &Path,
    most: usize,
) -> Result<Vec<PathBuf>, ClusterError> {
    let name = world.name(node);
    let wanted = GtidSet::parse(own.as_bytes())
        .map_err(|error| not_kept(&name, &format!("{own} is no set of transactions: {error}")))?;
    let mut client = world.root_now(node).await?;
    let mut written = Vec::new();
    let mut found = 0;
    let mut left = most;
    for log in logs(&mut client, own).await? {
        let cut = cut(&mut client, &log, &wanted).await?;
        found += cut.transactions;
        if cut.transactions == 0 {
            continue;
        }
        if cut.bytes() > u64::try_from(left).unwrap_or(u64::MAX) || cut.pieces.len() > MOST_PIECES {
            let cause =
                format!("its own transactions in {log} are too many to be taken out by themselves");
            return Err(not_kept(&name, &cause));
        }
        let file = format!("{}/{log}", data_dir(world.place(node)));
        let pieces: Vec<String> = cut
            .pieces
            .iter()
            .flat_map(|piece| [piece.first.saturating_add(1), piece.bytes()])
            .map(|number| number.to_string())
            .collect();
        let words = ["sh", "-c", CUT, &file].into_iter();
        let command: Vec<&str> = words.chain(pieces.iter().map(String::as_str)).collect();
        let bytes = world.engine.output_bytes(&name, &command, left).await?;
        if !bytes.starts_with(MAGIC) || u64::try_from(bytes.len()).ok() != Some(cut.bytes()) {
            return Err(not_kept(&name, &format!("{log} cannot be read as it is on the disk")));
        }
        left = left.saturating_sub(bytes.len());
        let path = begin.with_added_extension(&log);
        write(&path, &bytes)?;
        written.push(path);
    }
    client.close().await;
    if found != wanted.count() {
        let cause =
            format!("{found} of its {} own transactions are in its binary logs", wanted.count());
        return Err(not_kept(&name, &cause));
    }
    Ok(written)
}

/// The newest logs, oldest first, before which there is nothing of `own`: each says what was before it.
async fn logs(client: &mut Client, own: &str) -> Result<Vec<String>, ClusterError> {
    let rows = client.rows("SHOW BINARY LOGS", DOING).await?;
    let mut logs = Vec::new();
    for log in rows.iter().rev().filter_map(|row| sql::text_at(row, 0)) {
        let first = format!("{EVENTS} {} LIMIT 2", accounts::string(&log));
        let first = client.rows(&first, DOING).await?;
        logs.push(log);
        let before = first.iter().map(Event::of).find(|event| event.kind == "Previous_gtids");
        let before = before.map(|event| event.info).unwrap_or_default();
        let (own, before) = (accounts::string(own), accounts::string(&before));
        let query = format!("SELECT GTID_SUBTRACT({own}, {before}) = GTID_SUBTRACT({own}, '')");
        if client.number(&query, DOING).await? == 1 {
            break;
        }
    }
    logs.reverse();
    Ok(logs)
}

async fn cut(client: &mut Client, log: &str, wanted: &GtidSet) -> Result<Cut, ClusterError> {
    let log = accounts::string(log);
    let mut cut = Cut::default();
    let mut from = Some(FIRST_EVENT);
    while let Some(first) = from {
        let query = format!("{EVENTS} {log} FROM {first} LIMIT {PAGE_ROWS}");
        let events: Vec<Event> = client.rows(&query, DOING).await?.iter().map(Event::of).collect();
        let next = events.last().map(|last| last.end).filter(|end| *end > first);
        from = next.filter(|_| events.len() == PAGE_ROWS);
        for event in events {
            cut.add(&event, wanted);
        }
    }
    Ok(cut.finished())
}

/// What the server says of one event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Event {
    /// "Gtid", "Query", "Xid", ..
    kind: String,
    first: u64,
    /// The byte after it.
    end: u64,
    info: String,
}

impl Event {
    fn of(row: &mysql_async::Row) -> Self {
        let number =
            |column| sql::text(row, column).and_then(|text| text.parse().ok()).unwrap_or(0);
        Self {
            kind: sql::text(row, "Event_type").unwrap_or_default(),
            first: number("Pos"),
            end: number("End_log_pos"),
            info: sql::text(row, "Info").unwrap_or_default(),
        }
    }
}

/// Bytes of a log, from `first` to the one before `end`, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece {
    first: u64,
    end: u64,
}

impl Piece {
    fn bytes(self) -> u64 {
        self.end.saturating_sub(self.first)
    }
}

/// What is taken of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Cut {
    /// In order; the log's beginning, then transactions.
    pieces: Vec<Piece>,
    transactions: u64,
    /// Whether the event before belongs to a transaction that is not wanted, or to none.
    skips: bool,
}

impl Cut {
    /// The next event of the log.
    fn add(&mut self, event: &Event, wanted: &GtidSet) {
        match event.kind.as_str() {
            "Gtid" | "Gtid_tagged" => {
                self.skips = !gtid(&event.info).is_some_and(|one| wanted.contains(&one));
                self.transactions += u64::from(!self.skips);
            }
            // What stands between transactions.
            "Rotate" | "Stop" | "Anonymous_Gtid" => self.skips = true,
            // The log's beginning, or the rest of a transaction.
            _ => {}
        }
        if self.skips {
            return;
        }
        match self.pieces.last_mut() {
            Some(last) if last.end == event.first => last.end = event.end,
            _ => self.pieces.push(Piece { first: event.first, end: event.end }),
        }
    }

    /// With what stands before the first event.
    fn finished(mut self) -> Self {
        if let Some(first) = self.pieces.first_mut() {
            first.first = 0;
        }
        self
    }

    fn bytes(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.bytes()).fold(0, u64::saturating_add)
    }
}

/// "SET @@SESSION.GTID_NEXT= '3e11fa47-71ca-11e1-9e33-c80aa9429562:23'"
fn gtid(info: &str) -> Option<GtidSet> {
    let text = info.split('\'').nth(1)?;
    GtidSet::parse(text.as_bytes()).ok().filter(|set| !set.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    fn event(kind: &str, first: u64, end: u64) -> Event {
        Event { kind: kind.to_owned(), first, end, info: String::new() }
    }

    fn transaction(number: u64, first: u64) -> [Event; 3] {
        let info = format!("SET @@SESSION.GTID_NEXT= '{UUID}:{number}'");
        [
            Event { info, ..event("Gtid", first, first + 10) },
            event("Query", first + 10, first + 20),
            event("Xid", first + 20, first + 30),
        ]
    }

    fn cut(wanted: &str, numbers: &[u64]) -> Cut {
        let mut events = vec![event("Format_desc", 4, 100), event("Previous_gtids", 100, 200)];
        for (at, number) in (0..).zip(numbers) {
            events.extend(transaction(*number, 200 + at * 30));
        }
        let end = events.last().unwrap().end;
        events.push(event("Rotate", end, end + 40));
        let wanted = GtidSet::parse(wanted.as_bytes()).unwrap();
        let mut cut = Cut::default();
        events.iter().for_each(|event| cut.add(event, &wanted));
        cut.finished()
    }

    #[test]
    fn the_beginning_and_what_is_wanted() {
        let piece = |first, end| Piece { first, end };
        for (wanted, numbers, transactions, pieces) in [
            ("5", &[1, 2, 3][..], 0, &[piece(0, 200)][..]),
            ("1", &[1, 2, 3], 1, &[piece(0, 230)]),
            ("3", &[1, 2, 3], 1, &[piece(0, 200), piece(260, 290)]),
            ("2-3", &[1, 2, 3], 2, &[piece(0, 200), piece(230, 290)]),
            ("1:3", &[1, 2, 3], 2, &[piece(0, 230), piece(260, 290)]),
            ("1-9", &[1, 2, 3], 3, &[piece(0, 290)]),
        ] {
            let made = cut(&format!("{UUID}:{wanted}"), numbers);
            assert_eq!(
                (made.pieces.as_slice(), made.transactions),
                (pieces, transactions),
                "{wanted}"
            );
            let bytes: u64 = pieces.iter().map(|piece| piece.end - piece.first).sum();
            assert_eq!(made.bytes(), bytes);
        }
    }

    #[test]
    fn the_gtid_of_an_event() {
        let of = |text: &str| gtid(text).map(|set| set.to_string());
        let next = format!("SET @@SESSION.GTID_NEXT= '{UUID}:23'");
        assert_eq!(of(&next), Some(format!("{UUID}:23")));
        for text in ["", "BEGIN", "SET @@SESSION.GTID_NEXT= 'ANONYMOUS'", "'"] {
            assert_eq!(of(text), None, "{text}");
        }
    }
}
