//! The HTTP API of a Weir that serves, and new replicas made of a snapshot, on a real Docker Engine.
//!
//! Needs an engine and the image (`make test` sees to both).

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use serde_json::{Value, json};

use crate::docker::docker;
use crate::ports::free_ports;
use crate::stage::Stage;
use crate::wait::until;

/// How long anything that is waited for may take.
const LIMIT: Duration = Duration::from_secs(60);
const LINES: &str = "application/x-ndjson";

/// A cluster with a Weir that serves it and its HTTP API; both are gone when the test ends, snapshots too.
struct Api {
    stage: Stage,
    admin: u16,
}

/// What came back: the status, and the body as it is.
struct Answer {
    status: u16,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{}", self.body))
    }
}

impl Api {
    fn new() -> Self {
        let admin = free_ports(0);
        let settings = format!("replicas = 1\n[admin]\nlisten = \"127.0.0.1:{admin}\"\n");
        Self { stage: Stage::new("api", &settings), admin }
    }

    /// One more than [`Api::new`] asked for.
    fn two_replicas(&self) {
        let file = self.stage.path("proxy.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains("replicas = 1\n"), "{text}");
        std::fs::write(file, text.replace("replicas = 1\n", "replicas = 2\n")).unwrap();
    }

    fn node(&self, number: u32) -> String {
        format!("{}-{number}", self.stage.name)
    }

    /// What the command tells of its steps.
    fn told(&self, arguments: &[&str]) -> String {
        let done = self.stage.command(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "weir {arguments:?}: {said}{}", self.stage.log());
        said
    }

    fn token(&self) -> String {
        std::fs::read_to_string(self.stage.path("state/admin-token")).unwrap().trim().to_owned()
    }

    /// One request of HTTP/1.0, so that the body ends with the connection.
    fn raw(&self, method: &str, path: &str, headers: &str, body: &str) -> Option<Answer> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.admin)).ok()?;
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
        )
        .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Some(Answer { status, body: body.to_owned() })
    }

    fn ask(&self, method: &str, path: &str, accept: &str, body: &Value) -> Answer {
        let headers = format!("Authorization: Bearer {}\r\nAccept: {accept}\r\n", self.token());
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.raw(method, &format!("/api/v1/{path}"), &headers, &body).unwrap()
    }

    fn get(&self, path: &str) -> Value {
        let answer = self.ask("GET", path, "*/*", &Value::Null);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.json()
    }

    /// The error's words.
    fn refused(&self, method: &str, path: &str, body: &Value, status: u16) -> String {
        let answer = self.ask(method, path, LINES, body);
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
        answer.json()["error"].as_str().unwrap().to_owned()
    }

    async fn root(&self, number: u16) -> Conn {
        // Nodes are published right above Weir.
        self.login(self.stage.port + number, self.stage.state().root.expose()).await
    }

    async fn login(&self, port: u16, password: &str) -> Conn {
        let options = self.stage.application().tcp_port(port).user(Some("root"));
        Conn::new(options.pass(Some(password)).db_name(None::<String>)).await.unwrap()
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.stage.kill_weir();
        let _ = self.stage.command(&["cluster", "destroy", "--yes"]).output();
        for snapshot in ["first", "wrong"] {
            let _ = self.stage.command(&["snapshot", "rm", snapshot]).output();
        }
    }
}

async fn text(conn: &mut Conn, sql: &str) -> String {
    let value: Option<String> = conn.query_first(sql).await.unwrap();
    value.unwrap_or_default().split_whitespace().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_by_http_and_a_replica_made_of_one() {
    let api = Api::new();
    let health = until(LIMIT, "the HTTP API", async || api.raw("GET", "/healthz", "", "")).await;
    assert_eq!((health.status, &health.json()), (200, &json!({ "status": "ok" })));
    let closed = api.raw("GET", "/api/v1/cluster", "", "").unwrap();
    assert!(closed.status == 401 && closed.body.contains("admin-token"), "{}", closed.body);

    // Without their beginning the binary logs do not make a replica.
    let mut primary = api.root(1).await;
    primary.query_drop("CREATE TABLE app.t (id INT PRIMARY KEY)").await.unwrap();
    primary.query_drop("INSERT INTO app.t VALUES (1)").await.unwrap();
    primary.query_drop("FLUSH BINARY LOGS").await.unwrap();
    // A log that a replica still reads stays.
    while text(&mut primary, "SELECT @@global.gtid_purged").await.is_empty() {
        let purge = "PURGE BINARY LOGS BEFORE NOW() + INTERVAL 1 DAY";
        primary.query_drop(purge).await.unwrap();
    }
    primary.query_drop("INSERT INTO app.t VALUES (0)").await.unwrap();
    let cluster = until(LIMIT, "the replica", async || {
        let cluster = api.get("cluster");
        (cluster["nodes"][1]["replication"]["behind_transactions"] == 0).then_some(cluster)
    })
    .await;
    assert_eq!(cluster["nodes"][0]["role"], "primary", "{cluster}");
    assert_eq!(cluster["problems"], json!([]), "{cluster}");

    let taken = create(&api);
    run_and_remove(&api).await;
    primary.query_drop("INSERT INTO app.t VALUES (2)").await.unwrap();
    grow(&api, &mut primary, &taken).await;
    fall_back(&api, &taken).await;

    let moved = api.ask("POST", "cluster/switchover", "*/*", &json!({ "to": api.node(3) }));
    assert_eq!((moved.status, &moved.json()["to"]), (200, &json!(api.node(3))), "{}", moved.body);
    let words = api.refused("POST", "cluster/restart", &json!({ "name": "nobody" }), 404);
    assert!(words.contains("has no node nobody"), "{words}");
}

/// Makes the snapshot with a line for each step, and sees that there cannot be two of that name.
fn create(api: &Api) -> Value {
    let answer = api.ask("POST", "snapshots", LINES, &json!({ "name": "first" }));
    assert_eq!(answer.status, 200, "{}", answer.body);
    let events: Vec<Value> =
        answer.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(events.iter().filter(|event| event["is"] == "begin").count() > 3, "{events:?}");
    let last = events.last().unwrap();
    assert_eq!(last["is"], "done", "{last}");
    let listed = api.get("snapshots");
    assert_eq!(listed["snapshots"], json!([last["result"]]));
    assert_eq!(last["result"]["from"], api.node(2).as_str());
    let words = api.refused("POST", "snapshots", &json!({ "name": "first" }), 409);
    assert!(words.contains("is there already"), "{words}");
    let words = api.refused("POST", "snapshots", &json!({ "name": "No" }), 400);
    assert!(words.contains("cannot be the name"), "{words}");
    last["result"].clone()
}

/// A copy's password is told once; a snapshot with copies stays.
async fn run_and_remove(api: &Api) {
    let words = api.refused("POST", "snapshots/none/run", &Value::Null, 404);
    assert!(words.contains("There are: first"), "{words}");
    let words = api.refused("POST", "snapshots/first/run", &json!({ "ttl": "2 hours" }), 400);
    assert!(words.contains("as 2h"), "{words}");
    let answer = api.ask("POST", "snapshots/first/run", "*/*", &json!({ "ttl": "2h" }));
    assert_eq!(answer.status, 201, "{}", answer.body);
    let copy = answer.json();
    let port = copy["published"].as_str().unwrap().rsplit(':').next().unwrap().parse().unwrap();
    let password = copy["password"].as_str().unwrap().to_owned();
    assert_eq!(copy["user"], "root");
    let mut conn = api.login(port, &password).await;
    assert_eq!(text(&mut conn, "SELECT COUNT(*) FROM app.t").await, "2");
    conn.disconnect().await.unwrap();

    let copies = api.get("copies");
    assert_eq!(copies["copies"][0]["name"], "first-1", "{copies}");
    assert!(copies["copies"][0]["expires"].is_string(), "{copies}");
    assert!(!copies.to_string().contains(&password) && !api.stage.log().contains(&password));
    let words = api.refused("DELETE", "snapshots/first", &Value::Null, 409);
    assert!(words.contains("has copies: first-1"), "{words}");
    assert_eq!(api.ask("DELETE", "copies/first-1", "*/*", &Value::Null).status, 204);
    api.refused("DELETE", "copies/first-1", &Value::Null, 404);
    assert_eq!(api.get("copies"), json!({ "copies": [] }));
}

/// A third node gets the snapshot's data, although it is cut off in the middle of that.
async fn grow(api: &Api, primary: &mut Conn, taken: &Value) {
    api.two_replicas();
    let mut up = api.stage.command(&["cluster", "up"]).stderr(Stdio::null()).spawn().unwrap();
    let filter = format!("name={}.seeding", api.stage.name);
    until(LIMIT, "the container that fills the volume", async || {
        (!docker(&["ps", "-a", "-q", "--filter", &filter]).is_empty()).then_some(())
    })
    .await;
    up.kill().unwrap();
    up.wait().unwrap();
    // The Weir that serves may have gone on with it already.
    let said = api.told(&["cluster", "up"]) + &api.stage.log();
    assert!(said.contains("starts from the data of snapshot first"), "{said}");
    assert_eq!(docker(&["ps", "-a", "-q", "--filter", &filter]), "");

    let mut seeded = api.root(3).await;
    primary.query_drop("INSERT INTO app.t VALUES (3)").await.unwrap();
    let executed = text(primary, "SELECT @@global.gtid_executed").await;
    let wait = format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{executed}', 30)");
    assert_eq!(text(&mut seeded, &wait).await, "0");
    assert_eq!(text(&mut seeded, "SELECT COUNT(*) FROM app.t").await, "4");
    assert_eq!(text(&mut seeded, "SELECT @@global.gtid_executed").await, executed);
    // What the binary logs gave begins where the snapshot ends.
    assert_eq!(text(&mut seeded, "SELECT @@global.gtid_purged").await, taken["gtid_executed"]);
    assert_eq!(text(&mut seeded, "SELECT @@super_read_only + @@log_bin").await, "2");
    let mut uuids = Vec::new();
    for number in 1..=3 {
        uuids.push(text(&mut api.root(number).await, "SELECT @@server_uuid").await);
    }
    uuids.sort();
    uuids.dedup();
    assert_eq!(uuids.len(), 3);
    let accounts = "SELECT GROUP_CONCAT(user, '@', host ORDER BY user, host) FROM mysql.user";
    assert_eq!(text(&mut seeded, accounts).await, text(primary, accounts).await);
    let cluster = api.get("cluster");
    assert_eq!(cluster["nodes"].as_array().unwrap().len(), 3, "{cluster}");
    assert_eq!((&cluster["problems"], &cluster["findings"]), (&json!([]), &json!([])), "{cluster}");
}

/// A snapshot that is not what its label says is found out, and the node is copied instead.
async fn fall_back(api: &Api, taken: &Value) {
    let gtid = taken["gtid_executed"].as_str().unwrap();
    let (before, last) = gtid.rsplit_once('-').unwrap();
    let less = format!("LABEL dev.weir.gtid={before}-{}", last.parse::<u64>().unwrap() - 1);
    let (image, label) = (taken["image"].as_str().unwrap(), "LABEL dev.weir.snapshot=wrong");
    let container = docker(&["create", image]);
    let wrong = image.replace(":first", ":wrong");
    let newer = "LABEL dev.weir.created=2999-01-01T00:00:00Z";
    docker(&["commit", "-c", &less, "-c", label, "-c", newer, &container, &wrong]);
    docker(&["rm", &container]);
    // Of the snapshot's own making, which is in its data.
    let copy = "SELECT CONCAT(state, begin_time) FROM performance_schema.clone_status";
    let before = text(&mut api.root(3).await, copy).await;
    let said = api.told(&["cluster", "replace", &api.node(3), "--yes"]);
    assert!(said.contains("could not be made of snapshot wrong"), "{said}");
    let mut copied = api.root(3).await;
    let after = text(&mut copied, copy).await;
    assert!(after.starts_with("Completed") && after != before, "{before} {after}");
    assert_eq!(text(&mut copied, "SELECT COUNT(*) FROM app.t").await, "4");
    assert_eq!(api.get("cluster")["problems"], json!([]));
}
