//! Images that are not Weir's own: one that behaves as the official ones, and such as have no MySQL that can be managed.
//!
//! No registry is needed: each is made of Weir's image by changing files in it.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use weir::cluster::{self, Silent};

use crate::docker::{base_image, docker};
use crate::managed::Fixture;
use crate::stage::Stage;
use crate::wait::until_or_show;

const OFFICIAL: &str = include_str!("image/official-entrypoint.sh");
const ENTRYPOINT: &str = "/usr/local/bin/docker-entrypoint.sh";
const PATIENCE: Duration = Duration::from_secs(120);

/// An image that is gone when the test ends.
struct Image(String);

impl Image {
    /// Of Weir's, with files changed, and without those that are `removed`; one of a name in a run.
    fn made(name: &str, files: &[(&str, &str)], removed: &[&str]) -> Self {
        let base = base_image();
        let tag = format!("weirtest-image/{name}:{}", std::process::id());
        let container = format!("weirtest{}-{name}.image", std::process::id());
        let remove = format!("rm -f {}", removed.join(" "));
        let shell = ["--entrypoint", "sh", &base, "-c", &remove];
        docker(&[&["run", "--network", "none", "--name", &container][..], &shell].concat());
        let dir = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let file = dir.path().join("file");
            std::fs::write(&file, content).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
            docker(&["cp", file.to_str().unwrap(), &format!("{container}:{path}")]);
        }
        let mut commit = vec!["commit"];
        for change in
            ["ENTRYPOINT [\"docker-entrypoint.sh\"]", "CMD [\"mysqld\"]", "VOLUME /var/lib/mysql"]
        {
            commit.extend(["--change", change]);
        }
        commit.extend([container.as_str(), &tag]);
        docker(&commit);
        docker(&["rm", "--volumes", &container]);
        Self(tag)
    }

    /// Whose entry point is the official one, and which lacks what that image lacks.
    fn official(name: &str) -> Self {
        Self::made(name, &[(ENTRYPOINT, OFFICIAL)], &["/usr/bin/mysqlbinlog"])
    }

    /// With a server that says of itself what is given, and knows nothing else.
    fn saying(name: &str, version: &str) -> Self {
        let says = format!("echo 'mysqld  Ver {version}'");
        let script = format!("#!/bin/sh\ncase $1 in --version) {says} ;; *) exit 7 ;; esac\n");
        Self::made(name, &[("/usr/sbin/mysqld", &script)], &[])
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _gone = Command::new("docker").args(["rmi", "--force", &self.0]).output();
    }
}

/// What SQL prints in that node, for root, without a network.
fn inside(name: &str, password: &str, sql: &str) -> String {
    let password = format!("MYSQL_PWD={password}");
    let socket = "--socket=/run/mysqld/mysqld.sock";
    let mysql =
        ["mysql", "--no-defaults", socket, "--user=root", "--skip-column-names", "--execute"];
    docker(&[&["exec", "--env", &password, name][..], &mysql, &[sql]].concat())
}

/// Everything that carries the cluster's label, but for its record, which all Weirs share and which holds no data.
fn made_for(cluster: &str) -> String {
    let filter = format!("label=dev.weir.cluster={cluster}");
    let list = |what: &str| docker(&[what, "ls", "--all", "--quiet", "--filter", &filter]);
    let networks = docker(&["network", "ls", "--quiet", "--filter", &filter]);
    let volumes = docker(&["volume", "ls", "--quiet", "--filter", &filter]);
    let record = format!("{cluster}.record.");
    let volumes: String = volumes.lines().filter(|name| !name.starts_with(&record)).collect();
    [list("container"), volumes, networks].concat()
}

/// Made, used, with another node added that copies the data, stopped, brought back.
#[tokio::test]
async fn an_image_like_the_official_one() {
    let image = Image::official("made");
    let mut fixture = Fixture::new("official", 1);
    fixture.wanted.image.clone_from(&image.0);
    let view = fixture.up().await.unwrap();
    assert_eq!(view.problems, Vec::<String>::new());
    let root = fixture.state().root;
    let sql = "SELECT COUNT(*) FROM mysql.time_zone_name; SELECT @@global.gtid_executed";
    let executed = |number| inside(&fixture.name(number), root.expose(), sql);
    let (one, two) = (executed(1), executed(2));
    // Each first start made transactions of its own, which are not there any more.
    assert!(one.starts_with("1\n"), "{one}");
    assert_eq!(one.matches(':').count(), 1, "{one}");
    assert_eq!(one, two);

    let mut conn = fixture.root(&view.nodes[0]).await;
    conn.query_drop("CREATE TABLE app_data.t (v INT PRIMARY KEY)").await.unwrap();
    conn.query_drop("INSERT INTO app_data.t VALUES (7)").await.unwrap();
    drop(conn);
    let dir = fixture.state_dir();
    let name = fixture.name(2);
    let change = cluster::Change::Reclone;
    cluster::change(&fixture.wanted, dir, change, &name, &Silent).await.unwrap();
    cluster::down(&fixture.wanted, dir, &Silent).await.unwrap();
    let view = fixture.up().await.unwrap();
    assert_eq!(view.problems, Vec::<String>::new());
    for number in [1, 2] {
        let rows = inside(&fixture.name(number), root.expose(), "SELECT v FROM app_data.t");
        assert_eq!(rows, "7", "node {number}");
    }
}

/// A primary that is cut off takes a write that no client heard of; without mysqlbinlog in the image, and with the data
/// in the container, the very transaction is kept, and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_a_dead_primary_had_is_kept_without_mysqlbinlog() {
    let image = Image::official("keep");
    let settings = format!(
        "image = \"{}\"\nreplicas = 1\ndata = \"container\"\nsemi_sync = false\nfailover_seconds = 1\n",
        image.0
    );
    let stage = Stage::new("keep", &settings);
    let mut conn = stage.through_weir().await;
    conn.query_drop("CREATE TABLE written (id BIGINT PRIMARY KEY, t TEXT)").await.unwrap();
    conn.query_drop("INSERT INTO written VALUES (1, 'everybody has this')").await.unwrap();
    drop(conn);
    stage.whole().await;
    let (old, root) = (stage.primary(), stage.state().root);
    docker(&["network", "disconnect", "--force", &stage.name, &old]);
    let own = "INSERT INTO app.written VALUES (2, 'nobody else has this'); FLUSH BINARY LOGS; INSERT INTO \
               app.written VALUES (3, 'nor this')";
    inside(&old, root.expose(), own);
    let kept = || {
        let files = std::fs::read_dir(stage.path("state")).unwrap();
        let files = files.map(|file| file.unwrap().path());
        let own = |path: &std::path::PathBuf| {
            path.file_name().unwrap().to_str().unwrap().starts_with("own-")
        };
        files.filter(own).collect::<Vec<_>>()
    };
    until_or_show(
        PATIENCE,
        "the old primary to follow",
        || stage.log(),
        async || {
            (stage.log().contains("what only it had is kept there") && stage.primary() != old)
                .then_some(())
        },
    )
    .await;
    stage.whole().await;
    stage.check_rows(&[1]).await;
    let mut files = kept();
    files.sort();
    assert_eq!(files.len(), 2, "{files:?}");
    let dir = format!("{}:/kept:ro", stage.path("state").display());
    let weirs = base_image();
    let rows = ["nobody else has this", "nor this"];
    for (file, row) in files.iter().zip(rows) {
        let file = format!("/kept/{}", file.file_name().unwrap().to_str().unwrap());
        let run = ["run", "--rm", "--network", "none", "--volume", &dir];
        let read = ["--entrypoint", "mysqlbinlog", &weirs, "--verbose", &file];
        let read = docker(&[&run[..], &read].concat());
        assert!(read.contains(row) && read.contains("End of log file"), "{read}");
        assert!(!read.contains("everybody has this"), "{read}");
        assert_eq!(read.matches("COMMIT/*").count(), 1, "{read}");
    }
}

/// What is in an image is found out before anything is made with it.
#[tokio::test]
async fn an_image_without_a_mysql_that_can_be_managed_is_refused() {
    let maria = "10.11.6-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64 (Debian 12)";
    let old = "8.0.25 for Linux on x86_64 (MySQL Community Server - GPL)";
    let none = Image::made("none", &[], &["/usr/sbin/mysqld"]);
    for (image, words) in [
        (Image::saying("maria", maria), ["runs MariaDB 10.11.6;", "under [[servers]]"]),
        (Image::saying("old", old), ["runs MySQL 8.0.25;", "8.0.26 or newer. Choose another"]),
        (none, ["has no MySQL server", "mysqld: not found"]),
    ] {
        let mut fixture = Fixture::new("refused", 1);
        fixture.wanted.image.clone_from(&image.0);
        let error = fixture.up().await.unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
        assert!(error.contains(&image.0), "{error}");
        assert_eq!(made_for(&fixture.wanted.name), "", "{error}");
    }
}
