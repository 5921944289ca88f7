//! `weir workload`: a row now and then through the proxy, and what each server has of them. Shows that the
//! cluster lives, how far replicas are behind, and what a switchover or a failure costs.
//!
//! | file | does |
//! |---|---|
//! | `login` | the application's account, from the option file that `weir cluster up` writes |
//! | `writer` | inserts through the proxy |
//! | `watcher` | asks each server directly, once a second |
//! | `tally` | what was acknowledged, and what a server lacks of it; pure |

mod login;
mod tally;
mod watcher;
mod writer;

use std::cell::RefCell;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use mysql_async::prelude::Queryable as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::WorkloadArgs;
use crate::config::{Config, Monitor, Server, ServerTls, ServerTlsMode};
use crate::monitor::connect::{Connection, connect};

use tally::Tally;
use writer::Writer;

/// TCP, TLS and login.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// For the statements before the first row.
const SETUP_LIMIT: Duration = Duration::from_secs(30);

/// Where the rows go, and as whom.
struct Target {
    /// The application's account, in the form that the monitor's connections take.
    account: Monitor,
    /// Quoted: `db`.`table`.
    table: String,
    /// Tells the rows of this run from those of others.
    run: u64,
}

/// Writes and watches until the time is over or SIGINT or SIGTERM comes, then checks every row. The exit
/// code is 0 when each acknowledged row is on each server exactly once.
///
/// # Errors
/// The configuration is wrong, the account is not known, or the proxy lets nobody in at the start.
pub fn run(args: &WorkloadArgs) -> anyhow::Result<ExitCode> {
    let mut config = super::load_config(&args.config.config)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    runtime.block_on(async {
        crate::app::find_servers(&mut config).await?;
        Box::pin(work(&config, args)).await
    })
}

async fn work(config: &Config, args: &WorkloadArgs) -> anyhow::Result<ExitCode> {
    let file = args
        .login
        .clone()
        .unwrap_or_else(|| config.proxy.state_dir.join(super::cluster::CLIENT_OPTIONS_FILE));
    let login = login::read(&file)?;
    let quoted = |name: &str| format!("`{}`", name.replace('`', "``"));
    let target = Target {
        table: format!("{}.{}", quoted(&login.database), quoted(&args.table)),
        account: Monitor { user: login.user, password: login.password, ..config.monitor.clone() },
        run: run_number(),
    };
    let proxy = proxy(config);
    make_table(&proxy, &target).await?;
    let stop = CancellationToken::new();
    let tally = RefCell::new(Tally::default());
    let writer = Writer { proxy: &proxy, target: &target, tally: &tally, stop: &stop };
    let watch = watcher::watch(&config.servers, &target, &tally, &stop);
    let end = until_end(args.seconds.map(Duration::from_secs), &stop);
    let (_, watched, ended) = tokio::join!(writer.run(args.rows_per_second), watch, end);
    watched?;
    ended?;
    let tally = tally.into_inner();
    let mut out = io::stdout().lock();
    write!(out, "\n{}", tally.summary())?;
    drop(out);
    let right = Box::pin(watcher::check(&config.servers, &target, &tally)).await?;
    Ok(if right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Milliseconds since 1970: grows from run to run.
fn run_number() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The proxy as a client on this machine reaches it.
fn proxy(config: &Config) -> Server {
    let listen = super::cluster::reachable(config.proxy.listen);
    Server {
        name: "Weir".to_owned(),
        address: listen.to_string(),
        tls: ServerTls { mode: ServerTlsMode::Preferred, ca: None },
        weight: 0,
    }
}

async fn make_table(proxy: &Server, target: &Target) -> anyhow::Result<()> {
    let mut connection = open(proxy, &target.account).await.with_context(|| {
        format!("the proxy at {} lets the workload not in; does `weir serve` run?", proxy.address)
    })?;
    // No unique key on (run, number): a row that was written twice has to be seen.
    let create = format!(
        "CREATE TABLE IF NOT EXISTS {} (id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, run BIGINT \
         UNSIGNED NOT NULL, number BIGINT UNSIGNED NOT NULL, written DATETIME(6) NOT NULL, host VARCHAR(255) \
         NOT NULL, server_id INT UNSIGNED NOT NULL, KEY run_number (run, number))",
        target.table
    );
    let probe =
        format!("SELECT id, run, number, written, host, server_id FROM {} LIMIT 0", target.table);
    for statement in [create, probe] {
        let done = tokio::time::timeout(SETUP_LIMIT, connection.conn.query_drop(statement)).await;
        done.context("the proxy did not answer in time")?.with_context(|| {
            format!(
                "table {} cannot be used for the workload; name another by --table",
                target.table
            )
        })?;
    }
    Ok(())
}

async fn open(server: &Server, account: &Monitor) -> anyhow::Result<Connection> {
    match tokio::time::timeout(CONNECT_LIMIT, Box::pin(connect(server, account))).await {
        Ok(connection) => Ok(connection?),
        Err(_elapsed) => bail!("no answer in {} s", CONNECT_LIMIT.as_secs()),
    }
}

/// Cancels `stop` when the time is over or a signal comes.
async fn until_end(time: Option<Duration>, stop: &CancellationToken) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let over = async {
        match time {
            Some(time) => tokio::time::sleep(time).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = over => {}
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    stop.cancel();
    Ok(())
}
