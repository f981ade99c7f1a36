#!/usr/bin/env python3
"""What commands cost in a session, beside bare ones in the same run.

    bench/sessions.py PINFOLD [ROUNDS]

prints tenth percentiles of `true` started by itself, by `pinfold run` and by `pinfold session
exec`; commands per second over one connection to a server; and the rate of standard output.
"""

import base64
import json
import os
import subprocess
import sys
import tempfile
import time

program = os.path.abspath(sys.argv[1])
rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 200
base = tempfile.mkdtemp(dir="/var/tmp")
environment = dict(os.environ, XDG_STATE_HOME=base, PINFOLD_HOME=base)
environment.pop("XDG_RUNTIME_DIR", None)
os.chdir(base)


def once(command):
    began = time.perf_counter()
    process = os.posix_spawnp(command[0], command, environment)
    os.waitpid(process, 0)
    return (time.perf_counter() - began) * 1000


def compare():
    subprocess.run([program, "session", "start", "bench"], env=environment, check=True, stdout=-3)
    commands = {
        "bare": ["true"],
        "run": [program, "run", "true"],
        "session exec": [program, "session", "exec", "bench", "true"],
    }
    times = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            times[name].append(once(command))
    bare = sorted(times["bare"])[rounds // 10]
    for name, list_ in times.items():
        tenth = sorted(list_)[rounds // 10]
        print(f"{name:14} p10 {tenth:6.2f} ms   r10 {tenth / bare:5.2f}")


class Server:
    def __init__(self):
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([program, "serve"], stdin=pipe, stdout=pipe, env=environment)
        self.last = 0
        self.call("initialize", protocol=1)
        self.session = self.call("session/start")["session"]

    def send(self, method, **parameters):
        self.last += 1
        request = {"jsonrpc": "2.0", "id": self.last, "method": method, "params": parameters}
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        self.process.stdin.flush()

    def call(self, method, **parameters):
        self.send(method, **parameters)
        while True:
            message = json.loads(self.process.stdout.readline())
            if message.get("id") == self.last:
                return message["result"]


def many(server, count=2000):
    began = time.perf_counter()
    started = ended = 0
    while ended < count:
        if started < count and started - ended < 16:
            server.send(
                "process/start", session=server.session, command=["true"], stdin=False
            )
            started += 1
            continue
        message = json.loads(server.process.stdout.readline())
        ended += message.get("method") == "process/ended"
    print(f"commands over one connection: {count / (time.perf_counter() - began):.0f} per second")


def flood(size=1 << 30):
    head = ["head", "-c", str(size), "/dev/zero"]
    rates = {}
    for name, command in {
        "bare": head,
        "session exec": [program, "session", "exec", "bench", *head],
    }.items():
        began = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
            seen = 0
            while piece := process.stdout.read1(1 << 20):
                seen += len(piece)
        assert seen == size, (name, seen)
        rates[name] = size / (time.perf_counter() - began)
    print(f"1 GiB through standard output: {rates['session exec'] / rates['bare']:.2f} of a bare pipe")


compare()
server = Server()
many(server)
status = open(f"/proc/{server.process.pid}/status").read()
before = int(status.split("VmRSS:")[1].split()[0])
for _ in range(100):
    server.call("session/start")
status = open(f"/proc/{server.process.pid}/status").read()
print(f"a session: {(int(status.split('VmRSS:')[1].split()[0]) - before) / 100:.0f} KiB resident")
flood()
server.process.stdin.close()
server.process.wait()
subprocess.run([program, "session", "stop", "bench"], env=environment, check=True)
