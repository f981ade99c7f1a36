/** The client against the real program, which PINFOLD_PROGRAM names. */
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

import { Client, ConfigurationError, NotFoundError, ProgramError, RefusedError, type Session } from "../src/index.js";

async function inside(act: (session: Session, client: Client, directory: string) => Promise<void>) {
  const directory = mkdtempSync("/var/tmp/pinfold-sdk-");
  const client = await Client.start();
  try {
    await act(await client.startSession({ directory }), client, directory);
  } finally {
    await client.close();
    rmSync(directory, { recursive: true });
  }
}

test("a command runs to its end", () =>
  inside(async (session) => {
    const script = "cat; echo err >&2; exit 3";
    const done = await session.run(["sh", "-c", script], { input: Buffer.from("in\n") });
    assert.deepEqual([done.code, String(done.stdout), String(done.stderr)], [3, "in\n", "err\n"]);
    const killed = await session.start(["sh", "-c", "kill -9 $$"]);
    assert.deepEqual(await killed.wait(), { code: 137, signal: 9 });
  }));

test("the profile holds", () =>
  inside(async (session, client, directory) => {
    const outside = `${directory}-outside`;
    assert.notEqual((await session.run(["touch", outside])).code, 0);
    await assert.rejects(session.writeFile(outside, Buffer.from("x")), RefusedError);
    assert.ok(!existsSync(outside));
    assert.match(await session.explain(outside), /denied/);
  }));

test("a denial names the rule that lets the command go on", () =>
  inside(async (_, client, directory) => {
    const other = mkdtempSync("/var/tmp/pinfold-sdk-other-");
    try {
      const session = await client.startSession({ directory, denials: "writes" });
      const [denial, ...more] = (await session.run(["mkdir", join(other, "made")])).denials;
      assert.ok(denial !== undefined && denial.allow !== null && more.length === 0);
      assert.deepEqual([denial.attempted, denial.target], ["create", join(other, "made")]);
      assert.deepEqual(await session.denials(denial.process ?? undefined), [denial]);
      assert.deepEqual(await session.denials(undefined, denial.sequence + 1), []);
      await session.stop();
      const { option, value } = denial.allow;
      const wider = await client.startSession({ directory, [option]: [value] });
      assert.equal((await wider.run(["mkdir", join(other, "made")])).code, 0);
      assert.ok(existsSync(join(other, "made")));
    } finally {
      rmSync(other, { recursive: true });
    }
  }));

test("files are written, read and listed", () =>
  inside(async (session, client, directory) => {
    const data = Buffer.alloc(5_000_000, "0123456789");
    await session.writeFile("data", data);
    assert.ok((await session.readFile("data")).equals(data));
    assert.ok(readFileSync(join(directory, "data")).equals(data));
    assert.deepEqual(await session.listFiles(), [{ name: "data", kind: "file", size: data.length }]);
  }));

test("a terminal answers", () =>
  inside(async (session) => {
    const process = await session.start(["python3", "-i", "-q"], { terminal: { rows: 20, columns: 80 } });
    await process.write("print(6 * 7)\n");
    let seen = "";
    for await (const chunk of process.output()) {
      seen += chunk.data;
      if (seen.includes("42")) await process.write("\x04");
    }
    assert.ok(seen.includes("42"), seen);
  }));

test("a flood is neither lost nor kept in memory, and can be ended", () =>
  inside(async (session) => {
    const process = await session.start(["head", "-c", "30000000", "/dev/zero"], { stdin: false });
    await new Promise((wake) => setTimeout(wake, 300));
    assert.ok(process.unread < 8 * 1024 * 1024, `${process.unread}`);
    let size = 0;
    for await (const chunk of process.output()) size += chunk.data.length;
    assert.equal(size, 30_000_000);
    const endless = await session.start(["yes"], { stdin: false });
    await new Promise((wake) => setTimeout(wake, 300));
    await endless.terminate(1);
    assert.equal((await endless.wait()).signal, 15);
  }));

test("errors have types and hints", () =>
  inside(async (session, client) => {
    await assert.rejects(session.start(["nonsuch"]), (error) => error instanceof ProgramError && error.hint !== undefined);
    await assert.rejects(client.startSession({ profile: "nonsuch" }), ConfigurationError);
    await assert.rejects(client.attachSession("nonsuch"), NotFoundError);
  }));

test("a stopped session is gone", () =>
  inside(async (session) => {
    const process = await session.start(["sleep", "1000"]);
    await session.stop();
    assert.equal((await process.wait()).signal, 9);
    await assert.rejects(session.run(["true"]), NotFoundError);
  }));
