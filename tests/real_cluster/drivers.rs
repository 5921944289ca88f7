//! Foreign drivers see through Weir exactly what they see on the server itself.
//!
//! Each logs in to a Weir that knows nobody: by an RSA key without TLS, else in clear within TLS. A suite
//! with TLS has a Weir that takes no other, so that none falls back unseen.

use crate::rust_drivers::{BLOB_BYTES, MADE_ON_PURPOSE, types_script};
use crate::support::client::connect_tls;
use crate::support::cluster::TESTER;
use crate::support::drivers::{Target, Tools, output, same, statements};
use crate::support::{TestCluster, Weir};

/// Runs a suite against the primary, then against Weir, each with an empty database of one name.
async fn compare(script: &str, variant: &str, tls: bool) {
    let tools = Tools::load();
    let cluster = TestCluster::shared().await;
    let weir = Weir::start_with(cluster, if tls { "tls = \"required\"" } else { "" }, "");
    let kind = if tls { "tls" } else { "plain" };
    let stem = script.split('_').next().unwrap();
    let database = format!("drv_{stem}_{variant}_{kind}");
    // Without TLS the connector asks for no RSA key, in neither form, also on a server: it gets in only where the
    // password is known.
    let taught = stem == "connector" && !tls;
    let mut outputs = Vec::new();
    for address in [&cluster.servers[0], &weir.address] {
        cluster.fresh_database(&database).await;
        if taught {
            connect_tls(address, TESTER, None).await.unwrap();
        }
        let target = Target { address, login: TESTER, database: &database, tls };
        outputs.push(tools.suite(script, variant, target).await);
    }
    let steps = outputs[0].lines().count();
    assert!(steps > 200, "{script}: only {steps} steps; the suite has lost its statements");
    same(&format!("{script} {variant} {kind}"), &outputs[0], &outputs[1]);
    assert!(weir.alive());
}

#[tokio::test]
async fn pymysql_plain() {
    compare("pymysql_suite.py", "", false).await;
}

#[tokio::test]
async fn pymysql_tls() {
    compare("pymysql_suite.py", "", true).await;
}

#[tokio::test]
async fn connector_pure_plain() {
    compare("connector_suite.py", "pure", false).await;
}

#[tokio::test]
async fn connector_pure_tls() {
    compare("connector_suite.py", "pure", true).await;
}

#[tokio::test]
async fn connector_c_plain() {
    compare("connector_suite.py", "c", false).await;
}

#[tokio::test]
async fn connector_c_tls() {
    compare("connector_suite.py", "c", true).await;
}

#[tokio::test]
async fn mysql2_plain() {
    compare("mysql2_suite.js", "", false).await;
}

#[tokio::test]
async fn mysql2_tls() {
    compare("mysql2_suite.js", "", true).await;
}

/// The mysql command line client, fed with all statements, the types, results of every shape and a blob. It goes on
/// after an error: those that it shows must be the expected ones, and no others.
#[tokio::test]
async fn mysql_client_plain_and_tls() {
    let tools = Tools::load();
    let cluster = TestCluster::shared().await;
    for tls in [false, true] {
        let weir = Weir::start_with(cluster, if tls { "tls = \"required\"" } else { "" }, "");
        let database = if tls { "drv_cli_tls" } else { "drv_cli_plain" };
        let mut outputs = Vec::new();
        for address in [&cluster.servers[0], &weir.address] {
            cluster.fresh_database(database).await;
            let (shown, errors) = client_output(&tools, address, database, tls).await;
            assert_eq!(errors, client_errors(database), "TLS {tls}, {address}:\n{shown}");
            outputs.push(shown);
        }
        assert!(outputs[0].lines().count() > 300, "{}", outputs[0]);
        for (what, row) in
            [("file", "1\troot\t".to_owned()), ("blob", format!("1\t{BLOB_BYTES}\t"))]
        {
            assert!(outputs[0].contains(&row), "the {what} was not read back");
        }
        same(&format!("mysql client, TLS {tls}"), &outputs[0], &outputs[1]);
    }
}

/// What the client shows, and the codes of the errors among it.
async fn client_output(
    tools: &Tools,
    address: &str,
    database: &str,
    tls: bool,
) -> (String, Vec<u16>) {
    let (host, port) = address.rsplit_once(':').unwrap();
    let mut command = tools.command("MYSQL_CLIENT");
    command
        .args(["--no-defaults", "--batch", "--force", "--column-type-info", "--binary-as-hex"])
        .args([
            "--show-warnings",
            "--comments",
            "--max-allowed-packet=64M",
            "--get-server-public-key",
            "--local-infile=1",
        ])
        .args(["--delimiter=$$", "--default-character-set=utf8mb4", "-vv", "-h", host, "-P", port])
        .args(["-u", TESTER.user, if tls { "--ssl-mode=REQUIRED" } else { "--ssl-mode=DISABLED" }])
        .arg(database)
        .env("MYSQL_PWD", TESTER.password);
    let (rows, errors) = output(command, "mysql", Some(client_script(database).as_bytes())).await;
    // Behind a result stands how long it took.
    let timeless = |line: &str| match line.rsplit_once(" (") {
        Some((before, _)) if line.ends_with(" sec)") => before.to_owned() + "\n",
        _ => line.to_owned() + "\n",
    };
    let code = |line: &str| line.strip_prefix("ERROR ")?.split(' ').next()?.parse().ok();
    let codes = errors.lines().filter_map(code).collect();
    (rows.lines().chain(errors.lines()).map(timeless).collect(), codes)
}

/// The codes of the errors that the script must end in, in its order.
fn client_errors(database: &str) -> Vec<u16> {
    let refused = statements(database).into_iter().filter_map(|statement| statement.refused);
    refused.chain([MADE_ON_PURPOSE]).collect()
}

/// Printable bytes, which do not repeat with any power of two.
fn blob() -> String {
    let unit: String = (0..251_u8).map(|at| char::from(b'A' + at % 26)).collect();
    unit.chars().cycle().take(BLOB_BYTES).collect()
}

/// Everything as one input: a statement that fails must not end it (`--force`).
fn client_script(database: &str) -> String {
    let mut all: Vec<String> =
        statements(database).into_iter().map(|statement| statement.sql).collect();
    all.extend(types_script());
    all.extend(["CALL two_results()", "CALL warn_and_fail()"].map(String::from));
    all.push("SELECT 1 AS one; SELECT 2 AS two; SELECT * FROM people ORDER BY id".to_owned());
    // The client may run in a root of its own: this file is in every one.
    all.push(
        "CREATE TABLE loaded (n INT AUTO_INCREMENT PRIMARY KEY, a VARCHAR(8), b TEXT)".to_owned(),
    );
    all.push(
        "LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE loaded FIELDS TERMINATED BY ':' (a, b)"
            .to_owned(),
    );
    all.push("SELECT * FROM loaded ORDER BY n".to_owned());
    all.push("CREATE TABLE blobs (id INT PRIMARY KEY, data LONGBLOB)".to_owned());
    all.push(format!("INSERT INTO blobs VALUES (1, '{}')", blob()));
    all.push("SELECT id, LENGTH(data), SHA2(data, 256), data FROM blobs".to_owned());
    // On a line of its own: a comment may end the statement.
    all.join("\n$$\n") + "\n$$\n"
}
