//! Error numbers that Weir itself sends or must recognise, with MySQL's SQLSTATE.
//! <https://dev.mysql.com/doc/mysql-errors/en/server-error-reference.html>

use crate::wire::ErrPacket;

/// An error number and its SQLSTATE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorCode {
    pub code: u16,
    pub sqlstate: [u8; 5],
}

impl ErrorCode {
    /// The ERR packet with that code and text.
    pub fn packet(self, message: impl Into<Vec<u8>>) -> ErrPacket {
        ErrPacket { code: self.code, sqlstate: self.sqlstate, message: message.into() }
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $state:literal;)*) => {
        $($(#[$doc])* pub const $name: ErrorCode = ErrorCode { code: $code, sqlstate: *$state };)*
    };
}

codes! {
    /// Too many connections.
    TOO_MANY_CONNECTIONS = 1040, b"08004";
    /// The client's host name cannot be found.
    BAD_HOST = 1042, b"08S01";
    /// The handshake was not understood.
    BAD_HANDSHAKE = 1043, b"08S01";
    /// The user may not use that database.
    DATABASE_ACCESS_DENIED = 1044, b"42000";
    /// Wrong user or password.
    ACCESS_DENIED = 1045, b"28000";
    /// No such command.
    UNKNOWN_COMMAND = 1047, b"08S01";
    /// No such database.
    UNKNOWN_DATABASE = 1049, b"42000";
    /// The server is going down.
    SERVER_SHUTDOWN = 1053, b"08S01";
    /// Syntax error.
    PARSE_ERROR = 1064, b"42000";
    /// The statement is empty.
    EMPTY_QUERY = 1065, b"42000";
    /// KILL of an id that is not there.
    NO_SUCH_THREAD = 1094, b"HY000";
    /// KILL of another user's connection.
    KILL_DENIED = 1095, b"HY000";
    /// An error without a number of its own.
    UNKNOWN_ERROR = 1105, b"HY000";
    /// The host is blocked after too many failed connects.
    HOST_IS_BLOCKED = 1129, b"HY000";
    /// The host may not connect.
    HOST_NOT_PRIVILEGED = 1130, b"HY000";
    /// A packet over `max_allowed_packet`.
    PACKET_TOO_LARGE = 1153, b"08S01";
    /// Wrong sequence number.
    PACKETS_OUT_OF_ORDER = 1156, b"08S01";
    /// Reading from the peer failed.
    NET_READ_ERROR = 1158, b"08S01";
    /// Reading from the peer timed out.
    NET_READ_INTERRUPTED = 1159, b"08S01";
    /// Writing to the peer failed.
    NET_ERROR_ON_WRITE = 1160, b"08S01";
    /// Writing to the peer timed out.
    NET_WRITE_INTERRUPTED = 1161, b"08S01";
    /// The connection is being given up.
    ABORTING_CONNECTION = 1184, b"08S01";
    /// A lock was not given in time.
    LOCK_WAIT_TIMEOUT = 1205, b"HY000";
    /// A privilege is missing.
    PRIVILEGE_REQUIRED = 1227, b"42000";
    /// No such prepared statement.
    UNKNOWN_STATEMENT = 1243, b"HY000";
    /// KILL ended it.
    QUERY_INTERRUPTED = 1317, b"70100";
    /// The client cannot do the authentication that is asked for.
    AUTH_NOT_SUPPORTED = 1251, b"08004";
    /// A server option forbids it (`--read-only`, `--super-read-only`).
    OPTION_PREVENTS_STATEMENT = 1290, b"HY000";
    /// `max_prepared_stmt_count` is reached.
    TOO_MANY_PREPARED_STATEMENTS = 1461, b"42000";
    /// A write in a READ ONLY transaction.
    READ_ONLY_TRANSACTION = 1792, b"25006";
    /// The packet's content is not understood.
    MALFORMED_PACKET = 1835, b"HY000";
    /// The server runs in read-only mode.
    READ_ONLY_MODE = 1836, b"HY000";
    /// The connection to the server broke while a statement ran. Clients' own code for that is 2013, but a
    /// server must not send it: MariaDB's client library takes an error packet with a code from 2000 to
    /// 2999 for a malformed one. Frameworks know 1053 as a lost connection too.
    LOST_CONNECTION = 1053, b"08S01";
    /// Only TLS connections are let in.
    SECURE_TRANSPORT_REQUIRED = 3159, b"HY000";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Capabilities;

    #[test]
    fn becomes_a_packet() {
        let mut out = Vec::new();
        UNKNOWN_COMMAND.packet("Unknown command").encode(&mut out, Capabilities::PROTOCOL_41);
        assert_eq!(out, b"\xFF\x17\x04#08S01Unknown command");
    }
}
