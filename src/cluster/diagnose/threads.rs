//! What a replica's two threads tell: the receiver, which fetches from the source, and the applier.

use crate::gtid::GtidSet;

use super::container::repair;
use super::data::other_uuid;
use super::texts;
use super::{Finding, Kind, ReplicaStatus, Safe, Scene, ServerSymptoms, Symptoms, count};

/// Numbers of the server error reference.
pub(in crate::cluster) const ACCESS_DENIED: u32 = 1045;
/// The source's dump thread refused, and what 8.0 and later make of it.
const FATAL_READING_BINLOG: [u32; 2] = [1236, 13_114];
/// Equal `server_id` or `server_uuid` of source and replica.
const REPLICA_FATAL: [u32; 2] = [1593, 13_117];
const NO_CONNECTION: [u32; 6] = [2002, 2003, 2005, 2006, 2013, 2055];
const RELAY_LOG_DAMAGED: [u32; 3] = [1594, 13_121, 13_122];
const DUPLICATE_KEY: [u32; 2] = [1062, 1586];
const MISSING_ROW: [u32; 1] = [1032];
/// A transaction that met another's locks, more often than the server tries by itself.
const PASSING: [u32; 2] = [1205, 1213];
/// Of the source's words when it cannot send what is asked for.
const PURGED: &str = "purged required binary logs";
/// The same where it was asked by the name of a log.
const NO_SUCH_LOG: &str = "Could not find first log file";

/// Whether an applier that stopped by this error would stop there again: somebody has to change something first.
pub(in crate::cluster) fn applier_is_held(errno: u32, message: &str) -> bool {
    errno != 0
        && !PASSING.contains(&errno)
        && !RELAY_LOG_DAMAGED.contains(&errno)
        && !texts::is_disk_full(errno, message)
}

/// The same of a receiver.
pub(in crate::cluster) fn receiver_is_held(message: &str) -> bool {
    message.contains(PURGED) || message.contains(NO_SUCH_LOG)
}

/// So many copies of one node's data within a day are made without being asked.
pub(in crate::cluster) const MOST_COPIES: usize = 3;

/// What is said of one replica.
struct View<'a> {
    node: &'a Symptoms,
    server: &'a ServerSymptoms,
    status: &'a ReplicaStatus,
    primary: &'a Symptoms,
    /// Whether another server has this one's `server_uuid` now.
    has_twin: bool,
}

type Found = (Kind, String, String, Safe);

pub(super) fn look(
    Scene { node, server, nodes, primary, .. }: &Scene<'_>,
    disk_full: bool,
    findings: &mut Vec<Finding>,
) {
    let Some(primary) = primary.filter(|primary| primary.name != node.name) else { return };
    let name = &node.name;
    let mut found = |(kind, sentence, remedy, safe): Found| {
        findings.push(Finding { node: name.clone(), kind, sentence, remedy, safe });
    };
    let Some(status) = &server.replica else {
        return found((
            Kind::NoSource,
            format!("{name} replicates from nobody although {} is the primary", primary.name),
            repair(name, "makes it replicate, if it has no transactions of its own"),
            Safe::Follow,
        ));
    };
    let has_twin = nodes
        .iter()
        .filter(|other| other.name != node.name)
        .any(|other| other.server.as_ref().is_some_and(|other| other.uuid == server.uuid));
    let view = View { node, server, status, primary, has_twin };
    if status.source_host != primary.name {
        return found(view.other_source());
    }
    for of_thread in [view.receiver(), view.applier()].into_iter().flatten() {
        let (kind, sentence, remedy, safe) = of_thread;
        let is_effect = matches!(kind, Kind::ApplierError | Kind::ReceiverError) && disk_full;
        found((kind, sentence, remedy, if is_effect { Safe::Nothing } else { safe }));
    }
}

impl View<'_> {
    fn other_source(&self) -> Found {
        let (name, primary) = (&self.node.name, &self.primary.name);
        (
            Kind::OtherSource,
            format!(
                "{name} replicates from {}, but the primary is {primary}",
                self.status.source_host
            ),
            repair(name, "points it at the primary"),
            Safe::Follow,
        )
    }

    fn receiver(&self) -> Option<Found> {
        let status = self.status;
        if status.receiver == "Yes" {
            return None;
        }
        let (name, source) = (&self.node.name, &self.status.source_host);
        let error = status.io_error.as_str();
        Some(match status.io_errno {
            // A receiver that has just been started is connecting without an error.
            0 if status.receiver == "Connecting" => return None,
            0 => (
                Kind::ReceiverStopped,
                format!("the receiver of {name} was stopped: it fetches nothing from {source}"),
                repair(name, "starts it"),
                Safe::StartThreads,
            ),
            ACCESS_DENIED => (
                Kind::Credentials,
                format!(
                    "{source} refuses the replication account {} to {name}: wrong password, or no such \
                     account (1045)",
                    texts::account(error).unwrap_or("that is set")
                ),
                repair(name, "sets the account's password and the replica's anew"),
                Safe::Follow,
            ),
            errno if NO_CONNECTION.contains(&errno) => self.unreachable(errno),
            errno if FATAL_READING_BINLOG.contains(&errno) => self.position(),
            errno if REPLICA_FATAL.contains(&errno) && error.contains("equal MySQL server") => {
                let what = if error.contains("UUID") { "server_uuid" } else { "server_id" };
                self.same_identity(format!(
                    "{name} and its source {source} had the same {what} when {name} asked, so it takes \
                     nothing from it ({errno})"
                ))
            }
            errno => (
                Kind::ReceiverError,
                format!("the receiver of {name} has stopped: {} ({errno})", texts::essence(error)),
                format!("mend what it names, then `weir cluster repair {name}`"),
                Safe::StartThreads,
            ),
        })
    }

    fn unreachable(&self, errno: u32) -> Found {
        let (name, status) = (&self.node.name, self.status);
        let target = texts::target(&status.io_error).unwrap_or(&status.source_host);
        let cause = texts::network_cause(&status.io_error)
            .map(str::to_owned)
            .unwrap_or_else(|| texts::essence(&status.io_error));
        // Weir writes the port that servers have inside the network; another was set by somebody.
        let ours = format!("{}:{}", self.primary.name, super::super::node::MYSQL_PORT);
        let (remedy, safe) = if self.primary.server.is_none() {
            (
                format!("bring {} back; {name} connects again by itself", self.primary.name),
                Safe::Wait,
            )
        } else if target == ours {
            (
                format!(
                    "mend the network between {name} and {}, which do answer Weir; {name} connects again by \
                     itself",
                    self.primary.name
                ),
                Safe::Wait,
            )
        } else {
            (repair(name, "points it at the primary's right address"), Safe::Follow)
        };
        let sentence = format!("the receiver of {name} cannot reach {target}: {cause} ({errno})");
        (Kind::SourceUnreachable, sentence, remedy, safe)
    }

    /// The source does not have what is asked for: removed, or never there.
    fn position(&self) -> Found {
        let (name, source) = (&self.node.name, &self.status.source_host);
        let error = self.status.io_error.as_str();
        if error.contains(PURGED) {
            return self.purged();
        }
        if error.contains("same server_uuid") || error.contains("same server_id") {
            let what = if error.contains("server_uuid") { "server_uuid" } else { "server_id" };
            return self.same_identity(format!(
                "{source} threw {name} out because another replica with the same {what} had connected to it \
                 (1236)"
            ));
        }
        let (file, position) = &self.status.read;
        let there = self.primary.server.as_ref();
        let has_gtids = there.is_some_and(|there| !there.executed.is_empty());
        if self.status.auto_position
            || !error.contains("osition") && !error.contains("first log file")
        {
            return (
                Kind::ReceiverError,
                format!("{source} stopped sending to {name}: {} (1236)", quoted(error)),
                repair(name, "asks for it anew"),
                Safe::Follow,
            );
        }
        let has = self.primary.server.as_ref().and_then(|server| {
            let (_, size) = server.logs.iter().find(|(log, _)| log == file)?;
            Some(format!("{file} there has {}", count(*size, "byte")))
        });
        (
            Kind::WrongPosition,
            format!(
                "{name} asks {source} for {file} from position {position}, which is not there ({}; 1236)",
                has.unwrap_or_else(|| format!("{source} has no {file}"))
            ),
            if has_gtids { repair(name, "lets it find its place by GTID") } else { reclone(name) },
            if has_gtids { Safe::Follow } else { Safe::Nothing },
        )
    }

    /// The receiver stays stopped also when the twin has gone.
    fn same_identity(&self, sentence: String) -> Found {
        let name = &self.node.name;
        if self.has_twin {
            return (Kind::SameUuid, sentence, other_uuid(name), Safe::Nothing);
        }
        let remedy = repair(name, "starts it again, since no other server has its server_uuid now");
        (Kind::SameUuid, sentence, remedy, Safe::StartThreads)
    }

    fn purged(&self) -> Found {
        let (name, source) = (&self.node.name, &self.status.source_host);
        let there = self.primary.server.as_ref();
        let missing = texts::missing(&self.status.io_error)
            .or_else(|| there.map(|there| there.purged.subtract(&self.server.executed)))
            .unwrap_or_default();
        let oldest = there
            .and_then(|there| there.logs.first())
            .map(|(file, _)| format!("; the oldest there is now {file}"))
            .unwrap_or_default();
        let own =
            there.map_or_else(GtidSet::new, |there| self.server.executed.subtract(&there.executed));
        let (safe, remedy) = match (own.is_empty(), self.node.copies) {
            (false, _) => (Safe::Nothing, reclone(name)),
            (true, copies) if copies < MOST_COPIES => (
                Safe::Reclone,
                format!(
                    "a Weir that serves copies the data anew by itself; `weir cluster repair {name} --reclone` \
                     does so now"
                ),
            ),
            (true, copies) => (
                Safe::Nothing,
                format!(
                    "its data was copied anew {copies} times within a day, so Weir leaves it: have {source} keep \
                     its binary logs for longer (binlog_expire_logs_seconds), then `weir cluster repair {name} \
                     --reclone`"
                ),
            ),
        };
        (
            Kind::Purged,
            format!(
                "{name} lacks {}, the first is {}, that {source} has removed from its binary logs (1236{oldest})",
                count(missing.count(), "transaction"),
                texts::first(&missing),
            ),
            remedy,
            safe,
        )
    }

    fn applier(&self) -> Option<Found> {
        let status = self.status;
        if status.applier == "Yes" {
            return None;
        }
        let name = &self.node.name;
        let message =
            status.worker.as_ref().map_or(status.sql_error.as_str(), |worker| &worker.message);
        let errno = match (&status.worker, status.sql_errno) {
            (Some(worker), _) => worker.number,
            (None, errno) => errno,
        };
        Some(match errno {
            0 => (
                Kind::ApplierStopped,
                format!(
                    "the applier of {name} was stopped: {} received and not applied",
                    count(status.retrieved.subtract(&self.server.executed).count(), "transaction")
                ),
                repair(name, "starts it"),
                Safe::StartThreads,
            ),
            errno if DUPLICATE_KEY.contains(&errno) => self.duplicate(message, errno),
            errno if MISSING_ROW.contains(&errno) => self.missing_row(message, errno),
            errno if RELAY_LOG_DAMAGED.contains(&errno) => (
                Kind::RelayLogDamaged,
                format!(
                    "the relay log of {name} cannot be read ({errno}): {}",
                    texts::essence(message)
                ),
                repair(name, "fetches it again from the primary"),
                Safe::Follow,
            ),
            errno if texts::is_disk_full(errno, message) => (
                Kind::ApplierError,
                format!(
                    "the applier of {name} has no room to write: {} ({errno})",
                    texts::essence(message)
                ),
                format!("make room, then `weir cluster repair {name}`"),
                Safe::StartThreads,
            ),
            errno if PASSING.contains(&errno) => (
                Kind::ApplierError,
                format!(
                    "the applier of {name} waited too long for locks{}: {} ({errno})",
                    self.at_transaction(message),
                    texts::essence(message)
                ),
                repair(name, "starts it again"),
                Safe::StartThreads,
            ),
            errno => (
                Kind::ApplierError,
                format!(
                    "the applier of {name} has stopped{}: {} ({errno})",
                    self.at_transaction(message),
                    texts::essence(message)
                ),
                format!(
                    "mend what it names, then `weir cluster repair {name}`; `--skip` leaves this transaction \
                     out, `--reclone` copies the data anew"
                ),
                Safe::Nothing,
            ),
        })
    }

    fn duplicate(&self, message: &str, errno: u32) -> Found {
        let table = table(message);
        let sentence = match texts::duplicate(message) {
            Some(duplicate) => format!(
                "{} holds a row that the primary wants to write: '{}' of key {} in {table} ({errno}){}{}",
                self.node.name,
                texts::shortened(&duplicate.entry),
                duplicate.key,
                self.at_transaction(message),
                self.rows(),
            ),
            None => format!(
                "{} holds a row of {table} that the primary wants to write ({errno}){}: {}",
                self.node.name,
                self.at_transaction(message),
                texts::essence(message)
            ),
        };
        (Kind::DuplicateKey, sentence, self.divergence(), Safe::Nothing)
    }

    fn missing_row(&self, message: &str, errno: u32) -> Found {
        let wants = texts::action(message).unwrap_or("change");
        let sentence = format!(
            "{} lacks a row of {} that the primary wants to {wants} ({errno}){}",
            self.node.name,
            table(message),
            self.at_transaction(message)
        );
        (Kind::MissingRow, sentence, self.divergence(), Safe::Nothing)
    }

    fn divergence(&self) -> String {
        let name = &self.node.name;
        format!(
            "its data differs from the primary's: `weir cluster repair {name} --reclone` copies it anew, \
             `--skip` leaves this one transaction out and keeps what is there"
        )
    }

    /// " at transaction uuid:15, with 3 behind it"
    fn at_transaction(&self, message: &str) -> String {
        let worker = self.status.worker.as_ref().map(|worker| worker.transaction.clone());
        let Some(transaction) =
            texts::transaction(message).or(worker).filter(|gtid| !gtid.is_empty())
        else {
            return String::new();
        };
        let mut until = self.server.executed.clone();
        // Those before it that wait with it are not behind it. What cannot be read as a GTID counts as all there is.
        let _ = until.insert_text(up_to(&transaction).as_bytes());
        let waiting = self.status.retrieved.subtract(&until).count();
        format!(" at transaction {transaction}, with {} behind it", count(waiting, "transaction"))
    }

    /// "; the primary has (id=1), this one (id=1)"
    fn rows(&self) -> String {
        let Some(rows) = &self.status.rows else { return String::new() };
        let row = |row: &Option<String>| {
            row.as_deref().map_or_else(|| "no such row".to_owned(), texts::shortened)
        };
        format!(
            "; {} has {}, {} has {}",
            self.primary.name,
            row(&rows.on_primary),
            self.node.name,
            row(&rows.here)
        )
    }
}

fn reclone(name: &str) -> String {
    format!("`weir cluster repair {name} --reclone` copies the data anew")
}

/// "uuid:1-15" of "uuid:15"
fn up_to(transaction: &str) -> String {
    match transaction.rsplit_once(':') {
        Some((source, number)) => format!("{source}:1-{number}"),
        None => transaction.to_owned(),
    }
}

fn table(message: &str) -> String {
    texts::table(message)
        .map_or_else(|| "a table".to_owned(), |(schema, table)| format!("{schema}.{table}"))
}

/// What the source said, without the frame around it.
fn quoted(error: &str) -> String {
    let inner = error.split_once("binary log: '").map_or(error, |(_, rest)| rest);
    texts::shortened(inner.trim_end_matches('\''))
}
