//! Asks each server directly what it has of the rows: once a second while they come, and all at the end.

use std::cell::RefCell;
use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures_util::future;
use mysql_async::prelude::Queryable as _;
use tokio_util::sync::CancellationToken;

use super::tally::{Check, Tally};
use super::{Target, open};
use crate::config::Server;
use crate::monitor::connect::Connection;

/// From one round of lines to the next.
const ROUND: Duration = Duration::from_secs(1);
/// A server that does not answer by then gets a line that says so.
const ANSWER_LIMIT: Duration = Duration::from_millis(900);
/// At the end, replicas get this long for the last rows.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(30);
const CATCH_UP_POLL: Duration = Duration::from_millis(100);
/// For one part of the check.
const CHECK_LIMIT: Duration = Duration::from_secs(60);
/// Rows that are fetched at once by the check.
const CHECK_ROWS: u64 = 50_000;

/// Of an error, for a line that stays readable.
const ERROR_CHARS: usize = 160;
/// MySQL's number for a table that is not there.
const NO_SUCH_TABLE: u16 = 1146;

/// One server with its connection, when there is one.
struct Watched<'a> {
    server: &'a Server,
    connection: Option<Connection>,
    /// Rows counted so far, and the number up to which.
    rows: u64,
    last: u64,
}

/// What a server said.
struct Answer {
    is_primary: bool,
    rows: u64,
    last: u64,
}

/// A line a server, once a second, until `stop`.
pub(super) async fn watch(
    servers: &[Server],
    target: &Target,
    tally: &RefCell<Tally>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let mut watched = all(servers);
    let started = Instant::now();
    let widest = servers.iter().map(|server| server.name.len()).max().unwrap_or(0);
    let mut ticks = tokio::time::interval(ROUND);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            _ = ticks.tick() => {}
        }
        let answers = future::join_all(watched.iter_mut().map(|one| one.ask(target))).await;
        let seconds = started.elapsed().as_secs();
        let mut tally = tally.borrow_mut();
        let mut out = io::stdout().lock();
        if let Some((count, last)) = tally.take_errors() {
            writeln!(
                out,
                "{seconds:>5} s  writer: {count} failed, the last: {}",
                shortened(&last)
            )?;
        }
        let now = Instant::now();
        for (one, answer) in watched.iter().zip(answers) {
            let words = match answer {
                Ok(answer) => line(&answer, &tally, now),
                Err(error) => format!("does not answer: {error}"),
            };
            writeln!(out, "{seconds:>5} s  {:<widest$}  {words}", one.server.name)?;
        }
    }
}

fn shortened(text: &str) -> String {
    let short: String = text.chars().take(ERROR_CHARS).collect();
    if short.len() < text.len() { short + ".." } else { short }
}

/// Waits for the replicas, then compares every row; prints a line a server. Whether all is right.
pub(super) async fn check(
    servers: &[Server],
    target: &Target,
    tally: &Tally,
) -> anyhow::Result<bool> {
    let mut watched = all(servers);
    let until = Instant::now() + CATCH_UP_LIMIT;
    for one in &mut watched {
        // Whatever is wrong the check itself will say.
        while Instant::now() < until {
            match one.ask(target).await {
                Ok(answer) if answer.last >= tally.last() => break,
                _ => tokio::time::sleep(CATCH_UP_POLL).await,
            }
        }
    }
    let mut right = true;
    for one in &mut watched {
        let words = match one.check(target, tally).await {
            Ok(check) => {
                right &= check.is_right();
                check.words()
            }
            Err(error) => {
                right = false;
                format!("cannot be asked: {error}")
            }
        };
        writeln!(io::stdout(), "{:<17}  {words}", one.server.name)?;
    }
    Ok(right)
}

fn all(servers: &[Server]) -> Vec<Watched<'_>> {
    servers.iter().map(|server| Watched { server, connection: None, rows: 0, last: 0 }).collect()
}

fn line(answer: &Answer, tally: &Tally, now: Instant) -> String {
    let (rows, time) = tally.behind(answer.last, now);
    let role = if answer.is_primary { "primary" } else { "replica" };
    format!(
        "{role}  {:>8} rows  {rows:>6} rows behind  {:>6} ms behind",
        answer.rows,
        time.as_millis()
    )
}

impl Watched<'_> {
    /// Role and rows; only those are counted that came since the last time.
    async fn ask(&mut self, target: &Target) -> anyhow::Result<Answer> {
        let asked = tokio::time::timeout(ANSWER_LIMIT, async {
            let mut connection = self.connection(target).await?;
            let read_only: Option<u8> =
                connection.conn.query_first("SELECT @@global.read_only").await?;
            let Target { table, run, .. } = target;
            let query = format!(
                "SELECT COUNT(*), COALESCE(MAX(number), 0) FROM {table} WHERE run = {run} AND number > {}",
                self.last
            );
            let counted: Option<(u64, u64)> = match connection.conn.query_first(query).await {
                // A replica that lags may not even have the table.
                Err(mysql_async::Error::Server(error)) if error.code == NO_SUCH_TABLE => Some((0, 0)),
                counted => counted?,
            };
            anyhow::Ok((connection, read_only == Some(0), counted.context("no row came back")?))
        })
        .await;
        let Ok(answered) = asked else { bail!("nothing in {} ms", ANSWER_LIMIT.as_millis()) };
        // A connection whose question failed is out of step and was dropped.
        let (connection, is_primary, (rows, last)) = answered?;
        self.connection = Some(connection);
        self.rows = self.rows.saturating_add(rows);
        self.last = self.last.max(last);
        Ok(Answer { is_primary, rows: self.rows, last: self.last })
    }

    async fn connection(&mut self, target: &Target) -> anyhow::Result<Connection> {
        match self.connection.take() {
            Some(connection) => Ok(connection),
            None => open(self.server, &target.account).await,
        }
    }

    async fn check(&mut self, target: &Target, tally: &Tally) -> anyhow::Result<Check> {
        let Target { table, run, .. } = target;
        let mut connection = self.connection(target).await?;
        let mut check = tally.check();
        let mut last = (0_u64, 0_u64);
        loop {
            let query = format!(
                "SELECT number, id FROM {table} WHERE run = {run} AND (number > {n} OR (number = {n} AND id > \
                 {id})) ORDER BY number, id LIMIT {CHECK_ROWS}",
                n = last.0,
                id = last.1
            );
            let rows = connection.conn.query::<(u64, u64), _>(query);
            let rows =
                tokio::time::timeout(CHECK_LIMIT, rows).await.context("no answer in time")??;
            let Some(end) = rows.last() else { break };
            last = *end;
            for (number, _) in rows {
                check.has(number, tally);
            }
        }
        check.finish(tally);
        Ok(check)
    }
}
