//! Has mysqld judge the options that its nodes shall run with, before anything is started with them
//! (<https://dev.mysql.com/doc/refman/8.4/en/server-configuration-validation.html>).

use crate::config::Cluster;

use super::error::ClusterError;
use super::node;
use super::world::World;

/// The nodes differ in numbers and names only, so one stands for all.
const JUDGED_NODE: u32 = 1;
/// Lines of the server's words that go into an error.
const MOST_LINES: usize = 5;

/// Has them judged, once in a run of Weir.
///
/// # Errors
/// [`ClusterError::Options`] with the server's own words when it would not start with them.
pub(super) async fn check(world: &mut World) -> Result<(), ClusterError> {
    if world.options_checked {
        return Ok(());
    }
    let cluster = &world.cluster;
    // Before there is a network its addresses do not matter either.
    let command = node::command(cluster, &world.state, JUDGED_NODE);
    let name = node::check_name(&cluster.name);
    let mut words = command.into_iter();
    let program = words.next().unwrap_or_default();
    let arguments = words.chain(["--user=mysql".to_owned(), "--validate-config".to_owned()]);
    let ended = world
        .engine
        .run_once(&name, &cluster.name, &cluster.image, &program, arguments.collect())
        .await?;
    if ended.exit_code == 0 {
        world.options_checked = true;
        return Ok(());
    }
    let words = errors(&ended.output);
    let option = culprit(cluster, &words);
    Err(ClusterError::Options { image: cluster.image.clone(), words, option })
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

/// The configured option that the words are about, or what is known of it.
fn culprit(cluster: &Cluster, words: &str) -> String {
    let plain = |text: &str| text.replace('-', "_").to_ascii_lowercase();
    let said = plain(words);
    let named = |(key, value): &&(String, String)| {
        // A server often quotes the value alone.
        said.contains(&plain(key)) || (value.len() > 2 && said.contains(&plain(value)))
    };
    let names: Vec<&str> =
        cluster.options.iter().filter(named).map(|(key, _)| key.as_str()).collect();
    if names.is_empty() { "the options it names".to_owned() } else { names.join(", ") }
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
        for (output, words, option) in [
            (unknown, "unknown variable 'no-such=1'", "no_such"),
            (charset, "Unknown character set: 'foo'", "character_set_server"),
            ("exec: mysqld: not found\n", "exec: mysqld: not found", "the options it names"),
        ] {
            assert_eq!(errors(output), words);
            assert_eq!(culprit(&wanted, &errors(output)), option);
        }
    }
}
