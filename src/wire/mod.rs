//! MySQL client/server protocol: bytes to values and back, one packet a file.
//!
//! No I/O and no clock. Decoders take a payload (without the four header bytes) and borrow from it
//! where they can; they never panic, whatever the peer sent. Where the layout of a packet depends
//! on what was negotiated, the [`Capabilities`] are an argument. Numbers that the peer chose keep
//! values that this code has no name for.
//!
//! Source: MySQL's "Client/Server Protocol" pages (`page_protocol_basics` and below), and for
//! MariaDB its "Client/Server Protocol" chapter.

mod flags;

pub mod auth;
pub mod capabilities;
pub mod change_user;
pub mod codes;
pub mod column;
pub mod command;
pub mod eof;
pub mod err;
pub mod field_list;
pub mod frame;
pub mod greeting;
pub mod handshake_response;
pub mod header;
pub mod local_infile;
pub mod ok;
pub mod params;
pub mod prepared;
pub mod process_kill;
pub mod query;
pub mod reader;
pub mod resultset;
pub mod scramble;
pub mod set_option;
pub mod status;
pub mod tracker;
pub mod writer;

pub use auth::{AuthMoreData, AuthSwitch};
pub use capabilities::Capabilities;
pub use change_user::ChangeUser;
pub use codes::ErrorCode;
pub use column::ColumnDefinition;
pub use command::Command;
pub use eof::EofPacket;
pub use err::ErrPacket;
pub use field_list::FieldList;
pub use frame::{frame, frame_with};
pub use greeting::{Greeting, GreetingError};
pub use handshake_response::{HandshakeResponse, SslRequest, is_ssl_request};
pub use header::Header;
pub use local_infile::LocalInfileRequest;
pub use ok::OkPacket;
pub use prepared::{ExecuteHeader, ExecuteParams, Fetch, PrepareOk, SendLongData, rebuild_execute};
pub use process_kill::ProcessKill;
pub use query::{QueryCommand, encode_query};
pub use reader::{Reader, WireError};
pub use resultset::{encode_binary_result, encode_text_result};
pub use scramble::LoginKey;
pub use set_option::SetOption;
pub use status::StatusFlags;
pub use tracker::{Change, Changes};
pub use writer::PutExt;

/// Bytes of a packet header: three of length, one of sequence number.
pub const HEADER_LEN: usize = 4;
/// Bytes that one packet carries at most. A payload of this size or more goes on in the next packet.
pub const MAX_PAYLOAD: usize = 0xFF_FFFF;
