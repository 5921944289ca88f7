//! `weir explain`: where a statement would go, and why, by the function that routes.
//!
//! The session is imagined: its last statement ran on the replica of a cluster of one primary and one
//! replica that has everything.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use serde_json::json;

use super::ExplainArgs;
use crate::config::{Server, ServerTls, ServerTlsMode};
use crate::gtid::GtidSet;
use crate::route::{Facts, Plan, Policy, Target, plan};
use crate::sql::{Classifier, LexMode, ParserThread, Statement};
use crate::topology::{Health, Role, ServerId, ServerState, Topology};

const PRIMARY: ServerId = ServerId(0);
const REPLICA: ServerId = ServerId(1);

/// Prints the target and the reason for the statement.
///
/// # Errors
/// The configuration is wrong, or the standard output is gone.
pub fn run(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    if let Some(path) = &args.config {
        super::load_config(path)?;
    }
    let answer = explain(args)?;
    let mut out = std::io::stdout();
    if args.json {
        writeln!(out, "{}", answer.json())?;
    } else {
        write!(out, "{}", answer.text())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What is printed.
#[derive(Debug)]
struct Answer {
    target: &'static str,
    reason: String,
    pins: Vec<&'static str>,
    statements: u32,
}

fn explain(args: &ExplainArgs) -> anyhow::Result<Answer> {
    let parser = ParserThread::spawn().context("no thread for the SQL parser")?;
    let statement = Classifier::new(1, parser).classify(args.sql.as_bytes(), LexMode::default());
    let topology = imagined_topology();
    let token = GtidSet::default();
    let facts = Facts {
        in_transaction: args.in_transaction,
        held: args.in_transaction.then_some(PRIMARY),
        previous: Some(REPLICA),
        autocommit: !args.autocommit_off,
        ..Facts::fresh(&token)
    };
    let plan = plan(&facts, &statement, &topology, &Policy::default());
    Ok(Answer::new(&plan, &facts, &statement, &topology))
}

impl Answer {
    fn new(plan: &Plan, facts: &Facts<'_>, statement: &Statement, topology: &Topology) -> Self {
        let target = match &plan.target {
            Target::Primary | Target::NoPrimary(_) => "primary",
            Target::Replicas => "replica",
            Target::Held(held) if topology.get(*held).is_some_and(ServerState::readable) => {
                "replica"
            }
            Target::Held(_) => "primary",
            Target::Previous(_) => "previous",
            Target::Proxy(_) => "proxy",
            Target::Denied(_) => "denied",
        };
        Self {
            target,
            reason: plan.explain(facts, topology),
            pins: plan.pins.words(),
            statements: statement.count,
        }
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "target": self.target,
            "reason": self.reason,
            "pins": self.pins,
            "statements": self.statements,
        })
    }

    fn text(&self) -> String {
        let Self { target, reason, pins, statements } = self;
        let pins = if pins.is_empty() { "none".to_owned() } else { pins.join(", ") };
        format!(
            "target      {target}\nreason      {reason}\npins        {pins}\nstatements  {statements}\n"
        )
    }
}

fn imagined_topology() -> Topology {
    let servers = [(PRIMARY, Role::Primary, "primary"), (REPLICA, Role::Replica, "replica")];
    let servers = servers.map(|(id, role, name)| ServerState {
        id,
        config: Arc::new(Server {
            name: name.to_owned(),
            address: String::new(),
            tls: ServerTls { mode: ServerTlsMode::Off, ca: None },
            weight: 100,
        }),
        role,
        health: Health::Usable,
        silent: false,
        executed: None,
        lag: None,
        version: "".into(),
        autocommit: true,
        sql_mode: "".into(),
        max_packet: None,
        moves: None,
        open: false,
    });
    Topology { servers: servers.into(), epoch: 1, awaits_primary: true }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(sql: &str, in_transaction: bool, autocommit_off: bool) -> serde_json::Value {
        let sql = sql.to_owned();
        let args = ExplainArgs { config: None, json: true, in_transaction, autocommit_off, sql };
        explain(&args).unwrap().json()
    }

    #[test]
    fn targets() {
        for (sql, in_transaction, autocommit_off, target) in [
            ("SELECT 1", false, false, "replica"),
            ("SELECT 1", true, false, "primary"),
            ("SELECT 1", false, true, "primary"),
            ("DELETE FROM t", false, false, "primary"),
            ("SHOW WARNINGS", false, false, "previous"),
            ("SELECT CONNECTION_ID()", false, false, "proxy"),
            ("SHUTDOWN", false, false, "denied"),
        ] {
            let got = answer(sql, in_transaction, autocommit_off);
            assert_eq!(got["target"], target, "{sql}: {got}");
        }
    }

    #[test]
    fn all_members() {
        let got = answer("SELECT GET_LOCK('a', 1); SELECT 2", false, false);
        assert_eq!(got["target"], "primary");
        assert_eq!(got["pins"], serde_json::json!(["named lock"]));
        assert_eq!(got["statements"], 2);
        assert!(got["reason"].as_str().is_some_and(|reason| !reason.is_empty()));
        assert_eq!(answer("SELECT 1", true, false)["reason"], "in a transaction");
    }

    #[test]
    fn text_is_one_line_each() {
        let args = ExplainArgs {
            config: None,
            json: false,
            in_transaction: false,
            autocommit_off: false,
            sql: "SELECT @a := 1".to_owned(),
        };
        let text = explain(&args).unwrap().text();
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(text.contains("pins        user variable"), "{text}");
    }
}
