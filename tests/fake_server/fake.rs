//! A MySQL server that does what the statement's quoted text says.
//!
//! The text's first word is a script of [`Conn::act`]; anything else is answered with one row that
//! holds the text. `replica:` before it makes the replica alone obey.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;
use weir::wire::auth::{FAST_AUTH_OK, PLUGIN_SHA2};
use weir::wire::{
    AuthMoreData, Capabilities, ColumnDefinition, Command, EofPacket, ErrPacket, Greeting,
    HandshakeResponse, Header, MAX_PAYLOAD, OkPacket, PrepareOk, QueryCommand, StatusFlags,
    encode_binary_result, encode_text_result, frame, frame_with, scramble,
};

const OFFERED: Capabilities = Capabilities(
    Capabilities::LONG_PASSWORD.0
        | Capabilities::FOUND_ROWS.0
        | Capabilities::LONG_FLAG.0
        | Capabilities::CONNECT_WITH_DB.0
        | Capabilities::PROTOCOL_41.0
        | Capabilities::TRANSACTIONS.0
        | Capabilities::SECURE_CONNECTION.0
        | Capabilities::MULTI_STATEMENTS.0
        | Capabilities::MULTI_RESULTS.0
        | Capabilities::PS_MULTI_RESULTS.0
        | Capabilities::PLUGIN_AUTH.0
        | Capabilities::CONNECT_ATTRS.0
        | Capabilities::PLUGIN_AUTH_LENENC_CLIENT_DATA.0
        | Capabilities::SESSION_TRACK.0
        | Capabilities::DEPRECATE_EOF.0
        | Capabilities::QUERY_ATTRIBUTES.0,
);

const SALT: &[u8; 20] = b"abcdefghijklmnopqrst";

const PRIMARY_UUID: &str = "11111111-1111-1111-1111-111111111111";
const REPLICA_UUID: &str = "22222222-2222-2222-2222-222222222222";
/// Over how long the script `slow` spreads its answer.
const SLOW: Duration = Duration::from_millis(1500);
/// After how long the script `late` gives its answer, whole.
const LATE: Duration = Duration::from_millis(700);

/// A running fake server; it and all its connections end when dropped.
pub struct Fake {
    /// host:port
    pub address: String,
    pub seen: Arc<Seen>,
    _task: AbortOnDropHandle<()>,
}

/// What a fake server has seen.
#[derive(Default)]
pub struct Seen {
    /// How often each statement arrived.
    statements: Mutex<BTreeMap<String, usize>>,
    /// Connections that logged in, the monitor's not counted.
    pub logins: AtomicUsize,
    /// Commands on connections that nobody may use any more.
    pub reused: AtomicUsize,
    /// Connections that nobody may use any more, still open.
    pub spoiled: AtomicUsize,
    /// Logins that were tried, the monitor's not counted.
    pub attempts: AtomicUsize,
    /// Accounts with a password; others may say what they like.
    accounts: Mutex<BTreeMap<String, Vec<String>>>,
    /// Whether logins are refused from now on with error 1040, the monitor's not.
    pub full: AtomicBool,
    /// Whether logins are left without an answer from now on, the monitor's not.
    pub silent: AtomicBool,
    /// Whether session trackers are refused from now on, as by a server that has other ones.
    pub trackless: AtomicBool,
    /// The beginning of a command, as [`Conn::described`], and what its next answer is to be instead of the right
    /// one; the monitor's commands do not count.
    trap: Mutex<Option<(String, String)>>,
    /// Whether nothing is answered from now on, to nobody: a process that is stopped.
    pub frozen: AtomicBool,
    /// Whether it stops in order from now on, as mysqld does: nobody can connect, commands are answered with error 1053,
    /// and who sends none keeps its connection.
    pub stopping: AtomicBool,
    /// Connections that are open, the monitor's not counted.
    pub open: AtomicUsize,
}

impl Seen {
    /// How often exactly this statement arrived.
    pub fn count(&self, statement: &str) -> usize {
        self.statements.lock().unwrap().get(statement).copied().unwrap_or(0)
    }

    /// The passwords that the account has from now on.
    pub fn set_passwords(&self, user: &str, passwords: &[&str]) {
        let passwords = passwords.iter().map(|&password| password.to_owned()).collect();
        self.accounts.lock().unwrap().insert(user.to_owned(), passwords);
    }

    fn accepts(&self, login: &HandshakeResponse) -> bool {
        let accounts = self.accounts.lock().unwrap();
        let passwords = accounts.get(&*String::from_utf8_lossy(&login.username));
        passwords.is_none_or(|passwords| {
            passwords
                .iter()
                .any(|password| scramble::sha2_verify(password.as_bytes(), SALT, &login.auth))
        })
    }

    /// Has the next command that begins so be answered by a script, and only that one.
    pub fn set_trap(&self, command: &str, script: &str) {
        *self.trap.lock().unwrap() = Some((command.to_owned(), script.to_owned()));
    }

    /// Whether a command has come that the trap was for.
    pub fn trap_is_sprung(&self) -> bool {
        self.trap.lock().unwrap().is_none()
    }

    fn spring(&self, command: &str) -> Option<String> {
        let mut trap = self.trap.lock().unwrap();
        trap.take_if(|(begins, _)| command.starts_with(begins.as_str())).map(|(_, script)| script)
    }

    /// That no connection was used, or is still open, after it was spoiled.
    pub async fn assert_nothing_spoiled_lives(&self) {
        crate::until("spoiled connections are closed", async || {
            self.spoiled.load(Ordering::Relaxed) == 0
        })
        .await;
        assert_eq!(self.reused.load(Ordering::Relaxed), 0, "a spoiled connection was used again");
    }
}

impl Fake {
    /// A writable server.
    pub async fn primary() -> Self {
        Self::start("127.0.0.1:0", None).await
    }

    /// A writable server where one that was dropped has been.
    pub async fn back_at(address: &str) -> Self {
        Self::start(address, None).await
    }

    /// A read-only server that replicates from that one.
    pub async fn replica_of(primary: &Self) -> Self {
        Self::start("127.0.0.1:0", Some(primary.address.clone())).await
    }

    async fn start(address: &str, source: Option<String>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Arc::<Seen>::default();
        let shared = Arc::new(Shared { source, seen: Arc::clone(&seen), ids: AtomicU32::new(1) });
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let _nodelay = socket.set_nodelay(true);
                let conn = Conn {
                    socket,
                    shared: Arc::clone(&shared),
                    capabilities: OFFERED,
                    in_transaction: false,
                    spoiled: false,
                    seq: 0,
                    is_monitor: false,
                    logged_in: false,
                    insert_id: 0,
                    prepared: BTreeMap::new(),
                };
                connections.spawn(conn.serve());
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, seen, _task: AbortOnDropHandle::new(task) }
    }
}

struct Shared {
    /// The source's address, of a replica.
    source: Option<String>,
    seen: Arc<Seen>,
    ids: AtomicU32,
}

struct Conn {
    socket: TcpStream,
    shared: Arc<Shared>,
    capabilities: Capabilities,
    in_transaction: bool,
    spoiled: bool,
    /// The number that follows the last packet's.
    seq: u8,
    is_monitor: bool,
    /// As an application's.
    logged_in: bool,
    /// What LAST_INSERT_ID() gives.
    insert_id: u64,
    /// The texts of prepared statements.
    prepared: BTreeMap<u32, String>,
}

impl Drop for Conn {
    fn drop(&mut self) {
        if self.spoiled {
            self.shared.seen.spoiled.fetch_sub(1, Ordering::Relaxed);
        }
        if self.logged_in {
            self.shared.seen.open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Conn {
    async fn serve(mut self) -> io::Result<()> {
        self.login().await?;
        loop {
            let command = self.packet().await?;
            if self.shared.seen.frozen.load(Ordering::Relaxed) {
                return std::future::pending().await;
            }
            if self.spoiled && command.first() != Some(&Command::Quit.byte()) {
                self.shared.seen.reused.fetch_add(1, Ordering::Relaxed);
            }
            if self.shared.seen.stopping.load(Ordering::Relaxed) {
                self.refuse(Vec::new(), 1, 1053).await?;
                return Ok(());
            }
            let (code, body) = (Command::from_byte(command[0]), &command[1..]);
            if !self.is_monitor {
                let described = self.described(code, body);
                if let Some(script) = self.shared.seen.spring(&described) {
                    let right = self.right_answer(code, &described);
                    self.drop_what_was_sent_along().await?;
                    if !self.act(&script, "trap", &right).await? {
                        return Ok(());
                    }
                    continue;
                }
            }
            let goes_on = match code {
                Command::Quit => false,
                Command::Query => {
                    let query = QueryCommand::decode(body, self.capabilities).unwrap();
                    self.query(&String::from_utf8_lossy(query.sql)).await?
                }
                Command::StmtPrepare => self.prepare(&String::from_utf8_lossy(body)).await?,
                Command::StmtExecute => self.execute(body).await?,
                Command::InitDb => self.init_db(body).await?,
                Command::StmtFetch | Command::FieldList => {
                    let right = self.right_answer(code, "");
                    self.write(&right).await?
                }
                Command::StmtClose | Command::StmtSendLongData => true,
                _ => self.ok().await?,
            };
            if !goes_on {
                return Ok(());
            }
        }
    }

    /// Forgets the commands that came in one write with the last: they were sent before its answer could be seen.
    async fn drop_what_was_sent_along(&self) -> io::Result<()> {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let mut bytes = [0; 4096];
        match self.socket.try_read(&mut bytes) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        }
    }

    /// A command in words: the text of a query, or the command's name and its text.
    fn described(&self, code: Command, body: &[u8]) -> String {
        let name = match code {
            Command::Query => {
                let query = QueryCommand::decode(body, self.capabilities).unwrap();
                return String::from_utf8_lossy(query.sql).into_owned();
            }
            Command::InitDb => "INIT_DB",
            Command::StmtPrepare => "PREPARE",
            Command::StmtExecute => return "EXECUTE".to_owned(),
            Command::StmtFetch => return "FETCH".to_owned(),
            Command::FieldList => "FIELD_LIST",
            _ => return String::new(),
        };
        format!("{name} {}", String::from_utf8_lossy(body))
    }

    /// What a server answers to such a command.
    fn right_answer(&mut self, code: Command, described: &str) -> Vec<u8> {
        match code {
            Command::StmtPrepare => self.prepared_answer(described.trim_start_matches("PREPARE ")),
            Command::StmtFetch => {
                let (column, row) = (ColumnDefinition::text("v"), b"fetched".to_vec());
                let mut out = Vec::new();
                let (caps, status) = (self.capabilities, StatusFlags(0x80));
                let rows = [vec![Some(row)]];
                encode_binary_result(&mut out, &mut 0, caps, status, &[column], &rows).unwrap();
                // Without column count and definition: those came with the execution.
                renumbered(&packets(&out)[2..])
            }
            Command::FieldList => {
                let result = self.result(&[]);
                let packets = packets(&result);
                renumbered(&[packets[1], packets[packets.len() - 1]])
            }
            Command::Query if described.starts_with("SELECT LAST_INSERT_ID()") => {
                self.result(&[&self.insert_id.to_string()])
            }
            _ => framed_ok(1, 0, self.status()),
        }
    }

    async fn login(&mut self) -> io::Result<()> {
        if self.shared.seen.stopping.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        if self.shared.seen.frozen.load(Ordering::Relaxed) {
            return std::future::pending().await;
        }
        let greeting = Greeting {
            version: b"9.7.4".to_vec(),
            connection_id: self.shared.ids.fetch_add(1, Ordering::Relaxed),
            salt: *SALT,
            capabilities: OFFERED,
            extended: 0,
            collation: 255,
            status: StatusFlags::AUTOCOMMIT,
            plugin: PLUGIN_SHA2.into(),
        };
        let mut out = Vec::new();
        frame_with(&mut out, &mut 0, |body| greeting.encode(body));
        self.write(&out).await?;
        let response = HandshakeResponse::decode(&self.packet().await?).unwrap();
        self.capabilities = response.capabilities.and(OFFERED);
        self.is_monitor = response.username == b"mon";
        out.clear();
        let mut seq = 2;
        if !self.is_monitor {
            let seen = &self.shared.seen;
            if seen.silent.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
            seen.attempts.fetch_add(1, Ordering::Relaxed);
            let refused = if !seen.accepts(&response) {
                Some(1045)
            } else if seen.full.load(Ordering::Relaxed) {
                Some(1040)
            } else {
                response.database.as_deref().is_some_and(|name| self.lacks(name)).then_some(1049)
            };
            if let Some(code) = refused {
                frame_with(&mut out, &mut seq, |body| error(code).encode(body, OFFERED));
                self.write(&out).await?;
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            seen.logins.fetch_add(1, Ordering::Relaxed);
            seen.open.fetch_add(1, Ordering::Relaxed);
            self.logged_in = true;
        }
        frame_with(&mut out, &mut seq, |body| AuthMoreData(&[FAST_AUTH_OK]).encode(body));
        let ok = OkPacket { status: StatusFlags::AUTOCOMMIT, ..OkPacket::default() };
        frame_with(&mut out, &mut seq, |body| ok.encode(body, OkPacket::HEADER, OFFERED));
        self.write(&out).await?;
        Ok(())
    }

    /// The next payload, long ones joined.
    async fn packet(&mut self) -> io::Result<Vec<u8>> {
        let mut payload = Vec::new();
        loop {
            let mut header = [0; 4];
            self.socket.read_exact(&mut header).await?;
            let header = Header::parse(&header).unwrap();
            self.seq = header.seq.wrapping_add(1);
            let from = payload.len();
            payload.resize(from + header.len, 0);
            self.socket.read_exact(&mut payload[from..]).await?;
            if header.len < MAX_PAYLOAD {
                return Ok(payload);
            }
        }
    }

    /// Asks for the client's file, reads it to its end, and says OK.
    async fn ask_for_file(&mut self, script: &str) -> io::Result<bool> {
        let mut request = Vec::new();
        frame(&mut request, &mut 1, b"\xFBa file");
        self.write(&request).await?;
        match script.split(' ').nth(1) {
            Some("closes") => return Ok(false),
            Some("babbles") => {
                self.write(&[&request[..3], b"\x02", &request[4..]].concat()).await?;
            }
            _ => {}
        }
        while !self.packet().await?.is_empty() {}
        let right = framed_ok(self.seq, 1, self.status());
        let order = script.split(' ').nth(2).unwrap_or_default().to_owned();
        match order.as_str() {
            "err" => self.refuse(Vec::new(), self.seq, 1146).await,
            "result" => {
                let mut result = self.result(&["of a file"]);
                result[3] = self.seq;
                self.write(&result).await
            }
            _ => self.act(&order, script, &right).await,
        }
    }

    async fn query(&mut self, text: &str) -> io::Result<bool> {
        if text.starts_with("SELECT @@version") || text.starts_with("SHOW ") {
            return self.probe(text).await;
        }
        if text.starts_with("SET ") {
            let tracks = text.contains("session_track_");
            if tracks && self.shared.seen.trackless.load(Ordering::Relaxed) {
                return self.refuse(Vec::new(), 1, 1193).await;
            }
            if let Some((_, value)) = text.split_once("last_insert_id=") {
                self.insert_id = value.parse().unwrap();
            }
            return self.ok().await;
        }
        if text.starts_with("SELECT LAST_INSERT_ID()") {
            let right = self.right_answer(Command::Query, text);
            return self.write(&right).await;
        }
        *self.shared.seen.statements.lock().unwrap().entry(text.to_owned()).or_default() += 1;
        match text.split_whitespace().next() {
            Some("BEGIN" | "START") => self.in_transaction = true,
            Some("COMMIT" | "ROLLBACK") => self.in_transaction = false,
            _ => {}
        }
        let quoted = text.split_once('\'').and_then(|(_, rest)| rest.rsplit_once('\''));
        let script = quoted.map_or("", |(inside, _)| inside);
        if let Some(value) = script.strip_prefix("id ") {
            self.insert_id = value.parse().unwrap();
            let (status, last_insert_id) = (self.status(), self.insert_id);
            let ok = OkPacket { affected_rows: 1, last_insert_id, status, ..OkPacket::default() };
            let mut out = Vec::new();
            frame_with(&mut out, &mut 1, |body| ok.encode(body, OkPacket::HEADER, OFFERED));
            return self.write(&out).await;
        }
        let answer = if text.starts_with("SELECT") {
            self.result(&[script])
        } else {
            framed_ok(self.seq, 1, self.status())
        };
        let order = match (script.strip_prefix("replica:"), &self.shared.source) {
            (Some(order), Some(_)) => order,
            (Some(_), None) => "",
            (None, _) => script,
        };
        let order = order.split(' ').next().unwrap_or_default().to_owned();
        self.act(&order, script, &answer).await
    }

    /// Carries a script out; false when the connection is to be closed. `answer` is the right one.
    async fn act(&mut self, order: &str, script: &str, answer: &[u8]) -> io::Result<bool> {
        match order {
            "close_first" => return Ok(false),
            "close_half" => self.write(&answer[..answer.len() - 3]).await?,
            "close_mid_result" => {
                let two_rows = self.result(&[script, "second row"]);
                let packets = packets(&two_rows);
                // Without the second row and the end.
                self.write(&packets[..packets.len() - 2].concat()).await?
            }
            "close_mid_row" => {
                let result = self.result(&[script]);
                let packets = packets(&result);
                let front = packets[..packets.len() - 1].concat();
                self.write(&front[..front.len() - 2]).await?
            }
            "huge_header" => self.write(&[0xFF, 0xFF, 0xFF, 1]).await?,
            "noise" => {
                let seed = script.rsplit(' ').next().and_then(|word| word.parse().ok());
                let mut bytes = vec![40, 0, 0, 1];
                bytes.extend(noise(seed.unwrap_or(1), 60));
                self.write(&bytes).await?
            }
            "slow" => {
                let pause = SLOW / u32::try_from(answer.len()).unwrap();
                for byte in answer {
                    self.write(&[*byte]).await?;
                    tokio::time::sleep(pause).await;
                }
                return Ok(true);
            }
            "late" => {
                tokio::time::sleep(LATE).await;
                return self.write(answer).await;
            }
            "drip" => {
                for byte in answer {
                    self.write(&[*byte]).await?;
                }
                return Ok(true);
            }
            "err" => return self.refuse(Vec::new(), 1, 1146).await,
            "read_only" => return self.refuse(Vec::new(), 1, 1290).await,
            "err_mid_result" => {
                let two_rows = self.result(&[script, "second row"]);
                let packets = packets(&two_rows);
                let before = packets.len() - 2;
                let front = packets[..before].concat();
                return self.refuse(front, u8::try_from(before).unwrap() + 1, 1317).await;
            }
            "many" => {
                let rows: Vec<String> = (0..1_000).map(|row| format!("{script} {row}")).collect();
                let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
                let result = self.result(&rows);
                return self.write(&result).await;
            }
            "then_close" => self.write(answer).await?,
            "infile" => return Box::pin(self.ask_for_file(script)).await,
            "close_between" => {
                let (columns, rows) = table(&[("v", script)], true);
                let status = self.status().with(StatusFlags::MORE_RESULTS);
                let mut out = Vec::new();
                encode_text_result(&mut out, &mut 1, self.capabilities, status, &columns, &rows);
                self.write(&out).await?
            }
            _ => return self.spoil(order, script, answer).await,
        };
        Ok(false)
    }

    /// The scripts that leave the connection open, though nobody can trust it any more.
    async fn spoil(&mut self, order: &str, script: &str, answer: &[u8]) -> io::Result<bool> {
        let stolen = self.result(&["of another session"]);
        let bytes = match order {
            "garbage" => {
                let mut bytes = noise(99, 512);
                bytes[3] = 0xEE;
                bytes
            }
            "stopping" => {
                let mut bytes = Vec::new();
                frame_with(&mut bytes, &mut 1, |body| error(1053).encode(body, self.capabilities));
                bytes
            }
            "wrong_seq" => framed_ok(7, 1, self.status()),
            "wrong_seq_row" => {
                let mut result = self.result(&[script]);
                let at = packets(&result)[0].len() + packets(&result)[1].len();
                result[at + 3] ^= 0x10;
                result
            }
            "empty" => vec![0, 0, 0, 1],
            "impossible_count" => vec![9, 0, 0, 1, 0xFE, 0, 0, 0, 0, 0, 0, 0, 0x7F],
            "extra" => [answer, &stolen].concat(),
            "extra_packet" => {
                let seq = packets(answer).last().map_or(1, |packet| packet[3].wrapping_add(1));
                [answer, &framed_ok(seq, 1, self.status())].concat()
            }
            "extra_late" | "farewell" => answer.to_vec(),
            _ => return self.write(answer).await,
        };
        self.spoiled = true;
        self.shared.seen.spoiled.fetch_add(1, Ordering::Relaxed);
        self.write(&bytes).await?;
        if order == "extra_late" {
            tokio::time::sleep(Duration::from_millis(20)).await;
            self.write(&stolen).await?;
        }
        if order == "farewell" {
            self.refuse(Vec::new(), 0, 4031).await?;
            return Ok(false);
        }
        Ok(true)
    }

    /// The monitor's questions, one or two in one text.
    async fn probe(&mut self, text: &str) -> io::Result<bool> {
        let mut out = Vec::new();
        let mut seq = 1;
        let mut questions = text.split(';').peekable();
        while let Some(question) = questions.next() {
            let more = questions.peek().is_some();
            let status = if more { StatusFlags::MORE_RESULTS } else { StatusFlags::default() };
            let (columns, rows) =
                if question.starts_with("SHOW") { self.replication() } else { self.variables() };
            encode_text_result(&mut out, &mut seq, self.capabilities, status, &columns, &rows);
        }
        self.write(&out).await
    }

    fn variables(&self) -> Table {
        let replica = self.shared.source.is_some();
        let (read_only, id, uuid) =
            if replica { ("1", "2", REPLICA_UUID) } else { ("0", "1", PRIMARY_UUID) };
        let executed = format!("{PRIMARY_UUID}:1-9");
        let values = ["9.7.4", read_only, "1", "", id, uuid, "ON", &executed];
        table(&values.map(|value| ("v", value)), true)
    }

    fn replication(&self) -> Table {
        let source = self.shared.source.clone().unwrap_or_default();
        let (host, port) = source.split_once(':').unwrap_or_default();
        let values = [
            ("Source_Host", host),
            ("Source_Port", port),
            ("Source_Server_Id", "1"),
            ("Source_UUID", PRIMARY_UUID),
            ("Replica_IO_Running", "Yes"),
            ("Replica_SQL_Running", "Yes"),
            ("Seconds_Behind_Source", "0"),
            ("Channel_Name", ""),
        ];
        table(&values, self.shared.source.is_some())
    }

    /// Whether the schema of that name exists on the primary only, and this is a replica.
    fn lacks(&self, schema: &[u8]) -> bool {
        self.shared.source.is_some() && schema == b"only_primary"
    }

    async fn init_db(&mut self, schema: &[u8]) -> io::Result<bool> {
        if self.lacks(schema) {
            return self.refuse(Vec::new(), 1, 1049).await;
        }
        self.ok().await
    }

    /// An error with that number and sequence number, after other packets.
    async fn refuse(&mut self, mut before: Vec<u8>, mut seq: u8, code: u16) -> io::Result<bool> {
        frame_with(&mut before, &mut seq, |body| error(code).encode(body, self.capabilities));
        self.write(&before).await
    }

    /// COM_STMT_EXECUTE: counted as its text after the word EXECUTE.
    async fn execute(&mut self, body: &[u8]) -> io::Result<bool> {
        let id = u32::from_le_bytes(body[..4].try_into().unwrap());
        let Some(text) = self.prepared.get(&id) else {
            return self.refuse(Vec::new(), 1, 1243).await;
        };
        let closes = text.contains("replica:close_first") && self.shared.source.is_some();
        let counted = format!("EXECUTE {text}");
        *self.shared.seen.statements.lock().unwrap().entry(counted).or_default() += 1;
        if closes {
            return Ok(false);
        }
        let (column, row) = (ColumnDefinition::text("v"), b"executed".to_vec());
        let mut out = Vec::new();
        let (caps, status) = (self.capabilities, self.status());
        if body[4] != 0 {
            // A cursor: its rows are fetched. Clients with DEPRECATE_EOF alone ask for one here.
            let status = status.with(StatusFlags::CURSOR_EXISTS);
            encode_binary_result(&mut out, &mut 1, caps, status, &[column], &[]).unwrap();
            return self.write(&out).await;
        }
        let rows = [vec![Some(row)]];
        encode_binary_result(&mut out, &mut 1, caps, status, &[column], &rows).unwrap();
        self.write(&out).await
    }

    async fn prepare(&mut self, text: &str) -> io::Result<bool> {
        let answer = self.prepared_answer(text);
        self.write(&answer).await
    }

    fn prepared_answer(&mut self, text: &str) -> Vec<u8> {
        let id = self.shared.ids.fetch_add(1, Ordering::Relaxed);
        self.prepared.insert(id, text.to_owned());
        let ok = PrepareOk {
            statement_id: id,
            columns: 1,
            params: 1,
            warnings: 0,
            metadata_follows: None,
        };
        let mut out = Vec::new();
        let mut seq = 1;
        frame_with(&mut out, &mut seq, |body| ok.encode(body));
        for name in ["?", "v"] {
            frame_with(&mut out, &mut seq, |body| ColumnDefinition::text(name).encode(body));
            if !self.capabilities.has(Capabilities::DEPRECATE_EOF) {
                let eof = EofPacket { warnings: 0, status: self.status() };
                frame_with(&mut out, &mut seq, |body| eof.encode(body));
            }
        }
        out
    }

    fn status(&self) -> StatusFlags {
        if self.in_transaction {
            StatusFlags::AUTOCOMMIT.with(StatusFlags::IN_TRANS)
        } else {
            StatusFlags::AUTOCOMMIT
        }
    }

    fn result(&self, rows: &[&str]) -> Vec<u8> {
        let mut out = Vec::new();
        let columns = [ColumnDefinition::text("v")];
        let rows: Vec<_> = rows.iter().map(|row| vec![Some(row.as_bytes().to_vec())]).collect();
        encode_text_result(&mut out, &mut 1, self.capabilities, self.status(), &columns, &rows);
        out
    }

    async fn ok(&mut self) -> io::Result<bool> {
        self.write(&framed_ok(1, 0, self.status())).await
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<bool> {
        self.socket.write_all(bytes).await?;
        Ok(true)
    }
}

type Table = (Vec<ColumnDefinition>, Vec<Vec<Option<Vec<u8>>>>);

/// Columns by name, and one row or none.
fn table(values: &[(&str, &str)], filled: bool) -> Table {
    let columns = values.iter().map(|(name, _)| ColumnDefinition::text(*name)).collect();
    let row = values.iter().map(|(_, value)| Some(value.as_bytes().to_vec())).collect();
    (columns, if filled { vec![row] } else { Vec::new() })
}

/// An error of that number in words of no weight.
fn error(code: u16) -> ErrPacket {
    let words = if code == 1290 { "running with --read-only" } else { "error" };
    ErrPacket { code, sqlstate: *b"HY000", message: format!("{words} {code}").into_bytes() }
}

fn framed_ok(seq: u8, affected_rows: u64, status: StatusFlags) -> Vec<u8> {
    let ok = OkPacket { affected_rows, status, ..OkPacket::default() };
    let mut payload = Vec::new();
    ok.encode(&mut payload, OkPacket::HEADER, OFFERED);
    let mut out = Vec::new();
    frame(&mut out, &mut { seq }, &payload);
    out
}

/// The packets in `bytes`, with their headers.
fn packets(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut all = Vec::new();
    while let Some(header) = Header::parse(bytes) {
        let (packet, rest) = bytes.split_at(4 + header.len);
        all.push(packet);
        bytes = rest;
    }
    all
}

/// The same packets, numbered from 1.
fn renumbered(packets: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut seq = 1;
    for packet in packets {
        frame(&mut out, &mut seq, &packet[4..]);
    }
    out
}

/// Bytes without meaning, always the same for one seed.
fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    std::iter::repeat_with(|| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x.to_le_bytes()[3]
    })
    .take(count)
    .collect()
}
