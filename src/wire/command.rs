//! The first byte of a client's payload. <https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_command_phase.html>

macro_rules! commands {
    ($($(#[$doc:meta])* $name:ident = $byte:literal, $text:literal;)*) => {
        /// A command, by its byte; bytes without a name are kept.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Command {
            $($(#[$doc])* $name,)*
            /// A byte that no known server understands.
            Unknown(u8),
        }

        impl Command {
            /// The command of that byte.
            #[must_use]
            pub const fn from_byte(byte: u8) -> Self {
                match byte {
                    $($byte => Self::$name,)*
                    other => Self::Unknown(other),
                }
            }

            /// The byte that asks for it.
            #[must_use]
            pub const fn byte(self) -> u8 {
                match self {
                    $(Self::$name => $byte,)*
                    Self::Unknown(byte) => byte,
                }
            }

            /// MySQL's name of it, "COM_QUERY".
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                    Self::Unknown(_) => "unknown command",
                }
            }
        }
    };
}

commands! {
    /// Internal to the server.
    Sleep = 0x00, "COM_SLEEP";
    Quit = 0x01, "COM_QUIT";
    InitDb = 0x02, "COM_INIT_DB";
    Query = 0x03, "COM_QUERY";
    FieldList = 0x04, "COM_FIELD_LIST";
    CreateDb = 0x05, "COM_CREATE_DB";
    DropDb = 0x06, "COM_DROP_DB";
    Refresh = 0x07, "COM_REFRESH";
    Shutdown = 0x08, "COM_SHUTDOWN";
    Statistics = 0x09, "COM_STATISTICS";
    ProcessInfo = 0x0A, "COM_PROCESS_INFO";
    /// Internal to the server.
    Connect = 0x0B, "COM_CONNECT";
    ProcessKill = 0x0C, "COM_PROCESS_KILL";
    Debug = 0x0D, "COM_DEBUG";
    Ping = 0x0E, "COM_PING";
    /// Internal to the server.
    Time = 0x0F, "COM_TIME";
    /// Internal to the server.
    DelayedInsert = 0x10, "COM_DELAYED_INSERT";
    ChangeUser = 0x11, "COM_CHANGE_USER";
    BinlogDump = 0x12, "COM_BINLOG_DUMP";
    TableDump = 0x13, "COM_TABLE_DUMP";
    /// Internal to the server.
    ConnectOut = 0x14, "COM_CONNECT_OUT";
    RegisterReplica = 0x15, "COM_REGISTER_REPLICA";
    StmtPrepare = 0x16, "COM_STMT_PREPARE";
    StmtExecute = 0x17, "COM_STMT_EXECUTE";
    StmtSendLongData = 0x18, "COM_STMT_SEND_LONG_DATA";
    StmtClose = 0x19, "COM_STMT_CLOSE";
    StmtReset = 0x1A, "COM_STMT_RESET";
    SetOption = 0x1B, "COM_SET_OPTION";
    StmtFetch = 0x1C, "COM_STMT_FETCH";
    /// Internal to the server.
    Daemon = 0x1D, "COM_DAEMON";
    BinlogDumpGtid = 0x1E, "COM_BINLOG_DUMP_GTID";
    ResetConnection = 0x1F, "COM_RESET_CONNECTION";
    /// The clone plugin's own protocol.
    Clone = 0x20, "COM_CLONE";
    SubscribeGroupReplicationStream = 0x21, "COM_SUBSCRIBE_GROUP_REPLICATION_STREAM";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_comes_back() {
        for byte in 0..=u8::MAX {
            let command = Command::from_byte(byte);
            assert_eq!(command.byte(), byte);
            assert_eq!(matches!(command, Command::Unknown(_)), byte > 0x21);
        }
        assert_eq!(Command::from_byte(3), Command::Query);
        assert_eq!(Command::Query.name(), "COM_QUERY");
    }
}
