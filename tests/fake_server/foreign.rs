//! A server that merely speaks the protocol behind Weir: no session tracking, no GTIDs, one plugin.

use std::io;
use std::sync::{Arc, Mutex};

use opensrv_mysql::{
    AsyncMysqlIntermediary, AsyncMysqlShim, Column, ColumnFlags, ColumnType, ErrorKind, InitWriter,
    OkResponse, ParamParser, QueryResultWriter, StatementMetaWriter,
};
use tokio::io::AsyncWrite;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;
use weir::wire::auth::PLUGIN_NATIVE;
use weir::wire::{Capabilities, scramble};

use crate::client::{CLASSIC, COM_INIT_DB, COM_STMT_PREPARE, Client, MODERN, Outcome};
use crate::weir_process::Weir;

/// The accounts that the foreign server knows, as `name` and password; Weir is told of one of them.
const ACCOUNTS: [(&str, &str); 2] = [("mon", "mon"), ("app", "secret")];
const USERS: &str = "[[users]]\nname = \"app\"\npassword = \"secret\"\n";

struct Backend {
    version: &'static str,
    schema: String,
    inserts: Arc<Mutex<Vec<String>>>,
}

fn column(name: &str) -> Column {
    Column {
        table: String::new(),
        column: name.to_owned(),
        coltype: ColumnType::MYSQL_TYPE_VAR_STRING,
        colflags: ColumnFlags::empty(),
    }
}

#[async_trait::async_trait]
impl<W: AsyncWrite + Send + Unpin> AsyncMysqlShim<W> for Backend {
    type Error = io::Error;

    fn version(&self) -> String {
        self.version.to_owned()
    }

    async fn authenticate(&self, plugin: &str, user: &[u8], salt: &[u8], auth: &[u8]) -> bool {
        plugin == PLUGIN_NATIVE
            && ACCOUNTS.iter().any(|(name, password)| {
                name.as_bytes() == user && scramble::native_verify(password.as_bytes(), salt, auth)
            })
    }

    async fn on_prepare<'a>(
        &'a mut self,
        _: &'a str,
        info: StatementMetaWriter<'a, W>,
    ) -> io::Result<()> {
        info.error(ErrorKind::ER_UNSUPPORTED_PS, b"no prepared statements here").await
    }

    async fn on_execute<'a>(
        &'a mut self,
        _: u32,
        _: ParamParser<'a>,
        results: QueryResultWriter<'a, W>,
    ) -> io::Result<()> {
        results.completed(OkResponse::default()).await
    }

    async fn on_close(&mut self, _: u32) {}

    async fn on_init<'a>(&'a mut self, schema: &'a str, w: InitWriter<'a, W>) -> io::Result<()> {
        schema.clone_into(&mut self.schema);
        w.ok().await
    }

    async fn on_query<'a>(
        &'a mut self,
        sql: &'a str,
        results: QueryResultWriter<'a, W>,
    ) -> io::Result<()> {
        if sql.starts_with("SELECT NULL") {
            let columns: Vec<Column> = (0..8).map(|_| column("NULL")).collect();
            let mut rows = results.start(&columns).await?;
            rows.write_row(vec![None::<String>; 8]).await?;
            return rows.finish().await;
        }
        let quoted = sql.strip_prefix("SELECT '").and_then(|rest| rest.strip_suffix('\''));
        if let Some(text) = quoted {
            let columns = [column("v")];
            let mut rows = results.start(&columns).await?;
            let text = if text == "schema" { self.schema.clone() } else { text.to_owned() };
            rows.write_row([text]).await?;
            return rows.finish().await;
        }
        if sql.starts_with("INSERT") {
            self.inserts.lock().unwrap().push(sql.to_owned());
            let ok = OkResponse { affected_rows: 1, ..OkResponse::default() };
            return results.completed(ok).await;
        }
        results.error(ErrorKind::ER_NOT_SUPPORTED_YET, b"not here").await
    }
}

struct Foreign {
    address: String,
    inserts: Arc<Mutex<Vec<String>>>,
    _task: AbortOnDropHandle<()>,
}

impl Foreign {
    async fn start(version: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let inserts = Arc::<Mutex<Vec<String>>>::default();
        let told = Arc::clone(&inserts);
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let backend =
                    Backend { version, schema: String::new(), inserts: Arc::clone(&told) };
                // It writes an answer in many pieces.
                let _nodelay = socket.set_nodelay(true);
                let (read, write) = socket.into_split();
                tokio::spawn(AsyncMysqlIntermediary::run_on(backend, read, write));
            }
        });
        Self { address, inserts, _task: AbortOnDropHandle::new(task) }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_server_serves() {
    let foreign = Foreign::start("5.7.40-foreign").await;
    let weir = Weir::start_with(&[&foreign.address], USERS);
    for capabilities in [CLASSIC, MODERN] {
        let mut client = Client::login_as(&weir.address, "app", "secret", capabilities).await;
        assert_eq!(client.query("SELECT 'hello'").await, Outcome::row("hello"));
        assert_eq!(client.query("INSERT INTO t VALUES (1)").await, Outcome::Done);
        assert_eq!(client.query("SELECT 'again'").await, Outcome::row("again"));
        assert_eq!(client.query("CALL something()").await.code(), Some(1235));
        let outcome = client.command(COM_STMT_PREPARE, b"SELECT 'x'").await;
        assert_eq!(outcome.code(), Some(1295), "{outcome:?}");
        assert_eq!(client.query("SELECT 'lives'").await, Outcome::row("lives"));
    }
    assert_eq!(foreign.inserts.lock().unwrap().len(), 2);
}

/// The server reads two commands in one segment wrongly, and tells nothing of the session's schema:
/// sessions in turns on the same connections show whether Weir lives with both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemas_follow_their_sessions() {
    let foreign = Foreign::start("5.7.40-foreign").await;
    let weir = Weir::start_with(&[&foreign.address], USERS);
    let mut clients = Vec::new();
    for schema in ["one", "two", "three", "four"] {
        let mut client = Client::login_as(&weir.address, "app", "secret", MODERN).await;
        assert_eq!(client.command(COM_INIT_DB, schema.as_bytes()).await, Outcome::Done);
        clients.push((schema, client));
    }
    for turn in 0..25 {
        for (schema, client) in &mut clients {
            assert_eq!(client.query("SELECT 'schema'").await, Outcome::row(schema), "{turn}");
            let text = format!("{schema} {turn}");
            assert_eq!(client.query(&format!("SELECT '{text}'")).await, Outcome::row(&text));
        }
    }
}

/// Its version promises query attributes, which it does not know. Whoever was offered them is told,
/// and gets no wrong answer; the next client is not offered them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_promises_too_much() {
    let foreign = Foreign::start("8.0.90-foreign").await;
    let weir = Weir::start_with(&[&foreign.address], USERS);
    let modern = MODERN.with(Capabilities::QUERY_ATTRIBUTES);
    let mut client = Client::login_as(&weir.address, "app", "secret", modern).await;
    assert!(client.capabilities.has(Capabilities::QUERY_ATTRIBUTES));
    // No attributes, one set of them, then the text.
    let outcome = client.query("\0\x01SELECT 'hello'").await;
    assert!(matches!(outcome, Outcome::Refused { .. }), "{outcome:?}");
    let mut client = Client::login_as(&weir.address, "app", "secret", modern).await;
    assert!(!client.capabilities.has(Capabilities::QUERY_ATTRIBUTES));
    assert_eq!(client.query("SELECT 'hello'").await, Outcome::row("hello"));
}
