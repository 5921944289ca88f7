#!/usr/bin/env python3
"""Measures endpoints in turn, round after round: a server, HAProxy before it, HAProxy before the replicas, Weir.

Workloads: point (point selects as text, 16 connections), prepared (the same, prepared), connect (a new
connection, one select, a quit), big (one result of 500 MB), idle (memory and server connections of idle
clients). Ratios are medians of the ratios within a round. Needs sysbench; run by benches/load.sh.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from client import Client

HERE = Path(__file__).resolve().parent
TICKS = os.sysconf("SC_CLK_TCK")
REPLICAS = "haproxy-replicas"
# These show what reads cost elsewhere, and are asked for nothing but point selects.
READERS = (REPLICAS, "weir-plain")
TABLES, ROWS, THREADS = 4, 20_000, 16
# In a run: each leaves a local port in TIME_WAIT for a minute, and there are 28,000 towards one server.
CONNECTIONS = 2_500
BIG_ROWS, BIG_ROW_BYTES = 500, 1_000_000


class Target:
    def __init__(self, text):
        self.name, _, rest = text.partition("=")
        host, port, *pid = rest.split(":")
        self.address = (host, int(port))
        self.pid = int(pid[0]) if pid else None

    def cpu_seconds(self):
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def rss_kb(self, field="VmRSS"):
        return int(re.search(rf"^{field}:\s+(\d+)", Path(f"/proc/{self.pid}/status").read_text(), re.M)[1])


class Bench:
    def __init__(self, args):
        self.args = args
        text = Path(args.options).read_text()
        field = lambda name: re.search(rf'^{name} = "?(.*?)"?$', text, re.M)[1]
        self.user, self.password, self.database = field("user"), field("password"), field("database")
        self.targets = [Target(t) for t in args.target]
        self.backends = [Target(f"backend={b}") for b in args.backends]
        self.results = open(args.results, "a")

    def client(self, target):
        return Client(target.address, self.user.encode(), self.password.encode(), self.database.encode())

    def sysbench(self, target, script, *extra, seconds=None):
        command = ["sysbench", script, "--db-driver=mysql", f"--mysql-host={target.address[0]}",
                   f"--mysql-port={target.address[1]}", f"--mysql-user={self.user}",
                   f"--mysql-password={self.password}", f"--mysql-db={self.database}",
                   f"--tables={TABLES}", f"--table-size={ROWS}", f"--threads={THREADS}",
                   f"--time={seconds or self.args.seconds}", *extra]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        if done.returncode:
            sys.exit(f"sysbench against {target.name} failed:\n{done.stdout[-2000:]}{done.stderr[-500:]}")
        return done.stdout

    def prepare(self):
        direct = self.targets[0]
        self.sysbench(direct, "oltp_point_select", "--threads=1", "prepare")
        # One full login each fills the caches, so that the timed ones go by the fast path; sysbench's
        # client does it. The replicas have their own caches.
        for target in [*self.targets, *self.backends]:
            self.sysbench(target, "oltp_point_select", "run", seconds=1)

    def in_turn(self, workload, measure, without=()):
        got = {}
        targets = [t for t in self.targets if t.name not in without]
        for number in range(self.args.rounds):
            shift = number % len(targets)
            for target in targets[shift:] + targets[:shift]:
                result = measure(target)
                got.setdefault(target.name, []).append(result)
                line = {"workload": workload, "target": target.name, "round": number, **result}
                self.results.write(json.dumps(line) + "\n")
                self.results.flush()
        return got

    def rate(self, target, script, *extra):
        before = target.cpu_seconds() if target.pid else 0
        out = self.sysbench(target, script, *extra, "run")
        events = int(re.search(r"total number of events:\s+(\d+)", out)[1])
        seconds = float(re.search(r"total time:\s+([\d.]+)s", out)[1])
        cpu = (target.cpu_seconds() - before) * 1e6 / events if target.pid else None
        return {"rate": events / seconds, "cpu_us": cpu}

    def report(self, title, unit, got):
        peers = [name for name in ("haproxy", REPLICAS) if name in got]
        heads = ["target", unit, "proxy CPU µs each"]
        for peer in peers:
            heads += [f"rate of {peer}", f"CPU of {peer}"]
        print(f"\n{title}\n\n| {' | '.join(heads)} |\n|---{'|---:' * (len(heads) - 1)}|")
        for name, runs in got.items():
            proxy = runs[0]["cpu_us"] is not None
            cells = [name, f"{median(r['rate'] for r in runs):,.0f}"]
            cells.append(f"{median(r['cpu_us'] for r in runs):.1f}" if proxy else "–")
            for peer in peers:
                pairs = list(zip(runs, got[peer]))
                cells.append(f"{median(r['rate'] / p['rate'] for r, p in pairs):.2f}")
                cells.append(f"{median(r['cpu_us'] / p['cpu_us'] for r, p in pairs):.2f}" if proxy else "–")
            print(f"| {' | '.join(cells)} |")
        sys.stdout.flush()

    def point(self):
        run = lambda t: self.rate(t, "oltp_point_select", "--db-ps-mode=disable")
        self.report(f"Point selects as text, {THREADS} connections", "q/s", self.in_turn("point", run))

    def prepared(self):
        run = lambda t: self.rate(t, "oltp_point_select", "--db-ps-mode=auto")
        self.report(f"Point selects, prepared, {THREADS} connections", "q/s", self.in_turn("prepared", run))

    def connect(self):
        run = lambda t: self.rate(t, str(HERE / "connect.lua"), f"--events={CONNECTIONS}")
        self.report(f"Connect, one select, quit; {THREADS} at once", "connections/s", self.in_turn("connect", run, READERS))

    def big_one(self, target):
        client = self.client(target)
        before, cpu = (target.rss_kb(), target.cpu_seconds()) if target.pid else (0, 0)
        if target.pid:
            Path(f"/proc/{target.pid}/clear_refs").write_text("5")
        started = time.monotonic()
        size = client.count_bytes(b"SELECT REPEAT('x', %d) FROM sbtest1 LIMIT %d" % (BIG_ROW_BYTES, BIG_ROWS))
        seconds = time.monotonic() - started
        client.close()
        assert size > BIG_ROWS * BIG_ROW_BYTES, f"{target.name} gave {size} bytes"
        grown = target.rss_kb("VmHWM") - before if target.pid else 0
        mb = size / 1e6
        used = (target.cpu_seconds() - cpu) * 1e6 / mb if target.pid else None
        return {"rate": mb / seconds, "cpu_us": used, "grown_kb": grown}

    def big(self):
        got = self.in_turn("big", self.big_one, READERS)
        self.report(f"One result of {BIG_ROWS * BIG_ROW_BYTES / 1e6:.0f} MB (CPU per MB)", "MB/s", got)
        for name in ("haproxy", "weir"):
            print(f"{name}: resident memory grew by at most {max(r['grown_kb'] for r in got[name])} KB")

    def connected(self):
        clients = [self.client(backend) for backend in self.backends]
        counts = [int(c.rows(b"SHOW GLOBAL STATUS LIKE 'Threads_connected'")[0][1]) for c in clients]
        for client in clients:
            client.close()
        return sum(counts)

    def idle(self):
        print(f"\n{self.args.clients} idle clients\n\n| target | KB each after login | after a query each "
              "| server connections |\n|---|---:|---:|---:|")
        for target in self.targets:
            if not target.pid or target.name in READERS:
                continue
            # What earlier runs left in the pools is to be closed first.
            lowest, since = self.connected(), time.monotonic()
            while time.monotonic() - since < 70 and target.name == "weir" and lowest > 3 * len(self.backends) + 3:
                time.sleep(2)
                lowest = min(lowest, self.connected())
            base, clients = target.rss_kb(), []
            try:
                for _ in range(self.args.clients):
                    clients.append(self.client(target))
                login = (target.rss_kb() - base) / len(clients)
                for client in clients:
                    client.rows(b"SELECT 1")
                query = (target.rss_kb() - base) / len(clients)
                held = self.connected() - lowest
            finally:
                for client in clients:
                    client.close()
            self.results.write(json.dumps({"workload": "idle", "target": target.name, "clients": len(clients),
                                           "kb_login": login, "kb_query": query, "held": held}) + "\n")
            print(f"| {target.name} | {login:.1f} | {query:.1f} | {held} |")
            time.sleep(3)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--options", required=True, help="client option file with user, password, database")
    parser.add_argument("--results", required=True, help="JSON lines are added here")
    parser.add_argument("--target", action="append", required=True, help="NAME=HOST:PORT[:PID]")
    parser.add_argument("--backends", nargs="+", required=True, help="HOST:PORT of every server, the primary first")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=6)
    parser.add_argument("--clients", type=int, default=5000)
    parser.add_argument("workloads", nargs="*", default=[])
    args = parser.parse_args()
    bench = Bench(args)
    bench.prepare()
    for workload in args.workloads or ["idle", "point", "prepared", "connect", "big"]:
        getattr(bench, workload)()


if __name__ == "__main__":
    main()
