"""What the Python driver suites share: arguments, canonical values, the record that is compared.

A suite runs a fixed course of steps against one endpoint and prints one line of JSON for each: every
row, column description, count, status and error that the driver showed. Run against a server and
against Weir in front of it, the two outputs must be the same bytes. Whatever may differ between
two runs on one server (times, connection ids) stays out, and so do plain reads of what another
session has just written: only the session itself is promised to see it at once, so others read with
FOR SHARE or after a write of their own.

Two equal outputs may be two equal failures. So a step must succeed, or be refused with the very code
that its course names, and what must not be lost is compared with what it has to be.
"""

import argparse
import atexit
import datetime
import decimal
import hashlib
import json
import os
import pathlib
import re
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
# One blob of this size goes up and comes back; packets over 16 MiB are split on the wire.
BLOB_BYTES = 20 * 1024 * 1024
# A value longer than this is recorded as its length and hash.
SHOWN_BYTES = 600


def arguments():
    """Host, port, user, database and TLS flag; the password comes from WEIR_TEST_PASSWORD."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", required=True, type=int)
    parser.add_argument("--user", required=True)
    parser.add_argument("--database", required=True)
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--variant", default="", help="a suite's own choice, such as pure")
    args = parser.parse_args()
    args.password = os.environ["WEIR_TEST_PASSWORD"]
    return args


def statements(database):
    """Pairs of a text and the code it must be refused with, or None. Names that are the whole server's (XA, GET_LOCK)
    carry the database's: other suites run beside this one."""
    for each in json.loads((HERE / "statements.json").read_text())["statements"]:
        sql, refused = (each, None) if isinstance(each, str) else (each["sql"], each["refused"])
        yield sql.replace("{database}", database), refused


def types():
    return json.loads((HERE / "types.json").read_text())


def types_ddl(table="all_types"):
    columns = ", ".join(f"{name} {kind}" for name, kind, _ in types()["columns"])
    return f"CREATE TABLE {table} (id INT PRIMARY KEY, {columns})"


def types_inserts(table="all_types"):
    """One INSERT for each row of edge values, then one that holds only NULLs."""
    columns = types()["columns"]
    for row in range(types_rows()):
        values = [v[row] if row < len(v) else "NULL" for _, _, v in columns]
        yield f"INSERT INTO {table} VALUES ({row}, {', '.join(values)})"


def types_rows():
    """How many rows those are."""
    return max(len(values) for _, _, values in types()["columns"]) + 1


def types_select(order="id", table="all_types", vector="HEX(c_vector)"):
    """All columns; a vector as text for drivers that do not know the type."""
    names = [vector if name == "c_vector" else name for name, _, _ in types()["columns"]]
    return f"SELECT id, {', '.join(names)} FROM {table} ORDER BY {order}"


def blob():
    """BLOB_BYTES that hold every byte value and do not repeat with any power of two."""
    unit = bytes(range(256)) + b"weir"
    return (unit * (BLOB_BYTES // len(unit) + 1))[:BLOB_BYTES]


def canonical(value):
    """A value as text that shows its type and every bit of it."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (bytes, bytearray)):
        return "bytes:" + shown(bytes(value))
    if isinstance(value, str):
        return value if len(value) <= SHOWN_BYTES else "str:" + shown(value.encode("utf-8", "surrogatepass"))
    if isinstance(value, float):
        return "float:" + value.hex()
    if isinstance(value, (int, decimal.Decimal)):
        return f"{type(value).__name__}:{value}"
    if isinstance(value, (datetime.date, datetime.time, datetime.timedelta)):
        return f"{type(value).__name__}:{value!r}"
    if isinstance(value, dict):
        return {str(k): canonical(v) for k, v in value.items()}
    if isinstance(value, (set, frozenset)):
        return ["set"] + sorted(canonical(v) for v in value)
    if isinstance(value, (list, tuple)):
        return [canonical(v) for v in value]
    return f"{type(value).__name__}:{value!r}"


def shown(data):
    if len(data) <= SHOWN_BYTES:
        return data.hex()
    return f"{len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}"


def masked(text):
    """A message without what differs between two runs: the address that the server sees."""
    return re.sub(r"'@'[^']*'", "'@'HOST'", str(text))


def local_file(text):
    """A file for LOAD DATA LOCAL; its path, and it must be removed by the caller."""
    handle, path = tempfile.mkstemp(prefix="weir-load-", suffix=".csv")
    with os.fdopen(handle, "w", encoding="utf-8") as out:
        out.write(text)
    return path


class Record:
    """The steps in order with what each gave."""

    def __init__(self, error_class):
        self.steps = []
        self.error_class = error_class
        # What no equal output may excuse. Told at the end, also when a fault has brought the course to a halt.
        self.faults = []
        atexit.register(lambda: sys.stderr.write("\n".join(self.faults)))

    def add(self, name, value):
        self.steps.append([name, value])

    def run(self, name, action, refused=None):
        """Runs the step and gives its value; `refused` is the code of the error that it must end in."""
        try:
            value = action()
            if refused is not None:
                self.faults.append(f"{name}: not refused with {refused}")
        except self.error_class as error:
            value = self.describe(error)
            self.must(name, value["code"], refused, value["message"])
        self.add(name, value)
        return value

    def results(self, name, action, refused=None):
        """The same for a step of many results; whatever came before the error stays. `action` yields them."""
        got = []

        def all_of():
            for result in action():
                got.append(result)

        end = self.run(name + ", its end", all_of, refused)
        self.add(name, got)
        return got if end is None else [*got, end]

    def must(self, name, value, expected, about=""):
        """What the step gave has to be exactly this, on the server and through Weir."""
        if value != expected:
            self.faults.append(f"{name}: {shorter(value)} instead of {shorter(expected)} {about}")

    def rows(self, name, answer, expected):
        """The rows of an answer have to be these."""
        self.must(name, answer.get("rows"), canonical(expected), answer.get("message") or "")

    @staticmethod
    def describe(error):
        code = getattr(error, "errno", None) or (error.args[0] if error.args else None)
        state = getattr(error, "sqlstate", None)
        return {"error": type(error).__name__, "code": code, "sqlstate": state,
                "message": masked(getattr(error, "msg", None) or error)}

    def print(self):
        """One step a line, so that the first line that differs names the step; fails when one went wrong."""
        for step in self.steps:
            print(json.dumps(step, sort_keys=True, default=canonical))
        if self.faults:
            sys.exit(1)


def shorter(value):
    text = repr(value)
    return text if len(text) < 300 else text[:300] + ".."
