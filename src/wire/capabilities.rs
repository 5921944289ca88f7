//! What client and server agreed to speak. <https://dev.mysql.com/doc/dev/mysql-server/latest/group__group__cs__capabilities__flags.html>

use crate::wire::flags::flags;

flags! {
    /// Capability bits of the handshake, `CLIENT_…` in MySQL's sources.
    Capabilities(u32) {
        /// Old password hashing; a MariaDB server clears it to say that it has extended capabilities.
        LONG_PASSWORD = 0;
        /// Affected rows count matched rows, not changed ones.
        FOUND_ROWS = 1;
        /// Column flags have two bytes.
        LONG_FLAG = 2;
        /// The handshake response names a database.
        CONNECT_WITH_DB = 3;
        /// `database.table.column` is refused.
        NO_SCHEMA = 4;
        /// zlib compression.
        COMPRESS = 5;
        /// Without effect today.
        ODBC = 6;
        /// LOAD DATA LOCAL.
        LOCAL_FILES = 7;
        /// Spaces between a function's name and its parenthesis.
        IGNORE_SPACE = 8;
        /// The protocol of MySQL 4.1 and later.
        PROTOCOL_41 = 9;
        /// `interactive_timeout` counts instead of `wait_timeout`.
        INTERACTIVE = 10;
        /// TLS.
        SSL = 11;
        /// Without effect on the wire.
        IGNORE_SIGPIPE = 12;
        /// Status flags in answers.
        TRANSACTIONS = 13;
        /// Formerly the 4.1 protocol.
        RESERVED = 14;
        /// 20-byte scrambles; the authentication data has a length byte.
        SECURE_CONNECTION = 15;
        /// Several statements in one COM_QUERY.
        MULTI_STATEMENTS = 16;
        /// Several results to one COM_QUERY.
        MULTI_RESULTS = 17;
        /// Several results to one COM_STMT_EXECUTE.
        PS_MULTI_RESULTS = 18;
        /// Named authentication plugins.
        PLUGIN_AUTH = 19;
        /// Connection attributes in the handshake response.
        CONNECT_ATTRS = 20;
        /// The authentication data has a length-encoded length.
        PLUGIN_AUTH_LENENC_CLIENT_DATA = 21;
        /// The client can be told that its password is expired.
        CAN_HANDLE_EXPIRED_PASSWORDS = 22;
        /// Session state in OK packets.
        SESSION_TRACK = 23;
        /// OK packets instead of EOF packets.
        DEPRECATE_EOF = 24;
        /// Result sets may come without column definitions.
        OPTIONAL_RESULTSET_METADATA = 25;
        /// zstd compression.
        ZSTD_COMPRESSION = 26;
        /// Parameters of COM_QUERY and named parameters of COM_STMT_EXECUTE.
        QUERY_ATTRIBUTES = 27;
        /// More than one authentication factor.
        MULTI_FACTOR_AUTHENTICATION = 28;
        /// Reserved for more capability bits.
        CAPABILITY_EXTENSION = 29;
        /// The client checks the server's certificate; not sent by MySQL's own client.
        SSL_VERIFY_SERVER_CERT = 30;
        /// Options survive a failed connect; not sent by MySQL's own client.
        REMEMBER_OPTIONS = 31;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_whole() {
        let both = Capabilities::SSL | Capabilities::PLUGIN_AUTH;
        assert!(both.has(Capabilities::SSL));
        assert!(!Capabilities::SSL.has(both));
        assert_eq!(both.without(Capabilities::SSL), Capabilities::PLUGIN_AUTH);
        assert_eq!(both.and(Capabilities::SSL), Capabilities::SSL);
        assert_eq!(both.0, 0x0008_0800);
    }

    #[test]
    fn debug_prints_names() {
        let caps = Capabilities::PROTOCOL_41 | Capabilities::DEPRECATE_EOF;
        assert_eq!(format!("{caps:?}"), "{PROTOCOL_41, DEPRECATE_EOF}");
    }
}
