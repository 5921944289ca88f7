//! Data in folders of the engine's host (`data = "/srv/weir"`): made, checked and removed there.
//!
//! Weir may be on another host, and the data belongs to another user. So a script is run for it
//! (`folder.sh`), in a container of the nodes' own image, which knows that user.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::docker::{Engine, Run};
use super::error::ClusterError;
use super::node;
use super::world::World;
use crate::config::{Cluster, Data};

const SCRIPT: &str = include_str!("folder.sh");
/// Where the folder is in that container.
const MOUNTED_AT: &str = "/weir";
/// To remove a large data directory from a slow disk.
const LIMIT: Duration = Duration::from_secs(600);

/// Makes the node's folder with Weir's mark in it, and checks that a server can use it. Once more does nothing.
///
/// # Errors
/// [`ClusterError::Folder`] when it is somebody else's, holds data, or cannot be written to.
pub(super) async fn prepare(world: &mut World, number: u32) -> Result<(), ClusterError> {
    run_for(world, number, "prepare").await?;
    world.settle(number).await
}

/// Checks the folder of a node right before a server starts on it; nothing where its data is elsewhere.
///
/// # Errors
/// [`ClusterError::Folder`]
pub(super) async fn check(world: &World, number: u32) -> Result<(), ClusterError> {
    match world.place(number) {
        Data::Folder(_) => run_for(world, number, "check").await,
        _ => Ok(()),
    }
}

/// Removes the node's data and Weir's mark, and its folder where Weir made it; gone already is fine.
pub(super) async fn remove(world: &World, number: u32) -> Result<(), ClusterError> {
    run_for(world, number, "remove").await
}

/// The same for all nodes of the cluster in `base`; what was removed, as paths.
pub(super) async fn remove_all(
    engine: &Engine,
    cluster: &Cluster,
    base: &Path,
) -> Result<Vec<PathBuf>, ClusterError> {
    let nodes = names(engine, cluster, base).await?;
    for node in &nodes {
        let lines = run(engine, cluster, base, &["remove", &cluster.name, node]).await?;
        judge(node, base, lines.last().map(String::as_str).unwrap_or_default())?;
    }
    Ok(nodes.into_iter().map(|node| base.join(node)).collect())
}

/// Folders of the cluster's nodes in `base` by Weir's mark; none where `base` is not there.
pub(super) async fn list(
    engine: &Engine,
    cluster: &Cluster,
    base: &Path,
) -> Result<Vec<PathBuf>, ClusterError> {
    let nodes = names(engine, cluster, base).await?;
    Ok(nodes.into_iter().map(|node| base.join(node)).collect())
}

async fn names(
    engine: &Engine,
    cluster: &Cluster,
    base: &Path,
) -> Result<Vec<String>, ClusterError> {
    let lines = match run(engine, cluster, base, &["list", &cluster.name]).await {
        Err(ClusterError::Folder { .. }) => return Ok(Vec::new()),
        lines => lines?,
    };
    let names = lines.iter().filter_map(|line| line.strip_prefix("node "));
    Ok(names.map(str::to_owned).collect())
}

async fn run_for(world: &World, number: u32, command: &str) -> Result<(), ClusterError> {
    let Data::Folder(base) = world.place(number) else { return Ok(()) };
    let (cluster, name) = (&world.cluster, world.name(number));
    let lines = run(&world.engine, cluster, base, &[command, &cluster.name, &name]).await?;
    match lines.last().map(String::as_str).unwrap_or_default() {
        // What is removed may be gone already.
        "gone" if command == "remove" => Ok(()),
        last => judge(&name, base, last),
    }
}

/// Runs the script with these arguments; the lines that it wrote.
async fn run(
    engine: &Engine,
    cluster: &Cluster,
    base: &Path,
    arguments: &[&str],
) -> Result<Vec<String>, ClusterError> {
    let script = ["-c", SCRIPT, "folder.sh"];
    let words = script.iter().chain(arguments).map(|word| (*word).to_owned()).collect();
    let name = node::folder_name(&cluster.name);
    let run = Run {
        folder: Some((base, MOUNTED_AT)),
        limit: LIMIT,
        ..Run::new(&name, &cluster.name, &cluster.image, "bash", words)
    };
    match engine.run_once(run).await {
        Ok(ended) if ended.exit_code == 0 => {
            Ok(ended.output.lines().map(|line| line.trim_end().to_owned()).collect())
        }
        Ok(ended) => Err(ClusterError::Engine {
            doing: format!("looking into {}", base.display()),
            cause: format!("status {}: {}", ended.exit_code, ended.output.trim()),
        }),
        // "bind source path does not exist: /srv/weir"
        Err(ClusterError::Engine { cause, .. }) if cause.contains("source path does not exist") => {
            Err(unusable(
                base,
                "it is not there".to_owned(),
                &format!(
                    "Mount the disk that belongs there, or make it on the engine's host: mkdir -p {}",
                    base.display()
                ),
            ))
        }
        Err(error) => Err(error),
    }
}

/// What the script's last line means.
fn judge(node: &str, base: &Path, line: &str) -> Result<(), ClusterError> {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let folder = base.join(node);
    let shown = folder.display();
    let whose = match rest {
        "" => String::new(),
        uuid => format!(" of the server with server_uuid {uuid}"),
    };
    let elsewhere = "Choose another folder in `data`, or another name in [cluster]";
    let (path, cause, remedy) = match word {
        "fine" => return Ok(()),
        "not-a-directory" if rest.is_empty() => {
            (base, "it is no directory".to_owned(), elsewhere.to_owned())
        }
        "not-a-directory" => {
            (folder.as_path(), "it is no directory".to_owned(), elsewhere.to_owned())
        }
        "foreign-data" => (
            folder.as_path(),
            format!("it holds the data directory{whose}, which Weir did not make"),
            format!("It is not touched. {elsewhere}, or move that data away"),
        ),
        "not-empty" => (
            folder.as_path(),
            format!("it holds {rest:?}, which Weir did not put there"),
            format!("It is not touched. {elsewhere}, or move that away"),
        ),
        "other-cluster" => (
            folder.as_path(),
            format!("it belongs to Weir's cluster {rest:?}"),
            format!("It is not touched. {elsewhere}"),
        ),
        "holds-data" => (
            folder.as_path(),
            format!(
                "it holds data{whose} of an earlier cluster of that name, whose passwords the state file does \
                 not have"
            ),
            "Put the right state file back, or remove the data with `weir cluster destroy`"
                .to_owned(),
        ),
        "gone" => (
            folder.as_path(),
            "the data that Weir put there is not there any more".to_owned(),
            format!(
                "Mount the disk that belongs there; if the data is lost, `weir cluster replace {node}` makes the \
                 node anew"
            ),
        ),
        "wrong-owner" => wrong_owner(base, &folder, rest),
        "not-writable" => (
            folder.as_path(),
            format!("the server may not write there: {rest}"),
            "Mount it read-write, and let root of the engine's host write there".to_owned(),
        ),
        _ => (folder.as_path(), format!("looking into it ended with {line:?}"), String::new()),
    };
    tracing::debug!(folder = %shown, line, "not usable");
    Err(unusable(path, cause, &remedy))
}

/// "1000 999 t-1/data/ibdata1"
fn wrong_owner<'a>(base: &Path, folder: &'a Path, rest: &str) -> (&'a Path, String, String) {
    let mut words = rest.splitn(3, ' ');
    let mut next = || words.next().unwrap_or("?");
    let (owner, wanted, file) = (next(), next(), next());
    (
        folder,
        format!(
            "{} belongs to user {owner}, but mysqld is user {wanted}",
            base.join(file).display()
        ),
        format!(
            "If it is this cluster's data: chown -R {wanted}:{wanted} {}",
            folder.join("data").display()
        ),
    )
}

fn unusable(path: &Path, cause: String, remedy: &str) -> ClusterError {
    ClusterError::Folder { path: path.to_owned(), cause, remedy: remedy.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_script_says_in_sentences() {
        let check = |line: &str, words: &[&str]| {
            let error = judge("t-1", Path::new("/srv"), line).unwrap_err().to_string();
            for word in words {
                assert!(error.contains(word), "{error}");
            }
        };
        assert!(judge("t-1", Path::new("/srv"), "fine").is_ok());
        check("not-a-directory", &["/srv", "no directory"]);
        check("not-a-directory t-1", &["/srv/t-1", "no directory"]);
        check("foreign-data 12-34", &["/srv/t-1", "server_uuid 12-34", "not touched"]);
        check("foreign-data", &["the data directory, which Weir did not make"]);
        check("not-empty photos", &["\"photos\"", "not touched"]);
        check("other-cluster prod", &["cluster \"prod\""]);
        check("holds-data 12-34", &["server_uuid 12-34", "state file", "destroy"]);
        check("gone", &["any more", "replace t-1"]);
        check(
            "wrong-owner 1000 999 t-1/data/ib data",
            &["/srv/t-1/data/ib data belongs to user 1000", "chown -R 999:999 /srv/t-1/data"],
        );
        check("not-writable touch: Read-only file system", &["Read-only file system"]);
        check("", &["\"\""]);
    }

    /// The script itself, on a directory that stands for the mounted one; as an unprivileged user it can do
    /// all but give files away.
    #[test]
    fn the_script_knows_whose_a_folder_is() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().to_str().unwrap();
        let script = SCRIPT.replace("/weir/$node", &format!("{base}/$node"));
        let script = script.replace("base=/weir ", &format!("base={base} "));
        let run = |arguments: &[&str]| {
            let output = std::process::Command::new("bash")
                .args(["-c", &script, "folder.sh"])
                .args(arguments)
                .output()
                .unwrap();
            String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
        };
        let node = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(node("c-1/photos")).unwrap();
        assert_eq!(run(&["prepare", "c", "c-1"]), "not-empty photos");
        std::fs::create_dir_all(node("c-2/data")).unwrap();
        std::fs::write(node("c-2/data/auto.cnf"), "[auto]\nserver-uuid=12-34\n").unwrap();
        assert_eq!(run(&["prepare", "c", "c-2"]), "foreign-data 12-34");
        std::fs::write(node("c-2/.weir"), "cluster=other\nmade=yes\n").unwrap();
        for command in ["prepare", "check", "remove"] {
            assert_eq!(run(&[command, "c", "c-2"]), "other-cluster other");
        }
        std::fs::write(node("c-2/.weir"), "cluster=c\nmade=no\n").unwrap();
        assert_eq!(run(&["prepare", "c", "c-2"]), "holds-data 12-34");
        assert_eq!(run(&["list", "c"]), "node c-2\nfine");
        std::fs::write(node("c-3"), "").unwrap();
        assert_eq!(run(&["prepare", "c", "c-3"]), "not-a-directory c-3");
        assert_eq!(run(&["check", "c", "c-4"]), "gone");
        assert_eq!(run(&["remove", "c", "c-2"]), "fine");
        assert!(node("c-2").exists() && !node("c-2/data").exists());
        assert_eq!(run(&["remove", "c", "c-2"]), "gone");
    }
}
