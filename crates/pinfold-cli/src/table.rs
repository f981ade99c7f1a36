//! Every command and option, once: parsing, help, completions and the manual all
//! come from here.

/// One command.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) name: &'static str,
    pub(crate) operands: &'static str,
    /// How many operands it takes at most.
    pub(crate) most: usize,
    pub(crate) summary: &'static str,
    pub(crate) about: &'static str,
    pub(crate) options: &'static [&'static [Flag]],
}

/// One option.
#[derive(Debug)]
pub(crate) struct Flag {
    pub(crate) long: &'static str,
    pub(crate) short: Option<char>,
    /// The name of its value in help; nothing for a switch. One that begins with
    /// [`OPTIONAL`] can be left out, and else comes in the same argument.
    pub(crate) value: Option<&'static str>,
    pub(crate) help: &'static str,
}

/// How the name of a value begins that can be left out.
const OPTIONAL: char = '[';

impl Flag {
    /// Whether it has a value that can be left out.
    pub(crate) fn is_optional(&self) -> bool {
        self.value.is_some_and(|name| name.starts_with(OPTIONAL))
    }
}

const fn flag(
    long: &'static str,
    short: Option<char>,
    value: Option<&'static str>,
    help: &'static str,
) -> Flag {
    Flag { long, short, value, help }
}

const HELP: &[Flag] = &[flag("help", Some('h'), None, "Show this help")];

const OVERRIDE: &[Flag] = &[flag(
    "config",
    Some('c'),
    Some("KEY=VALUE"),
    "Set one key of the configuration; dotted keys with TOML quoting; repeatable",
)];

const SELECT: &[Flag] = &[
    flag("profile", Some('p'), Some("NAME"), "Use this profile"),
    flag("cd", Some('C'), Some("DIR"), "Change to this directory first"),
];

const RULES: &[Flag] = &[
    flag("read", None, Some("PATH"), "Let the command read this path; repeatable"),
    flag("write", None, Some("PATH"), "Let the command write this path; repeatable"),
    flag("deny", None, Some("PATH"), "Hide this path or pattern; repeatable"),
    flag("net", None, Some("RULE"), "Allow HOST[:PORTS]; or open, or off; repeatable"),
    SOCKET,
    flag("decider", None, Some("PROGRAM"), "Let this program answer for hosts with an ask rule"),
    flag(
        "audit",
        None,
        Some("FILE"),
        "Append every decision about hosts to this file, as JSON lines",
    ),
    flag("env", None, Some("NAME[=VALUE]"), "Pass on or set a variable; repeatable"),
    flag("allow-gap", None, Some("NAME"), "Run although this host cannot enforce that; repeatable"),
    flag("timeout", None, Some("DURATION"), "Kill everything after this time, as in 30s or 10m"),
];

const SESSION_RULES: &[Flag] = &[
    flag("read", None, Some("PATH"), "Let commands read this path; repeatable"),
    flag("write", None, Some("PATH"), "Let commands write this path; repeatable"),
    flag("deny", None, Some("PATH"), "Hide this path or pattern; repeatable"),
    flag("net", None, Some("RULE"), "Allow HOST[:PORTS]; or open, or off; repeatable"),
    SOCKET,
    flag("env", None, Some("NAME[=VALUE]"), "Pass on or set a variable; repeatable"),
    flag("allow-gap", None, Some("NAME"), "Start although this host cannot enforce that"),
    LOG_DENIALS,
];

const LOG_DENIALS: Flag = flag(
    "log-denials",
    None,
    Some("[=LEVEL]"),
    "Report what was denied and what would allow it; LEVEL is off, cheap, writes, opens or all",
);

const SOCKET: Flag =
    flag("allow-unix-socket", None, Some("PATH"), "Open this socket of the host; repeatable");

const PLATFORM: &[Flag] =
    &[flag("platform", None, Some("SYSTEM"), "Show the plan for linux, macos or windows")];

const REPORT: &[Flag] = &[
    flag("json", None, Some("FILE"), "Write how the run went to this file, as JSON"),
    LOG_DENIALS,
    flag("quiet", Some('q'), None, "Say nothing but errors"),
    flag("verbose", Some('v'), None, "Say what is enforced before the command starts"),
];

/// All commands, in the order of help.
pub(crate) const COMMANDS: &[Command] = &[
    Command {
        name: "run",
        operands: "[--] COMMAND [ARG…]",
        most: usize::MAX,
        summary: "Run a command in the sandbox",
        about: "Runs COMMAND inside the operating system's own isolation, under a permission\n\
                profile: :workspace unless one is configured or chosen. The exit status is that\n\
                of the command; 124 timeout, 125 pinfold failed, 126 not executable, 127 not found.",
        options: &[SELECT, OVERRIDE, RULES, REPORT, HELP],
    },
    Command {
        name: "shell",
        operands: "",
        most: 0,
        summary: "Start a shell in the sandbox",
        about: "Runs the shell that SHELL names, or /bin/sh.",
        options: &[SELECT, OVERRIDE, RULES, REPORT, HELP],
    },
    Command {
        name: "sandbox",
        operands: "linux|macos|windows COMMAND [ARG…]",
        most: usize::MAX,
        summary: "Run a command as the predecessor did",
        about: "Keeps the meaning of older command lines: read-only unless configured, and\n\
                workspace-write with --full-auto. landlock and seatbelt are other names for\n\
                linux and macos.",
        options: &[
            &[
                flag("full-auto", None, None, "Let the command write the workspace and /tmp"),
                SOCKET,
                LOG_DENIALS,
            ],
            OVERRIDE,
            HELP,
        ],
    },
    Command {
        name: "explain",
        operands: "[PATH|URL|VAR]",
        most: 1,
        summary: "Show the resolved profile, or the verdict for one thing",
        about: "Without an operand, prints every rule with its origin, the plan for this host and\n\
                the gaps. With one, prints whether it is allowed and which rule decides: a path\n\
                (it holds a slash, begins with a dot or exists), a URL, HOST:PORT or a host\n\
                name with a dot (port 443), or a variable.",
        options: &[SELECT, OVERRIDE, RULES, PLATFORM, HELP],
    },
    Command {
        name: "check",
        operands: "[FILE…]",
        most: usize::MAX,
        summary: "Check configuration files",
        about: "Reports every problem at once. Without FILE, checks what applies here.",
        options: &[HELP],
    },
    Command {
        name: "profiles",
        operands: "[NAME]",
        most: 1,
        summary: "List profiles, or print one",
        about: "Also prints :secrets, the list of credential stores.",
        options: &[OVERRIDE, HELP],
    },
    Command {
        name: "doctor",
        operands: "",
        most: 0,
        summary: "Show what this host can enforce",
        about: "Tries every ingredient and names what is missing and how to mend it.",
        options: &[HELP],
    },
    Command {
        name: "setup",
        operands: "",
        most: 0,
        summary: "Prepare this host for a profile, once",
        about: "On Windows, writes the access control entries that the profile needs in this\n\
                workspace, and with --accounts makes the accounts that commands run as, and\n\
                filters for their network; other systems need nothing. No command changes\n\
                any afterwards.",
        options: &[
            SELECT,
            OVERRIDE,
            &[
                flag("check", None, None, "Change nothing; status 1 when something is missing"),
                flag(
                    "accounts",
                    None,
                    None,
                    "Make sandbox accounts too; asks for an administrator",
                ),
                flag("remove", None, None, "Take away everything that was ever prepared"),
                flag("json", None, Some("FILE"), "Write what was done to this file, as JSON"),
            ],
            HELP,
        ],
    },
    Command {
        name: "connect",
        operands: "HOST PORT",
        most: 2,
        summary: "Connect to a host through the sandbox's proxy",
        about: "For programs inside that take a command instead of a proxy, as in\n\
                ssh -o ProxyCommand='pinfold connect %h %p' HOST",
        options: &[HELP],
    },
    Command {
        name: "trust",
        operands: "[DIR]",
        most: 1,
        summary: "Trust a project's own configuration",
        about: "Writes to the user's configuration that the project of DIR may grant rights.",
        options: &[HELP],
    },
    Command {
        name: "learn",
        operands: "[--] COMMAND [ARG…]",
        most: usize::MAX,
        summary: "Write a profile from what a command does",
        about: "Runs COMMAND with write access to everything but credentials, and with the network,\n\
                and prints a profile with what it opened, changed and reached.",
        options: &[
            &[
                flag("name", None, Some("NAME"), "Name the profile; learned unless given"),
                flag("output", Some('o'), Some("FILE"), "Write the profile to this file"),
                flag("yes", None, None, "Do not ask"),
                flag("cd", Some('C'), Some("DIR"), "Change to this directory first"),
            ],
            HELP,
        ],
    },
    Command {
        name: "why",
        operands: "",
        most: 0,
        summary: "Show what was denied last, and what would allow it",
        about: "Prints the denials of the last run that had any (with --log-denials, or with host\n\
                rules), the options of run that would allow them, and the same as lines for a\n\
                profile.",
        options: &[
            &[
                flag(
                    "apply",
                    None,
                    None,
                    "Add the rules to the user's configuration, after asking",
                ),
                flag(
                    "project",
                    None,
                    None,
                    "Add them to the project's configuration instead, which must be trusted",
                ),
                flag("yes", None, None, "Do not ask"),
                flag("force", None, None, "Also for places where credentials are kept"),
            ],
            HELP,
        ],
    },
    Command {
        name: "session",
        operands: "start|exec|attach|list|stop [NAME] [COMMAND [ARG…]]",
        most: usize::MAX,
        summary: "Keep a sandbox, and run commands in it",
        about: "start [NAME] starts a session with the profile of the options; exec NAME COMMAND\n\
                runs a command in it, with this terminal or these pipes; attach NAME [PROCESS]\n\
                goes back to a command on a terminal (Ctrl-] leaves it again); list shows what\n\
                there is; stop NAME ends a session and everything in it.",
        options: &[
            SELECT,
            OVERRIDE,
            SESSION_RULES,
            &[flag("detach", Some('d'), None, "exec: leave the command running on a terminal")],
            HELP,
        ],
    },
    Command {
        name: "serve",
        operands: "",
        most: 0,
        summary: "Serve sessions to programs, over JSON-RPC",
        about: "Speaks JSON-RPC 2.0 on standard input and output, one object a line, or with\n\
                --socket on a unix socket that only this user can open. Ends with its input; a\n\
                server on a socket ends when it is killed or told to shut down.",
        options: &[
            &[
                flag("socket", None, Some("PATH"), "Listen on this unix socket instead"),
                flag("until-empty", None, None, "End when there is no session any more"),
            ],
            HELP,
        ],
    },
    Command {
        name: "mcp",
        operands: "",
        most: 0,
        summary: "Serve one session to a model, over the Model Context Protocol",
        about: "Speaks MCP on standard input and output. The tools run commands in one session with\n\
                the profile of the options, which starts with the first command and ends with the\n\
                input. Nothing that a tool does can widen the profile.",
        options: &[SELECT, OVERRIDE, SESSION_RULES, HELP],
    },
    Command {
        name: "completions",
        operands: "bash|zsh|fish|powershell",
        most: 1,
        summary: "Print completions for a shell",
        about: "Prints a script for the shell to load.",
        options: &[HELP],
    },
    Command {
        name: "man",
        operands: "",
        most: 0,
        summary: "Print the manual page",
        about: "Prints it in roff, for \"pinfold man | man -l -\".",
        options: &[HELP],
    },
];

/// How many operands come before the command that a command takes, whose options
/// are its own; nothing when it takes none.
pub(crate) fn before_command(name: &str) -> Option<usize> {
    match name {
        "run" | "learn" => Some(0),
        // The name of the system.
        "sandbox" => Some(1),
        // What to do, and the name of the session.
        "session" => Some(2),
        _ => None,
    }
}
