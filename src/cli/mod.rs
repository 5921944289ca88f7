//! The command line: one file a subcommand, each with a `run` that returns the exit code.
//!
//! Exit codes: 0 done, 1 failed (the reason is on stderr), 2 the command line itself is wrong.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

pub mod check;
pub mod cluster;
pub mod explain;
mod findings;
mod nodes;
mod repair;
pub mod serve;
pub mod snapshot;
pub mod status;
mod table;
pub mod workload;

/// A read/write-splitting MySQL proxy that also builds and keeps the replicated cluster behind it.
#[derive(Debug, Parser)]
#[command(name = "weir", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the proxy until SIGTERM or SIGINT; with [cluster] in the file, its servers must be up
    Serve(ConfigArg),
    /// Check a configuration file: every error at once, then what it would do
    Check(ConfigArg),
    /// Say where a statement would go, and why
    Explain(ExplainArgs),
    /// Say how the servers are
    Status(StatusArgs),
    /// Create, inspect, stop or remove the cluster that the [cluster] section describes
    Cluster(ClusterArgs),
    /// Write rows through the proxy and show what each server has of them, until Ctrl-C
    Workload(WorkloadArgs),
    /// Make images of the cluster's data, and writable copies of them in seconds
    Snapshot(SnapshotArgs),
}

/// `--config FILE`
#[derive(Debug, Clone, Args)]
pub struct ConfigArg {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = "proxy.toml", global = true)]
    pub config: PathBuf,
}

/// Arguments of `weir explain`.
#[derive(Debug, Clone, Args)]
pub struct ExplainArgs {
    /// A configuration file whose policy decides; built-in defaults without it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print one JSON object: target, reason, pins, statements
    #[arg(long)]
    pub json: bool,
    /// Judge as if the session had an open transaction
    #[arg(long)]
    pub in_transaction: bool,
    /// Judge as if the session had `autocommit = 0`
    #[arg(long)]
    pub autocommit_off: bool,
    /// The SQL text, one or more statements
    #[arg(value_name = "SQL")]
    pub sql: String,
}

/// Arguments of `weir status`.
#[derive(Debug, Clone, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    pub config: ConfigArg,
    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `weir workload`.
#[derive(Debug, Clone, Args)]
pub struct WorkloadArgs {
    #[command(flatten)]
    pub config: ConfigArg,
    /// Rows to write each second
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub rows_per_second: u32,
    /// End after so many seconds; without it, at Ctrl-C
    #[arg(long, value_name = "S")]
    pub seconds: Option<u64>,
    /// The table, in the application's schema; made when it is not there
    #[arg(long, value_name = "NAME", default_value = "weir_heartbeat")]
    pub table: String,
    /// Option file with the account to write as (user, password and database); by default the one
    /// that `weir cluster up` writes
    #[arg(long, value_name = "FILE")]
    pub login: Option<PathBuf>,
}

/// Arguments of `weir cluster`.
#[derive(Debug, Clone, Args)]
pub struct ClusterArgs {
    #[command(subcommand)]
    pub command: ClusterCommand,
    #[command(flatten)]
    pub config: ConfigArg,
}

/// Arguments of `weir snapshot`.
#[derive(Debug, Clone, Args)]
pub struct SnapshotArgs {
    #[command(subcommand)]
    pub command: snapshot::SnapshotCommand,
    #[command(flatten)]
    pub config: ConfigArg,
}

/// What to do with the managed cluster.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum ClusterCommand {
    /// Create what is missing and start it; changes nothing that is right
    Up,
    /// Show every node: container, role, replication, lag; what is wrong and why
    Status {
        /// Print JSON instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Move the primary to another node while clients go on
    Switchover {
        /// The node that becomes the primary; the replica that is furthest, if none is named
        node: Option<String>,
    },
    /// Show the steps that `up` would take now, without taking them
    Plan {
        /// Print JSON instead of a list
        #[arg(long)]
        json: bool,
    },
    /// Take a replica out of the cluster, when `replicas` no longer wants it; its data is removed
    Remove {
        /// The node, as `status` shows it
        name: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Make a replica's container and data anew, where [cluster] data says, as a copy of another's
    Replace {
        /// The node, as `status` shows it
        name: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Replace a replica's data in place by a new copy
    Reclone {
        /// The node, as `status` shows it
        name: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Restart a node, or all one by one with the primary last; applies a changed image or options
    Restart {
        /// The node, as `status` shows it
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        name: Option<String>,
        /// All nodes, one by one
        #[arg(long)]
        all: bool,
    },
    /// Mend what can be mended without losing data: start, point at the primary, make read-only
    Repair(RepairArgs),
    /// Stop the servers and remove the containers; data stays, and so do containers that hold it
    Down,
    /// Remove the containers and the data
    Destroy {
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// Arguments of `weir cluster repair`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct RepairArgs {
    /// One node, such as weir-2; all without it
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// Leave out the transaction at which the node's applier stopped, and keep its data
    #[arg(long, requires = "name", conflicts_with = "reclone")]
    pub skip: bool,
    /// Copy the node's data anew from another
    #[arg(long, requires = "name")]
    pub reclone: bool,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

/// Runs the subcommand and gives the exit code of the program.
///
/// # Errors
/// Whatever kept the subcommand from doing its work, as sentences for the operator.
pub fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Serve(args) => serve::run(&args.config),
        Command::Check(args) => check::run(&args.config),
        Command::Explain(args) => explain::run(&args),
        Command::Status(args) => status::run(&args.config.config, args.json),
        Command::Cluster(args) => {
            cluster::run(args.command, &args.config.config)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Workload(args) => workload::run(&args),
        Command::Snapshot(args) => {
            snapshot::run(&args.command, &args.config.config)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The process environment, as [`crate::config::Config::load`] asks for it.
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Reads the configuration for a subcommand.
///
/// # Errors
/// Every error of the file at once, each with its line.
pub fn load_config(path: &Path) -> anyhow::Result<crate::config::Config> {
    Ok(crate::config::Config::load(path, &environment)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn config_may_stand_before_or_after_the_cluster_command() {
        for line in [
            &["weir", "cluster", "up", "--config", "x.toml"][..],
            &["weir", "cluster", "--config", "x.toml", "up"],
        ] {
            let Command::Cluster(args) = Cli::parse_from(line).command else {
                panic!("{line:?} is not a cluster command");
            };
            assert_eq!(args.command, ClusterCommand::Up);
            assert_eq!(args.config.config, Path::new("x.toml"));
        }
    }

    #[test]
    fn restart_takes_one_node_or_all() {
        assert!(Cli::try_parse_from(["weir", "cluster", "restart"]).is_err());
        assert!(Cli::try_parse_from(["weir", "cluster", "restart", "weir-1", "--all"]).is_err());
        assert!(Cli::try_parse_from(["weir", "cluster", "restart", "--all"]).is_ok());
    }

    #[test]
    fn the_configuration_is_proxy_toml_when_none_is_named() {
        let Command::Serve(args) = Cli::parse_from(["weir", "serve"]).command else {
            panic!("not serve");
        };
        assert_eq!(args.config, Path::new("proxy.toml"));
    }

    #[test]
    fn explain_takes_its_switches() {
        let line =
            ["weir", "explain", "--json", "--in-transaction", "--autocommit-off", "SELECT 1"];
        let Command::Explain(args) = Cli::parse_from(line).command else {
            panic!("not explain");
        };
        assert!(args.json && args.in_transaction && args.autocommit_off);
        assert_eq!(args.sql, "SELECT 1");
    }
}
