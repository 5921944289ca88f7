//! What the servers of a cluster say when its test failed: a moment later they are gone.

use std::process::Command;

use weir::cluster::State;

/// Lines of each server's log.
const LINES: &str = "40";
/// Seconds for one server's answers: one that is frozen gives none.
const PATIENCE: &str = "5";
/// What runs there, what its group is, what its applier stopped at.
const QUESTIONS: &str = "SELECT id, user, host, command, time, state, info FROM \
    information_schema.processlist WHERE state IS NULL OR state NOT LIKE 'Waiting for an event from%'; \
    SELECT member_host, member_state, member_role FROM performance_schema.replication_group_members; \
    SELECT channel_name, last_error_number, last_error_message, applying_transaction \
    FROM performance_schema.replication_applier_status_by_worker WHERE applying_transaction <> ''; \
    SELECT object_type, object_name, lock_type, lock_status, owner_thread_id \
    FROM performance_schema.metadata_locks WHERE object_schema = 'app'";

/// Of every container of the cluster; nothing here may fail, as the test has failed already.
pub(crate) fn autopsy(cluster: &str, state: Option<&State>) -> String {
    let label = format!("label=dev.weir.cluster={cluster}");
    let names = run(&["docker", "ps", "--all", "--filter", &label, "--format", "{{.Names}}"], "");
    let password = state.map_or("", |state| state.root.expose());
    let mut text = String::new();
    for name in names.lines() {
        let logged = run(&["docker", "logs", "--tail", LINES, name], "");
        let ask = ["timeout", PATIENCE, "docker", "exec", "--env", "MYSQL_PWD", name];
        let mysql = ["mysql", "--user=root", "--table", "--execute", QUESTIONS];
        let answered = run(&[ask.as_slice(), &mysql].concat(), password);
        text.push_str(&format!("--- {name}\n{logged}\n{answered}\n"));
    }
    text
}

fn run(words: &[&str], password: &str) -> String {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).env("MYSQL_PWD", password);
    command.output().map_or_else(
        |error| error.to_string(),
        |done| String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned(),
    )
}
