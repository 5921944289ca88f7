"""mysql-connector-python, `--variant pure` (its own protocol code) or `--variant c` (libmysqlclient)."""

import datetime
import decimal
import os

import mysql.connector

import common
from common import canonical

try:  # The C form lets its own error class through in places.
    from _mysql_connector import MySQLInterfaceError
except ImportError:
    MySQLInterfaceError = mysql.connector.Error
ERRORS = (mysql.connector.Error, MySQLInterfaceError)


def main():
    args = common.arguments()
    record = common.Record(ERRORS)
    connection = connect(args)
    record.add("greeting", [connection.server_info, type(connection).__name__,
                            connection.charset, connection.collation])
    texts(record, args.database, connection)
    every_type(record, args, connection)
    prepared(record, args, connection)
    many_results(record, args, connection)
    blobs(record, args, connection)
    load_local(record, args)
    transactions(record, args)
    charsets(record, args)
    compressed(record, args)
    commands(record, args)
    refused(record, args)
    connection.close()
    record.print()


def connect(args, **options):
    options.setdefault("autocommit", True)
    options.setdefault("charset", "utf8mb4")
    options.setdefault("database", args.database)
    options.setdefault("user", args.user)
    options.setdefault("password", args.password)
    return mysql.connector.connect(host=args.host, port=args.port, ssl_disabled=not args.tls,
                                   use_pure=args.variant == "pure", connection_timeout=60,
                                   **options)


def answer(cursor):
    rows = cursor.fetchall() if cursor.with_rows else None
    return {"description": canonical(cursor.description), "rows": canonical(rows),
            "count": cursor.rowcount, "last_id": cursor.lastrowid,
            "warnings": cursor.warning_count, "statement": canonical(cursor.statement)}


def ask(connection, sql, parameters=(), **options):
    cursor = connection.cursor(**options)
    try:
        cursor.execute(sql, parameters)
        return answer(cursor)
    finally:
        cursor.close()


def texts(record, database, connection):
    for sql, refused in common.statements(database):
        record.run(sql, lambda: ask(connection, sql), refused)


def every_type(record, args, connection):
    record.run("types sql_mode", lambda: ask(
        connection, f"SET SESSION sql_mode = '{common.types()['sql_mode']}'"))
    record.run("types ddl", lambda: ask(connection, common.types_ddl()))
    for sql in common.types_inserts():
        record.run("types insert", lambda: ask(connection, sql))
    select = common.types_select(vector="c_vector")
    asked = {"types text": lambda: ask(connection, select), "types raw": lambda: ask(connection, select, raw=True)}
    for name, _, _ in common.types()["columns"]:
        asked[f"types prepared {name}"] = lambda name=name: prepared_column(args, name)
    for name, action in asked.items():
        got = record.run(name, action)
        record.must(name, len(got["rows"]), common.types_rows())


def prepared_column(args, name):
    """One column in the binary protocol, on a connection of its own: a form that misreads it would be of no use
    after it."""
    connection = connect(args)
    try:
        return ask(connection, f"SELECT id, {name} FROM all_types ORDER BY id FOR SHARE", prepared=True)
    finally:
        connection.close()


def prepared(record, args, connection):
    strict = "STRICT_TRANS_TABLES"
    record.run("prepared sql_mode", lambda: ask(connection, f"SET SESSION sql_mode = '{strict}'"))
    record.run("prepared ddl", lambda: ask(connection, (
        "CREATE TABLE prep (id INT PRIMARY KEY AUTO_INCREMENT, n BIGINT, s VARCHAR(100), b BLOB, d DECIMAL(20,4), "
        "dt DATETIME(6), t TIME(6), f DOUBLE)")))
    insert = "INSERT INTO prep (n, s, b, d, dt, t, f) VALUES (%s, %s, %s, %s, %s, %s, %s)"
    rows = [
        (1, "one", b"\x00\xff", decimal.Decimal("12.3456"),
         datetime.datetime(2024, 2, 29, 1, 2, 3, 456789), datetime.timedelta(hours=-5, microseconds=7), 0.1),
        (-(2**63), "\U0001f600", b"", decimal.Decimal("-0.0001"),
         datetime.datetime(1000, 1, 1), datetime.timedelta(hours=838, minutes=59), -1e300),
        (None,) * 7,
        (2**63 - 1, "x" * 100, b"b" * 5000, decimal.Decimal(0), datetime.date(2020, 1, 1),
         datetime.timedelta(0), 1.0),
    ]
    cursor = connection.cursor(prepared=True)
    # The C form sends the TIME of these two as something that a server calls out of range; the pure form does not.
    wrong_times = {0: 1690, 1: 1690} if args.variant == "c" else {}
    for number, row in enumerate(rows):
        def insert_one():
            cursor.execute(insert, row)
            return answer(cursor)
        record.run("prepared insert", insert_one, wrong_times.get(number))
    inserted = len(rows) - len(wrong_times)
    record.run("prepared insert refused",
               lambda: cursor.execute(insert, (1, "x" * 101, b"", 0, None, None, 0.0)), 1406)
    record.run("prepared many", lambda: cursor.executemany(
        "INSERT INTO prep (n, s) VALUES (%s, %s)", [(n, f"row {n}") for n in range(50)]))
    cursor.close()
    reader = connection.cursor(prepared=True)
    for low in (0, 3, 40, 0):
        def read():
            reader.execute("SELECT * FROM prep WHERE id > %s ORDER BY id", (low,))
            return answer(reader)
        got = record.run(f"prepared read {low}", read)
        if low == 0:
            record.must("prepared read 0", len(got["rows"]), inserted + 50)
    reader.close()
    # Several statements open at once, used in turn, also after a write and across schemas.
    cursors = [connection.cursor(prepared=True) for _ in range(5)]
    for turn in range(3):
        for number, cursor in enumerate(cursors):
            def use():
                cursor.execute(f"SELECT {number}, COUNT(*), MAX(n) FROM prep WHERE n <> %s", (turn,))
                return answer(cursor)
            got = record.run(f"prepared in turn {number}", use)
            # One has no n; two to the power of 63 less one is the highest; turn 0 and turn 1 leave out what they name.
            record.must(f"prepared in turn {number}", [got["rows"][0][0], got["rows"][0][2]],
                        [f"int:{number}", f"int:{2**63 - 1}"])
        record.run("prepared write between", lambda: ask(connection, "UPDATE prep SET f = f + 1 WHERE id = 1"))
    for cursor in cursors:
        cursor.close()
    record.run("prepared wrong text", lambda: ask(connection, "SELEC ?", (1,), prepared=True), 1064)
    record.run("prepared no table", lambda: ask(connection, "SELECT * FROM no_such_table", prepared=True), 1146)
    got = record.run("prepared call", lambda: ask(connection, "SELECT twice(%s)", (4,), prepared=True))
    record.rows("prepared call", got, [(8,)])
    record.run("prepared sql_mode back", lambda: ask(connection, "SET SESSION sql_mode = ''"))


def many_results(record, args, connection):
    def call(name, parameters=()):
        cursor = connection.cursor()
        got = {"returned": canonical(cursor.callproc(name, parameters))}
        got["sets"] = [answer(result) for result in cursor.stored_results()]
        cursor.close()
        return got

    names = [["Ada"], ["Cleo"], ["Dai"], ["Fay"], ["Ivy"]]
    got = record.run("callproc", lambda: call("two_results"))
    record.must("callproc", [each["rows"] for each in got["sets"]], canonical([[[1]], names]))
    got = record.run("callproc out", lambda: call("out_param", (14, 0)))
    record.must("callproc out", got["returned"], canonical([14, 42]))
    # The C form has its own number for all that goes wrong in a procedure, and the server's words.
    got = record.run("callproc fails", lambda: call("warn_and_fail"), -1 if args.variant == "c" else 31001)
    record.must("callproc fails", got["message"].endswith("made on purpose"), True)
    got = record.run("after callproc", lambda: ask(connection, "SELECT 1"))
    record.rows("after callproc", got, [(1,)])

    def all_of(sql):
        cursor = connection.cursor()
        try:
            cursor.execute(sql)
            yield answer(cursor)
            while cursor.nextset():
                yield answer(cursor)
        finally:
            cursor.close()

    for sql, rows, refused in [
        ("SELECT 1; SELECT 2 AS two; SELECT name FROM people ORDER BY 1", [[[1]], [[2]], names], None),
        ("INSERT INTO people (name) VALUES ('Max'); SELECT LAST_INSERT_ID() > 0", [None, [[1]]], None),
        ("SELECT 1; SELECT * FROM no_such_table", [[[1]]], 1146),
    ]:
        got = record.results("multi " + sql, lambda: all_of(sql), refused)
        record.must("multi " + sql, [each["rows"] for each in got if "rows" in each], canonical(rows))


def blobs(record, args, connection):
    data = common.blob()
    record.run("blob ddl", lambda: ask(connection, "CREATE TABLE blobs (id INT PRIMARY KEY, v LONGBLOB)"))
    record.run("blob in text", lambda: ask(connection, "INSERT INTO blobs VALUES (%s, %s)", (1, data)))
    sizes = (0, 8191, 8192, 65536, (1 << 24) - 1, 1 << 24, common.BLOB_BYTES)
    for number, size in enumerate(sizes, 2):
        record.run(f"blob in prepared {size}", lambda: ask(
            connection, "INSERT INTO blobs VALUES (%s, %s)", (number, data[:size]), prepared=True))
    expected = [(1, data)] + [(number, data[:size]) for number, size in enumerate(sizes, 2)]
    got = record.run("blobs out", lambda: ask(connection, "SELECT id, v FROM blobs ORDER BY id"))
    record.rows("blobs out", got, expected)
    # Prepared, the pure form takes each packet of a row for a row: what it reads of rows over 16 MiB is wrong.
    limit = 1 << 20 if args.variant == "pure" else common.BLOB_BYTES
    got = record.run("blobs out prepared", lambda: ask(
        connection, "SELECT id, v FROM blobs WHERE LENGTH(v) <= %s ORDER BY id", (limit,), prepared=True))
    record.rows("blobs out prepared", got, [row for row in expected if len(row[1]) <= limit])


def load_local(record, args):
    connection = connect(args, allow_local_infile=True)
    record.run("load ddl", lambda: ask(connection, "CREATE TABLE loaded (a INT, b VARCHAR(40))"))
    path = common.local_file("1,one\n2,\u4e2d\u6587\nbad,4\n")
    try:
        sql = f"LOAD DATA LOCAL INFILE '{path}' INTO TABLE loaded FIELDS TERMINATED BY ','"

        def load():
            cursor = connection.cursor()
            cursor.execute(sql)
            got = {"count": cursor.rowcount, "warnings": cursor.warning_count}
            cursor.close()
            return got
        record.must("load", record.run("load", load), {"count": 3, "warnings": 1})
    finally:
        os.unlink(path)
    got = record.run("loaded", lambda: ask(connection, "SELECT * FROM loaded ORDER BY a, b"))
    record.rows("loaded", got, [(0, "4"), (1, "one"), (2, "\u4e2d\u6587")])
    connection.close()


def transactions(record, args):
    connection, other = connect(args), connect(args)
    record.run("trx ddl", lambda: ask(other, "CREATE TABLE trx (id INT PRIMARY KEY)"))
    record.run("trx start", lambda: connection.start_transaction(isolation_level="READ COMMITTED"))
    record.add("trx in", connection.in_transaction)
    record.must("trx in", connection.in_transaction, True)
    record.run("trx insert", lambda: ask(connection, "INSERT INTO trx VALUES (1)", prepared=True))
    got = record.run("trx own", lambda: ask(connection, "SELECT * FROM trx", prepared=True))
    record.rows("trx own", got, [(1,)])
    # The driver's own refusal.
    record.run("trx nested", lambda: connection.start_transaction(), -1)
    record.run("trx commit", connection.commit)
    record.run("trx read only", lambda: connection.start_transaction(readonly=True))
    record.run("trx write refused", lambda: ask(connection, "INSERT INTO trx VALUES (2)"), 1792)
    record.run("trx rollback", connection.rollback)
    record.add("trx out", connection.in_transaction)
    record.must("trx out", connection.in_transaction, False)
    got = record.run("trx other", lambda: ask(other, "SELECT * FROM trx FOR SHARE"))
    record.rows("trx other", got, [(1,)])
    connection.autocommit = False
    record.run("trx implicit", lambda: ask(connection, "INSERT INTO trx VALUES (3)"))
    record.run("trx implicit back", connection.rollback)
    got = record.run("trx end", lambda: ask(connection, "SELECT COUNT(*) FROM trx"))
    record.rows("trx end", got, [(1,)])
    connection.close()
    other.close()


def charsets(record, args):
    for charset, text in (("latin1", "\u00e9"), ("gbk", "\u8a89\u4e2d"), ("utf8mb4", "\U0001f600")):
        def one():
            connection = connect(args, charset=charset)
            got = [ask(connection, "SELECT @@character_set_client, @@character_set_results, @@collation_connection"),
                   ask(connection, "SELECT %s, HEX(%s)", (text, text))]
            connection.close()
            record.must("charset " + charset, got[0]["rows"][0][:2], [charset, charset])
            record.rows("charset " + charset, got[1],
                        [(text, text.encode("utf-8" if charset == "utf8mb4" else charset).hex().upper())])
            return got
        record.run("charset " + charset, one)


def compressed(record, args):
    if args.variant == "pure":
        return  # compresses without asking whether the server can
    def one():
        connection = connect(args, compress=True)
        got = ask(connection, "SELECT REPEAT('compress me ', 10000), 1")
        connection.close()
        return got
    record.rows("compressed", record.run("compressed", one), [("compress me " * 10000, 1)])


def commands(record, args):
    """Commands of the protocol that are not statements."""
    connection = connect(args)
    record.run("ping", lambda: connection.ping())
    record.run("statistics", lambda: sorted(connection.cmd_statistics()))
    record.run("init_db", lambda: connection.cmd_init_db("information_schema"))
    got = record.run("database", lambda: ask(connection, "SELECT DATABASE()"))
    record.rows("database", got, [("information_schema",)])
    record.run("init_db refused", lambda: connection.cmd_init_db("no_such_database"), 1049)
    record.run("set before reset", lambda: ask(connection, "SET @r = 1, time_zone = '+01:00'"))
    record.run("reset", lambda: connection.cmd_reset_connection())
    got = record.run("after reset", lambda: ask(connection, "SELECT @r, DATABASE(), @@time_zone = @@global.time_zone"))
    record.rows("after reset", got, [(None, "information_schema", 1)])
    record.run("set before change", lambda: ask(connection, "SET @r = 2"))
    record.run("temporary before change", lambda: ask(connection, f"CREATE TEMPORARY TABLE {args.database}.gone (a INT)"))
    record.run("change user", lambda: connection.cmd_change_user(
        args.user, args.password, args.database) and None)
    got = record.run("after change", lambda: ask(connection, "SELECT @r, DATABASE()"))
    record.rows("after change", got, [(None, args.database)])
    record.run("temporary is gone", lambda: ask(connection, "SELECT * FROM gone"), 1146)
    record.run("kill unknown", lambda: connection.cmd_process_kill(4_000_000_000), 1094)
    record.run("after all", lambda: ask(connection, "SELECT 1"))
    connection.close()


def refused(record, args):
    # Without TLS the C form gives up by itself when the server asks for more than the first proof.
    gives_up = args.variant == "c" and not args.tls
    record.run("wrong password", lambda: connect(args, password="wrong").close(), 2061 if gives_up else 1045)
    record.run("empty password", lambda: connect(args, password="").close(), 1045)
    record.run("no such database", lambda: connect(args, database="no_such_database").close(), 1049)


if __name__ == "__main__":
    main()
