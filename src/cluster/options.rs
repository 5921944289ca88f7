//! Has mysqld judge the options that its nodes shall run with, before anything is started with them
//! (<https://dev.mysql.com/doc/refman/8.4/en/server-configuration-validation.html>).

use crate::config::{Cluster, OptionFile};

use super::docker::{Ended, Run, limit_refused};
use super::error::ClusterError;
use super::node;
use super::server;
use super::world::World;

/// Lines of the server's words that go into an error.
const MOST_LINES: usize = 5;

/// The server says what it is first: another than MySQL would not know that option. The program comes as `$0`.
const VERSION_AND_CHECK: &str = "\"$0\" --version && exec \"$0\" \"$@\"";
/// Between the program's name and its version.
const VERSION_MARK: &str = " Ver ";

/// What hides that replicas differ, or loses commits in a crash: allowed, but said. Each with the value that is
/// harmless.
const RISKY: [(&str, &str, &str); 6] = [
    ("replica_skip_errors", "OFF", SKIPS),
    ("slave_skip_errors", "OFF", SKIPS),
    ("replica_exec_mode", "STRICT", SKIPS),
    ("slave_exec_mode", "STRICT", SKIPS),
    ("innodb_flush_log_at_trx_commit", "1", FLUSHES),
    ("sync_binlog", "1", FLUSHES),
];
const SKIPS: &str = "replicas go on where their data differs from the primary's, so that reads may see other rows, \
                     and Weir cannot tell";
const FLUSHES: &str = "commits that were acknowledged may be gone after a crash of the host";

/// Prefixes of arguments that differ from node to node and are Weir's own: they need no judge.
const OF_ONE_NODE: [&str; 3] = ["--datadir=", "--server-id=", "--report-host="];

/// Has the options of each node judged, once for an image; those of nodes without any of their own stand for each
/// other, since these differ in numbers and names only. What was found right is written down.
///
/// # Errors
/// [`ClusterError::Options`] with the server's own words when it would not start with them.
pub(super) async fn check(world: &mut World) -> Result<(), ClusterError> {
    let plain = (1..).find(|number| !world.cluster.nodes.contains_key(number));
    let image = world.engine.image_id(&world.cluster.image).await?.unwrap_or_default();
    let mut right = Vec::new();
    let own: Vec<u32> = world.cluster.nodes.keys().copied().collect();
    for number in plain.into_iter().chain(own) {
        let words = judged(world, number);
        let sum = xxhash_rust::xxh3::xxh3_128(format!("{image}\n{words:?}").as_bytes());
        let sum = format!("{sum:032x}");
        if !world.state.options_right.contains(&sum) {
            check_node(world, number, words).await?;
        }
        right.push(sum);
    }
    if right != world.state.options_right {
        world.state.options_right = right;
        world.save().await?;
    }
    Ok(())
}

/// The node's arguments that somebody may have got wrong.
fn judged(world: &World, number: u32) -> Vec<String> {
    let words = node::command(&world.cluster, &world.state, number).into_iter();
    words.filter(|word| !OF_ONE_NODE.iter().any(|own| word.starts_with(own))).collect()
}

async fn check_node(
    world: &mut World,
    number: u32,
    words: Vec<String>,
) -> Result<(), ClusterError> {
    let words = ["-c".to_owned(), VERSION_AND_CHECK.to_owned()].into_iter().chain(words);
    let arguments = words.chain(["--user=mysql".to_owned(), "--validate-config".to_owned()]);
    let ended = run_as_node(world, arguments.collect()).await?;
    let cluster = &world.cluster;
    check_version(&cluster.image, &ended.output)?;
    if ended.exit_code == 0 {
        return Ok(());
    }
    let words = errors(&ended.output);
    let option = culprit(cluster, number, &words);
    Err(ClusterError::Options { image: cluster.image.clone(), words, option })
}

/// With a node's limit of open files, so that nothing is made with one that the engine cannot give.
async fn run_as_node(world: &mut World, arguments: Vec<String>) -> Result<Ended, ClusterError> {
    let cluster = &world.cluster;
    let name = node::check_name(&cluster.name);
    let plain = Run::new(&name, &cluster.name, &cluster.image, "sh", arguments);
    if !world.raise_files {
        return world.engine.run_once(plain).await;
    }
    let raised = Run { open_files: Some(node::OPEN_FILES), ..plain.clone() };
    match world.engine.run_once(raised).await {
        Err(error) if limit_refused(&error) => {
            let ended = world.engine.run_once(plain).await;
            world.raise_files = false;
            ended
        }
        done => done,
    }
}

/// By what `mysqld --version` says: "/usr/sbin/mysqld  Ver 9.7.4 for Linux on x86_64 (MySQL Community Server - GPL)".
fn check_version(image: &str, output: &str) -> Result<(), ClusterError> {
    let said = output.lines().find_map(|line| line.split_once(VERSION_MARK)).map(|(_, said)| said);
    let Some(said) = said else {
        let (image, words) = (image.to_owned(), errors(output));
        return Err(ClusterError::NoServer { image, words });
    };
    let said = said.trim();
    let (version, rest) = said.split_once(' ').unwrap_or((said, ""));
    server::check_version(&format!("image {image}"), version, rest)
}

/// What the operator should know of options that are allowed all the same.
pub(super) fn cautions(cluster: &Cluster) -> Vec<String> {
    let mut all = Vec::new();
    for (source, options) in sources(cluster, None) {
        for (key, value) in options {
            let plain = plain(key);
            let name = plain.strip_prefix("loose_").unwrap_or(&plain);
            let risk = RISKY.iter().find(|(risky, harmless, _)| {
                *risky == name && !value.eq_ignore_ascii_case(harmless)
            });
            if let Some((_, _, effect)) = risk {
                all.push(format!("{key} = {value} in {source}: {effect}"));
            }
        }
    }
    all
}

/// The operator's lists of options with where they stand: those of one node, or of all.
fn sources(cluster: &Cluster, node: Option<u32>) -> Vec<(String, &[(String, String)])> {
    fn file(file: &OptionFile) -> (String, &[(String, String)]) {
        (file.path.display().to_string(), file.options.as_slice())
    }
    let mut all: Vec<_> = cluster.option_file.iter().map(file).collect();
    all.push(("[cluster.options]".to_owned(), cluster.options.as_slice()));
    let nodes = cluster.nodes.iter();
    for (number, own) in nodes.filter(|(number, _)| node.is_none_or(|node| node == **number)) {
        all.extend(own.option_file.iter().map(file));
        all.push((format!("[cluster.node.{number}.options]"), own.options.as_slice()));
    }
    all
}

fn plain(name: &str) -> String {
    name.replace('-', "_").to_ascii_lowercase()
}

/// What the server called errors, without times and numbers; all it said when it called nothing so.
fn errors(output: &str) -> String {
    let errors: Vec<&str> = output
        .lines()
        .filter_map(|line| line.split_once("[ERROR]"))
        .map(|(_, rest)| {
            rest.rsplit_once("[Server] ")
                .map_or(rest, |(_, text)| text)
                .trim()
                .trim_end_matches('.')
        })
        .filter(|text| *text != "Aborting")
        .take(MOST_LINES)
        .collect();
    if !errors.is_empty() {
        return errors.join("; ");
    }
    output
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .take(MOST_LINES)
        .collect::<Vec<_>>()
        .join("; ")
}

/// The configured options that the words are about and where they stand, or what is known of it.
fn culprit(cluster: &Cluster, number: u32, words: &str) -> String {
    let said = plain(words);
    let mut names = Vec::new();
    for (source, options) in sources(cluster, Some(number)) {
        for (key, value) in options {
            // A server often quotes the value alone.
            if said.contains(&plain(key)) || (value.len() > 2 && said.contains(&plain(value))) {
                names.push(format!("{key} in {source}"));
            }
        }
    }
    if names.is_empty() {
        "the options it names in [cluster.options] or [cluster]".to_owned()
    } else {
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::testing::cluster;

    #[test]
    fn the_servers_words_and_the_option_they_are_about() {
        let unknown = "2026-11-21T13:27:40.8Z 0 [ERROR] [MY-000067] [Server] unknown variable 'no-such=1'.\n\
                       2026-11-21T13:27:40.8Z 0 [ERROR] [MY-010119] [Server] Aborting\n";
        let charset = "mysqld: Character set 'foo' is not a compiled character set\n\
                       x 0 [ERROR] [MY-015642] [Server] Unknown character set: 'foo'.\n";
        let mut wanted = cluster("t", 1);
        wanted.options =
            [("no_such", "1"), ("character_set_server", "foo"), ("max_connections", "50")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .to_vec();
        let own = wanted.nodes.entry(2).or_default();
        own.options = vec![("no_such".to_owned(), "1".to_owned())];
        for (output, words, option) in [
            (unknown, "unknown variable 'no-such=1'", "no_such in [cluster.options]"),
            (charset, "Unknown character set: 'foo'", "character_set_server in [cluster.options]"),
            (
                "exec: mysqld: not found\n",
                "exec: mysqld: not found",
                "the options it names in [cluster.options] or [cluster]",
            ),
        ] {
            assert_eq!(errors(output), words);
            assert_eq!(culprit(&wanted, 1, &errors(output)), option);
        }
        wanted.options.clear();
        assert_eq!(culprit(&wanted, 2, &errors(unknown)), "no_such in [cluster.node.2.options]");
    }

    #[test]
    fn what_is_risky_is_said() {
        let mut wanted = cluster("t", 1);
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        wanted.options = vec![pair("sync_binlog", "1"), pair("slave-exec-mode", "IDEMPOTENT")];
        let options = vec![pair("replica-skip-errors", "1062"), pair("wait_timeout", "9")];
        wanted.option_file = Some(OptionFile { path: "my.cnf".into(), options });
        wanted.nodes.entry(2).or_default().options = vec![pair("sync_binlog", "0")];
        let said = cautions(&wanted);
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(said[0].starts_with("replica-skip-errors = 1062 in my.cnf: replicas go on"));
        assert!(said[1].starts_with("slave-exec-mode = IDEMPOTENT in [cluster.options]:"));
        assert!(said[2].starts_with("sync_binlog = 0 in [cluster.node.2.options]: commits"));
    }
}
