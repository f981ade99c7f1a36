"""The client against the real program, which PINFOLD_PROGRAM names."""

import asyncio
import os
import tempfile
import unittest

import pinfold


class Sessions(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self) -> None:
        self.directory = tempfile.TemporaryDirectory(dir="/var/tmp")
        self.client = await pinfold.Client.start().__aenter__()
        self.session = await self.client.start_session(directory=self.directory.name)

    async def asyncTearDown(self) -> None:
        await self.client.close()
        self.directory.cleanup()

    def path(self, name: str) -> str:
        return os.path.join(self.directory.name, name)

    async def test_a_command_runs_to_its_end(self) -> None:
        done = await self.session.run(["sh", "-c", "cat; echo err >&2; exit 3"], input=b"in\n")
        self.assertEqual(done, pinfold.Completed(3, b"in\n", b"err\n"))
        killed = await self.session.start(["sh", "-c", "kill -9 $$"])
        self.assertEqual(await killed.wait(), pinfold.Ended(137, 9))

    async def test_the_profile_holds(self) -> None:
        outside = f"/var/tmp/pinfold-sdk-{os.getpid()}"
        done = await self.session.run(["touch", outside])
        self.assertNotEqual(done.code, 0)
        self.assertFalse(os.path.exists(outside))
        with self.assertRaises(pinfold.RefusedError):
            await self.session.write_file(outside, b"x")
        self.assertFalse(os.path.exists(outside))
        self.assertIn("denied", await self.session.explain(outside))

    async def test_a_denial_names_the_rule_that_lets_the_command_go_on(self) -> None:
        with tempfile.TemporaryDirectory(dir="/var/tmp") as other:
            made = os.path.join(other, "made")
            session = await self.client.start_session(
                directory=self.directory.name, denials="writes"
            )
            refused = await session.run(["mkdir", made])
            (denial,) = refused.denials
            self.assertEqual((denial.attempted, denial.target), ("create", made))
            self.assertEqual(await session.denials(denial.process), (denial,))
            self.assertEqual(await session.denials(since=denial.sequence + 1), ())
            allow = denial.allow
            assert allow is not None
            self.assertEqual((allow.parameter, allow.value), ("write", other))
            await session.stop()
            rules = {allow.parameter: [allow.value]}
            session = await self.client.start_session(directory=self.directory.name, **rules)
            self.assertEqual((await session.run(["mkdir", made])).code, 0)
            self.assertTrue(os.path.isdir(made))

    async def test_files_are_written_read_and_listed(self) -> None:
        data = bytes(range(256)) * 20_000
        await self.session.write_file("data", data)
        self.assertEqual(await self.session.read_file("data"), data)
        self.assertEqual(
            await self.session.list_files(), [pinfold.Entry("data", "file", len(data))]
        )
        with open(self.path("data"), "rb") as written:
            self.assertEqual(written.read(), data)

    async def test_a_terminal_answers(self) -> None:
        process = await self.session.start(["python3", "-i", "-q"], terminal=(20, 80))
        await process.write(b"print(6 * 7)\n")
        seen = b""
        async for chunk in process.output():
            seen += chunk.data
            if b"42" in seen:
                await process.write(b"\x04")
        self.assertIn(b"42", seen)
        self.assertEqual((await process.wait()).code, 0)

    async def test_a_flood_is_neither_lost_nor_kept_in_memory(self) -> None:
        process = await self.session.start(["head", "-c", "30000000", "/dev/zero"], stdin=False)
        other = await asyncio.wait_for(self.session.start(["true"]), 20)
        await asyncio.sleep(0.3)
        self.assertLess(process._unread, 8 * 1024 * 1024)
        size = 0
        async for chunk in process.output():
            size += len(chunk.data)
        self.assertEqual(size, 30_000_000)
        self.assertEqual((await other.wait()).code, 0)

    async def test_a_flood_that_nobody_reads_can_be_ended(self) -> None:
        process = await self.session.start(["yes"], stdin=False)
        await asyncio.sleep(0.3)
        await asyncio.wait_for(process.terminate(grace=1.0), 20)
        self.assertEqual((await asyncio.wait_for(process.wait(), 20)).signal, 15)

    async def test_errors_have_types_and_hints(self) -> None:
        with self.assertRaises(pinfold.ProgramError) as raised:
            await self.session.start(["nonsuch"])
        self.assertIsNotNone(raised.exception.hint)
        with self.assertRaises(pinfold.ConfigurationError):
            await self.client.start_session(profile="nonsuch")
        with self.assertRaises(pinfold.NotFoundError):
            await self.client.attach_session("nonsuch")

    async def test_terminating_ends_descendants(self) -> None:
        process = await self.session.start(["sh", "-c", "sleep 1000 & sleep 1000"])
        await process.terminate(grace=1.0)
        self.assertEqual((await process.wait()).signal, 15)

    async def test_a_stopped_session_is_gone(self) -> None:
        process = await self.session.start(["sleep", "1000"])
        await self.session.stop()
        self.assertEqual((await process.wait()).signal, 9)
        with self.assertRaises(pinfold.NotFoundError):
            await self.session.run(["true"])


if __name__ == "__main__":
    unittest.main()
