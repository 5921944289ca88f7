"""PyMySQL: text protocol, pure Python."""

import os

import pymysql
from pymysql.constants import CLIENT

import common
from common import canonical


def main():
    args = common.arguments()
    record = common.Record(pymysql.MySQLError)
    connection = connect(args, autocommit=True, local_infile=True)
    record.add("greeting", [connection.get_server_info(), connection.protocol_version,
                            connection.character_set_name(), bool(connection._secure)])
    texts(record, args.database, connection)
    every_type(record, connection)
    many_results(record, args)
    blobs(record, connection)
    load_local(record, connection)
    transactions(record, args)
    charsets(record, args)
    streams(record, connection)
    session(record, connection)
    found_rows(record, args)
    refused(record, args)
    connection.close()
    record.print()


def connect(args, **options):
    if args.tls:
        options["ssl"] = {"verify_mode": None, "check_hostname": False}
    else:
        options["ssl_disabled"] = True
    options.setdefault("charset", "utf8mb4")
    options.setdefault("binary_prefix", True)
    options.setdefault("database", args.database)
    options.setdefault("user", args.user)
    options.setdefault("password", args.password)
    return pymysql.connect(host=args.host, port=args.port, max_allowed_packet=64 << 20,
                           read_timeout=120, write_timeout=120, **options)


def answer(cursor):
    """All that PyMySQL shows of one result."""
    result = cursor._result
    fields = [[f.name, f.org_name, f.table_name, f.org_table, f.db, f.type_code, f.charsetnr,
               f.length, f.flags, f.scale] for f in getattr(result, "fields", None) or []]
    return {"description": canonical(cursor.description), "fields": fields,
            "rows": canonical(cursor.fetchall()), "count": cursor.rowcount,
            "last_id": cursor.lastrowid, "message": canonical(result.message if result else None),
            "warnings": result.warning_count if result else None,
            "status": result.server_status if result else None}


def ask(connection, sql, parameters=None):
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return answer(cursor)


def texts(record, database, connection):
    for sql, refused in common.statements(database):
        record.run(sql, lambda: ask(connection, sql), refused)
    record.run("multi without asking for it", lambda: ask(connection, "SELECT 1; SELECT 2"), 1064)


def every_type(record, connection):
    connection.query(f"SET SESSION sql_mode = '{common.types()['sql_mode']}'")
    record.run("types ddl", lambda: ask(connection, common.types_ddl()))
    for sql in common.types_inserts():
        record.run("types insert", lambda: ask(connection, sql))
        record.run("types warnings", lambda: ask(connection, "SHOW WARNINGS"))
    for name, got in [
        ("types select", record.run("types select", lambda: ask(connection, common.types_select()))),
        ("types in one transaction", record.run("types in one transaction", lambda: in_transaction(
            connection, common.types_select("id DESC")))),
    ]:
        record.must(name, len(got["rows"]), common.types_rows())
    record.run("types escaped", lambda: ask(
        connection, "SELECT %s, %s, %s, %s, %s", (b"\x00\xff'\"\\", "\U0001f600'\\", 1.5, None, 2**63)))


def in_transaction(connection, sql):
    connection.begin()
    got = ask(connection, sql)
    connection.commit()
    return got


def many_results(record, args):
    connection = connect(args, autocommit=True, client_flag=CLIENT.MULTI_STATEMENTS)

    def all_of(sql):
        with connection.cursor() as cursor:
            cursor.execute(sql)
            yield answer(cursor)
            while cursor.nextset():
                yield answer(cursor)

    names = [["Ada"], ["Cleo"], ["Dai"], ["Fay"], ["Ivy"], ["Kit"], ["Lou"]]
    # The rows of each result, and the code of the error that ends them.
    for sql, rows, refused in [
        ("INSERT INTO people (name) VALUES ('Kit'), ('Lou'); SELECT LAST_INSERT_ID(); SELECT COUNT(*) FROM people",
         [[], [[13]], [[7]]], None),
        ("CALL two_results()", [[[1]], names, []], None),
        ("CALL warn_and_fail()", [[[1]]], 31001),
        ("SELECT 1; SELECT 2 AS two, 3; SELECT name FROM people ORDER BY 1", [[[1]], [[2, 3]], names], None),
        ("SELECT 1; SELECT * FROM no_such_table; SELECT 2", [[[1]]], 1146),
        ("SET @m = 5; SELECT @m; SET @m = NULL", [[], [[5]], []], None),
        ("CALL two_results(); SELECT 'after'", [[[1]], names, [], [["after"]]], None),
        ("BEGIN; UPDATE people SET age = 1; ROLLBACK; SELECT MAX(age) FROM people", [[], [], [], [[99]]], None),
        ("SELECT 1;;", [[[1]]], None),
        (";", [], 1065),
        ("", [], 1065),
    ]:
        got = record.results("multi " + sql, lambda: all_of(sql), refused)
        record.must("multi " + sql, [each["rows"] for each in got if "rows" in each], canonical(rows))
    connection.close()


def blobs(record, connection):
    data = common.blob()
    record.run("blob ddl", lambda: ask(connection, "CREATE TABLE blobs (id INT PRIMARY KEY, v LONGBLOB)"))
    sizes = [0, 250, 251, 65535, 65536, (1 << 24) - 1, 1 << 24, common.BLOB_BYTES]
    for number, size in enumerate(sizes):
        record.run(f"blob in {size}", lambda: ask(
            connection, "INSERT INTO blobs VALUES (%s, %s)", (number, data[:size])))
    got = record.run("blobs out", lambda: ask(connection, "SELECT * FROM blobs ORDER BY id"))
    record.rows("blobs out", got, [(number, data[:size]) for number, size in enumerate(sizes)])
    got = record.run("blob out alone", lambda: ask(connection, "SELECT v FROM blobs WHERE id = 7"))
    record.rows("blob out alone", got, [(data,)])
    # With its length header a row of this many bytes fills packets exactly.
    for size in ((1 << 24) - 6, (1 << 24) - 5, (1 << 24) - 4, 2 * ((1 << 24) - 1) - 9):
        got = record.run(f"packet edge {size}", lambda: ask(connection, f"SELECT REPEAT('p', {size})"))
        record.rows(f"packet edge {size}", got, [("p" * size,)])
    record.run("after blobs", lambda: ask(connection, "SELECT COUNT(*) FROM blobs"))


def load_local(record, connection):
    record.run("load ddl", lambda: ask(
        connection, "CREATE TABLE loaded (a INT, b VARCHAR(40)) CHARACTER SET utf8mb4"))
    path = common.local_file("1,one\n2,\u4e2d\u6587\n3,too long " + "x" * 50 + "\nbad,4\n")
    big = common.local_file("".join(f"{n},row {n}\n" for n in range(50_000)))
    try:
        for name, sql, refused in [
            ("load", "LOAD DATA LOCAL INFILE %s INTO TABLE loaded CHARACTER SET utf8mb4 FIELDS TERMINATED BY ','",
             None),
            ("load into nothing", "LOAD DATA LOCAL INFILE %s INTO TABLE no_such_table", 1146),
        ]:
            got = record.run(name, lambda: ask(connection, sql, (path,)), refused)
            if refused is None:
                record.must(name, [got["count"], got["warnings"]], [4, 2])
            record.run(name + " warnings", lambda: ask(connection, "SHOW WARNINGS"))
        got = record.run("load big", lambda: ask(
            connection, "LOAD DATA LOCAL INFILE %s INTO TABLE loaded FIELDS TERMINATED BY ','", (big,)))
        record.must("load big", got["count"], 50_000)
    finally:
        os.unlink(path)
        os.unlink(big)
    got = record.run("loaded", lambda: ask(connection, "SELECT COUNT(*), CAST(SUM(a) AS SIGNED), MAX(b) FROM loaded"))
    record.rows("loaded", got, [(50_004, sum(range(50_000)) + 6, "\u4e2d\u6587")])


def transactions(record, args):
    connection = connect(args, autocommit=False)
    other = connect(args, autocommit=True)
    record.run("trx ddl", lambda: ask(other, "CREATE TABLE trx (id INT PRIMARY KEY) ENGINE=InnoDB"))
    record.run("trx insert", lambda: ask(connection, "INSERT INTO trx VALUES (1)"))

    def sees(name, who, sql, expected):
        record.rows(name, record.run(name, lambda: ask(who, sql)), expected)

    sees("trx own", connection, "SELECT * FROM trx", [(1,)])
    sees("trx other", other, "SELECT COUNT(*) FROM trx FOR SHARE SKIP LOCKED", [(0,)])
    connection.rollback()
    sees("trx rolled back", connection, "SELECT * FROM trx", [])
    record.run("trx insert 2", lambda: ask(connection, "INSERT INTO trx VALUES (2)"))
    connection.commit()
    sees("trx committed", connection, "SELECT * FROM trx", [(2,)])
    connection.autocommit(True)
    sees("trx autocommit on", connection, "SELECT * FROM trx", [(2,)])
    connection.close()
    other.close()


def charsets(record, args):
    for charset in ("latin1", "gbk", "sjis", "utf8mb3", "cp1251", "ascii"):
        def one():
            connection = connect(args, charset=charset, autocommit=True)
            got = [ask(connection, "SELECT @@character_set_client, @@character_set_connection, "
                                   "@@character_set_results, @@collation_connection")]
            text = {"latin1": "\u00e9", "gbk": "\u8a89\u4e2d", "sjis": "\u8868\u793a",
                    "cp1251": "\u0416"}.get(charset, "plain")
            got.append(ask(connection, "SELECT %s, HEX(%s), LENGTH(%s)", (text, text, text)))
            record.rows("charset " + charset, got[0], [(charset, charset, charset, got[0]["rows"][0][3])])
            sent = text.encode("utf-8" if charset == "utf8mb3" else charset)
            record.rows("charset " + charset, got[1], [(text, sent.hex().upper(), len(sent))])
            got.append(ask(connection, "SELECT c_latin1, c_enum FROM all_types WHERE id = 0 FOR SHARE"))
            connection.ping()
            connection.close()
            return got
        record.run("charset " + charset, one)


def streams(record, connection):
    """Rows taken one by one, and a result that is dropped half way."""
    with connection.cursor(pymysql.cursors.SSCursor) as cursor:
        cursor.execute("SELECT a, b FROM loaded ORDER BY a, b LIMIT 3000")
        rows = [cursor.fetchone() for _ in range(1500)]
    record.add("stream", common.shown(repr(rows).encode()))
    record.must("stream", [len(rows), len(set(rows)), None in rows], [1500, 1500, False])
    record.run("after stream", lambda: ask(connection, "SELECT 1"))


def session(record, connection):
    record.run("session set", lambda: ask(connection, "SET time_zone = '-03:00', @kept = 'mine'"))
    connection.ping(reconnect=False)
    got = record.run("session get", lambda: ask(connection, "SELECT @@time_zone, @kept"))
    record.rows("session get", got, [("-03:00", "mine")])
    record.run("select_db", lambda: connection.select_db("information_schema"))
    record.run("in other db", lambda: ask(connection, "SELECT DATABASE()"))
    record.run("select_db refused", lambda: connection.select_db("no_such_database"), 1049)
    got = record.run("still in other db", lambda: ask(connection, "SELECT DATABASE()"))
    record.rows("still in other db", got, [("information_schema",)])


def found_rows(record, args):
    """CLIENT_FOUND_ROWS changes what an UPDATE reports; PyMySQL sets it only on request."""
    connection = connect(args, autocommit=True, client_flag=CLIENT.FOUND_ROWS)
    for sql, count in (("UPDATE people SET age = 8", 7), ("UPDATE people SET age = 8", 7), ("SELECT ROW_COUNT()", 1),
                       ("INSERT INTO people (name, age) VALUES ('Ada', 8) ON DUPLICATE KEY UPDATE age = 8", 1)):
        got = record.run("found rows " + sql, lambda: ask(connection, sql))
        record.must("found rows " + sql, got["count"], count)
    connection.close()


def refused(record, args):
    record.run("wrong password", lambda: connect(args, password="wrong").close(), 1045)
    record.run("empty password", lambda: connect(args, password="").close(), 1045)
    record.run("no such user", lambda: connect(args, user="no_such_user_").close(), 1045)
    record.run("no such database", lambda: connect(args, database="no_such_database").close(), 1049)
    record.run("without database", lambda: connect(args, database=None).close())
    record.run("init command", lambda: connect(args, init_command="SET @i = 1").close())


if __name__ == "__main__":
    main()
