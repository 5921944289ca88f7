//! Snapshots of a managed cluster and their copies, on a real Docker Engine with real servers.
//!
//! Needs an engine and the image (`make test` sees to both). Every test has a cluster name and ports of
//! its own and removes what it made, also when it fails.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use weir::cluster::snapshot::{self, RunRequest, SnapshotView, Started};
use weir::cluster::{self, ClusterError, ClusterView, Silent, SnapshotError};
use weir::topology::Role;

use crate::docker::docker;
use crate::managed::{Fixture, login};
use crate::ports::free_ports;
use crate::roles::node;

/// Bytes of the rows that ten copies share.
const LARGE: u64 = 60_000_000;

impl Fixture {
    async fn create(&self, name: &str) -> Result<SnapshotView, ClusterError> {
        let now = SystemTime::now();
        snapshot::create(&self.wanted, self.state_dir(), Some(name), None, now, &Silent).await
    }

    async fn run(&self, request: RunRequest<'_>) -> Result<Started, ClusterError> {
        let now = SystemTime::now();
        snapshot::run(&self.wanted, self.state_dir(), request, now, &Silent).await
    }

    /// What the program prints; an error is what it complains of.
    fn weir(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.args(arguments).arg("--config").arg(self.state_dir().join("proxy.toml"));
        let done = command.output().unwrap();
        let [said, complaint] =
            [done.stdout, done.stderr].map(|text| String::from_utf8(text).unwrap());
        if done.status.success() { Ok(said) } else { Err(complaint) }
    }

    /// Names of the containers that carry the label of that kind.
    fn containers(&self, kind: &str) -> String {
        let cluster = format!("label=dev.weir.cluster={}", self.wanted.name);
        let kind = format!("label=dev.weir.kind={kind}");
        docker(&["ps", "-a", "--format", "{{.Names}}", "--filter", &cluster, "--filter", &kind])
    }
}

/// The password in the file that `mysql --defaults-extra-file=` takes.
fn password_of(copy: &Started) -> String {
    let mode = std::fs::metadata(&copy.options).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = std::fs::read_to_string(&copy.options).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("password = ")).unwrap();
    line.trim_matches('"').to_owned()
}

fn published(copy: &Started) -> String {
    copy.copy.published.unwrap().to_string()
}

async fn root_of(copy: &Started) -> Conn {
    login(&published(copy), "root", &password_of(copy), None).await.unwrap()
}

async fn text(conn: &mut Conn, sql: &str) -> String {
    let value: Option<String> = conn.query_first(sql).await.unwrap();
    value.unwrap_or_default().split_whitespace().collect()
}

/// Writes 1, 2, 3, .. to two tables, both in one transaction, until `stop`; gives the longest wait.
async fn write(mut primary: Conn, written: &AtomicU32, stop: &AtomicBool) -> Duration {
    let mut longest = Duration::ZERO;
    for number in 1_u32.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let begun = Instant::now();
        primary.query_drop("START TRANSACTION").await.unwrap();
        for table in ["a", "b"] {
            let insert = format!("INSERT INTO app_data.{table} VALUES ({number})");
            primary.query_drop(insert).await.unwrap();
        }
        primary.query_drop("COMMIT").await.unwrap();
        longest = longest.max(begun.elapsed());
        written.store(number, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    longest
}

/// Counts the rows on the replica until `stop`; gives the longest time in which they stayed the same.
async fn watch(mut replica: Conn, stop: &AtomicBool) -> Duration {
    let (mut last, mut since, mut longest) = (String::new(), Instant::now(), Duration::ZERO);
    while !stop.load(Ordering::Relaxed) {
        let now = text(&mut replica, "SELECT CAST(COUNT(*) AS CHAR) FROM app_data.b").await;
        if now != last {
            (last, since) = (now, Instant::now());
        }
        longest = longest.max(since.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    longest
}

#[tokio::test]
async fn a_snapshot_under_writes_is_one_moment_and_its_copies_are_their_own() {
    let fixture = Fixture::new("moment", 1);
    let view = fixture.up().await.unwrap();
    let mut primary = fixture.root(node(&view, Role::Primary)).await;
    for table in ["a", "b"] {
        let create = format!("CREATE TABLE app_data.{table} (n INT PRIMARY KEY)");
        primary.query_drop(create).await.unwrap();
    }
    let (written, stop) = (AtomicU32::new(0), AtomicBool::new(false));
    let writer = fixture.root(node(&view, Role::Primary)).await;
    let taking = async {
        let taken = fixture.create("moment").await;
        let at_end = written.load(Ordering::Relaxed);
        stop.store(true, Ordering::Relaxed);
        (taken.unwrap(), at_end)
    };
    let replica = node(&view, Role::Replica);
    let mut follower = fixture.root(replica).await;
    let executed = text(&mut primary, "SELECT @@global.gtid_executed").await;
    let has_all = |executed: &str| format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{executed}', 20)");
    assert_eq!(text(&mut follower, &has_all(&executed)).await, "0");
    let threads = "SELECT CONCAT((SELECT thread_id FROM \
                   performance_schema.replication_connection_status), '/', (SELECT \
                   MAX(thread_id) FROM performance_schema.replication_applier_status_by_coordinator))";
    let threads_before = text(&mut follower, threads).await;
    let reader = fixture.root(replica).await;
    let (longest, standstill, (taken, at_end)) =
        tokio::join!(write(writer, &written, &stop), watch(reader, &stop), taking);
    eprintln!("{at_end} transactions meanwhile, longest {longest:?}, replica still {standstill:?}");
    // Long enough for a busy machine; that nothing was stopped is what the threads say.
    assert!(longest.max(standstill) < Duration::from_secs(5), "{longest:?}, {standstill:?}");
    assert_eq!(taken.from, fixture.name(2));
    assert_eq!(fixture.containers("taking"), "");

    // The replica is as it was: locked, and following by the same threads.
    assert_eq!(text(&mut follower, threads).await, threads_before);
    assert_eq!(text(&mut follower, "SELECT @@global.super_read_only").await, "1");
    let executed = text(&mut primary, "SELECT @@global.gtid_executed").await;
    assert_eq!(text(&mut follower, &has_all(&executed)).await, "0");

    let (one, two) = tokio::join!(
        fixture.run(RunRequest { snapshot: "moment", ..RunRequest::default() }),
        fixture.run(RunRequest {
            snapshot: "moment",
            copy: Some("two"),
            ttl: Some(Duration::from_secs(60)),
            ..RunRequest::default()
        })
    );
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.copy.name, "moment-1");
    check_moment(&one, &taken, at_end).await;
    check_independence(&fixture, &view, &one, &two, &taken).await;
    check_no_password_shows(&fixture, &one, &taken);
    check_ends(&fixture, &one, &two).await;
}

/// The numbers are 1 to k without a hole, the same in both tables, and the position is the label's.
async fn check_moment(copy: &Started, taken: &SnapshotView, at_end: u32) {
    let mut root = root_of(copy).await;
    let numbers = "SELECT CONCAT(MIN(n), '/', MAX(n), '/', COUNT(*)) FROM app_data.";
    let in_a = text(&mut root, &format!("{numbers}a")).await;
    assert_eq!(in_a, text(&mut root, &format!("{numbers}b")).await);
    let parts: Vec<u32> = in_a.split('/').map(|part| part.parse().unwrap()).collect();
    let [first, last, count] = parts.as_slice() else { panic!("{in_a}") };
    assert_eq!((*first, *last), (1, *count), "{in_a}");
    assert!(*last > 10 && *last <= at_end, "{in_a} of {at_end}");
    assert_eq!(text(&mut root, "SELECT @@global.gtid_executed").await, taken.gtid);
}

/// Writable, with a uuid and an id of its own, of nobody's cluster; what is written stays in it.
async fn check_independence(
    fixture: &Fixture,
    view: &ClusterView,
    one: &Started,
    two: &Started,
    taken: &SnapshotView,
) {
    let mut roots = [root_of(one).await, root_of(two).await];
    let (primary, replica) = (node(view, Role::Primary), node(view, Role::Replica));
    let mut nodes = [fixture.root(primary).await, fixture.root(replica).await];
    for variable in ["server_uuid", "server_id"] {
        let mut all = Vec::new();
        for conn in roots.iter_mut().chain(&mut nodes) {
            all.push(text(conn, &format!("SELECT @@global.{variable}")).await);
        }
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 4, "{variable}: {all:?}");
    }
    let [first, second] = &mut roots;
    assert_eq!(text(first, "SELECT @@global.read_only + @@global.super_read_only").await, "0");
    assert!(first.query::<mysql_async::Row, _>("SHOW REPLICA STATUS").await.unwrap().is_empty());
    let weirs = "SELECT COUNT(*) FROM mysql.user WHERE user LIKE 'weir%'";
    assert_eq!(text(first, weirs).await, "0");

    let password = view.application_password.expose();
    let mut application = login(&published(one), "app", password, None).await.unwrap();
    application.query_drop("INSERT INTO app_data.a VALUES (0)").await.unwrap();
    application.query_drop("CREATE TABLE app_data.own (n INT)").await.unwrap();
    let count = "SELECT COUNT(*) FROM app_data.a WHERE n = 0";
    assert_eq!(text(first, count).await, "1");
    for other in nodes.iter_mut().chain([second]) {
        assert_eq!(text(other, count).await, "0");
    }
    assert_eq!(text(first, "SELECT @@global.gtid_executed").await, taken.gtid);
    // The cluster's root is not the copy's.
    let root = fixture.state().root;
    assert!(login(&published(one), "root", root.expose(), None).await.is_err());
    assert_ne!(password_of(one), password_of(two));
}

fn check_no_password_shows(fixture: &Fixture, one: &Started, taken: &SnapshotView) {
    let container = fixture.containers("copy");
    let container = container.lines().find(|name| name.ends_with(&one.copy.name)).unwrap();
    let cat = |file: &str| docker(&["exec", container, "cat", file]);
    let shown = [
        docker(&["inspect", container]),
        docker(&["logs", container]),
        docker(&["image", "inspect", &taken.image]),
        cat("/run/weir-copy.sql"),
        cat("/run/weir-root-password"),
    ]
    .concat();
    assert!(shown.contains(&taken.gtid), "{shown}");
    let state = fixture.state();
    let secrets = [&state.root, &state.monitor, &state.replication, &state.application];
    for secret in secrets {
        assert!(!shown.contains(secret.expose()));
    }
    assert!(!shown.contains(&password_of(one)));
}

/// A time to live, `rm`, `stop`, and what stays when the cluster goes.
async fn check_ends(fixture: &Fixture, one: &Started, two: &Started) {
    let (wanted, dir) = (&fixture.wanted, fixture.state_dir());
    let in_seconds = |seconds| SystemTime::now() + Duration::from_secs(seconds);
    assert!(snapshot::remove_expired(wanted, dir, in_seconds(0)).await.unwrap().is_empty());
    assert_eq!(snapshot::remove_expired(wanted, dir, in_seconds(61)).await.unwrap(), ["two"]);
    assert!(!two.options.exists() && one.options.exists());
    let left = snapshot::list(wanted).await.unwrap();
    assert_eq!(left.copies, std::slice::from_ref(&one.copy));
    assert_eq!(left.snapshots.first().unwrap().copies, ["moment-1"]);

    let in_use = snapshot::remove(wanted, "moment").await.unwrap_err();
    assert!(matches!(in_use, ClusterError::Snapshot(SnapshotError::InUse { .. })), "{in_use}");
    let exists = fixture.create("moment").await.unwrap_err();
    assert!(matches!(exists, ClusterError::Snapshot(SnapshotError::Exists { .. })), "{exists}");
    let third = RunRequest { snapshot: "moment", copy: Some("moment-1"), ..RunRequest::default() };
    let taken = fixture.run(third).await.unwrap_err();
    assert!(matches!(taken, ClusterError::Snapshot(SnapshotError::CopyExists { .. })), "{taken}");
    let busy = one.copy.published.unwrap().port();
    let same_port = RunRequest { snapshot: "moment", port: Some(busy), ..RunRequest::default() };
    let refused = fixture.run(same_port).await.unwrap_err();
    assert!(
        matches!(refused, ClusterError::Snapshot(SnapshotError::PortTaken { .. })),
        "{refused}"
    );
    snapshot::stop(wanted, dir, "moment-1").await.unwrap();
    assert!(!one.options.exists());
    assert_eq!(fixture.containers("copy"), "");

    // The cluster takes its copies along; its snapshots can be run without it.
    fixture.run(RunRequest { snapshot: "moment", ..RunRequest::default() }).await.unwrap();
    let all = cluster::inventory(wanted, fixture.state_dir()).await.unwrap();
    assert!(all.iter().any(|line| line.contains(".copy.moment-1")), "{all:?}");
    cluster::destroy(wanted, dir, &Silent).await.unwrap();
    assert_eq!(fixture.containers("copy"), "");
    let orphan = fixture.run(RunRequest { snapshot: "moment", ..RunRequest::default() }).await;
    assert_eq!(
        text(&mut root_of(&orphan.unwrap()).await, "SELECT MIN(n) FROM app_data.a").await,
        "1"
    );
    snapshot::stop(wanted, dir, "moment-1").await.unwrap();
    snapshot::remove(wanted, "moment").await.unwrap();
    assert!(snapshot::list(wanted).await.unwrap().snapshots.is_empty());
    let missing = snapshot::remove(wanted, "moment").await.unwrap_err();
    assert!(matches!(missing, ClusterError::Snapshot(SnapshotError::Missing { .. })), "{missing}");
}

#[tokio::test]
async fn cut_off_anywhere_it_leaves_nothing_that_stays() {
    // Upper case, which image names do not know; and no replica, so the primary is copied.
    let fixture = Fixture::new("Cut", 0);
    let view = fixture.up().await.unwrap();
    let mut left = 0;
    for seconds in [1, 5, 9] {
        let name = format!("cut{seconds}");
        let taking = fixture.create(&name);
        let cut = tokio::time::timeout(Duration::from_secs(seconds), taking).await;
        if let Ok(done) = cut {
            done.unwrap();
        }
        left += u32::from(!fixture.containers("taking").is_empty());
    }
    assert!(left >= 2, "{left}");
    let primary = node(&view, Role::Primary);
    let mut root = fixture.root(primary).await;
    root.query_drop("CREATE TABLE app_data.large (text LONGBLOB)").await.unwrap();
    let row = format!("INSERT INTO app_data.large VALUES (REPEAT('x', {}))", LARGE / 2);
    for _ in 0..2 {
        root.query_drop(&row).await.unwrap();
    }
    let whole = by_the_command_line(&fixture).await;
    assert_eq!(whole.from, primary.name);
    assert_eq!(fixture.containers("taking"), "");
    ten_copies_share_what_none_has_changed(&fixture, &whole).await;
    let copy =
        fixture.run(RunRequest { snapshot: "whole", ..RunRequest::default() }).await.unwrap();
    assert_eq!(text(&mut root_of(&copy).await, "SELECT @@global.gtid_executed").await, whole.gtid);
    assert_eq!(
        cluster::observe(&fixture.wanted, fixture.state_dir()).await.unwrap().problems,
        [""; 0]
    );
}

/// Every command, with what it prints. The snapshot stays, its copy does not.
async fn by_the_command_line(fixture: &Fixture) -> SnapshotView {
    let (port, from) = (free_ports(0), fixture.name(1));
    let said = fixture.weir(&["snapshot", "list"]).unwrap();
    assert!(!said.contains("whole"), "{said}");
    let said = fixture.weir(&["snapshot", "create", "whole", "--from", &from]).unwrap();
    assert!(said.starts_with(&format!("snapshot whole of {from}, ")), "{said}");
    assert!(said.contains("a copy: weir snapshot run whole"), "{said}");
    let ask = ["run", "whole", "--as", "mine", "--port", &port.to_string(), "--ttl", "2h"];
    let said = fixture.weir(&[&["snapshot"], &ask[..]].concat()).unwrap();
    assert!(said.contains(&format!("copy mine of whole answers at 127.0.0.1:{port} ")), "{said}");
    assert!(
        said.contains("it is removed after 2") && said.contains("snapshot stop mine"),
        "{said}"
    );
    let options = said.split("--defaults-extra-file=").nth(1).unwrap().lines().next().unwrap();
    let text = std::fs::read_to_string(options).unwrap();
    let password = text.lines().find_map(|line| line.strip_prefix("password = ")).unwrap();
    let address = format!("127.0.0.1:{port}");
    login(&address, "root", password.trim_matches('"'), None).await.unwrap();

    let said = fixture.weir(&["snapshot", "list"]).unwrap();
    for words in ["whole", &from, "mine", &address] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let refused = fixture.weir(&["snapshot", "rm", "whole"]).unwrap_err();
    assert!(refused.contains("mine"), "{refused}");
    let said = fixture.weir(&["snapshot", "stop", "mine"]).unwrap();
    assert_eq!(said, "removed copy mine\n");
    assert!(!Path::new(options).exists());
    let json = fixture.weir(&["snapshot", "list", "--json"]).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let names: Vec<_> = json["snapshots"].as_array().unwrap().iter().map(|s| &s["name"]).collect();
    assert!(names.contains(&&"whole".into()) && json["copies"] == serde_json::json!([]), "{json}");
    fixture.weir(&["snapshot", "create", "other"]).unwrap();
    let said = fixture.weir(&["snapshot", "rm", "other"]).unwrap();
    assert_eq!(said, "removed snapshot other\n");
    let all = snapshot::list(&fixture.wanted).await.unwrap().snapshots;
    all.into_iter().find(|snapshot| snapshot.name == "whole").unwrap()
}

/// Each answers with all rows, is of the same image, and has only those files for itself that a server always writes to.
async fn ten_copies_share_what_none_has_changed(fixture: &Fixture, whole: &SnapshotView) {
    let mut copies = Vec::new();
    for _ in 0..5 {
        let run = || fixture.run(RunRequest { snapshot: "whole", ..RunRequest::default() });
        let (one, two) = tokio::join!(run(), run());
        copies.extend([one.unwrap(), two.unwrap()]);
    }
    for copy in &copies {
        let bytes = "SELECT CAST(SUM(LENGTH(text)) AS CHAR) FROM app_data.large";
        assert_eq!(text(&mut root_of(copy).await, bytes).await, LARGE.to_string());
    }
    let containers = fixture.containers("copy");
    let containers: Vec<&str> = containers.lines().collect();
    assert_eq!(containers.len(), 10, "{containers:?}");
    let image = "{{.Config.Image}}";
    let images = docker(&[&["inspect", "--format", image], &containers[..]].concat());
    assert!(images.lines().all(|image| image == whole.image), "{images}");
    for container in containers {
        let own = docker(&["diff", container]);
        assert!(own.contains("ibdata1") && !own.contains("large.ibd"), "{container}: {own}");
    }
    for copy in &copies {
        snapshot::stop(&fixture.wanted, fixture.state_dir(), &copy.copy.name).await.unwrap();
    }
}
