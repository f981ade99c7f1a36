"""`pinfold mcp` with the official client of the Model Context Protocol; PINFOLD_PROGRAM names the program."""

import os
import tempfile
import unittest
from typing import Any

from mcp import Client, StdioServerParameters


class Tools(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self) -> None:
        self.base = tempfile.TemporaryDirectory(dir="/var/tmp")
        self.work = os.path.join(self.base.name, "work")
        os.mkdir(self.work)

    async def asyncTearDown(self) -> None:
        self.base.cleanup()

    def client(self, *options: str) -> Client:
        program = os.environ["PINFOLD_PROGRAM"]
        return Client(StdioServerParameters(command=program, args=["mcp", "-C", self.work, *options]))

    async def call(self, client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
        result = await client.call_tool(tool, arguments)
        self.assertFalse(result.is_error, result.content)
        structured = result.structured_content
        assert isinstance(structured, dict)
        return structured

    async def test_the_tools_are_listed_with_what_they_take(self) -> None:
        async with self.client() as client:
            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        self.assertEqual(len(tools), 9)
        self.assertEqual(tools["run"].input_schema["required"], ["command"])
        self.assertIn("sandbox", tools["run"].description or "")

    async def test_commands_run_in_one_session(self) -> None:
        async with self.client() as client:
            await self.call(client, "run", command="echo kept >/tmp/note")
            done = await self.call(client, "run", command="cat /tmp/note; exit 3")
            self.assertEqual((done["output"], done["exit_status"]), ("kept\n", 3))

    async def test_a_repl_on_a_terminal_answers(self) -> None:
        async with self.client() as client:
            started = await self.call(
                client,
                "start",
                command=["python3", "-i", "-q"],
                terminal={"rows": 20, "columns": 80},
                wait_seconds=60,
                until=">>> ",
            )
            process = started["process"]
            answer = await self.call(
                client, "write", process=process, text="6 * 7\n", wait_seconds=60, until="42"
            )
            self.assertTrue(answer["found"], answer)
            ended = await self.call(
                client, "write", process=process, text="\x04", wait_seconds=60, until="never"
            )
            self.assertEqual(ended["exit_status"], 0)

    async def test_the_option_that_explain_names_allows_it(self) -> None:
        other = os.path.join(self.base.name, "other")
        os.mkdir(other)
        async with self.client() as client:
            done = await self.call(client, "run", command=["touch", other + "/file"])
            self.assertNotEqual(done["exit_status"], 0)
            self.assertEqual(os.listdir(other), [])
            verdicts = (await self.call(client, "explain", about=other))["verdicts"]
        (option,) = [verdict["to_allow"] for verdict in verdicts if verdict["operation"] == "write"]
        self.assertEqual(option, f'--write "{other}"')
        async with self.client("--write", other) as client:
            done = await self.call(client, "run", command=["touch", other + "/file"])
            self.assertEqual(done["exit_status"], 0)
        self.assertEqual(os.listdir(other), ["file"])

    async def test_mistakes_are_errors_of_the_tool(self) -> None:
        async with self.client() as client:
            result = await client.call_tool("run", {"command": ["nonsuch"]})
            self.assertTrue(result.is_error)
            self.assertIn("hint:", getattr(result.content[0], "text"))


if __name__ == "__main__":
    unittest.main()
