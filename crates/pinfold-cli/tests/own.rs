//! What pinfold itself believes - its configuration, trust and notes - is out of
//! the reach of every command, also when the workspace is the home.
#![allow(clippy::unwrap_used, clippy::panic)]

mod world;

use std::fs;
use std::path::Path;
use std::sync::RwLock;

use world::{Output, World};

/// Held for writing while a directory that every run looks at comes and goes.
static SYSTEM: RwLock<()> = RwLock::new(());

/// Runs a script in the home, with the configuration and state where they are
/// without any variable.
fn at_home(world: &World, options: &[&str], script: &str) -> Output {
    let mut command = world.command(env!("CARGO_BIN_EXE_pinfold"));
    command.current_dir(world.home()).env_remove("PINFOLD_HOME").env_remove("XDG_RUNTIME_DIR");
    command.env_remove("XDG_CONFIG_HOME");
    world.output(command.arg("run").args(options).args(["--", "sh", "-c", script]))
}

/// Everything that a command might try, and a sign that it ran at all.
const FORGE: &str = "
    for directory in .config/pinfold .local/state/pinfold; do
        mkdir -p $directory; mkdir -p $directory/taken
        for file in config.toml denials.json; do
            echo forged >$directory/$file; echo forged >>$directory/$file
            ln -sf /dev/null $directory/$file; rm -f $directory/$file
        done
        mv $directory away; rm -rf $directory
        parent=$(dirname $directory); mv $parent moved; rm -rf $parent
        mkdir -p $directory; echo forged >$directory/config.toml; echo forged >$directory/denials.json
    done
    mv .local moved2; mkdir -p .local/state/pinfold; echo forged >.local/state/pinfold/denials.json
    echo ran >sign; true";

fn unforged(world: &World, what: &str, output: &Output) {
    let home = world.home();
    let sign = fs::read_to_string(home.join("sign")).unwrap_or_default();
    assert_eq!(sign, "ran\n", "{}{}", output.stdout, output.stderr);
    for directory in [".config/pinfold", ".local/state/pinfold"] {
        for file in ["config.toml", "denials.json"] {
            let text = fs::read_to_string(home.join(directory).join(file)).unwrap_or_default();
            assert!(!text.contains("forged"), "{what}: {directory}/{file}: {text}");
        }
    }
}

#[test]
fn a_command_in_the_home_cannot_make_what_is_not_there() {
    let world = World::new("own-missing");
    let _others = SYSTEM.read().unwrap();
    let output = at_home(&world, &[], FORGE);
    unforged(&world, "missing", &output);
}

#[test]
fn a_command_in_the_home_cannot_change_what_is_there() {
    let world = World::new("own-there");
    let _others = SYSTEM.read().unwrap();
    let home = world.home();
    for directory in [".config/pinfold", ".local/state/pinfold"] {
        fs::create_dir_all(home.join(directory)).unwrap();
    }
    let (settings, notes) =
        (home.join(".config/pinfold/config.toml"), home.join(".local/state/pinfold/denials.json"));
    fs::write(&settings, "# mine\n").unwrap();
    fs::write(&notes, "{}").unwrap();
    let whole = home.to_str().unwrap();
    let state = format!("{whole}/.local/state/pinfold");
    for options in [&[][..], &["--write", whole, "--write", &state, "--write", "/"]] {
        let output = at_home(&world, options, FORGE);
        unforged(&world, "there", &output);
        assert_eq!(fs::read_to_string(&settings).unwrap(), "# mine\n");
        assert_eq!(fs::read_to_string(&notes).unwrap(), "{}");
    }
    let read = at_home(&world, &[], "cat .local/state/pinfold/denials.json");
    assert_eq!(read.stdout, "", "the notes of other runs can be read");
}

#[test]
fn the_administrators_directory_cannot_be_made() {
    let world = World::new("own-system");
    let _alone = SYSTEM.write().unwrap();
    let there = Path::new("/etc/pinfold").exists();
    at_home(&world, &["--write", "/"], "mkdir /etc/pinfold");
    assert_eq!(Path::new("/etc/pinfold").exists(), there);
}

#[test]
fn links_to_the_configuration_protect_what_they_lead_to() {
    let world = World::new("own-links");
    let _others = SYSTEM.read().unwrap();
    let home = world.home();
    for directory in ["dotfiles/pinfold", "dotfiles/config"] {
        fs::create_dir_all(home.join(directory)).unwrap();
    }
    let file = home.join("dotfiles/pinfold/mine.toml");
    fs::write(&file, "# mine\n").unwrap();
    std::os::unix::fs::symlink("dotfiles/config", home.join(".config")).unwrap();
    fs::create_dir(home.join("dotfiles/config/pinfold")).unwrap();
    let link = home.join("dotfiles/config/pinfold/config.toml");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let script =
        "echo forged >>dotfiles/pinfold/mine.toml; rm -f .config && mkdir -p .config/pinfold;
        echo forged >.config/pinfold/config.toml; mv dotfiles away; echo ran >sign";
    let output = at_home(&world, &[], script);
    assert_eq!(fs::read_to_string(home.join("sign")).unwrap(), "ran\n", "{}", output.stderr);
    let believed = fs::read_to_string(home.join(".config/pinfold/config.toml")).unwrap();
    assert_eq!(believed, "# mine\n");
    assert_eq!(fs::read_to_string(&file).unwrap(), "# mine\n");
}

#[test]
fn the_same_holds_while_learning() {
    let world = World::new("own-learn");
    let _others = SYSTEM.read().unwrap();
    let mut command = world.command(env!("CARGO_BIN_EXE_pinfold"));
    command.current_dir(world.home()).env_remove("PINFOLD_HOME").env_remove("XDG_RUNTIME_DIR");
    command.env_remove("XDG_CONFIG_HOME");
    let output = world.output(command.args(["learn", "--yes", "--", "sh", "-c", FORGE]));
    unforged(&world, "learn", &output);
}

#[test]
fn what_is_read_only_below_a_writable_root_stays_so() {
    let world = World::new("own-root");
    let _others = SYSTEM.read().unwrap();
    world.file("kept/file", "kept");
    world.file(".vscode/tasks.json", "kept");
    let script = "echo forged >kept/file; echo forged >.vscode/tasks.json; echo ran >sign";
    let output =
        world.pinfold(&["run", "--write", "/", "--read", "kept", "--", "sh", "-c", script]);
    assert_eq!(fs::read_to_string(world.path("sign")).unwrap(), "ran\n", "{}", output.stderr);
    for file in ["kept/file", ".vscode/tasks.json"] {
        assert_eq!(fs::read_to_string(world.path(file)).unwrap(), "kept", "{file}");
    }
}

#[test]
fn looking_at_a_profile_makes_nothing() {
    let world = World::new("own-explain");
    let _others = SYSTEM.read().unwrap();
    let mut command = world.command(env!("CARGO_BIN_EXE_pinfold"));
    command.current_dir(world.home()).env_remove("PINFOLD_HOME").env_remove("XDG_CONFIG_HOME");
    let output = world.output(command.arg("explain"));
    assert_eq!(output.status, 0, "{}", output.stderr);
    assert!(!Path::new(&world.home().join(".config")).exists());
    assert!(output.stdout.contains("pinfold's own files"), "{}", output.stdout);
}

/// Some of what runs when the user next logs in, or starts a shell or an editor.
const STARTS: [&str; 6] =
    [".bashrc", ".zshrc", ".config/fish/config.fish", ".vim/plugin/x.vim", ".profile", ".inputrc"];

/// Writes, makes, replaces and renames all of it.
fn plant() -> String {
    let each = STARTS.map(|name| {
        format!(
            "mkdir -p $(dirname {name}); echo planted >>{name}; echo planted >new; mv new {name}
             mv $(dirname {name}) moved && mkdir -p $(dirname {name}) && echo planted >{name}; "
        )
    });
    format!("{} echo ran >sign; true", each.concat())
}

fn planted(world: &World) -> Vec<&'static str> {
    let text = |name: &str| fs::read_to_string(world.home().join(name)).unwrap_or_default();
    STARTS.into_iter().filter(|name| text(name).contains("planted")).collect()
}

#[test]
fn what_runs_at_the_start_of_a_shell_is_not_the_commands_to_change() {
    for there in [false, true] {
        let world = World::new(if there { "own-starts" } else { "own-starts-missing" });
        let _others = SYSTEM.read().unwrap();
        if there {
            world.outside("cd; mkdir -p .config/fish .vim/plugin; touch .bashrc .profile .zshrc");
        }
        let output = at_home(&world, &[], &plant());
        assert_eq!(fs::read_to_string(world.home().join("sign")).unwrap(), "ran\n");
        assert_eq!(planted(&world), [""; 0], "{there}: {}", output.stderr);
        // A rule for the very path is meant.
        world.outside("touch ~/.bashrc ~/.zshrc");
        let bashrc = world.home().join(".bashrc");
        let options = ["--write", bashrc.to_str().unwrap()];
        at_home(&world, &options, "echo planted >>.bashrc; echo planted >>.zshrc");
        assert_eq!(planted(&world), [".bashrc"]);
    }
}
