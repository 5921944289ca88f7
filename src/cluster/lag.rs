//! Why a replica, or a member of a group, is behind, in one sentence: is it the receiver or the applier, and what
//! holds that one up. Pure; `examine` collects the facts.

use super::diagnose::texts::shortened;
use super::diagnose::{bytes, count};

/// A transaction with so many changed rows explains a delay by itself.
const BIG_ROWS: u64 = 10_000;
/// So does one that has been under way so long while nothing blocks it, seconds.
const LONG_SECONDS: f64 = 1.0;
/// So many clients' statements at once keep the applier from the processors and the disk.
const BUSY_STATEMENTS: u64 = 8;
/// A transaction received in less time says nothing about the network, seconds.
const SLOW_TRANSFER_SECONDS: f64 = 1.0;

/// What is known of a replica that is behind.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct LagFacts {
    pub node: String,
    /// "t-1", "the group"
    pub source: String,
    /// Transactions that the primary had executed before this replica was asked, and it has not.
    pub behind: u64,
    /// Of these, not even received.
    pub not_received: u64,
    /// Kept behind on purpose, seconds.
    pub delay: u64,
    pub receiver_runs: bool,
    pub applier_runs: bool,
    /// In the source's binary logs behind what was read, bytes.
    pub to_receive: Option<u64>,
    /// Received and not applied, bytes of binary log.
    pub to_apply: Option<u64>,
    /// For how long the transaction that is being received has been coming in, seconds.
    pub receiving_seconds: Option<f64>,
    /// `replica_parallel_workers`
    pub workers: u64,
    /// What the workers are at, the longest first.
    pub applying: Vec<Applying>,
    pub lock: Option<Lock>,
    /// Statements of clients that run at this moment.
    pub statements: u64,
    /// The longest of these: seconds and text.
    pub longest: Option<(u64, String)>,
    /// What is left of its disk, bytes, when that is too little to write anything.
    pub full: Option<u64>,
    /// Of a member of a group.
    pub queues: Option<Queues>,
}

/// What waits in a member of a group, transactions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Queues {
    /// It is RECOVERING: what is older than its coming it fetches from another member.
    pub recovering: bool,
    /// Delivered by the group and not yet checked for conflicts.
    pub to_check: u64,
    /// Checked and not applied.
    pub to_apply: u64,
    /// How many may wait, of each, before the group slows its writers down; `None` where it never does.
    pub limits: Option<(u64, u64)>,
}

/// One transaction under way in a worker.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Applying {
    pub transaction: String,
    /// Since the worker took it.
    pub seconds: f64,
    /// Since the primary committed it.
    pub age_seconds: Option<f64>,
    /// Rows changed so far.
    pub rows: u64,
    /// "app.t"
    pub table: Option<String>,
    /// For DDL and statement-based replication.
    pub statement: Option<String>,
}

/// Who holds what a worker waits for.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Lock {
    /// "a row of app.t", "table app.t", "the global read lock"
    pub what: String,
    /// For KILL.
    pub connection: u64,
    pub user: String,
    pub statement: Option<String>,
    /// How long its owner has been at it, seconds.
    pub seconds: u64,
}

/// What holds a replica up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Kept behind on purpose.
    Delay,
    /// One of its threads does not run; a finding says why.
    Stopped,
    /// What it receives and applies waits for room.
    DiskFull,
    Network,
    BigTransaction,
    Lock,
    FewWorkers,
    Busy,
    /// A member of a group fetches what is older than its coming.
    Recovering,
    /// A member of a group checks what was delivered for conflicts.
    Certifying,
    /// Nothing of these: the applier works at the pace it can.
    Applying,
}

impl Cause {
    /// The name by which programs know it: "big-transaction".
    pub fn name(self) -> &'static str {
        match self {
            Self::Delay => "delay",
            Self::Stopped => "stopped",
            Self::DiskFull => "disk-full",
            Self::Network => "network",
            Self::BigTransaction => "big-transaction",
            Self::Lock => "lock",
            Self::FewWorkers => "few-workers",
            Self::Busy => "busy",
            Self::Recovering => "recovering",
            Self::Certifying => "certifying",
            Self::Applying => "applying",
        }
    }
}

/// Why one replica or member is behind.
#[derive(Debug, Clone, PartialEq)]
pub struct Lag {
    pub node: String,
    pub cause: Cause,
    /// One sentence without a full stop.
    pub sentence: String,
    /// Transactions.
    pub behind: u64,
    /// Age of the oldest transaction that is being applied, where that is known.
    pub seconds: Option<f64>,
}

/// `None` for a replica that has everything.
pub(super) fn explain(facts: &LagFacts) -> Option<Lag> {
    if facts.behind == 0 {
        return None;
    }
    let seconds = facts.applying.iter().filter_map(|one| one.age_seconds).reduce(f64::max);
    let (cause, why) = why(facts);
    let age = seconds.map(|age| format!(", {age:.1} s")).unwrap_or_default();
    let behind = count(facts.behind, "transaction");
    let sentence = format!("{} is {behind}{age} behind: {why}{}", facts.node, slowed(facts));
    Some(Lag { node: facts.node.clone(), cause, sentence, behind: facts.behind, seconds })
}

/// The group's flow control, which holds back who writes until its slowest member has come nearer.
fn slowed(facts: &LagFacts) -> String {
    let Some(Queues { to_check, to_apply, limits: Some((check, apply)), .. }) = facts.queues else {
        return String::new();
    };
    let over =
        [(to_check, check), (to_apply, apply)].into_iter().find(|(wait, limit)| wait > limit);
    let words = |(wait, limit): (u64, u64)| {
        format!(
            "; {} wait, and with more than {limit} the group slows down all who write (flow control)",
            count(wait, "transaction")
        )
    };
    over.map(words).unwrap_or_default()
}

fn why(facts: &LagFacts) -> (Cause, String) {
    if facts.delay > 0 {
        let text = format!("it is kept {} behind on purpose (SOURCE_DELAY)", seconds(facts.delay));
        return (Cause::Delay, text);
    }
    if let Some(free) = facts.full {
        let text = format!(
            "its disk is full, with {} free, and what it writes waits for room",
            bytes(free)
        );
        return (Cause::DiskFull, text);
    }
    // When the receiver lacks most, the applier has little to be blamed for.
    let receiver = facts.not_received.saturating_mul(2) > facts.behind;
    if receiver || !facts.receiver_runs && facts.not_received > 0 {
        return match &facts.queues {
            Some(queues) => group_behind(facts, *queues),
            None => receiver_behind(facts),
        };
    }
    if !facts.applier_runs {
        return (Cause::Stopped, "its applier does not run".to_owned());
    }
    applier_behind(facts)
}

fn receiver_behind(facts: &LagFacts) -> (Cause, String) {
    if !facts.receiver_runs {
        return (Cause::Stopped, format!("its receiver gets nothing from {}", facts.source));
    }
    let left = facts.to_receive.filter(|left| *left > 0).map(bytes);
    let left = left.map(|left| format!(", {left} to go")).unwrap_or_default();
    match facts.receiving_seconds {
        Some(time) if time >= SLOW_TRANSFER_SECONDS && facts.not_received <= 2 => (
            Cause::BigTransaction,
            format!(
                "its receiver is behind; one transaction has been coming in from {} for {time:.1} s{left}",
                facts.source
            ),
        ),
        _ => (
            Cause::Network,
            format!(
                "its receiver is behind; {} not yet fetched from {}{left}: the network between them is \
                 slow or cut, or {} does not send",
                are(facts.not_received),
                facts.source,
                facts.source
            ),
        ),
    }
}

/// Most of what a member lacks has not come as far as its applier.
fn group_behind(facts: &LagFacts, queues: Queues) -> (Cause, String) {
    let lacks = are(facts.not_received);
    if queues.recovering {
        let text = format!("it is RECOVERING, and {lacks} not yet fetched from another member");
        return (Cause::Recovering, text);
    }
    if queues.to_check > 0 {
        let text = format!(
            "{} delivered by the group and not yet checked for conflicts",
            are(queues.to_check)
        );
        return (Cause::Certifying, text);
    }
    let text = format!(
        "{lacks} not yet delivered to it by the group: the network between the members is slow or cut, or it \
         stood still"
    );
    (Cause::Network, text)
}

fn applier_behind(facts: &LagFacts) -> (Cause, String) {
    if let Some(lock) = &facts.lock {
        return (Cause::Lock, lock_words(lock));
    }
    let longest = facts.applying.first();
    if let Some(one) = longest.filter(|one| is_big(one)) {
        return (Cause::BigTransaction, big_words(one));
    }
    let busy = u64::try_from(facts.applying.len()).unwrap_or(u64::MAX);
    let backlog = facts.to_apply.filter(|left| *left > 0).map(bytes);
    let backlog = backlog.map(|left| format!(" ({left})")).unwrap_or_default();
    if facts.statements >= BUSY_STATEMENTS {
        let longest = match &facts.longest {
            Some((time, text)) => {
                format!(", the longest for {}: {}", seconds(*time), shortened(text))
            }
            None => String::new(),
        };
        let text = format!(
            "it is busy with {} of clients{longest}",
            count(facts.statements, "running statement")
        );
        return (Cause::Busy, text);
    }
    if facts.workers > 0 && busy >= facts.workers && facts.behind > facts.workers {
        let all = match facts.workers {
            1 => "its only worker applies one".to_owned(),
            workers => format!("all {workers} workers apply at once"),
        };
        let text = format!(
            "{all} and {} wait{backlog}: more replica_parallel_workers would help where the transactions are \
             independent",
            facts.behind.saturating_sub(busy)
        );
        return (Cause::FewWorkers, text);
    }
    let text = format!("its applier works on them{backlog}, {busy} at once");
    (Cause::Applying, text)
}

fn is_big(one: &Applying) -> bool {
    one.rows >= BIG_ROWS || one.seconds >= LONG_SECONDS
}

fn big_words(one: &Applying) -> String {
    let table = one.table.as_ref().map(|table| format!(" on {table}")).unwrap_or_default();
    let rows = match one.rows {
        0 => String::new(),
        rows => format!(", {} changed so far", count(rows, "row")),
    };
    let statement = one.statement.as_deref().map(shortened);
    let statement = statement.map(|text| format!(": {text}")).unwrap_or_default();
    format!(
        "its applier has been at one transaction{table} for {:.1} s{rows} ({}){statement}",
        one.seconds, one.transaction
    )
}

fn lock_words(lock: &Lock) -> String {
    let statement = match &lock.statement {
        Some(text) => format!(", last statement: {}", shortened(text)),
        None => String::new(),
    };
    format!(
        "its applier waits for {}, held by connection {} of {} for {}{statement}; KILL {} on that server \
         frees it",
        lock.what,
        lock.connection,
        lock.user,
        seconds(lock.seconds),
        lock.connection
    )
}

/// "1 transaction is", "3 transactions are"
fn are(number: u64) -> String {
    let verb = if number == 1 { "is" } else { "are" };
    format!("{} {verb}", count(number, "transaction"))
}

fn seconds(number: u64) -> String {
    format!("{number} s")
}

/// Bytes of binary log from one place to a later one, both file and position; `None` when a file is not
/// in the list.
pub(super) fn bytes_between(
    logs: &[(String, u64)],
    from: &(String, u64),
    to: &(String, u64),
) -> Option<u64> {
    let place = |name: &str| logs.iter().position(|(log, _)| log == name);
    let (first, last) = (place(&from.0)?, place(&to.0)?);
    let before: u64 = logs.get(first..last)?.iter().map(|(_, size)| *size).sum();
    Some(before.saturating_add(to.1).saturating_sub(from.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> LagFacts {
        LagFacts {
            node: "t-2".to_owned(),
            source: "t-1".to_owned(),
            behind: 40,
            receiver_runs: true,
            applier_runs: true,
            workers: 4,
            ..LagFacts::default()
        }
    }

    fn applying(seconds: f64, rows: u64) -> Applying {
        Applying {
            transaction: "u:7".to_owned(),
            seconds,
            age_seconds: Some(seconds + 1.0),
            rows,
            table: Some("app.t".to_owned()),
            statement: None,
        }
    }

    fn check(facts: &LagFacts, cause: Cause, words: &[&str]) {
        let lag = explain(facts).unwrap();
        assert_eq!(lag.cause, cause, "{}", lag.sentence);
        for word in words {
            assert!(lag.sentence.contains(word), "{word:?} is not in: {}", lag.sentence);
        }
    }

    #[test]
    fn a_replica_that_has_everything_needs_no_words() {
        assert_eq!(explain(&LagFacts { behind: 0, ..facts() }), None);
    }

    #[test]
    fn the_receiver() {
        let behind = LagFacts { not_received: 30, to_receive: Some(3 << 20), ..facts() };
        check(
            &behind,
            Cause::Network,
            &["40 transactions behind", "30 transactions are", "3.0 MiB"],
        );
        let big = LagFacts { behind: 1, not_received: 1, receiving_seconds: Some(4.25), ..facts() };
        check(&big, Cause::BigTransaction, &["1 transaction behind", "from t-1 for 4.2 s"]);
        let stopped = LagFacts { not_received: 3, receiver_runs: false, ..facts() };
        check(&stopped, Cause::Stopped, &["receiver gets nothing from t-1"]);
    }

    #[test]
    fn the_applier() {
        let lock = Lock {
            what: "a row of app.t".to_owned(),
            connection: 77,
            user: "root@localhost".to_owned(),
            statement: Some("SELECT 1".to_owned()),
            seconds: 9,
        };
        let locked = LagFacts { lock: Some(lock), applying: vec![applying(8.0, 0)], ..facts() };
        check(
            &locked,
            Cause::Lock,
            &["connection 77", "root@localhost", "9 s", "KILL 77", "app.t"],
        );
        let big = LagFacts { applying: vec![applying(3.5, 250_000)], ..facts() };
        check(&big, Cause::BigTransaction, &["4.5 s behind", "on app.t for 3.5 s", "250000 rows"]);
        let small = vec![applying(0.01, 1); 4];
        let full = LagFacts { applying: small.clone(), to_apply: Some(2048), ..facts() };
        check(&full, Cause::FewWorkers, &["all 4 workers", "36 wait (2.0 KiB)"]);
        let busy = LagFacts {
            applying: small,
            statements: 30,
            longest: Some((12, "SELECT  SLEEP(9)".to_owned())),
            ..facts()
        };
        check(&busy, Cause::Busy, &["30 running statements", "12 s: SELECT SLEEP(9)"]);
        check(&LagFacts { applier_runs: false, ..facts() }, Cause::Stopped, &["applier"]);
        check(&LagFacts { delay: 60, ..facts() }, Cause::Delay, &["60 s behind on purpose"]);
        check(&facts(), Cause::Applying, &["0 at once"]);
        let full = LagFacts { full: Some(4096), not_received: 39, ..facts() };
        check(&full, Cause::DiskFull, &["4.0 KiB free"]);
    }

    #[test]
    fn a_member_of_a_group() {
        let member = |queues| LagFacts { queues: Some(queues), ..facts() };
        let open = Queues { limits: Some((25_000, 25_000)), ..Queues::default() };
        let fetches = LagFacts { not_received: 30, ..member(Queues { recovering: true, ..open }) };
        check(
            &fetches,
            Cause::Recovering,
            &["40 transactions behind", "30 transactions are not yet"],
        );
        // What it has fetched already its applier may be held up by all the same.
        let applies = LagFacts { applying: vec![applying(3.5, 9)], not_received: 2, ..fetches };
        check(&applies, Cause::BigTransaction, &["on app.t for 3.5 s"]);
        let checks = LagFacts { not_received: 40, ..member(Queues { to_check: 39, ..open }) };
        check(&checks, Cause::Certifying, &["39 transactions are delivered"]);
        let cut = LagFacts { not_received: 1, behind: 1, ..member(open) };
        check(&cut, Cause::Network, &["1 transaction is not yet delivered"]);

        let many = Queues { to_apply: 25_001, ..open };
        check(
            &member(many),
            Cause::Applying,
            &["25001 transactions wait", "more than 25000", "flow"],
        );
        for few in [open, Queues { to_apply: 25_000, ..open }, Queues { limits: None, ..many }] {
            let lag = explain(&member(few)).unwrap();
            assert!(!lag.sentence.contains("flow control"), "{}", lag.sentence);
        }
    }

    #[test]
    fn the_distance_in_the_logs() {
        let logs = [("b.1".to_owned(), 1000), ("b.2".to_owned(), 500), ("b.3".to_owned(), 70)];
        let at = |file: &str, position| (file.to_owned(), position);
        assert_eq!(bytes_between(&logs, &at("b.1", 900), &at("b.3", 50)), Some(650));
        assert_eq!(bytes_between(&logs, &at("b.3", 4), &at("b.3", 70)), Some(66));
        assert_eq!(bytes_between(&logs, &at("b.9", 4), &at("b.3", 70)), None);
        assert_eq!(bytes_between(&logs, &at("b.3", 4), &at("b.1", 70)), None);
    }
}
