//! A MySQL client that sends exactly the bytes it is told to. It shares no code with Weir, so that a
//! mistake of `weir::wire` cannot hide itself here.
//!
//! It logs in without TLS, by caching_sha2_password's fast path, by mysql_native_password or with an empty
//! password; whoever uses another account first logs in with it once by `client::connect`, which teaches
//! the peer.

use std::time::Duration;

use mysql_common::scramble::{scramble_native, scramble_sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::client::Login;

/// A read that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(60);

pub const LONG_PASSWORD: u32 = 1;
pub const FOUND_ROWS: u32 = 1 << 1;
pub const CONNECT_WITH_DB: u32 = 1 << 3;
pub const LOCAL_FILES: u32 = 1 << 7;
pub const PROTOCOL_41: u32 = 1 << 9;
pub const TRANSACTIONS: u32 = 1 << 13;
pub const SECURE_CONNECTION: u32 = 1 << 15;
pub const MULTI_STATEMENTS: u32 = 1 << 16;
pub const MULTI_RESULTS: u32 = 1 << 17;
pub const PS_MULTI_RESULTS: u32 = 1 << 18;
pub const PLUGIN_AUTH: u32 = 1 << 19;
pub const DEPRECATE_EOF: u32 = 1 << 24;

/// Plugins that a client may offer.
pub const SHA2: &str = "caching_sha2_password";
pub const NATIVE: &str = "mysql_native_password";

/// What a plain client of today asks for.
pub const USUAL: u32 = LONG_PASSWORD
    | PROTOCOL_41
    | TRANSACTIONS
    | SECURE_CONNECTION
    | MULTI_RESULTS
    | PS_MULTI_RESULTS
    | PLUGIN_AUTH;

pub const COM_QUIT: u8 = 0x01;
pub const COM_INIT_DB: u8 = 0x02;
pub const COM_QUERY: u8 = 0x03;
pub const COM_FIELD_LIST: u8 = 0x04;
pub const COM_STATISTICS: u8 = 0x09;
pub const COM_PROCESS_KILL: u8 = 0x0c;
pub const COM_PING: u8 = 0x0e;
pub const COM_CHANGE_USER: u8 = 0x11;
pub const COM_STMT_PREPARE: u8 = 0x16;
pub const COM_STMT_EXECUTE: u8 = 0x17;
pub const COM_STMT_SEND_LONG_DATA: u8 = 0x18;
pub const COM_STMT_CLOSE: u8 = 0x19;
pub const COM_STMT_RESET: u8 = 0x1a;
pub const COM_SET_OPTION: u8 = 0x1b;
pub const COM_STMT_FETCH: u8 = 0x1c;
pub const COM_RESET_CONNECTION: u8 = 0x1f;

/// Status flags of OK and EOF packets.
pub const IN_TRANSACTION: u16 = 1;
pub const MORE_RESULTS: u16 = 8;
pub const CURSOR_EXISTS: u16 = 64;
pub const LAST_ROW_SENT: u16 = 128;

/// One connection.
#[derive(Debug)]
pub struct Raw {
    socket: TcpStream,
    sequence: u8,
    capabilities: u32,
    /// The thread id of the greeting.
    pub thread: u32,
    nonce: Vec<u8>,
    /// Whether the peer asked for another plugin than the one that was offered.
    pub switched: bool,
}

/// An ERR packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub code: u16,
    pub state: String,
    pub message: String,
}

/// One result: its packets after the column count, without headers.
#[derive(Debug, Clone, Default)]
pub struct ResultSet {
    /// Column definitions; empty for an OK.
    pub columns: Vec<Vec<u8>>,
    pub rows: Vec<Vec<u8>>,
    /// Status flags of the packet that ended it.
    pub status: u16,
    pub affected: u64,
    pub insert_id: u64,
    pub warnings: u16,
}

/// What COM_STMT_PREPARE answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    pub id: u32,
    pub columns: u16,
    pub parameters: u16,
    /// Definitions of parameters, then of columns.
    pub definitions: Vec<Vec<u8>>,
}

impl Raw {
    /// Connects and reads the greeting; no answer yet.
    pub async fn greet(address: &str) -> std::io::Result<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let mut raw = Self {
            socket,
            sequence: 0,
            capabilities: 0,
            thread: 0,
            nonce: Vec::new(),
            switched: false,
        };
        let greeting = raw.packet().await?;
        if greeting[0] == 0xff {
            let refusal = refusal(&greeting);
            return Err(std::io::Error::other(format!("{} {}", refusal.code, refusal.message)));
        }
        let at = 2 + greeting[1..].iter().position(|byte| *byte == 0).unwrap();
        raw.thread = u32::from_le_bytes(greeting[at..at + 4].try_into().unwrap());
        raw.nonce = [&greeting[at + 4..at + 12], &greeting[at + 31..at + 43]].concat();
        Ok(raw)
    }

    /// Logs in with [`USUAL`] capabilities.
    pub async fn login(address: &str, login: Login<'_>, database: &str) -> Self {
        Self::login_with(address, login, database, USUAL).await
    }

    /// Logs in with these capabilities.
    pub async fn login_with(
        address: &str,
        login: Login<'_>,
        database: &str,
        capabilities: u32,
    ) -> Self {
        Self::try_login(address, login, database, capabilities, SHA2)
            .await
            .unwrap_or_else(|refusal| panic!("{refusal:?}"))
    }

    /// The same with a plugin that the client offers by itself, [`SHA2`] or [`NATIVE`]; its name is sent only with
    /// [`PLUGIN_AUTH`].
    pub async fn try_login(
        address: &str,
        login: Login<'_>,
        database: &str,
        capabilities: u32,
        plugin: &str,
    ) -> Result<Self, Refusal> {
        let mut raw = Self::greet(address).await.unwrap();
        raw.capabilities = capabilities | CONNECT_WITH_DB;
        let mut answer = raw.capabilities.to_le_bytes().to_vec();
        answer.extend(64_u32.pow(4).to_le_bytes());
        answer.push(45);
        answer.extend([0; 23]);
        answer.extend(login.user.as_bytes());
        answer.push(0);
        let scramble = raw.scramble_of(plugin, login.password);
        answer.push(u8::try_from(scramble.len()).unwrap());
        answer.extend(scramble);
        answer.extend(database.as_bytes());
        answer.push(0);
        if capabilities & PLUGIN_AUTH != 0 {
            answer.extend(plugin.as_bytes());
            answer.push(0);
        }
        raw.send(&answer).await.unwrap();
        raw.finish_login(login.password).await?;
        Ok(raw)
    }

    /// Follows the server through an auth switch and the fast path to OK.
    pub async fn finish_login(&mut self, password: &str) -> Result<(), Refusal> {
        loop {
            let packet = self.packet().await.unwrap();
            match packet[0] {
                0x00 => return Ok(()),
                0xff => return Err(refusal(&packet)),
                0xfe => {
                    let plugin = packet[1..].iter().position(|byte| *byte == 0).unwrap();
                    assert_eq!(&packet[1..=plugin], SHA2.as_bytes());
                    self.switched = true;
                    self.nonce = packet[plugin + 2..plugin + 22].to_vec();
                    let scramble = self.scramble(password);
                    self.send(&scramble).await.unwrap();
                }
                0x01 if packet == [1, 3] => {}
                _ => panic!("the peer asks for full authentication: {packet:?}"),
            }
        }
    }

    fn scramble(&self, password: &str) -> Vec<u8> {
        self.scramble_of(SHA2, password)
    }

    fn scramble_of(&self, plugin: &str, password: &str) -> Vec<u8> {
        let password = password.as_bytes();
        if plugin == NATIVE {
            return scramble_native(&self.nonce, password).map_or_else(Vec::new, |it| it.to_vec());
        }
        scramble_sha256(&self.nonce, password).map_or_else(Vec::new, |it| it.to_vec())
    }

    /// Sends a command.
    pub async fn command(&mut self, code: u8, payload: &[u8]) {
        self.sequence = 0;
        self.send(&[&[code], payload].concat()).await.unwrap();
    }

    /// The next payload begins a command.
    pub fn restart(&mut self) {
        self.sequence = 0;
    }

    /// Sends one payload, split into packets as long ones must be.
    pub async fn send(&mut self, payload: &[u8]) -> std::io::Result<()> {
        let mut chunks = payload.chunks(0xff_ffff).collect::<Vec<_>>();
        if payload.len().is_multiple_of(0xff_ffff) {
            chunks.push(&[]);
        }
        for chunk in chunks {
            let length = u32::try_from(chunk.len()).unwrap().to_le_bytes();
            let header = [length[0], length[1], length[2], self.sequence];
            self.sequence = self.sequence.wrapping_add(1);
            self.socket.write_all(&header).await?;
            self.socket.write_all(chunk).await?;
        }
        Ok(())
    }

    /// Sends bytes as they are.
    pub async fn bytes(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.socket.write_all(bytes).await
    }

    /// Half-closes: the peer sees the end of the stream and can still answer.
    pub async fn finish(&mut self) {
        let _closed = self.socket.shutdown().await;
    }

    /// The next payload, long ones joined.
    pub async fn packet(&mut self) -> std::io::Result<Vec<u8>> {
        let mut whole = Vec::new();
        loop {
            let mut header = [0; 4];
            let read = self.socket.read_exact(&mut header);
            tokio::time::timeout(LIMIT, read).await.expect("the peer says nothing for 60 s")?;
            let length = u32::from_le_bytes([header[0], header[1], header[2], 0]);
            self.sequence = header[3].wrapping_add(1);
            let from = whole.len();
            whole.resize(from + usize::try_from(length).unwrap(), 0);
            let read = self.socket.read_exact(&mut whole[from..]);
            tokio::time::timeout(LIMIT, read).await.expect("the peer stops in a packet")?;
            if length < 0xff_ffff {
                return Ok(whole);
            }
        }
    }

    /// Whether the peer closes the connection within the time, whatever it says before.
    pub async fn closes_within(&mut self, time: Duration) -> bool {
        let mut rest = Vec::new();
        tokio::time::timeout(time, self.socket.read_to_end(&mut rest)).await.is_ok()
    }

    /// The sequence number that the last packet of the peer had.
    pub fn last_sequence(&self) -> u8 {
        self.sequence.wrapping_sub(1)
    }

    /// A text query's only result.
    pub async fn query(&mut self, sql: &str) -> Result<ResultSet, Refusal> {
        self.command(COM_QUERY, sql.as_bytes()).await;
        self.result().await
    }

    /// The text values of a query's rows.
    pub async fn rows(&mut self, sql: &str) -> Vec<Vec<Option<Vec<u8>>>> {
        let result = self.query(sql).await.unwrap_or_else(|refusal| panic!("{sql}: {refusal:?}"));
        result.rows.iter().map(|row| text_row(row)).collect()
    }

    /// The next result of a query or an execution, to its end.
    pub async fn result(&mut self) -> Result<ResultSet, Refusal> {
        self.result_or_cursor(false).await
    }

    /// COM_STMT_EXECUTE that opens a read-only cursor; columns, and status flags without rows.
    pub async fn open_cursor(&mut self, id: u32, parameters: &[i64]) -> Result<ResultSet, Refusal> {
        self.send_execute(id, 1, parameters, true).await;
        self.result_or_cursor(true).await
    }

    async fn result_or_cursor(&mut self, cursor: bool) -> Result<ResultSet, Refusal> {
        let first = self.packet().await.unwrap();
        match first[0] {
            0xff => return Err(refusal(&first)),
            0x00 => return Ok(ok(&first)),
            _ => {}
        }
        let mut result = ResultSet::default();
        for _ in 0..length(&first).0 {
            result.columns.push(self.packet().await.unwrap());
        }
        if self.capabilities & DEPRECATE_EOF == 0 {
            let eof = self.packet().await.unwrap();
            result.status = u16::from_le_bytes([eof[3], eof[4]]);
            // The flag stays up in answers to other statements while a cursor is open.
            if cursor && result.status & CURSOR_EXISTS != 0 {
                return Ok(result);
            }
        }
        self.fetch_rows(result).await
    }

    /// Rows to the packet that ends them; after COM_STMT_FETCH there is nothing before them.
    pub async fn fetch_rows(&mut self, mut result: ResultSet) -> Result<ResultSet, Refusal> {
        loop {
            let packet = self.packet().await.unwrap();
            match packet[0] {
                0xff => return Err(refusal(&packet)),
                0xfe if self.capabilities & DEPRECATE_EOF == 0 && packet.len() < 9 => {
                    result.warnings = u16::from_le_bytes([packet[1], packet[2]]);
                    result.status = u16::from_le_bytes([packet[3], packet[4]]);
                    return Ok(result);
                }
                0xfe if self.capabilities & DEPRECATE_EOF != 0 && packet.len() < 0xff_ffff => {
                    let end = ok(&packet);
                    return Ok(ResultSet { columns: result.columns, rows: result.rows, ..end });
                }
                _ => result.rows.push(packet),
            }
        }
    }

    /// COM_STMT_PREPARE.
    pub async fn prepare(&mut self, sql: &str) -> Result<Prepared, Refusal> {
        self.command(COM_STMT_PREPARE, sql.as_bytes()).await;
        let first = self.packet().await.unwrap();
        if first[0] == 0xff {
            return Err(refusal(&first));
        }
        let mut prepared = Prepared {
            id: u32::from_le_bytes(first[1..5].try_into().unwrap()),
            columns: u16::from_le_bytes([first[5], first[6]]),
            parameters: u16::from_le_bytes([first[7], first[8]]),
            definitions: Vec::new(),
        };
        for count in [prepared.parameters, prepared.columns] {
            for _ in 0..count {
                prepared.definitions.push(self.packet().await.unwrap());
            }
            if count > 0 && self.capabilities & DEPRECATE_EOF == 0 {
                self.packet().await.unwrap();
            }
        }
        Ok(prepared)
    }

    /// COM_STMT_EXECUTE with BIGINT parameters, with or without their types; the answer is not read.
    pub async fn send_execute(&mut self, id: u32, cursor: u8, parameters: &[i64], types: bool) {
        let mut payload = id.to_le_bytes().to_vec();
        payload.push(cursor);
        payload.extend(1_u32.to_le_bytes());
        if !parameters.is_empty() {
            payload.extend(vec![0; parameters.len().div_ceil(8)]);
            payload.push(u8::from(types));
            if types {
                payload.extend([8, 0].repeat(parameters.len()));
            }
            payload.extend(parameters.iter().flat_map(|value| value.to_le_bytes()));
        }
        self.command(COM_STMT_EXECUTE, &payload).await;
    }

    /// The same, and its result.
    pub async fn execute(&mut self, id: u32, parameters: &[i64]) -> Result<ResultSet, Refusal> {
        self.send_execute(id, 0, parameters, true).await;
        self.result().await
    }

    /// COM_STMT_FETCH: that many rows of an open cursor.
    pub async fn fetch(&mut self, id: u32, rows: u32) -> Result<ResultSet, Refusal> {
        self.command(COM_STMT_FETCH, &[id.to_le_bytes(), rows.to_le_bytes()].concat()).await;
        self.fetch_rows(ResultSet::default()).await
    }

    /// A command whose answer is one OK or ERR.
    pub async fn simple(&mut self, code: u8, payload: &[u8]) -> Result<ResultSet, Refusal> {
        self.command(code, payload).await;
        let packet = self.packet().await.unwrap();
        if packet[0] == 0xff { Err(refusal(&packet)) } else { Ok(ok(&packet)) }
    }

    /// COM_CHANGE_USER.
    pub async fn change_user(&mut self, login: Login<'_>, database: &str) -> Result<(), Refusal> {
        let scramble = self.scramble(login.password);
        let mut payload = login.user.as_bytes().to_vec();
        payload.push(0);
        payload.push(u8::try_from(scramble.len()).unwrap());
        payload.extend(scramble);
        payload.extend(database.as_bytes());
        payload.push(0);
        payload.extend([45, 0]);
        payload.extend(b"caching_sha2_password\0");
        self.command(COM_CHANGE_USER, &payload).await;
        self.finish_login(login.password).await
    }
}

/// Values of a row of the text protocol.
pub fn text_row(row: &[u8]) -> Vec<Option<Vec<u8>>> {
    let mut values = Vec::new();
    let mut at = 0;
    while at < row.len() {
        if row[at] == 0xfb {
            values.push(None);
            at += 1;
            continue;
        }
        let (length, size) = length(&row[at..]);
        let length = usize::try_from(length).unwrap();
        values.push(Some(row[at + size..at + size + length].to_vec()));
        at += size + length;
    }
    values
}

/// A length-encoded integer and how many bytes it takes.
fn length(bytes: &[u8]) -> (u64, usize) {
    let number = |size: usize| {
        let mut whole = [0; 8];
        whole[..size].copy_from_slice(&bytes[1..=size]);
        (u64::from_le_bytes(whole), size + 1)
    };
    match bytes[0] {
        0xfc => number(2),
        0xfd => number(3),
        0xfe => number(8),
        small => (u64::from(small), 1),
    }
}

fn refusal(packet: &[u8]) -> Refusal {
    let code = u16::from_le_bytes([packet[1], packet[2]]);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    // Before the capabilities are agreed there is no SQLSTATE.
    match packet.get(3) {
        Some(b'#') => Refusal { code, state: text(&packet[4..9]), message: text(&packet[9..]) },
        _ => Refusal { code, state: String::new(), message: text(&packet[3..]) },
    }
}

fn ok(packet: &[u8]) -> ResultSet {
    let (affected, size) = length(&packet[1..]);
    let (insert_id, more) = length(&packet[1 + size..]);
    let at = 1 + size + more;
    ResultSet {
        affected,
        insert_id,
        status: u16::from_le_bytes([packet[at], packet[at + 1]]),
        warnings: u16::from_le_bytes([packet[at + 2], packet[at + 3]]),
        ..ResultSet::default()
    }
}
