//! Inserts rows through the proxy at a steady pace, whatever happens.

use std::cell::RefCell;
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::tally::Tally;
use super::{Target, open};
use crate::config::Server;
use crate::monitor::connect::Connection;

/// A write that takes longer has failed; Weir may hold writes while a primary moves.
const WRITE_LIMIT: Duration = Duration::from_secs(60);
/// The write that is under way at the end gets this long.
const LAST_WRITE_LIMIT: Duration = Duration::from_secs(5);
/// Between two attempts to connect.
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);
/// A writer that fell behind its pace by more goes on from now, without making up for it.
const MAX_CATCH_UP: Duration = Duration::from_secs(1);

pub(super) struct Writer<'a> {
    pub proxy: &'a Server,
    pub target: &'a Target,
    pub tally: &'a RefCell<Tally>,
    pub stop: &'a CancellationToken,
}

impl Writer<'_> {
    /// Until `stop`. A row is sent once: when its outcome is unknown, the next one follows.
    pub(super) async fn run(&self, rows_per_second: u32) {
        let pace = Duration::from_secs(1) / rows_per_second.max(1);
        let mut next = Instant::now();
        let mut number = 1;
        let mut connection = None;
        while self.sleep_until(next).await {
            self.tally.borrow_mut().due(next.into_std());
            let Some(mut open) = self.connected(connection.take()).await else { continue };
            match self.write(&mut open, number).await {
                Ok(()) => {
                    let now = std::time::Instant::now();
                    self.tally.borrow_mut().acknowledged(number, now);
                    connection = Some(open);
                }
                // An error of the server leaves the connection in step; everything else does not.
                Err(mysql_async::Error::Server(error)) => {
                    self.failed(number, &error.to_string());
                    connection = Some(open);
                }
                Err(error) => self.failed(number, &error.to_string()),
            }
            number += 1;
            next = (next + pace).max(Instant::now() - MAX_CATCH_UP);
        }
        self.tally.borrow_mut().end_pause(std::time::Instant::now());
    }

    /// `false` when it is time to stop.
    async fn sleep_until(&self, time: Instant) -> bool {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => false,
            () = tokio::time::sleep_until(time) => true,
        }
    }

    /// The connection, or a new one; `None` after a failed attempt and a pause.
    async fn connected(&self, connection: Option<Connection>) -> Option<Connection> {
        if connection.is_some() {
            return connection;
        }
        match open(self.proxy, &self.target.account).await {
            Ok(connection) => Some(connection),
            Err(error) => {
                self.tally.borrow_mut().failed(format!("no connection to Weir: {error}"));
                tokio::time::sleep(RECONNECT_PAUSE).await;
                None
            }
        }
    }

    async fn write(
        &self,
        connection: &mut Connection,
        number: u64,
    ) -> Result<(), mysql_async::Error> {
        let Target { table, run, .. } = self.target;
        let insert = format!(
            "INSERT INTO {table} (run, number, written, host, server_id) VALUES ({run}, {number}, NOW(6), \
             @@hostname, @@server_id)"
        );
        let limit = async {
            tokio::select! {
                () = tokio::time::sleep(WRITE_LIMIT) => WRITE_LIMIT,
                () = async { self.stop.cancelled().await; tokio::time::sleep(LAST_WRITE_LIMIT).await } => {
                    LAST_WRITE_LIMIT
                }
            }
        };
        tokio::select! {
            biased;
            done = connection.conn.query_drop(insert) => done,
            limit = limit => {
                let words = format!("no answer in {} s", limit.as_secs());
                Err(mysql_async::Error::Other(words.into()))
            }
        }
    }

    fn failed(&self, number: u64, error: &str) {
        self.tally.borrow_mut().failed(format!("row {number}: {error}"));
    }
}
