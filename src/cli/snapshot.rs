//! `weir snapshot create | list | rm | run | stop`: images of the cluster's data and copies of them.
//!
//! Each of them first removes the copies whose time is over. What is being done goes to stderr while it
//! is done, results to stdout.

use std::io::{self, Write as _};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, bail};
use clap::Subcommand;

use super::cluster::Shown;
use super::table::aligned;
use crate::admin::json;
use crate::cluster::snapshot::{self, CopyView, Listing, RunRequest};
use crate::config::{Cluster, Config};

/// What to do with snapshots.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum SnapshotCommand {
    /// Make an image of a replica's data; no server stops or waits for it
    Create {
        /// The snapshot's name; the date and time without it
        name: Option<String>,
        /// The node to copy, as weir-2; without it the replica that has most
        #[arg(long, value_name = "NODE")]
        from: Option<String>,
    },
    /// Show snapshots and their copies
    List {
        /// Print JSON instead of tables
        #[arg(long)]
        json: bool,
    },
    /// Remove a snapshot that has no copies
    Rm {
        /// The snapshot's name
        name: String,
    },
    /// Start a writable copy of a snapshot on 127.0.0.1
    Run {
        /// The snapshot's name
        name: String,
        /// The copy's name; the snapshot's and a number without it
        #[arg(long = "as", value_name = "COPY")]
        copy: Option<String>,
        /// The port; a free one without it
        #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
        port: Option<u16>,
        /// Remove the copy after this time: 90s, 30m, 2h, 7d
        #[arg(long, value_name = "TIME", value_parser = snapshot::time_to_live)]
        ttl: Option<Duration>,
    },
    /// Remove a copy with all that was written to it
    Stop {
        /// The copy's name
        copy: String,
    },
}

/// Does the command to the snapshots of that configuration's cluster.
///
/// # Errors
/// The configuration is wrong or names no cluster, or the engine or a server refused something.
pub fn run(command: &SnapshotCommand, config: &Path) -> anyhow::Result<()> {
    let path = config;
    let config = super::load_config(path)?;
    let Some(cluster) = &config.cluster else {
        bail!(
            "{} has no [cluster] section, so there is nothing to take snapshots of",
            path.display()
        );
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    runtime.block_on(async {
        let state_dir = &config.proxy.state_dir;
        let expired = snapshot::remove_expired(cluster, state_dir, SystemTime::now()).await?;
        if !expired.is_empty() {
            writeln!(io::stderr(), "removed, their time was over: {}", expired.join(", "))?;
        }
        match command {
            SnapshotCommand::Create { name, from } => {
                create(&config, cluster, name.as_deref(), from.as_deref()).await
            }
            SnapshotCommand::List { json } => list(cluster, *json).await,
            SnapshotCommand::Rm { name } => {
                snapshot::remove(cluster, name).await?;
                Ok(writeln!(io::stdout(), "removed snapshot {name}")?)
            }
            SnapshotCommand::Run { name, copy, port, ttl } => {
                let (copy, port, ttl) = (copy.as_deref(), *port, *ttl);
                start(&config, cluster, RunRequest { snapshot: name, copy, port, ttl }).await
            }
            SnapshotCommand::Stop { copy } => {
                snapshot::stop(cluster, state_dir, copy).await?;
                Ok(writeln!(io::stdout(), "removed copy {copy}")?)
            }
        }
    })
}

async fn create(
    config: &Config,
    cluster: &Cluster,
    name: Option<&str>,
    from: Option<&str>,
) -> anyhow::Result<()> {
    let begun = Instant::now();
    let shown = Shown::new();
    let (state_dir, now) = (&config.proxy.state_dir, SystemTime::now());
    let made = Box::pin(snapshot::create(cluster, state_dir, name, from, now, &shown)).await;
    shown.clear();
    let made = made?;
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "snapshot {} of {}, {}, in {:.1} s; a copy: weir snapshot run {}",
        made.name,
        made.from,
        size(made.bytes),
        begun.elapsed().as_secs_f64(),
        made.name
    )?;
    Ok(())
}

async fn start(config: &Config, cluster: &Cluster, request: RunRequest<'_>) -> anyhow::Result<()> {
    let begun = Instant::now();
    let shown = Shown::new();
    let (state_dir, now) = (&config.proxy.state_dir, SystemTime::now());
    let started = Box::pin(snapshot::run(cluster, state_dir, request, now, &shown)).await;
    shown.clear();
    let started = started?;
    let copy = &started.copy;
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "copy {} of {} answers at {} after {:.1} s",
        copy.name,
        copy.snapshot,
        address(copy),
        begun.elapsed().as_secs_f64()
    )?;
    writeln!(out, "  as root  mysql --defaults-extra-file={}", started.options.display())?;
    writeln!(
        out,
        "  as {}  with the password that it has on the cluster",
        cluster.application_user
    )?;
    let end = match &copy.expires {
        Some(end) => format!("is removed after {end}, or by"),
        None => "stays until".to_owned(),
    };
    writeln!(out, "  it {end} weir snapshot stop {}", copy.name)?;
    Ok(())
}

async fn list(cluster: &Cluster, json: bool) -> anyhow::Result<()> {
    let listing = snapshot::list(cluster).await?;
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, &json::listing(&listing))?;
        writeln!(out)?;
    } else {
        write!(out, "{}", tables(&listing))?;
    }
    Ok(())
}

fn tables(listing: &Listing) -> String {
    if listing.snapshots.is_empty() && listing.copies.is_empty() {
        return "there are no snapshots; `weir snapshot create` makes one\n".to_owned();
    }
    let heads = ["snapshot", "created", "from", "size", "version", "copies", "position"];
    let mut rows = vec![heads.map(str::to_owned)];
    rows.extend(listing.snapshots.iter().map(|snapshot| {
        [
            snapshot.name.clone(),
            snapshot.created.clone(),
            snapshot.from.clone(),
            size(snapshot.bytes),
            snapshot.version.clone(),
            snapshot.copies.len().to_string(),
            snapshot.gtid.clone(),
        ]
    }));
    let mut text = aligned(&rows);
    if !listing.copies.is_empty() {
        let heads = ["copy", "snapshot", "state", "published", "started", "expires"];
        let mut rows = vec![heads.map(str::to_owned)];
        rows.extend(listing.copies.iter().map(|copy| {
            [
                copy.name.clone(),
                copy.snapshot.clone(),
                copy.state.clone(),
                address(copy),
                copy.started.clone(),
                copy.expires.clone().unwrap_or_else(|| "-".to_owned()),
            ]
        }));
        text.push('\n');
        text.push_str(&aligned(&rows));
    }
    text
}

fn address(copy: &CopyView) -> String {
    copy.published.map_or_else(|| "-".to_owned(), |address| address.to_string())
}

fn size(bytes: u64) -> String {
    format!("{} MB", bytes / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::snapshot::SnapshotView;

    #[test]
    fn snapshots_and_copies_are_listed() {
        assert!(tables(&Listing::default()).contains("weir snapshot create"));
        let listing = Listing {
            snapshots: vec![SnapshotView {
                name: "nightly".to_owned(),
                image: "weir-snapshot/t:nightly".to_owned(),
                gtid: "u:1-5".to_owned(),
                version: "9.7.4".to_owned(),
                created: "2026-11-21T13:44:06Z".to_owned(),
                from: "t-2".to_owned(),
                bytes: 123_456_789,
                seeds: true,
                copies: vec!["nightly-1".to_owned()],
            }],
            copies: vec![CopyView {
                name: "nightly-1".to_owned(),
                snapshot: "nightly".to_owned(),
                state: "running".to_owned(),
                published: Some(([127, 0, 0, 1], 4711).into()),
                started: "2026-11-21T13:45:06Z".to_owned(),
                expires: None,
            }],
        };
        let text = tables(&listing);
        assert!(text.contains("123 MB") && text.contains("127.0.0.1:4711"), "{text}");
        assert_eq!(json::listing(&listing)["snapshots"][0]["gtid_executed"], "u:1-5");
        assert_eq!(json::listing(&listing)["copies"][0]["published"], "127.0.0.1:4711");
    }
}
