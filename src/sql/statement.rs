//! What a statement is, as far as routing must know. A pure function of text, lexing mode.

/// How the text must be cut into tokens; from the session's tracked `sql_mode` and charset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct LexMode {
    /// `ANSI_QUOTES`: `"x"` is an identifier.
    pub ansi_quotes: bool,
    /// `NO_BACKSLASH_ESCAPES`: `\` is an ordinary character.
    pub no_backslash_escapes: bool,
    /// client charset GBK, SJIS, Big5, GB18030, CP932: a byte 0x5C may be half a character, so a
    /// text with bytes above 0x7F beside quotes or backslashes is not proven anything.
    pub multi_byte_unsafe: bool,
    /// The server is MariaDB: `/*M!` runs, SET STATEMENT exists, sequences exist.
    pub maria: bool,
}

/// What a statement asks of the router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Proven read-only and free of session effects: any caught-up replica.
    Read,
    /// Not a write, but must see or use the primary: locks, unknown functions, `@@gtid_executed`, SHOW VARIABLES.
    PrimaryRead,
    /// Writes, may write, or is not understood.
    Write,
    /// START TRANSACTION / BEGIN. `read_only` when `READ ONLY` stands in it.
    Begin { read_only: bool },
    /// COMMIT, ROLLBACK, SAVEPOINT and other statements that belong to the transaction where it is.
    Transaction,
    /// SET of session things, SET NAMES, SET ROLE, USE: primary; the trackers tell what it did.
    Session,
    /// Needs the connection of the previous statement: SHOW WARNINGS, FOUND_ROWS(), ROW_COUNT(), GET DIAGNOSTICS.
    Previous,
    /// Exactly `SELECT CONNECTION_ID()` (alias allowed): answered by the proxy.
    ConnectionId,
    /// `KILL [QUERY|CONNECTION] n`: the proxy maps the id.
    Kill,
    /// Refused by default (STOP REPLICA, RESET BINARY LOGS, SHUTDOWN, CLONE, CHANGE REPLICATION ..).
    Denied,
}

macro_rules! bit_set {
    ($(#[$doc:meta])* $name:ident { $($(#[$bdoc:meta])* $bit:ident = $at:expr, $word:expr;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
        pub struct $name(u32);

        impl $name {
            $($(#[$bdoc])* pub const $bit: Self = Self(1 << $at);)*
            /// The empty set.
            pub const NONE: Self = Self(0);

            /// Both sets together.
            #[must_use]
            pub const fn with(self, other: Self) -> Self { Self(self.0 | other.0) }
            /// What is in `self` and not in `other`.
            #[must_use]
            pub const fn without(self, other: Self) -> Self { Self(self.0 & !other.0) }
            /// Whether any of `other` is in `self`.
            pub const fn any(self, other: Self) -> bool { self.0 & other.0 != 0 }
            /// Whether the set is empty.
            pub const fn is_empty(self) -> bool { self.0 == 0 }
            /// The members in words, in order.
            pub fn words(self) -> Vec<&'static str> {
                let mut words = Vec::new();
                $(if self.any(Self::$bit) { words.push($word); })*
                words
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_set().entries(self.words()).finish()
            }
        }
    };
}

bit_set! {
    /// Why a session must keep its server connection: state that cannot be replayed elsewhere.
    Pins {
        /// A user variable was set.
        USER_VARIABLE = 0, "user variable";
        /// A temporary table exists.
        TEMPORARY_TABLE = 1, "temporary table";
        /// GET_LOCK or a locking service lock is held.
        NAMED_LOCK = 2, "named lock";
        /// LOCK TABLES, FLUSH TABLES t WITH READ LOCK: until UNLOCK TABLES or a transaction starts.
        TABLE_LOCK = 3, "table lock";
        /// HANDLER .. OPEN.
        HANDLER = 4, "handler";
        /// PREPARE .. FROM in text.
        TEXT_PREPARED = 5, "text prepared statement";
        /// XA START .. until XA COMMIT / ROLLBACK.
        XA = 6, "XA transaction";
        /// SET TRANSACTION for the next transaction only.
        NEXT_TRANSACTION = 7, "SET TRANSACTION for the next transaction";
        /// SQL_CALC_FOUND_ROWS ran: FOUND_ROWS() may follow. Ends with the next other statement.
        FOUND_ROWS = 8, "found rows";
        /// The last statement left warnings. Ends with the next other statement.
        WARNINGS = 9, "warnings";
        /// A binary-protocol cursor is open.
        CURSOR = 10, "cursor";
        /// Long data was sent for a prepared statement.
        LONG_DATA = 11, "long data";
        /// The session set what cannot be replayed: sql_log_bin, gtid_next, session_track_*, pseudo_*, ..
        VARIABLE = 12, "session variable that cannot be replayed";
        /// The server said that session state changed, and nothing tells what (a procedure did it).
        UNKNOWN = 13, "session state changed by a procedure";
        /// LOCK INSTANCE FOR BACKUP, BACKUP STAGE: until UNLOCK INSTANCE, BACKUP STAGE END.
        INSTANCE_LOCK = 14, "backup lock";
        /// FLUSH TABLES WITH READ LOCK: until UNLOCK TABLES.
        GLOBAL_LOCK = 15, "global read lock";
    }
}

bit_set! {
    /// What a statement needs of the session's past.
    Needs {
        /// LAST_INSERT_ID(), @@identity, @@last_insert_id anywhere in it: the value must be on the connection.
        LAST_INSERT_ID = 0, "last insert id";
        /// Reads a user variable.
        USER_VARIABLE = 1, "user variable";
        /// Holds a stored function that is not known to be read-only (a result set may hide a write).
        UNKNOWN_FUNCTION = 2, "unknown function";
        /// Is SET NAMES / SET CHARACTER SET / SET collation_*: its words tell what the trackers do not.
        CHARSET = 3, "character set";
        /// COMMIT / ROLLBACK .. RELEASE: the link ends after OK.
        RELEASE = 4, "release";
        /// More than one statement in the text (needs CLIENT_MULTI_STATEMENTS).
        MULTI = 5, "multi-statement";
        /// ROW_COUNT(), FOUND_ROWS(), @@warning_count in it: the connection of the previous statement.
        PREVIOUS = 6, "previous statement";
    }
}

/// A classified statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    pub kind: Kind,
    /// What it leaves on the connection when it succeeds.
    pub pins: Pins,
    /// What of the pins ends when it succeeds (UNLOCK TABLES, RELEASE_ALL_LOCKS(), XA COMMIT, ..): take these
    /// away first, then add `pins`. RELEASE_LOCK, HANDLER CLOSE, DEALLOCATE and DROP TEMPORARY TABLE end one of
    /// perhaps several, which text does not tell, so they end no pin.
    pub unpins: Pins,
    pub needs: Needs,
    /// Statements in the text, at least 1 (0: empty or only comments).
    pub count: u32,
    /// One clause in words for `explain`: "locks rows (FOR UPDATE)", "plain SELECT".
    pub reason: &'static str,
}
