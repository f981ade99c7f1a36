"""What the server and the client really say, against docs/protocol.schema.json."""

import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any

import jsonschema

SCHEMA = json.loads(Path(sys.argv.pop(1)).read_text())
PROGRAM = os.environ["PINFOLD_PROGRAM"]


def validator(name: str) -> Any:
    whole = {"$defs": SCHEMA["$defs"], **SCHEMA["$defs"][name]}
    return jsonschema.Draft202012Validator(whole)


class Transcript(unittest.TestCase):
    def setUp(self) -> None:
        self.directory = tempfile.TemporaryDirectory(dir="/var/tmp")
        self.server = subprocess.Popen(
            [PROGRAM, "serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=self.directory.name,
        )
        self.outside = f"/var/tmp/pinfold-schema-{os.getpid()}"
        self.last = 0
        self.said: set[str] = set()

    def tearDown(self) -> None:
        assert self.server.stdin is not None and self.server.stdout is not None
        self.server.stdin.close()
        self.server.wait()
        self.server.stdout.close()
        self.directory.cleanup()

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        assert self.server.stdin is not None and self.server.stdout is not None
        self.last += 1
        request = {"jsonrpc": "2.0", "id": self.last, "method": method, "params": parameters}
        validator("request").validate(request)
        self.server.stdin.write(json.dumps(request).encode() + b"\n")
        self.server.stdin.flush()
        while True:
            message: dict[str, Any] = json.loads(self.server.stdout.readline())
            if "method" in message:
                self.said.add(message["method"])
                validator("notification").validate(message)
                continue
            validator("response").validate(message)
            if "result" in message:
                validator(f"result of {method}").validate(message["result"])
                self.said.add(method)
            return message

    def test_every_message_has_the_form_that_the_schema_gives_it(self) -> None:
        self.assertIn("error", self.ask("session/list"))
        self.ask("initialize", protocol=1, client={"name": "test", "version": "1"})
        session = self.ask("session/start", name="one", deny=["x"], denials="writes")["result"]["session"]
        self.ask("session/attach", session="one")
        start = {"session": session, "command": ["sh", "-c", "cat; echo err >&2; exit 3"]}
        process = self.ask("process/start", **start)["result"]["process"]
        self.ask("process/write", process=process, data="aGkK")
        self.ask("process/read", process=process, wait=0.1)
        self.ask("process/close_stdin", process=process)
        self.ask("process/wait", process=process)
        self.ask("process/read", process=process, after=0)
        self.ask("process/attach", process=process, after=1)
        size = {"rows": 5, "columns": 5}
        cat = {"session": session, "command": ["cat"], "terminal": size}
        terminal = self.ask("process/start", **cat)["result"]["process"]
        self.ask("process/resize", process=terminal, rows=6, columns=6)
        self.ask("process/signal", process=terminal, signal="WINCH")
        self.ask("process/terminate", process=terminal, grace=1)
        self.ask("process/wait", process=terminal)
        self.ask("file/write", session=session, path="f", data="aGkK", how="create")
        self.ask("file/read", session=session, path="f", offset=1, length=1)
        self.ask("file/list", session=session, path=".")
        self.ask("session/explain", session=session, thing="/etc")
        refused = self.ask("process/start", session=session, command=["mkdir", self.outside])
        process = refused["result"]["process"]
        self.assertEqual(len(self.ask("process/wait", process=process)["result"]["denials"]), 1)
        denied = self.ask("session/denials", session=session, process=process)["result"]
        self.assertEqual(denied["denials"][0]["target"], self.outside)
        self.ask("session/list")
        missing = self.ask("process/start", session=session, command=["nonsuch"])
        self.assertEqual(missing["error"]["data"]["code"], 127)
        self.ask("session/stop", session=session)
        self.ask("shutdown")
        named = {
            name.removeprefix("parameters of ")
            for name in SCHEMA["$defs"]
            if name.startswith("parameters of ")
        }
        self.assertEqual(named - self.said, set(), "not every message was seen")


if __name__ == "__main__":
    unittest.main()
