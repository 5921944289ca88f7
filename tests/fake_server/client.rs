//! A client that looks at every packet: numbers in sequence, nothing after the end, no half row.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use weir::wire::auth::{PLUGIN_NATIVE, PLUGIN_SHA2, REQUEST_PUBLIC_KEY};
use weir::wire::{
    AuthMoreData, AuthSwitch, Capabilities, ErrPacket, Greeting, HandshakeResponse, Header,
    MAX_PAYLOAD, Reader, frame, scramble,
};

/// An answer that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(15);

/// What a client from before 5.7 asks for.
pub const CLASSIC: Capabilities = Capabilities(
    Capabilities::LONG_PASSWORD.0
        | Capabilities::PROTOCOL_41.0
        | Capabilities::TRANSACTIONS.0
        | Capabilities::SECURE_CONNECTION.0
        | Capabilities::MULTI_RESULTS.0
        | Capabilities::PLUGIN_AUTH.0,
);
/// What a client of today asks for.
pub const MODERN: Capabilities = Capabilities(CLASSIC.0 | Capabilities::DEPRECATE_EOF.0);

/// utf8mb4_general_ci
const UTF8MB4: u8 = 45;
/// latin1_swedish_ci
pub const LATIN1: u8 = 8;

pub const COM_INIT_DB: u8 = 0x02;
pub const COM_QUERY: u8 = 0x03;
pub const COM_FIELD_LIST: u8 = 0x04;
pub const COM_PING: u8 = 0x0E;
pub const COM_CHANGE_USER: u8 = 0x11;
pub const COM_STMT_PREPARE: u8 = 0x16;
pub const COM_STMT_EXECUTE: u8 = 0x17;
pub const COM_STMT_FETCH: u8 = 0x1C;

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A whole result: the first value of each row.
    Rows(Vec<String>),
    /// An OK packet.
    Done,
    /// An ERR packet, after so many rows.
    Refused { code: u16, words: String, rows: usize },
    /// The connection ended, after so many whole rows.
    Closed { rows: usize },
}

impl Outcome {
    /// The one row of one value, if that is it.
    pub fn row(text: &str) -> Self {
        Self::Rows(vec![text.to_owned()])
    }

    /// The error number, if that is it.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }
}

/// One connection.
pub struct Client {
    pub socket: TcpStream,
    pub capabilities: Capabilities,
    /// What Weir's greeting offers.
    pub offered: Capabilities,
    pub salt: [u8; 20],
    /// What the login says; connections that were opened with another one are brought to it.
    pub collation: u8,
}

impl Client {
    /// Connects, and reads nothing yet.
    pub async fn connect(address: &str) -> Self {
        let socket = TcpStream::connect(address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        Self { socket, capabilities: MODERN, offered: MODERN, salt: [0; 20], collation: UTF8MB4 }
    }

    /// Connects and reads the greeting.
    pub async fn greet(address: &str) -> Self {
        let mut client = Self::connect(address).await;
        let (seq, greeting) = client.packet().await.expect("Weir greets");
        let greeting = Greeting::decode(&greeting).unwrap();
        assert_eq!(seq, 0);
        client.salt = greeting.salt;
        client.offered = greeting.capabilities;
        client.capabilities = MODERN.and(client.offered);
        client
    }

    /// Logs in as a user with an empty password.
    pub async fn login(address: &str) -> Self {
        Self::login_as(address, "app", "", MODERN).await
    }

    /// Logs in; a password must be one that Weir knows already.
    pub async fn login_as(
        address: &str,
        user: &str,
        password: &str,
        capabilities: Capabilities,
    ) -> Self {
        let mut client = Self::greet(address).await;
        client.capabilities = capabilities.and(client.offered);
        let response = client.response(user, password);
        client.send(1, &response).await;
        loop {
            let (_, packet) = client.packet().await.expect("Weir answers the login");
            match packet[0] {
                0 => return client,
                AuthMoreData::HEADER => assert_eq!(packet, [1, 3], "fast path only"),
                _ => panic!("no login: {:?}", ErrPacket::decode(&packet)),
            }
        }
    }

    /// The login packet's payload.
    pub fn response(&self, user: &str, password: &str) -> Vec<u8> {
        self.response_by(PLUGIN_SHA2, user, password)
    }

    /// The same with an answer by that plugin.
    pub fn response_by(&self, plugin: &str, user: &str, password: &str) -> Vec<u8> {
        let response = HandshakeResponse {
            capabilities: self.capabilities,
            max_packet: 1 << 24,
            collation: self.collation,
            username: user.into(),
            auth: answer(plugin, password, &self.salt),
            database: None,
            plugin: Some(plugin.into()),
            attributes: b"\x03abc\x03def".to_vec(),
            zstd_level: None,
        };
        let mut payload = Vec::new();
        response.encode(&mut payload);
        payload
    }

    /// A whole login on a fresh connection, with a switch to another plugin and with the password itself, by RSA,
    /// where Weir asks for them. Gives the plugins that were answered, or the error.
    pub async fn prove(
        &mut self,
        plugin: &str,
        user: &str,
        password: &str,
    ) -> Result<Vec<String>, ErrPacket> {
        let response = self.response_by(plugin, user, password);
        self.send(1, &response).await;
        let mut plugins = vec![plugin.to_owned()];
        loop {
            let (seq, packet) = self.packet().await.expect("Weir answers the login");
            match packet.as_slice() {
                [0, ..] => return Ok(plugins),
                [ErrPacket::HEADER, ..] => return Err(ErrPacket::decode(&packet).unwrap()),
                [AuthSwitch::HEADER, ..] => {
                    let switch = AuthSwitch::decode(&packet).unwrap();
                    self.salt = switch.data[..20].try_into().unwrap();
                    let plugin = String::from_utf8(switch.plugin).unwrap();
                    self.send(seq + 1, &answer(&plugin, password, &self.salt)).await;
                    plugins.push(plugin);
                }
                [AuthMoreData::HEADER, 3] => {}
                [AuthMoreData::HEADER, 4] => self.send(seq + 1, &[REQUEST_PUBLIC_KEY]).await,
                [AuthMoreData::HEADER, pem @ ..] => {
                    let secret = scramble::encrypt_password(pem, password.as_bytes(), &self.salt);
                    self.send(seq + 1, &secret.unwrap()).await;
                }
                other => panic!("no part of a login: {other:?}"),
            }
        }
    }

    /// One payload, numbered from `seq`.
    pub async fn send(&mut self, seq: u8, payload: &[u8]) {
        let mut bytes = Vec::new();
        frame(&mut bytes, &mut { seq }, payload);
        self.bytes(&bytes).await;
    }

    /// Bytes as they are. That the peer is gone shows when the answer is read.
    pub async fn bytes(&mut self, bytes: &[u8]) {
        let _gone = self.socket.write_all(bytes).await;
    }

    /// The next packet; `None` at the end of the stream, also within a packet.
    pub async fn packet(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut header = [0; 4];
        let read = timeout(LIMIT, self.socket.read_exact(&mut header)).await;
        read.expect("Weir says nothing").ok()?;
        let header = Header::parse(&header)?;
        let mut payload = vec![0; header.len];
        let read = timeout(LIMIT, self.socket.read_exact(&mut payload)).await;
        read.expect("Weir stops within a packet").ok()?;
        Some((header.seq, payload))
    }

    /// Sends a command and reads its answer.
    pub async fn command(&mut self, code: u8, body: &[u8]) -> Outcome {
        self.send(0, &[&[code], body].concat()).await;
        let packets = (body.len() + 1) / MAX_PAYLOAD + 1;
        self.answer_from(u8::try_from(packets).unwrap()).await
    }

    /// A text query's outcome.
    pub async fn query(&mut self, sql: &str) -> Outcome {
        self.command(COM_QUERY, sql.as_bytes()).await
    }

    /// The answer to a command of one packet, to its end.
    pub async fn answer(&mut self) -> Outcome {
        self.answer_from(1).await
    }

    async fn answer_from(&mut self, seq: u8) -> Outcome {
        let mut answer = Answer { client: self, seq, rows: Vec::new() };
        answer.read().await.unwrap_or_else(|ended| ended)
    }

    /// COM_STMT_PREPARE of a statement with one parameter and one column: its number.
    pub async fn prepare(&mut self, sql: &str) -> u32 {
        self.send(0, &[&[COM_STMT_PREPARE], sql.as_bytes()].concat()).await;
        let (_, ok) = self.packet().await.expect("an answer to PREPARE");
        assert_eq!(ok[0], 0, "{:?}", ErrPacket::decode(&ok));
        let ends = if self.capabilities.has(Capabilities::DEPRECATE_EOF) { 0 } else { 2 };
        for _ in 0..2 + ends {
            self.packet().await.expect("the definitions");
        }
        u32::from_le_bytes(ok[1..5].try_into().unwrap())
    }

    /// Whether the peer closes the connection within the limit without another byte.
    pub async fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        let read = timeout(LIMIT, self.socket.read(&mut byte)).await;
        matches!(read, Ok(Ok(0) | Err(_)))
    }
}

/// What a client answers to the salt.
fn answer(plugin: &str, password: &str, salt: &[u8]) -> Vec<u8> {
    match (password, plugin) {
        ("", _) => Vec::new(),
        (_, PLUGIN_NATIVE) => scramble::native(password.as_bytes(), salt),
        _ => scramble::sha2(password.as_bytes(), salt),
    }
}

struct Answer<'c> {
    client: &'c mut Client,
    seq: u8,
    rows: Vec<String>,
}

impl Answer<'_> {
    /// The next packet in sequence; `Err` when there is none or it is an error.
    async fn next(&mut self) -> Result<Vec<u8>, Outcome> {
        let rows = self.rows.len();
        let Some((seq, payload)) = self.client.packet().await else {
            return Err(Outcome::Closed { rows });
        };
        assert_eq!(seq, self.seq, "packets in sequence");
        self.seq = seq.wrapping_add(1);
        if ErrPacket::is(&payload) {
            let error = ErrPacket::decode(&payload).unwrap();
            let words = String::from_utf8_lossy(&error.message).into_owned();
            return Err(Outcome::Refused { code: error.code, words, rows });
        }
        Ok(payload)
    }

    async fn read(&mut self) -> Result<Outcome, Outcome> {
        let modern = self.client.capabilities.has(Capabilities::DEPRECATE_EOF);
        let mut first = self.next().await?;
        if first.first() == Some(&0xFB) {
            // A file is asked for: there is none.
            self.client.send(self.seq, &[]).await;
            self.seq = self.seq.wrapping_add(1);
            first = self.next().await?;
        }
        if first.first() == Some(&0) {
            return Ok(Outcome::Done);
        }
        let columns = Reader::new(&first).lenenc_int("column count").unwrap();
        for _ in 0..columns {
            self.next().await?;
        }
        if !modern {
            self.next().await?;
        }
        loop {
            let packet = self.next().await?;
            let is_end = packet.first() == Some(&0xFE) && (modern || packet.len() < 9);
            if is_end {
                return Ok(Outcome::Rows(std::mem::take(&mut self.rows)));
            }
            let value = Reader::new(&packet).lenenc_bytes("value").unwrap_or_default().to_vec();
            self.rows.push(String::from_utf8_lossy(&value).into_owned());
        }
    }
}
