//! Rust's own drivers, `mysql_async` and `sqlx`, see through Weir what they see on the server.

use std::fmt::Write as _;

use futures_util::StreamExt as _;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Params, Row, TxOpts, Value};
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlSslMode};
use sqlx::{
    Column as _, ConnectOptions as _, Connection as _, Executor as _, Row as _, TypeInfo as _,
};

use crate::support::client::{connect, connect_tls, server_error, shown};
use crate::support::cluster::TESTER;
use crate::support::drivers::{directory, same, statements};
use crate::support::{TestCluster, Weir};

pub(crate) const BLOB_BYTES: usize = 20 << 20;
/// The code that the procedure `warn_and_fail` of the statements raises.
pub(crate) const MADE_ON_PURPOSE: u16 = 31001;
/// Rows of the table of all types.
const TYPES_ROWS: usize = 4;

#[tokio::test]
async fn mysql_async_plain() {
    compare_mysql_async("drv_mysql_async_plain", false).await;
}

#[tokio::test]
async fn mysql_async_tls() {
    compare_mysql_async("drv_mysql_async_tls", true).await;
}

async fn compare_mysql_async(database: &str, tls: bool) {
    let cluster = TestCluster::shared().await;
    let weir = Weir::start(cluster);
    let mut outputs = Vec::new();
    for address in [&cluster.servers[0], &weir.address] {
        cluster.fresh_database(database).await;
        let conn = if tls {
            connect_tls(address, TESTER, Some(database)).await
        } else {
            connect(address, TESTER, Some(database)).await
        };
        outputs.push(mysql_async_course(conn.unwrap(), database).await);
    }
    assert!(outputs[0].lines().count() > 190, "the course has lost its steps:\n{}", outputs[0]);
    same(database, &outputs[0], &outputs[1]);
}

/// Every step of the course, one a line.
async fn mysql_async_course(mut conn: Conn, database: &str) -> String {
    let mut out = String::new();
    for statement in statements(database) {
        text_step(&mut conn, &statement.sql, statement.refused, &mut out).await;
    }
    let mut results = Vec::new();
    for sql in types_script() {
        results = text_step(&mut conn, &sql, None, &mut out).await;
    }
    assert_eq!(results[0].len(), TYPES_ROWS);
    let people = ["Ada", "Cleo", "Dai", "Fay", "Ivy"].map(|name| vec![name.to_owned()]);
    let one = |value: &str| vec![vec![value.to_owned()]];
    for (sql, refused, expected) in [
        ("CALL two_results()", None, vec![one("1"), people.to_vec()]),
        ("CALL warn_and_fail()", Some(MADE_ON_PURPOSE), vec![one("1")]),
        ("SELECT 1; SELECT 2; SELECT * FROM no_such_table", Some(1146), vec![one("1"), one("2")]),
    ] {
        assert_eq!(text_step(&mut conn, sql, refused, &mut out).await, expected, "{sql}");
    }
    let select = "SELECT * FROM all_types ORDER BY id";
    let rows: Vec<Row> = conn.exec(select, ()).await.unwrap();
    assert_eq!(rows.len(), TYPES_ROWS);
    for row in rows {
        writeln!(out, "prepared {:?}", row.unwrap()).unwrap();
    }
    prepared_steps(&mut conn, &mut out).await;
    transaction_steps(&mut conn, &mut out).await;
    blob_steps(&mut conn, &mut out).await;
    for reset in [false, true] {
        text_step(&mut conn, "SET @a = 1", None, &mut out).await;
        if reset {
            conn.reset().await.unwrap();
        } else {
            conn.change_user(mysql_async::ChangeUserOpts::default()).await.unwrap();
        }
        let seen = text_step(&mut conn, "SELECT @a, DATABASE()", None, &mut out).await;
        assert_eq!(seen, [[["NULL", database]]]);
    }
    conn.ping().await.unwrap();
    conn.disconnect().await.unwrap();
    out
}

/// The rows of one result, each value as text.
type Rows = Vec<Vec<String>>;

/// Runs a text query to the end of its last result, writes all that it showed, and gives the rows of each result. It
/// must end in the error of that code, or in none.
async fn text_step(
    conn: &mut Conn,
    sql: &str,
    refused: Option<u16>,
    out: &mut String,
) -> Vec<Rows> {
    let short: String = sql.chars().take(200).collect();
    write!(out, "{} =>", short.replace('\n', " ")).unwrap();
    let mut results = Vec::new();
    let end = match conn.query_iter(sql).await {
        Ok(result) => all_results(result, &mut results, out).await,
        Err(error) => Err(error),
    };
    let code = end.as_ref().err().map(|error| match error {
        mysql_async::Error::Server(error) => error.code,
        other => panic!("{short}: {other}"),
    });
    assert_eq!(code, refused, "{short}: {end:?}");
    if let Err(error) = end {
        write!(out, " {error}").unwrap();
    }
    out.push('\n');
    results
}

/// Every result with what its OK said.
async fn all_results(
    mut result: mysql_async::QueryResult<'_, 'static, mysql_async::TextProtocol>,
    results: &mut Vec<Rows>,
    out: &mut String,
) -> Result<(), mysql_async::Error> {
    loop {
        let columns: Vec<String> = result.columns_ref().iter().map(|c| format!("{c:?}")).collect();
        write!(
            out,
            " | {} {} {:?} {}",
            result.affected_rows(),
            result.warnings(),
            result.last_insert_id(),
            columns.join(",")
        )
        .unwrap();
        let rows = result.collect::<Row>().await?;
        let rows: Rows =
            rows.into_iter().map(|row| row.unwrap().iter().map(shown).collect()).collect();
        for values in &rows {
            write!(out, " {values:?}").unwrap();
        }
        results.push(rows);
        if result.is_empty() {
            // An error instead of one more result is still to be taken.
            return result.drop_result().await;
        }
    }
}

async fn prepared_steps(conn: &mut Conn, out: &mut String) {
    conn.query_drop("CREATE TABLE prep (id BIGINT PRIMARY KEY, s VARCHAR(100), b BLOB, f DOUBLE, t TIME(6), d DATETIME(6))")
        .await
        .unwrap();
    let insert = conn.prep("INSERT INTO prep VALUES (?, ?, ?, ?, ?, ?)").await.unwrap();
    let rows: Vec<Vec<Value>> = vec![
        vec![
            1.into(),
            "one".into(),
            vec![0_u8, 255].into(),
            0.1.into(),
            Value::Time(true, 34, 22, 59, 59, 0),
            Value::Date(2024, 2, 29, 23, 59, 59, 999_999),
        ],
        vec![
            i64::MIN.into(),
            "\u{1f600}".into(),
            Vec::<u8>::new().into(),
            f64::MAX.into(),
            Value::Time(true, 31, 0, 0, 0, 1),
            Value::Date(1000, 1, 1, 0, 0, 0, 0),
        ],
        vec![3.into(), Value::NULL, Value::NULL, Value::NULL, Value::NULL, Value::NULL],
        vec![3.into(), "duplicate".into(), Value::NULL, Value::NULL, Value::NULL, Value::NULL],
    ];
    let last = rows.len() - 1;
    for (number, row) in rows.into_iter().enumerate() {
        match conn.exec_drop(&insert, Params::Positional(row)).await {
            Ok(()) => {
                assert!(number < last, "a duplicate was not refused");
                assert_eq!(conn.affected_rows(), 1);
                writeln!(out, "inserted {:?}", conn.last_insert_id()).unwrap();
            }
            Err(mysql_async::Error::Server(error)) => {
                assert_eq!((number, error.code), (last, 1062), "{error}");
                writeln!(out, "refused {error}").unwrap();
            }
            Err(other) => panic!("row {number}: {other}"),
        }
    }
    let select = conn.prep("SELECT * FROM prep WHERE id >= ? ORDER BY id").await.unwrap();
    for (low, count) in [(i64::MIN, 3), (1, 2), (4, 0)] {
        let rows: Vec<Row> = conn.exec(&select, (low,)).await.unwrap();
        assert_eq!(rows.len(), count, "from {low}");
        writeln!(out, "from {low}: {:?}", rows.into_iter().map(Row::unwrap).collect::<Vec<_>>())
            .unwrap();
    }
    conn.close(insert).await.unwrap();
    conn.close(select).await.unwrap();
    let error = server_error(conn.prep("SELEC ?").await.unwrap_err());
    assert_eq!(error.0, 1064);
    writeln!(out, "prep {error:?}").unwrap();
}

async fn transaction_steps(conn: &mut Conn, out: &mut String) {
    for commit in [false, true] {
        let mut transaction = conn.start_transaction(TxOpts::default()).await.unwrap();
        transaction.query_drop("INSERT INTO prep (id, s) VALUES (77, 'in')").await.unwrap();
        let seen: Option<String> =
            transaction.exec_first("SELECT s FROM prep WHERE id = ?", (77,)).await.unwrap();
        assert_eq!(seen.as_deref(), Some("in"));
        if commit {
            transaction.commit().await.unwrap()
        } else {
            transaction.rollback().await.unwrap()
        }
        let seen: Option<String> =
            conn.exec_first("SELECT s FROM prep WHERE id = ?", (77,)).await.unwrap();
        assert_eq!(seen.as_deref(), commit.then_some("in"), "after commit {commit}");
        writeln!(out, "commit {commit}: {seen:?}").unwrap();
    }
}

async fn blob_steps(conn: &mut Conn, out: &mut String) {
    let data: Vec<u8> = (0..BLOB_BYTES).map(|at| u8::try_from(at % 251).unwrap()).collect();
    conn.query_drop("CREATE TABLE blobs (id INT PRIMARY KEY, v LONGBLOB)").await.unwrap();
    conn.exec_drop("INSERT INTO blobs VALUES (1, ?)", (data.clone(),)).await.unwrap();
    let back: Option<Vec<u8>> = conn.query_first("SELECT v FROM blobs").await.unwrap();
    let prepared: Option<Vec<u8>> =
        conn.exec_first("SELECT v FROM blobs WHERE id = ?", (1,)).await.unwrap();
    for (protocol, blob) in [("text", back), ("binary", prepared)] {
        assert!(blob.is_some_and(|blob| blob == data), "the blob of the {protocol} protocol");
        writeln!(out, "blob, {protocol}").unwrap();
    }
}

/// Without TLS sqlx needs its own RSA, which it is built without here: the account's password must be known already.
#[tokio::test]
async fn sqlx_plain() {
    compare_sqlx("drv_sqlx_plain", MySqlSslMode::Disabled, "").await;
}

#[tokio::test]
async fn sqlx_tls() {
    compare_sqlx("drv_sqlx_tls", MySqlSslMode::Required, "tls = \"required\"").await;
}

async fn compare_sqlx(database: &str, tls: MySqlSslMode, proxy: &str) {
    let cluster = TestCluster::shared().await;
    let weir = Weir::start_with(cluster, proxy, "");
    let mut outputs = Vec::new();
    for address in [&cluster.servers[0], &weir.address] {
        cluster.fresh_database(database).await;
        if matches!(tls, MySqlSslMode::Disabled) {
            connect_tls(address, TESTER, None).await.unwrap();
        }
        outputs.push(sqlx_course(address, database, tls).await);
    }
    assert!(outputs[0].lines().count() > 350, "the course has lost its steps:\n{}", outputs[0]);
    same(database, &outputs[0], &outputs[1]);
}

async fn sqlx_course(address: &str, database: &str, tls: MySqlSslMode) -> String {
    let (host, port) = address.rsplit_once(':').unwrap();
    let options = MySqlConnectOptions::new()
        .host(host)
        .port(port.parse().unwrap())
        .username(TESTER.user)
        .password(TESTER.password)
        .database(database)
        .ssl_mode(tls)
        .disable_statement_logging();
    let mut conn = MySqlConnection::connect_with(&options).await.unwrap();
    let mut out = String::new();
    let script = types_script();
    // It does not know the type VECTOR.
    let columns = select_list("HEX(c_vector)");
    for sql in &script[..script.len() - 1] {
        let done = conn.execute(sqlx::AssertSqlSafe(sql.clone())).await.unwrap();
        assert_eq!(done.rows_affected(), u64::from(sql.starts_with("INSERT")), "{sql}");
        writeln!(out, "{} => {done:?}", sql.chars().take(100).collect::<String>()).unwrap();
    }
    let select = format!("SELECT {columns} FROM all_types ORDER BY id");
    assert_eq!(sqlx_rows(&mut conn, select, &mut out).await, TYPES_ROWS);
    let select = format!("SELECT {columns} FROM all_types WHERE id < 2 ORDER BY id DESC");
    assert_eq!(sqlx_rows(&mut conn, select, &mut out).await, 2);
    for number in 0..20_i64 {
        // The same text each time: sqlx keeps the statement and executes it again.
        let row = sqlx::query("SELECT CAST(? AS SIGNED) + 1, ?, NULL")
            .bind(number)
            .bind("\u{1f600}")
            .fetch_one(&mut conn)
            .await
            .unwrap();
        assert_eq!(row.get::<i64, _>(0), number + 1);
        assert_eq!(row.get::<String, _>(1), "\u{1f600}");
    }
    sqlx_transactions(&mut conn).await;
    sqlx_many_results(&mut conn, &mut out).await;
    sqlx_blob(&mut conn).await;
    let error = sqlx::query("SELECT * FROM no_such_table").execute(&mut conn).await.unwrap_err();
    assert_eq!(sqlx_code(&error), 1146);
    writeln!(out, "{error}").unwrap();
    conn.ping().await.unwrap();
    conn.close().await.unwrap();
    out
}

/// The server's code of an error that is the server's.
fn sqlx_code(error: &sqlx::Error) -> u16 {
    let error = error.as_database_error().unwrap_or_else(|| panic!("{error}"));
    error.downcast_ref::<sqlx::mysql::MySqlDatabaseError>().number()
}

async fn sqlx_transactions(conn: &mut MySqlConnection) {
    let ask = "SELECT c_int FROM all_types WHERE id = 0";
    for commit in [true, false] {
        let before: i32 = sqlx::query_scalar(ask).fetch_one(&mut *conn).await.unwrap();
        let mut transaction = conn.begin().await.unwrap();
        sqlx::query("UPDATE all_types SET c_int = c_int + ? WHERE id = 0")
            .bind(1)
            .execute(&mut *transaction)
            .await
            .unwrap();
        let inside: i32 = sqlx::query_scalar(ask).fetch_one(&mut *transaction).await.unwrap();
        assert_eq!(inside, before + 1);
        if commit {
            transaction.commit().await.unwrap()
        } else {
            transaction.rollback().await.unwrap()
        }
        let outside: i32 = sqlx::query_scalar(ask).fetch_one(&mut *conn).await.unwrap();
        assert_eq!(outside, before + i32::from(commit), "commit {commit}");
    }
}

/// Several statements in one text, and a procedure, whose every result is taken.
async fn sqlx_many_results(conn: &mut MySqlConnection, out: &mut String) {
    let made = "CREATE PROCEDURE two_results () BEGIN SELECT 1 AS first_one; SELECT id FROM all_types ORDER BY id; END";
    conn.execute(sqlx::raw_sql(made)).await.unwrap();
    for (sql, expected) in [
        ("SELECT 1; SELECT 2 UNION ALL SELECT 3", "1 end 2 3 end"),
        ("CALL two_results()", "1 end 0 1 2 3 end end"),
        ("SET @a = 5; SELECT @a; DO 1; SELECT 'x' FROM DUAL WHERE FALSE", "end 5 end end end"),
        ("SELECT 1; SELECT * FROM no_such_table; SELECT 2", "1 end 1146"),
    ] {
        let mut parts = Vec::new();
        let mut results = sqlx::raw_sql(sql).fetch_many(&mut *conn);
        while let Some(next) = results.next().await {
            match next {
                Ok(sqlx::Either::Left(done)) => {
                    writeln!(out, "{sql}: {done:?}").unwrap();
                    parts.push("end".to_owned());
                }
                Ok(sqlx::Either::Right(row)) => {
                    let value = row.get_unchecked::<String, _>(0);
                    writeln!(out, "{sql}: {} {value}", row.columns()[0].name()).unwrap();
                    parts.push(value);
                }
                Err(error) => parts.push(sqlx_code(&error).to_string()),
            }
        }
        assert_eq!(parts.join(" "), expected, "{sql}");
    }
    // The same procedure in the binary protocol.
    let rows = sqlx::query("CALL two_results()").fetch_all(&mut *conn).await.unwrap();
    assert_eq!(rows.len(), 1 + TYPES_ROWS);
}

/// 20 MiB there and back.
async fn sqlx_blob(conn: &mut MySqlConnection) {
    let blob = vec![0xa5_u8; BLOB_BYTES];
    sqlx::query("UPDATE all_types SET c_longblob = ? WHERE id = 0")
        .bind(&blob)
        .execute(&mut *conn)
        .await
        .unwrap();
    let back: Vec<u8> = sqlx::query_scalar("SELECT c_longblob FROM all_types WHERE id = 0")
        .fetch_one(&mut *conn)
        .await
        .unwrap();
    assert!(back == blob, "{} bytes, or others", back.len());
}

/// Rows of the binary protocol with the names and types of their columns; how many there are.
async fn sqlx_rows(conn: &mut MySqlConnection, sql: String, out: &mut String) -> usize {
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(conn).await.unwrap();
    for row in &rows {
        for column in row.columns() {
            let bytes = row.try_get_raw(column.ordinal()).unwrap();
            let value = sqlx::ValueRef::is_null(&bytes);
            let shown = row.try_get_unchecked::<Vec<u8>, _>(column.ordinal());
            writeln!(out, "{} {} null {value} {shown:?}", column.name(), column.type_info().name())
                .unwrap();
        }
    }
    rows.len()
}

fn load(name: &str) -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(directory().join(name)).unwrap()).unwrap()
}

/// The columns of that table, with something else for the vector.
fn select_list(vector: &str) -> String {
    let types = load("types.json");
    let names =
        types["columns"].as_array().unwrap().iter().map(|column| column[0].as_str().unwrap());
    let names: Vec<&str> =
        names.map(|name| if name == "c_vector" { vector } else { name }).collect();
    format!("id, {}", names.join(", "))
}

/// The table of all types: its mode, its DDL, its rows, and the rows read back.
pub fn types_script() -> Vec<String> {
    let types = load("types.json");
    let word = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let columns = types["columns"].as_array().unwrap();
    let ddl: Vec<String> =
        columns.iter().map(|c| format!("{} {}", word(&c[0]), word(&c[1]))).collect();
    let mut all = vec![
        format!("SET SESSION sql_mode = '{}'", word(&types["sql_mode"])),
        format!("CREATE TABLE all_types (id INT PRIMARY KEY, {})", ddl.join(", ")),
    ];
    for row in 0..4_usize {
        let values: Vec<String> =
            columns.iter().map(|c| c[2].get(row).map_or_else(|| "NULL".to_owned(), word)).collect();
        all.push(format!("INSERT INTO all_types VALUES ({row}, {})", values.join(", ")));
    }
    all.push("SELECT * FROM all_types ORDER BY id".to_owned());
    all
}
