//! Rust's own drivers, `mysql_async` and `sqlx`, see through Weir what they see on the server.

use std::fmt::Write as _;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Params, Row, TxOpts, Value};
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlSslMode};
use sqlx::{
    Column as _, ConnectOptions as _, Connection as _, Executor as _, Row as _, TypeInfo as _,
};

use crate::support::client::{connect, connect_tls, shown};
use crate::support::cluster::TESTER;
use crate::support::drivers::{directory, same, statements};
use crate::support::{TestCluster, Weir};

pub(crate) const BLOB_BYTES: usize = 20 << 20;

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
    same(database, &outputs[0], &outputs[1]);
}

/// Every step of the course, one a line.
async fn mysql_async_course(mut conn: Conn, database: &str) -> String {
    let mut out = String::new();
    for sql in statements(database) {
        text_step(&mut conn, &sql, &mut out).await;
    }
    for sql in types_script() {
        text_step(&mut conn, &sql, &mut out).await;
    }
    for sql in [
        "CALL two_results()",
        "CALL warn_and_fail()",
        "SELECT 1; SELECT 2; SELECT * FROM no_such_table",
    ] {
        text_step(&mut conn, sql, &mut out).await;
    }
    let select = "SELECT * FROM all_types ORDER BY id";
    let rows: Vec<Row> = conn.exec(select, ()).await.unwrap();
    for row in rows {
        writeln!(out, "prepared {:?}", row.unwrap()).unwrap();
    }
    prepared_steps(&mut conn, &mut out).await;
    transaction_steps(&mut conn, &mut out).await;
    blob_steps(&mut conn, &mut out).await;
    conn.change_user(mysql_async::ChangeUserOpts::default()).await.unwrap();
    text_step(&mut conn, "SELECT @a, DATABASE()", &mut out).await;
    conn.reset().await.unwrap();
    text_step(&mut conn, "SELECT @a, DATABASE()", &mut out).await;
    conn.ping().await.unwrap();
    conn.disconnect().await.unwrap();
    out
}

/// All results of a text query, with what the last OK said.
async fn text_step(conn: &mut Conn, sql: &str, out: &mut String) {
    write!(out, "{} =>", sql.chars().take(200).collect::<String>().replace('\n', " ")).unwrap();
    match conn.query_iter(sql).await {
        Err(error) => write!(out, " {error}").unwrap(),
        Ok(mut result) => loop {
            let columns: Vec<String> =
                result.columns_ref().iter().map(|c| format!("{c:?}")).collect();
            write!(
                out,
                " | {} {} {:?} {}",
                result.affected_rows(),
                result.warnings(),
                result.last_insert_id(),
                columns.join(",")
            )
            .unwrap();
            match result.collect::<Row>().await {
                Ok(rows) => {
                    for row in rows {
                        let values: Vec<String> = row.unwrap().iter().map(shown).collect();
                        write!(out, " {values:?}").unwrap();
                    }
                }
                Err(error) => write!(out, " {error}").unwrap(),
            }
            if result.is_empty() {
                break;
            }
        },
    }
    out.push('\n');
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
            Value::Time(true, 34, 22, 59, 59, 1),
            Value::Date(2024, 2, 29, 23, 59, 59, 999_999),
        ],
        vec![
            i64::MIN.into(),
            "\u{1f600}".into(),
            Vec::<u8>::new().into(),
            f64::MAX.into(),
            Value::Time(false, 0, 0, 0, 0, 0),
            Value::Date(1000, 1, 1, 0, 0, 0, 0),
        ],
        vec![3.into(), Value::NULL, Value::NULL, Value::NULL, Value::NULL, Value::NULL],
        vec![3.into(), "duplicate".into(), Value::NULL, Value::NULL, Value::NULL, Value::NULL],
    ];
    for row in rows {
        match conn.exec_drop(&insert, Params::Positional(row)).await {
            Ok(()) => {
                writeln!(out, "inserted {} {:?}", conn.affected_rows(), conn.last_insert_id())
                    .unwrap()
            }
            Err(error) => writeln!(out, "refused {error}").unwrap(),
        }
    }
    let select = conn.prep("SELECT * FROM prep WHERE id >= ? ORDER BY id").await.unwrap();
    for low in [i64::MIN, 1, 4] {
        let rows: Vec<Row> = conn.exec(&select, (low,)).await.unwrap();
        writeln!(out, "from {low}: {:?}", rows.into_iter().map(Row::unwrap).collect::<Vec<_>>())
            .unwrap();
    }
    conn.close(insert).await.unwrap();
    conn.close(select).await.unwrap();
    let error = conn.prep("SELEC ?").await.unwrap_err();
    writeln!(out, "prep {error}").unwrap();
}

async fn transaction_steps(conn: &mut Conn, out: &mut String) {
    for commit in [false, true] {
        let mut transaction = conn.start_transaction(TxOpts::default()).await.unwrap();
        transaction.query_drop("INSERT INTO prep (id, s) VALUES (77, 'in')").await.unwrap();
        let seen: Option<String> =
            transaction.exec_first("SELECT s FROM prep WHERE id = ?", (77,)).await.unwrap();
        writeln!(out, "in transaction {seen:?}").unwrap();
        if commit {
            transaction.commit().await.unwrap()
        } else {
            transaction.rollback().await.unwrap()
        }
        let seen: Option<String> =
            conn.exec_first("SELECT s FROM prep WHERE id = ?", (77,)).await.unwrap();
        writeln!(out, "after commit {commit}: {seen:?}").unwrap();
    }
}

async fn blob_steps(conn: &mut Conn, out: &mut String) {
    let data: Vec<u8> = (0..BLOB_BYTES).map(|at| u8::try_from(at % 251).unwrap()).collect();
    conn.query_drop("CREATE TABLE blobs (id INT PRIMARY KEY, v LONGBLOB)").await.unwrap();
    conn.exec_drop("INSERT INTO blobs VALUES (1, ?)", (data.clone(),)).await.unwrap();
    let back: Option<Vec<u8>> = conn.query_first("SELECT v FROM blobs").await.unwrap();
    let prepared: Option<Vec<u8>> =
        conn.exec_first("SELECT v FROM blobs WHERE id = ?", (1,)).await.unwrap();
    let whole = |blob: Option<Vec<u8>>| blob.is_some_and(|blob| blob == data);
    writeln!(out, "blob {} {}", whole(back), whole(prepared)).unwrap();
}

/// sqlx is built without TLS and without RSA here: the account's password must be known already.
#[tokio::test]
async fn sqlx_plain() {
    let cluster = TestCluster::shared().await;
    let weir = Weir::start(cluster);
    let database = "drv_sqlx";
    let mut outputs = Vec::new();
    for address in [&cluster.servers[0], &weir.address] {
        cluster.fresh_database(database).await;
        connect_tls(address, TESTER, None).await.unwrap();
        outputs.push(sqlx_course(address, database).await);
    }
    same(database, &outputs[0], &outputs[1]);
}

async fn sqlx_course(address: &str, database: &str) -> String {
    let (host, port) = address.rsplit_once(':').unwrap();
    let options = MySqlConnectOptions::new()
        .host(host)
        .port(port.parse().unwrap())
        .username(TESTER.user)
        .password(TESTER.password)
        .database(database)
        .ssl_mode(MySqlSslMode::Disabled)
        .disable_statement_logging();
    let mut conn = MySqlConnection::connect_with(&options).await.unwrap();
    let mut out = String::new();
    let script = types_script();
    // It does not know the type VECTOR.
    let columns = select_list("HEX(c_vector)");
    for sql in &script[..script.len() - 1] {
        let done = conn.execute(sqlx::AssertSqlSafe(sql.clone())).await;
        writeln!(out, "{} => {done:?}", sql.chars().take(100).collect::<String>()).unwrap();
    }
    sqlx_rows(&mut conn, format!("SELECT {columns} FROM all_types ORDER BY id"), &mut out).await;
    sqlx_rows(
        &mut conn,
        format!("SELECT {columns} FROM all_types WHERE id < 2 ORDER BY id DESC"),
        &mut out,
    )
    .await;
    for number in 0..20_i64 {
        // The same text each time: sqlx keeps the statement and executes it again.
        let row = sqlx::query("SELECT CAST(? AS SIGNED) + 1, ?, NULL")
            .bind(number)
            .bind("\u{1f600}")
            .fetch_one(&mut conn)
            .await
            .unwrap();
        writeln!(out, "{} {}", row.get::<i64, _>(0), row.get::<String, _>(1)).unwrap();
    }
    for commit in [true, false] {
        let mut transaction = conn.begin().await.unwrap();
        sqlx::query("UPDATE all_types SET c_int = c_int + ? WHERE id = 0")
            .bind(1)
            .execute(&mut *transaction)
            .await
            .unwrap();
        let inside: i32 = sqlx::query_scalar("SELECT c_int FROM all_types WHERE id = 0")
            .fetch_one(&mut *transaction)
            .await
            .unwrap();
        if commit {
            transaction.commit().await.unwrap()
        } else {
            transaction.rollback().await.unwrap()
        }
        let outside: i32 = sqlx::query_scalar("SELECT c_int FROM all_types WHERE id = 0")
            .fetch_one(&mut conn)
            .await
            .unwrap();
        writeln!(out, "commit {commit}: {inside} {outside}").unwrap();
    }
    sqlx_blob(&mut conn, &mut out).await;
    let error = sqlx::query("SELECT * FROM no_such_table").execute(&mut conn).await.unwrap_err();
    writeln!(out, "{error}").unwrap();
    conn.ping().await.unwrap();
    conn.close().await.unwrap();
    out
}

/// 20 MiB there and back.
async fn sqlx_blob(conn: &mut MySqlConnection, out: &mut String) {
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
    writeln!(out, "blob {}", back == blob).unwrap();
}

/// Rows of the binary protocol with the names and types of their columns.
async fn sqlx_rows(conn: &mut MySqlConnection, sql: String, out: &mut String) {
    for row in sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(conn).await.unwrap() {
        for column in row.columns() {
            let bytes = row.try_get_raw(column.ordinal()).unwrap();
            let value = sqlx::ValueRef::is_null(&bytes);
            let shown = row.try_get_unchecked::<Vec<u8>, _>(column.ordinal());
            writeln!(out, "{} {} null {value} {shown:?}", column.name(), column.type_info().name())
                .unwrap();
        }
    }
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
