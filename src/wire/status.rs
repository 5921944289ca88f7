//! What the server says of the session after a statement. <https://dev.mysql.com/doc/dev/mysql-server/latest/mysql__com_8h.html>

use crate::wire::flags::flags;

flags! {
    /// Status bits of OK and EOF packets, `SERVER_STATUS_…` in MySQL's sources.
    StatusFlags(u16) {
        /// A transaction is open.
        IN_TRANS = 0;
        /// `autocommit` is on.
        AUTOCOMMIT = 1;
        /// Another result follows.
        MORE_RESULTS = 3;
        /// The statement found no good index.
        NO_GOOD_INDEX_USED = 4;
        /// The statement used no index.
        NO_INDEX_USED = 5;
        /// The execution opened a cursor: rows come with COM_STMT_FETCH.
        CURSOR_EXISTS = 6;
        /// COM_STMT_FETCH gave the last row.
        LAST_ROW_SENT = 7;
        /// A database was dropped.
        DB_DROPPED = 8;
        /// `sql_mode` holds NO_BACKSLASH_ESCAPES.
        NO_BACKSLASH_ESCAPES = 9;
        /// The prepared statement was prepared again by the server and its columns changed.
        METADATA_CHANGED = 10;
        /// The statement went over `long_query_time`.
        QUERY_WAS_SLOW = 11;
        /// The result holds OUT parameters of a prepared CALL.
        PS_OUT_PARAMS = 12;
        /// The open transaction is READ ONLY.
        IN_TRANS_READONLY = 13;
        /// The OK packet carries session state.
        SESSION_STATE_CHANGED = 14;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_bits_are_kept_and_shown() {
        let status = StatusFlags(0x8003);
        assert_eq!(status.without(StatusFlags::IN_TRANS), StatusFlags(0x8002));
        assert_eq!(format!("{status:?}"), "{IN_TRANS, AUTOCOMMIT, 0x8000}");
    }
}
