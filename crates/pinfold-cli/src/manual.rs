//! Help, completions and the manual page, all from the one table.

use std::ffi::OsString;
use std::fmt::Write;

use crate::arguments::{Parsed, flags, unknown_command};
use crate::table::{COMMANDS, Command, Flag};
use crate::terminal::{Failure, print, usage};

/// What `pinfold` alone prints.
pub(crate) fn overview() -> String {
    let mut text = String::from(
        "pinfold runs commands inside the operating system's own isolation.\n\n\
         Usage: pinfold COMMAND [OPTIONS]\n\nCommands:\n",
    );
    for command in COMMANDS {
        let _ = writeln!(text, "  {:<12} {}", command.name, command.summary);
    }
    text.push_str("\n\"pinfold COMMAND --help\" says more about one of them.");
    text
}

/// `pinfold help [COMMAND]`.
pub(crate) fn help_for(name: Option<&OsString>) -> Result<i32, Failure> {
    let Some(name) = name else { return print(&format!("{}\n", overview())) };
    match COMMANDS.iter().find(|command| *command.name == **name) {
        Some(command) => print(&help(command)),
        None => Err(unknown_command(name)),
    }
}

/// The help of one command.
pub(crate) fn help(command: &'static Command) -> String {
    let mut text = format!("{}\n\nUsage: pinfold {} [OPTIONS]", command.summary, command.name);
    if !command.operands.is_empty() {
        let _ = write!(text, " {}", command.operands);
    }
    let _ = write!(text, "\n\n{}\n\nOptions:\n", command.about);
    for flag in flags(command) {
        let _ = writeln!(text, "  {:<32} {}", spelled(flag), flag.help);
    }
    text
}

/// `-p, --profile NAME`
fn spelled(flag: &Flag) -> String {
    let short = flag.short.map_or(String::from("    "), |short| format!("-{short}, "));
    let value = match flag.value {
        Some(value) if flag.is_optional() => String::from(value),
        Some(value) => format!(" {value}"),
        None => String::new(),
    };
    format!("{short}--{}{value}", flag.long)
}

/// The manual page in roff.
pub(crate) fn page() -> String {
    let mut text = format!(
        ".TH PINFOLD 1 \"\" \"pinfold {}\" \"User Commands\"\n\
         .SH NAME\npinfold \\- run commands inside the operating system's own isolation\n\
         .SH SYNOPSIS\n.B pinfold\n.I COMMAND\n[OPTIONS]\n.SH COMMANDS\n",
        env!("CARGO_PKG_VERSION")
    );
    for command in COMMANDS {
        let _ = writeln!(text, ".SS pinfold {} {}", command.name, escaped(command.operands));
        let _ = writeln!(text, "{}", escaped(command.about));
        for flag in flags(command) {
            let _ = writeln!(
                text,
                ".TP\n.B {}\n{}",
                escaped(spelled(flag).trim_start()),
                escaped(flag.help)
            );
        }
    }
    text.push_str(
        ".SH EXIT STATUS\nThat of the command; 128+n when signal n killed it; 124 at a timeout; \
         125 when pinfold itself failed; 126 when the program was found but could not be \
         executed; 127 when it was not found; 2 for a mistake on the command line.\n\
         .SH ENVIRONMENT\n.TP\n.B PINFOLD_HOME\nThe directory of the user's configuration, \
         an absolute path.\n.TP\n.B XDG_CONFIG_HOME, XDG_STATE_HOME, HOME\nWhere that directory \
         and the things that were taken away are otherwise.\n.TP\n.B SHELL\nWhat pinfold shell \
         runs.\n.TP\n.B PATH\nWhere programs are looked for, as far as the profile passes it \
         on.\n.SH FILES\n.TP\n.I /etc/pinfold/requirements.toml\nThe administrator's bounds.\n\
         .TP\n.I /etc/pinfold/config.toml\nThe system's configuration.\n\
         .TP\n.I $PINFOLD_HOME/config.toml\nThe user's configuration; by default in \
         ~/.config/pinfold.\n.TP\n.I .pinfold/config.toml\nThe project's configuration.\n",
    );
    text
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\e")
        .replace('-', "\\-")
        .replace('…', "...")
        .replace("\n.", "\n\\&.")
        .replace("\n'", "\n\\&'")
}

/// `pinfold completions SHELL`.
pub(crate) fn completions(parsed: &Parsed) -> Result<i32, Failure> {
    let shell = parsed.operands.first().map(|shell| shell.to_string_lossy().into_owned());
    print(&match shell.as_deref() {
        Some("bash") => bash(),
        Some("zsh") => zsh(),
        Some("fish") => fish(),
        Some("powershell") => powershell(),
        _ => {
            let message = "completions needs the name of a shell it knows";
            return Err(usage(message, "write bash, zsh, fish or powershell"));
        }
    })
}

fn names() -> String {
    COMMANDS.iter().map(|command| command.name).collect::<Vec<&str>>().join(" ")
}

/// The first operand of a command, where it is one of a few words.
fn few(command: &'static Command) -> Vec<&'static str> {
    let first = command.operands.split(' ').next().unwrap_or_default();
    // What stands for something is in capitals, what can be left out in brackets.
    let literal = first.starts_with(|letter: char| letter.is_ascii_lowercase());
    if literal { first.split('|').collect() } else { Vec::new() }
}

/// What may follow a command: its options, and operands that are one of a few.
fn words(command: &'static Command) -> String {
    let options = flags(command).map(|flag| format!("--{}", flag.long));
    options.chain(few(command).into_iter().map(String::from)).collect::<Vec<String>>().join(" ")
}

fn bash() -> String {
    let mut cases = String::new();
    for command in COMMANDS {
        let _ = writeln!(cases, "    {}) words=\"{}\" ;;", command.name, words(command));
    }
    format!(
        "_pinfold() {{\n  local word=${{COMP_WORDS[COMP_CWORD]}} words\n  case ${{COMP_WORDS[1]}} in\n\
         {cases}    *) words=\"{}\" ;;\n  esac\n  \
         if [ \"$COMP_CWORD\" -eq 1 ]; then words=\"{}\"; fi\n  \
         COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n}}\n\
         complete -o default -F _pinfold pinfold\n",
        names(),
        names()
    )
}

fn zsh() -> String {
    let mut cases = String::new();
    for command in COMMANDS {
        let mut given: Vec<String> = flags(command).flat_map(zsh_option).collect();
        if let words @ [_, ..] = &few(command)[..] {
            given.push(format!("'1:word:({})'", words.join(" ")));
        }
        match command.operands {
            "" => {}
            operands if operands.contains("COMMAND") => {
                given.push(String::from("'*::command:_normal'"));
            }
            _ => given.push(String::from("'*:file:_files'")),
        }
        let _ = writeln!(cases, "    {}) _arguments -S {} ;;", command.name, given.join(" "));
    }
    format!(
        "#compdef pinfold\n_pinfold() {{\n  if (( CURRENT == 2 )); then compadd {}; return; fi\n  \
         local name=$words[2]\n  shift words; (( CURRENT-- ))\n  case $name in\n{cases}  esac\n}}\n_pinfold \"$@\"\n",
        names()
    )
}

/// The specification of an option, once for each of its names.
fn zsh_option(flag: &'static Flag) -> Vec<String> {
    let needed = flag.value.is_some() && !flag.is_optional();
    let value = if needed { ":value:_files" } else { "" };
    let help = flag.help.replace(['[', ']', '\''], "");
    let long = format!("--{}", flag.long);
    let short = flag.short.map(|short| format!("-{short}"));
    let all = short.iter().chain([&long]).cloned().collect::<Vec<String>>().join(" ");
    let often =
        if flag.help.ends_with("repeatable") { String::from("*") } else { format!("({all})") };
    let names = short.into_iter().chain([long]);
    names.map(|name| format!("'{often}{name}[{help}]{value}'")).collect()
}

fn fish() -> String {
    let mut text = String::new();
    for command in COMMANDS {
        let name = command.name;
        let summary = command.summary.replace('\'', "");
        let _ = writeln!(
            text,
            "complete -c pinfold -n __fish_use_subcommand -f -a {name} -d '{summary}'"
        );
        for flag in flags(command) {
            let needed = flag.value.is_some() && !flag.is_optional();
            let value = if needed { " -r" } else { "" };
            let short = flag.short.map_or(String::new(), |short| format!(" -s {short}"));
            let _ = writeln!(
                text,
                "complete -c pinfold -n '__fish_seen_subcommand_from {name}' -l {}{short}{value} -d '{}'",
                flag.long,
                flag.help.replace('\'', "")
            );
        }
        if let words @ [_, ..] = &few(command)[..] {
            let words = words.join(" ");
            let _ = writeln!(
                text,
                "complete -c pinfold -n '__fish_seen_subcommand_from {name}; and not __fish_seen_subcommand_from {words}' -f -a '{words}'"
            );
        }
    }
    text
}

fn powershell() -> String {
    let quoted = |words: String| {
        words.split(' ').map(|word| format!("'{word}'")).collect::<Vec<String>>().join(", ")
    };
    let mut cases = String::new();
    for command in COMMANDS {
        let _ = writeln!(cases, "    '{}' {{ {} }}", command.name, quoted(words(command)));
    }
    format!(
        "Register-ArgumentCompleter -Native -CommandName pinfold -ScriptBlock {{\n  \
         param($word, $line, $position)\n  $elements = $line.CommandElements\n  \
         $words = if ($elements.Count -le 2) {{ {} }} else {{ switch ($elements[1].Value) {{\n{cases}  }} }}\n  \
         $words | Where-Object {{ $_ -like \"$word*\" }}\n}}\n",
        quoted(names())
    )
}
