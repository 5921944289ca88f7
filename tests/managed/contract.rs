//! What the image that Weir builds promises: the official image's environment, init files, arguments and orderly stop.
//! Weir itself takes no part.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::docker::{base_image, docker};
use crate::wait::until_or_show;

const PATIENCE: Duration = Duration::from_secs(60);
const ROOT: &str = "it's \"root\" \\ here";
const USER: &str = "the user's own";
/// What runs in their order, and what is no init file.
const INIT: [(&str, &str); 3] = [
    ("1-table.sql", "CREATE TABLE steps (id INT PRIMARY KEY AUTO_INCREMENT, name TEXT);\n"),
    (
        "2-script.sh",
        "docker_process_sql --database=\"$MYSQL_DATABASE\" <<<\"INSERT INTO steps (name) VALUES ('script')\"\n",
    ),
    ("4-words.txt", "this is no SQL\n"),
];
const PACKED: (&str, &str) = ("3-packed.sql.gz", "INSERT INTO steps (name) VALUES ('packed');\n");

/// A server in a container that nobody else needs.
struct Server {
    name: String,
    /// What is mounted into it.
    _dir: tempfile::TempDir,
}

impl Server {
    /// With init files, which a temporary server runs.
    fn started() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let init = dir.path().join("init");
        std::fs::create_dir(&init).unwrap();
        for (file, text) in INIT {
            std::fs::write(init.join(file), text).unwrap();
        }
        pack(&init.join(PACKED.0), PACKED.1);
        std::fs::write(dir.path().join("root"), ROOT).unwrap();
        let mount = |from: &Path, to: &str| format!("{}:{to}:ro", from.display());
        let init = mount(&init, "/docker-entrypoint-initdb.d");
        let root = mount(&dir.path().join("root"), "/run/secrets/root");
        let files = ["--volume", &init, "--volume", &root];
        let password = ["--env", "MYSQL_ROOT_PASSWORD_FILE=/run/secrets/root"];
        Self::run("contract", dir, &[&files[..], &password].concat(), &["--max-connections=77"])
    }

    /// Without any, and with a binary log.
    fn plain(password: &str) -> Self {
        let password = format!("MYSQL_ROOT_PASSWORD={password}");
        let options = ["--log-bin=binlog", "--gtid-mode=ON", "--enforce-gtid-consistency=ON"];
        Self::run("plain", tempfile::tempdir().unwrap(), &["--env", &password], &options)
    }

    fn run(name: &str, dir: tempfile::TempDir, more: &[&str], options: &[&str]) -> Self {
        let name = format!("weirtest{}-{name}", std::process::id());
        let (image, password) = (base_image(), format!("MYSQL_PASSWORD={USER}"));
        let mut run = vec!["run", "--detach", "--name", &name, "--network", "none"];
        run.extend(["--env", &password]);
        for variable in ["MYSQL_ROOT_HOST=10.1.2.3", "MYSQL_DATABASE=it_s%", "MYSQL_USER=someone"] {
            run.extend(["--env", variable]);
        }
        run.extend(more);
        run.push(&image);
        run.extend(options);
        docker(&run);
        Self { name, _dir: dir }
    }

    /// What SQL prints in it, or its complaint.
    fn ask(&self, user: &str, password: &str, sql: &str) -> Result<String, String> {
        let password = format!("MYSQL_PWD={password}");
        let mysql = ["exec", "--env", &password, &self.name, "mysql", "--no-defaults", "--batch"];
        let asked = ["--socket=/run/mysqld/mysqld.sock", "--skip-column-names"];
        let user = format!("--user={user}");
        let done = run(&[&mysql[..], &asked, &[&user, "--execute", sql]].concat());
        let [said, complaint] = [done.stdout, done.stderr].map(|t| String::from_utf8(t).unwrap());
        if done.status.success() { Ok(said.trim().to_owned()) } else { Err(complaint) }
    }

    fn log(&self) -> String {
        docker(&["logs", &self.name])
    }

    /// Waits until so many servers have begun to serve in it: a first start has one before.
    async fn ready(&self, times: usize) {
        let ready = || self.log().matches("ready for connections").count();
        let answers = || self.ask("root", ROOT, "SELECT 1").is_ok();
        until_or_show(
            PATIENCE,
            "the server to be ready",
            || self.log(),
            async || (ready() >= times && answers()).then_some(()),
        )
        .await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = run(&["rm", "--force", "--volumes", &self.name]);
    }
}

fn run(arguments: &[&str]) -> Output {
    Command::new("docker").args(arguments).output().unwrap()
}

fn pack(path: &Path, text: &str) {
    let file = std::fs::File::create(path).unwrap();
    let mut gzip =
        Command::new("gzip").stdin(Stdio::piped()).stdout(Stdio::from(file)).spawn().unwrap();
    gzip.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(gzip.wait().unwrap().success());
}

#[tokio::test]
async fn the_image_is_used_as_the_official_one() {
    let server = Server::started();
    // Refused while that one starts.
    for (environment, words) in [
        (&[][..], "no password for root is given; set one of MYSQL_ROOT_PASSWORD"),
        (
            &["MYSQL_ROOT_PASSWORD=x", "MYSQL_ROOT_PASSWORD_FILE=/y"][..],
            "MYSQL_ROOT_PASSWORD and MYSQL_ROOT_PASSWORD_FILE are both set",
        ),
        (&["MYSQL_ROOT_PASSWORD=x", "MYSQL_USER=a"], "must be given together"),
    ] {
        let image = base_image();
        let mut arguments = vec!["run", "--rm", "--network", "none"];
        arguments.extend(environment.iter().flat_map(|variable| ["--env", variable]));
        let done = run(&[&arguments[..], &[&image]].concat());
        let complaint = String::from_utf8(done.stderr).unwrap();
        assert!(!done.status.success() && complaint.contains(words), "{complaint}");
    }
    let image = base_image();
    assert!(docker(&["run", "--rm", &image, "mysqld", "--version"]).contains("Ver 9."));
    assert_eq!(docker(&["run", "--rm", &image, "sh", "-c", "echo instead"]), "instead");

    server.ready(2).await;
    made_as_asked(&server);
    docker(&["stop", "--time", "30", &server.name]);
    let ended = docker(&["inspect", "--format", "{{.State.ExitCode}}", &server.name]);
    assert_eq!(ended, "0", "{}", server.log());
    let stopped = server.log();
    assert_eq!(stopped.matches("Shutdown complete").count(), 2, "{stopped}");

    // Again: with what was made, and nothing is made again.
    docker(&["start", &server.name]);
    server.ready(3).await;
    made_as_asked(&server);
    let log = server.log();
    assert_eq!(log.matches("first start finished").count(), 1, "{log}");
    assert!(!log.contains("crash recovery"), "{log}");
    assert!(!log.contains(ROOT) && !log.contains(USER), "{log}");
}

/// The server that stays makes the accounts, before it lets anybody in; cut off in that, it starts anew.
#[tokio::test]
async fn without_init_files_one_start_is_enough() {
    let password = "it's \"root\" \\ on\ntwo lines";
    let server = Server::plain(password);
    let said = async |words: &'static str| {
        let log = || server.log();
        until_or_show(PATIENCE, words, log, async || log().contains(words).then_some(())).await;
    };
    said("first start: unpacking").await;
    docker(&["kill", &server.name]);
    assert!(!server.log().contains("first start finished"), "{}", server.log());
    docker(&["start", &server.name]);
    said("an earlier first start did not finish").await;
    said("first start finished").await;
    let root = |sql: &str| server.ask("root", password, sql).unwrap();
    assert_eq!(root("SELECT @@gtid_executed"), "", "others would have to have it");
    let hosts = "SELECT GROUP_CONCAT(host ORDER BY host) FROM mysql.user WHERE user = 'root'";
    assert_eq!(root(hosts), "10.1.2.3,localhost");
    server.ask("root", "", "SELECT 1").unwrap_err();
    server.ask("someone", USER, "CREATE TABLE `it_s%`.t (id INT)").unwrap();
    let states = docker(&["exec", &server.name, "sh", "-c", "grep -h State: /proc/[0-9]*/status"]);
    assert!(!states.contains("zombie"), "{states}");
    docker(&["stop", "--time", "30", &server.name]);
    let log = server.log();
    assert_eq!(log.matches("Shutdown complete").count(), 1, "{log}");
    assert!(!log.contains("two lines") && !log.contains(USER), "{log}");
}

fn made_as_asked(server: &Server) {
    let own = |sql: &str| server.ask("someone", USER, sql);
    let steps = "SELECT GROUP_CONCAT(name ORDER BY id) FROM `it_s%`.steps";
    assert_eq!(own(steps).unwrap(), "script,packed", "{}", server.log());
    assert_eq!(own("SELECT @@max_connections").unwrap(), "77");
    // Neither is a wildcard.
    let root = |sql: &str| server.ask("root", ROOT, sql).unwrap();
    for other in ["`itXs%`", "it_sX"] {
        root(&format!("CREATE DATABASE IF NOT EXISTS {other}"));
        let refused = own(&format!("CREATE TABLE {other}.t (id INT)")).unwrap_err();
        assert!(refused.contains("ERROR 1142"), "{other}: {refused}");
    }
    let hosts = "SELECT GROUP_CONCAT(host ORDER BY host) FROM mysql.user WHERE user = 'root'";
    assert_eq!(root(hosts), "10.1.2.3,localhost");
}
