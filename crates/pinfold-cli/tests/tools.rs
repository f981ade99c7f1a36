//! Real programs run unchanged inside `:workspace`.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod world;

use world::World;

/// Whether a program is there to be tried; what is left out is said.
fn has(program: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|d| d.join(program).is_file()));
    if !found {
        println!("skipped: {program} is not installed");
    }
    found
}

/// Runs a shell script inside and expects success and this in its output.
fn check(world: &World, script: &str, expected: &str) {
    let output = world.pinfold(&["run", "--", "sh", "-c", script]);
    assert_eq!(output.status, 0, "{script}\n{}{}", output.stdout, output.stderr);
    assert!(output.stdout.contains(expected), "{script}: {expected:?} in\n{}", output.stdout);
}

#[test]
fn git_commits_branches_and_stashes() {
    if !has("git") {
        return;
    }
    let world = World::new("git");
    world.outside("git init -q . && git config user.email a@example.com && git config user.name a");
    world.file("a", "one");
    check(&world, "git add a && git commit -qm one && git log --format=%s", "one");
    check(
        &world,
        "git checkout -qb other && echo two > a && git stash -q && git stash pop -q && git commit -qam two && git log --format=%s",
        "two",
    );
    check(
        &world,
        "git worktree add -q sub other2 2>/dev/null || git worktree add -q -b third sub && ls sub",
        "a",
    );
    assert_eq!(world.outside("git log --format=%s"), "two\none\n");
}

#[test]
fn git_commits_in_a_linked_worktree() {
    if !has("git") {
        return;
    }
    let world = World::new("worktree");
    world.outside(
        "git init -q main && cd main && git config user.email a@example.com && git config user.name a \
         && echo x > a && git add a && git commit -qm one && git worktree add -q ../linked",
    );
    let output = world.pinfold(&["run", "-C", "linked", "--", "sh", "-c", "echo y > b && git add b && git commit -qm two && git log --format=%s && ! touch ../main/.git/hooks/post-commit"]);
    assert_eq!((output.status, output.stdout.as_str()), (0, "two\none\n"), "{}", output.stderr);
}

#[test]
fn make_builds_in_parallel() {
    if !has("make") || !has("cc") {
        return;
    }
    let world = World::new("make");
    world.file("Makefile", "all: a.o b.o c.o\n%.o: %.c\n\tcc -c -o $@ $<\n");
    for name in ["a", "b", "c"] {
        world.file(&format!("{name}.c"), &format!("int {name};\n"));
    }
    check(&world, "make -j4", "cc -c -o b.o b.c");
    assert!(world.path("c.o").exists());
}

#[test]
fn python_runs_its_tests_with_managers_and_asyncio() {
    if !has("python3") {
        return;
    }
    let world = World::new("python");
    world.file(
        "test_a.py",
        "import asyncio, multiprocessing, tempfile, unittest\n\
         def put(d): d['x'] = 1\n\
         class T(unittest.TestCase):\n\
        \x20   def test_manager(self):\n\
        \x20       with multiprocessing.Manager() as m:\n\
        \x20           d = m.dict(); p = multiprocessing.Process(target=put, args=(d,))\n\
        \x20           p.start(); p.join(); self.assertEqual(d['x'], 1)\n\
        \x20   def test_asyncio(self):\n\
        \x20       async def serve():\n\
        \x20           s = await asyncio.start_server(lambda r, w: w.close(), '127.0.0.1', 0)\n\
        \x20           s.close()\n\
        \x20           return await asyncio.get_running_loop().run_in_executor(None, lambda: 3)\n\
        \x20       self.assertEqual(asyncio.run(serve()), 3)\n\
        \x20   def test_tmp(self):\n\
        \x20       tempfile.TemporaryDirectory().cleanup()\n",
    );
    check(&world, "python3 -m unittest 2>&1", "Ran 3 tests");
}

#[test]
fn node_serves_and_npm_tests() {
    if !has("npm") {
        return;
    }
    let world = World::new("node");
    world.file(
        "a.js",
        "const h = require('http'); const s = h.createServer((q, r) => r.end('served')).listen(0, \
         '127.0.0.1', () => h.get({port: s.address().port}, r => { r.on('data', d => \
         console.log('' + d)); r.on('end', () => s.close()) }))",
    );
    world.file(
        "package.json",
        "{\"name\": \"x\", \"version\": \"1.0.0\", \"scripts\": {\"test\": \"node a.js\"}}",
    );
    check(&world, "npm test", "served");
}

#[test]
fn cargo_builds_a_crate() {
    if !has("cargo") || std::env::var_os("CARGO_HOME").is_none() && !has("rustc") {
        return;
    }
    let world = World::new("cargo");
    world.file(
        "Cargo.toml",
        "[package]\nname = \"x\"\nversion = \"1.0.0\"\nedition = \"2021\"\n[workspace]\n",
    );
    world.file("src/main.rs", "fn main() { println!(\"built\") }\n");
    // Its own tool chain is in the home of whoever runs the tests.
    let output = world.pinfold_at_home(&[
        "run",
        "--env",
        "CARGO_TARGET_DIR=target",
        "--",
        "cargo",
        "run",
        "-q",
        "--offline",
    ]);
    assert_eq!((output.status, output.stdout.as_str()), (0, "built\n"), "{}", output.stderr);
}

#[test]
fn debuggers_and_terminals_work() {
    let world = World::new("debug");
    if has("gdb") {
        check(&world, "gdb -batch -ex run --args /bin/true 2>&1", "exited normally");
    }
    if has("tmux") {
        check(&world, "tmux -L x new-session -d 'sleep 1' && tmux -L x list-sessions", "1 windows");
    }
}
