//! The servers' error messages, taken apart. They are the only place where a table, a key or the missing
//! transactions are named; a message of another form gives `None` and is shown as it is.

use crate::gtid::GtidSet;

/// Longest piece of a server's message that goes into a sentence, characters.
const MOST_CHARS: usize = 240;

/// Key and values of "Duplicate entry '1-x' for key 't.PRIMARY'".
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Duplicate {
    /// The values of the key's columns, joined by `-`.
    pub entry: String,
    /// "PRIMARY"
    pub key: String,
}

/// The key of error 1062.
pub(crate) fn duplicate(message: &str) -> Option<Duplicate> {
    let (_, rest) = message.split_once("Duplicate entry '")?;
    // The values may hold quotes, so the last place where it fits counts.
    let (entry, rest) = rest.rsplit_once("' for key '")?;
    let (key, _) = rest.split_once('\'')?;
    let key = key.rsplit('.').next().unwrap_or(key);
    Some(Duplicate { entry: entry.to_owned(), key: key.to_owned() })
}

/// "app.t" of "Could not execute Write_rows event on table app.t; ..".
pub(crate) fn table(message: &str) -> Option<(String, String)> {
    let (_, rest) = message.split_once(" event on table ")?;
    let (name, _) = rest.split_once(';')?;
    let (schema, table) = name.split_once('.')?;
    Some((schema.to_owned(), table.to_owned()))
}

/// "delete" of "Could not execute Delete_rows event on table ..".
pub(crate) fn action(message: &str) -> Option<&'static str> {
    let (_, rest) = message.split_once("Could not execute ")?;
    [("Write_rows", "insert"), ("Update_rows", "update"), ("Delete_rows", "delete")]
        .into_iter()
        .find_map(|(event, action)| rest.starts_with(event).then_some(action))
}

/// The GTID of "failed executing transaction 'uuid:15' at ..".
pub(crate) fn transaction(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("executing transaction '")?;
    let (gtid, _) = rest.split_once('\'')?;
    let set = GtidSet::parse(gtid.as_bytes()).ok()?;
    (set.count() == 1).then(|| gtid.to_owned())
}

/// The set of "the missing transactions are '..'".
pub(crate) fn missing(message: &str) -> Option<GtidSet> {
    let (_, rest) = message.split_once("missing transactions are '")?;
    let (set, _) = rest.split_once('\'')?;
    GtidSet::parse(set.as_bytes()).ok()
}

/// "weir-1:3306" of "Error connecting to source 'weir_replication@weir-1:3306'".
pub(crate) fn target(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("to source '")?;
    let (account, _) = rest.split_once('\'')?;
    Some(account.rsplit_once('@').map_or(account, |(_, target)| target))
}

/// The account of the same message.
pub(crate) fn account(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("to source '")?;
    let (account, _) = rest.split_once('@')?;
    Some(account)
}

/// Why a connection did not come about, from the number in brackets at the message's end
/// (errno of Linux; negative ones are getaddrinfo's).
pub(crate) fn network_cause(message: &str) -> Option<&'static str> {
    let (_, number) = message.trim_end().strip_suffix(')')?.rsplit_once('(')?;
    Some(match number.parse::<i32>().ok()? {
        111 => "nobody listens there",
        110 | 11 | 115 => "no answer came in time",
        113 | 101 => "no network leads there",
        104 => "the connection was cut",
        -2 | -3 | -5 => "the name is not known",
        _ => return None,
    })
}

/// The part of a worker's message behind "at source log .., end_log_pos ..; ", and without what repeats
/// it at its end.
pub(crate) fn essence(message: &str) -> String {
    let after = message.split_once("end_log_pos ").and_then(|(_, rest)| rest.split_once("; "));
    let text = after.map_or(message, |(_, rest)| rest);
    let text = text.split_once("; the event's source log").map_or(text, |(text, _)| text);
    let text = text.split_once("Message: ").map_or(text, |(_, text)| text);
    shortened(text)
}

/// All of it on one line, or its beginning.
pub(crate) fn shortened(text: &str) -> String {
    let one_line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let one_line = one_line.trim_end_matches('.');
    if one_line.chars().count() <= MOST_CHARS {
        return one_line.to_owned();
    }
    one_line.chars().take(MOST_CHARS).chain("..".chars()).collect()
}

/// The first GTID of a set: "uuid:7".
pub(crate) fn first(set: &GtidSet) -> String {
    let text = set.to_string();
    let one = text.split(',').next().unwrap_or_default();
    let Some((uuid, rest)) = one.split_once(':') else { return one.to_owned() };
    let mut parts = rest.split(':');
    let head = parts.next().unwrap_or_default();
    // A tag stands between the UUID and the numbers.
    let (tag, numbers) = if head.starts_with(|c: char| c.is_ascii_digit()) {
        (String::new(), head)
    } else {
        (format!("{head}:"), parts.next().unwrap_or_default())
    };
    let number = numbers.split('-').next().unwrap_or_default();
    format!("{uuid}:{tag}{number}")
}

/// The last line that is an error, in the server's words.
pub(crate) fn last_error(log: &[String]) -> Option<&str> {
    log.iter().rev().find(|line| line.contains("[ERROR]")).map(|line| {
        let text = line.split_once("[ERROR]").map_or(line.as_str(), |(_, text)| text);
        // The code and the subsystem in brackets.
        let text = text.trim_start();
        let mut rest = text;
        while let Some(after) = rest.strip_prefix('[').and_then(|r| r.split_once("] ")) {
            rest = after.1.trim_start();
        }
        rest
    })
}

/// Errors by which a server says that its disk is full: 3 (write), 28 (the system's), 1021, 1114.
pub(crate) fn is_disk_full(errno: u32, message: &str) -> bool {
    matches!(errno, 28 | 1021 | 1114)
        || message.contains("No space left on device")
        || message.contains("OS errno 28")
        || message.contains("disk is full")
        || message.contains("Disk is full")
        || (errno == 3 && message.contains("Error writing file"))
}
