//! Whatever git's configuration leads to is protected: judged by what is on the
//! host after a command tried to change it.
#![allow(clippy::unwrap_used, clippy::panic)]

mod world;

use world::World;

/// A repository made by `given` in the workspace; the command tries to write
/// `target` in every way, and the host must not see it.
fn check(name: &str, given: &str, target: &str) {
    let world = World::new(&format!("git-{}", name.replace(' ', "-")));
    world.outside(&format!("git init -q . && {given}"));
    let script = format!(
        "mkdir -p \"$(dirname '{target}')\"; echo evil >'{target}'; echo evil >new && mv new '{target}'; true"
    );
    assert_eq!(world.pinfold(&["run", "--", "sh", "-c", &script]).status, 0, "{name}");
    let evil = world.outside(&format!("cat '{target}' 2>/dev/null || true"));
    assert!(!evil.contains("evil"), "{name}: {target} was written");
    let open = world.pinfold(&["run", "-c", GIT_WRITE, "-p", "t", "--", "sh", "-c", &script]);
    assert_eq!(open.status, 0, "{name}\n{}", open.stderr);
    let evil = world.outside(&format!("cat '{target}'"));
    assert!(evil.contains("evil"), "{name}: {target} cannot be written at all");
}

const GIT_WRITE: &str = "permissions.t={extends=\":workspace\",git=\"write\"}";

#[test]
fn hooks_and_included_files_are_protected_wherever_the_configuration_names_them() {
    let hook = "h/pre-commit";
    for (name, given, target) in [
        ("one line", "mkdir h; echo '[core] hooksPath = h' >>.git/config", hook),
        ("comment", "mkdir h; printf '[core]\\nhooksPath = h ; why\\n' >>.git/config", hook),
        ("quotes", "mkdir 'h #'; echo '[core] hooksPath = \"h #\"' >>.git/config", "h #/update"),
        ("continued", "mkdir h; printf '[core]\\nhooksPath = \\\\\\nh\\n' >>.git/config", hook),
        ("not there yet", "echo '[core] hooksPath = h' >>.git/config", hook),
        ("beside the sources", "git config core.hooksPath .", "pre-commit"),
        ("included file", "touch shared; git config include.path ../shared", "shared"),
        (
            "hooks of an included file",
            "mkdir h; git config -f shared core.hooksPath h; git config include.path ../shared",
            hook,
        ),
        (
            "conditionally included",
            "mkdir h; git config -f shared core.hooksPath h; \
             git config includeIf.onbranch:x.path ../shared",
            hook,
        ),
        (
            "configuration of the worktree",
            "mkdir h; git config extensions.worktreeConfig true; \
             git config --worktree core.hooksPath h",
            hook,
        ),
        (
            "a linked worktree",
            "git -c user.name=a -c user.email=a@example.com commit -q --allow-empty -m x; \
             git worktree add -q linked; mkdir linked/h; git config core.hooksPath h",
            "linked/h/pre-commit",
        ),
        (
            "a submodule with a slash in its name",
            "git init -q --bare .git/modules/a/b; mkdir -p sub/h; \
             git -C .git/modules/a/b config core.bare false; \
             git -C .git/modules/a/b config core.worktree ../../../../sub; \
             git -C .git/modules/a/b config core.hooksPath h",
            "sub/h/pre-commit",
        ),
        (
            "hooks of a submodule",
            "git init -q --bare .git/modules/a",
            ".git/modules/a/hooks/pre-commit",
        ),
    ] {
        check(name, given, target);
    }
}

#[test]
fn the_users_own_configuration_counts() {
    for (name, file) in [("home", ".gitconfig"), ("general", ".config/git/config")] {
        let world = World::new(&format!("git-own-{name}"));
        world.outside("git init -q . && mkdir h");
        let path = world.home().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "[core] hooksPath = h\n").unwrap();
        let run = |writable: &str, script: &str| {
            let mut command = world.command(env!("CARGO_BIN_EXE_pinfold"));
            command.env_remove("GIT_CONFIG_GLOBAL").env_remove("XDG_CONFIG_HOME");
            command.args(["run", "--write", writable, "--", "sh", "-c", script]);
            world.output(&mut command)
        };
        run("h/..", "echo evil >h/pre-commit");
        assert!(!world.path("h/pre-commit").exists(), "{name}: the hook was written");
        let home = world.home();
        let output = run(home.to_str().unwrap(), &format!("echo evil >~/{file}; echo x >~/other"));
        assert!(world.home().join("other").exists(), "{name}\n{}", output.stderr);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("[core]"), "{name}: {text}");
    }
}

#[test]
fn more_worktrees_than_are_looked_at_are_an_error() {
    let world = World::new("git-many");
    world
        .outside("git init -q . && mkdir .git/worktrees && cd .git/worktrees && mkdir $(seq 1100)");
    let output = world.pinfold(&["run", "true"]);
    assert_eq!(output.status, 125, "{}", output.stderr);
    for expected in ["more than 1,024 worktrees", "git worktree prune", "git = \"write\""] {
        assert!(output.stderr.contains(expected), "{expected} in {}", output.stderr);
    }
    let output = world.pinfold(&["run", "-c", GIT_WRITE, "-p", "t", "true"]);
    assert_eq!(output.status, 0, "{}", output.stderr);
}
