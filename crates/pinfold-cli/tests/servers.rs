//! Real servers: OpenSSH, nginx with TLS, and tinyproxy as the caller's own proxy, each
//! in a network that its test has made.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod internet;
mod world;

use internet::{ADDRESS, Server, USER, can, inside, isolated, mechanisms, run, run_with};
use world::{Output, World};

const PINFOLD: &str = env!("CARGO_BIN_EXE_pinfold");

/// The options of ssh that keep it from asking and from the user's files.
const SSH: &str = "ssh -F /dev/null -i key -o IdentitiesOnly=yes -o StrictHostKeyChecking=no \
                   -o UserKnownHostsFile=/dev/null -o BatchMode=yes -o ConnectTimeout=10";

/// A script fails with a rule for another host, which is told, and works with `rule`,
/// under either mechanism.
fn check(world: &World, (host, rule, script): (&str, &str, &str), expected: &str) {
    let other = match rule.split_once(':') {
        Some((_, ports)) => format!("unrelated.test:{ports}"),
        None => String::from("unrelated.test"),
    };
    for options in mechanisms() {
        let refused = run_with(world, &options, (&other, script));
        let text = format!("{options:?} {script}\n{}{}", refused.stdout, refused.stderr);
        assert!(!refused.stdout.contains(expected), "{text}");
        assert!(refused.stderr.contains(&format!("pinfold: denied connect {host}")), "{text}");
        let output = run_with(world, &options, (rule, script));
        let text = format!("{options:?} {script}\n{}{}", output.stdout, output.stderr);
        assert_eq!(output.status, 0, "{text}");
        assert!(output.stdout.contains(expected), "{expected:?} in {text}");
    }
}

/// An SSH server, where there is one.
fn ssh_server(world: &World, port: u16) -> Option<Server> {
    let there = "PATH=$PATH:/usr/sbin; command -v sshd && command -v ssh && command -v ssh-keygen";
    if !can(world, "OpenSSH with its server", there) {
        return None;
    }
    world.outside(
        "ssh-keygen -q -t ed25519 -N '' -f key && ssh-keygen -q -t ed25519 -N '' -f hostkey",
    );
    let workspace = world.path("");
    let at = workspace.display();
    world.file(
        "sshd_config",
        &format!(
            "ListenAddress {ADDRESS}:{port}\nHostKey {at}hostkey\nAuthorizedKeysFile {at}key.pub\n\
             StrictModes no\nUsePAM no\nPidFile none\n"
        ),
    );
    Some(Server::start(world, ("sshd", port), &format!("-D -e -f {at}sshd_config")))
}

#[test]
fn ssh_connects() {
    isolated("ssh_connects", |world, _| {
        let Some(_server) = ssh_server(world, 22) else { return };
        let script = format!("{SSH} {USER}@ssh.test echo from outside");
        check(world, ("ssh.test:22", "ssh.test:22", &script), "from outside");
    });
}

#[test]
fn ssh_connects_at_any_port_and_by_a_command() {
    isolated("ssh_connects_at_any_port_and_by_a_command", |world, _| {
        let Some(_server) = ssh_server(world, 2222) else { return };
        // Too many ports to be captured one by one, and ssh looks at no variable.
        let rule = "ssh.test:1000-3000";
        let plain = format!("{SSH} -p 2222 {USER}@ssh.test echo from outside");
        check(world, ("ssh.test:2222", rule, &plain), "from outside");
        let connect = format!("-o ProxyCommand='{PINFOLD} connect %h %p'");
        let script = format!("{SSH} {connect} -p 2222 {USER}@ssh.test echo from outside");
        check(world, ("ssh.test:2222", rule, &script), "from outside");
        let refused = run(world, "unrelated.test", &format!("{PINFOLD} connect ssh.test 2222"));
        assert_eq!(refused.status, 125, "{}", refused.stderr);
        for part in ["the proxy does not connect to ssh.test:2222: HTTP/1.1 403", "--net"] {
            assert!(refused.stderr.contains(part), "{part:?} in {}", refused.stderr);
        }
    });
}

#[test]
fn git_works_over_ssh() {
    isolated("git_works_over_ssh", |world, _| {
        let Some(_server) = ssh_server(world, 22) else { return };
        if !can(world, "git", "command -v git") {
            return;
        }
        world.outside(
            "mkdir ~/made && cd ~/made && git init -q . && echo kept >file && git add file && \
             git -c user.name=a -c user.email=a@example.com commit -qm one && \
             git clone -q --bare . ~/made.git",
        );
        let from = format!("ssh://{USER}@git.test{}/made.git", world.home().display());
        let script = format!(
            "export GIT_SSH_COMMAND='{SSH}'; rm -rf made; git clone -q {from} made && cd made && \
             cat file && echo more >>more && git add more && \
             git -c user.name=a -c user.email=a@example.com commit -qm two && git push -q"
        );
        // The key is looked for where ssh starts.
        let script = script.replace("-i key", "-i $HOME/../ws/key");
        check(world, ("git.test:22", "git.test:22", &script), "kept");
        let log = "git --git-dir ~/made.git log --format=%s";
        assert_eq!(world.output(world.command("sh").args(["-c", log])).stdout, "two\ntwo\none\n");
    });
}

/// An nginx with TLS for `web.test`, which serves a file and a repository.
fn web_server(world: &World) -> Option<Server> {
    let there = "PATH=$PATH:/usr/sbin; command -v nginx && command -v openssl";
    if !can(world, "nginx with openssl", there) {
        return None;
    }
    world.outside(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
         -keyout tls.key -out tls.crt -subj /CN=web.test -addext subjectAltName=DNS:web.test \
         2>openssl.log; mkdir -p www/empty && echo 'hello over TLS' >www/hello",
    );
    let workspace = world.path("");
    let at = workspace.display();
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary: String =
        temporary.iter().map(|kind| format!("{kind}_temp_path {at}{kind};")).collect();
    world.file(
        "nginx.conf",
        &format!(
            "daemon off; master_process off; pid {at}nginx.pid; error_log stderr;\nevents {{}}\n\
             http {{ access_log {at}access.log; {temporary}\n\
             server {{ listen {ADDRESS}:443 ssl; server_name web.test; ssl_certificate {at}tls.crt;\n\
             ssl_certificate_key {at}tls.key; root {at}www; }} }}\n"
        ),
    );
    Some(Server::start(world, ("nginx", 443), &format!("-c {at}nginx.conf")))
}

#[test]
fn clients_check_the_servers_own_certificate() {
    isolated("clients_check_the_servers_own_certificate", |world, _| {
        let Some(_server) = web_server(world) else { return };
        let url = "https://web.test/hello";
        let without = "env -u https_proxy -u HTTPS_PROXY -u all_proxy -u ALL_PROXY";
        let python =
            "import sys, urllib.request as r; print(r.urlopen(sys.argv[1]).read().decode())";
        let node = "fetch(process.argv[1]).then(async a => console.log(await a.text()), e => { console.error(e); process.exit(1) })";
        let httpx =
            "import sys, httpx; a = httpx.get(sys.argv[1]); a.raise_for_status(); print(a.text)";
        let aiohttp = "import sys, asyncio, aiohttp\n\
            async def main():\n  async with aiohttp.ClientSession(trust_env=True) as s:\n    async with s.get(sys.argv[1]) as a: print(await a.text())\n\
            asyncio.run(main())";
        world.file("aio.py", aiohttp);
        // Programs of no package of the system, where they have been installed.
        let more = std::env::var("PINFOLD_CLIENTS").unwrap_or_default();
        world.file(
            "fetch.go",
            "package main\nimport (\"fmt\"; \"io\"; \"net/http\"; \"os\")\nfunc main() {\n\
             answer, err := http.Get(os.Args[1])\nif err != nil { fmt.Fprintln(os.Stderr, err); os.Exit(1) }\n\
             io.Copy(os.Stdout, answer.Body) }\n",
        );
        let go_there = "GOCACHE=$PWD/go-cache GOFLAGS=-mod=mod go build -o fetch fetch.go";
        for (program, there, script) in [
            ("curl", "command -v curl", format!("curl -sS --cacert tls.crt {url}")),
            ("curl", "command -v curl", format!("{without} curl -sS --cacert tls.crt {url}")),
            ("wget", "command -v wget", format!("wget -qO- --ca-certificate tls.crt {url}")),
            (
                "python3",
                "command -v python3",
                format!("SSL_CERT_FILE=tls.crt python3 -c '{python}' {url}"),
            ),
            (
                "node",
                "command -v node",
                format!("NODE_EXTRA_CA_CERTS=tls.crt node -e '{node}' {url}"),
            ),
            ("go", go_there, format!("SSL_CERT_FILE=tls.crt ./fetch {url}")),
            (
                "go without a proxy",
                go_there,
                format!("{without} SSL_CERT_FILE=tls.crt ./fetch {url}"),
            ),
            (
                "httpx",
                &format!("{more}/bin/python -c 'import httpx'"),
                format!("SSL_CERT_FILE=tls.crt {more}/bin/python -c '{httpx}' {url}"),
            ),
            (
                "aiohttp",
                &format!("{more}/bin/python -c 'import aiohttp'"),
                format!("SSL_CERT_FILE=tls.crt {more}/bin/python aio.py {url}"),
            ),
        ] {
            if can(world, program, there) {
                check(world, ("web.test:443", "web.test", &script), "hello over TLS");
            }
        }
    });
}

/// Runs a script inside where the caller has a proxy.
fn run_behind(world: &World, (rule, port): (&str, u16), script: &str) -> Output {
    let mut command = inside(world, rule, script);
    for name in ["http_proxy", "https_proxy"] {
        command.env(name, format!("http://{ADDRESS}:{port}"));
    }
    world.output(&mut command)
}

#[test]
fn the_callers_own_proxy_is_the_way_out() {
    isolated("the_callers_own_proxy_is_the_way_out", |world, internet| {
        let workspace = world.path("");
        let at = workspace.display();
        world.file(
            "tinyproxy.conf",
            &format!(
                "Port 8881\nListen {ADDRESS}\nTimeout 60\nMaxClients 20\nAllow {ADDRESS}\n\
                 ConnectPort 443\nConnectPort 80\nLogLevel Connect\n"
            ),
        );
        world.file(
            "squid.conf",
            &format!(
                "http_port {ADDRESS}:8882\nhttp_access allow all\ncache deny all\npinger_enable off\n\
                 pid_filename none\nshutdown_lifetime 0 seconds\nvisible_hostname squid.test\n\
                 max_filedescriptors 1024\ncoredump_dir {at}\ncache_log {at}squid.cache\n\
                 access_log stdio:{at}squid.access\n"
            ),
        );
        internet.file("web.test/hello", "hello from outside\n");
        let web = web_server(world);
        for (proxy, port, arguments, log) in [
            ("tinyproxy", 8881, format!("-d -c {at}tinyproxy.conf"), "tinyproxy.log"),
            ("squid", 8882, format!("-N -f {at}squid.conf"), "squid.access"),
        ] {
            let there = format!("PATH=$PATH:/usr/sbin; command -v {proxy} && command -v curl");
            if !can(world, proxy, &there) {
                continue;
            }
            let _proxy = Server::start(world, (proxy, port), &arguments);
            let log = || std::fs::read_to_string(world.path(log)).unwrap_or_default();
            let script = format!("env | grep {port}; curl -sSf http://web.test/hello");
            let output = run_behind(world, ("web.test", port), &script);
            let text = format!("{}{}\n{}", output.stdout, output.stderr, log());
            assert_eq!((output.status, &*output.stdout), (0, "hello from outside\n"), "{text}");
            let before = log();
            assert!(before.contains("CONNECT") || before.contains("Established"), "{text}");
            let refused = run_behind(world, ("other.test", port), &script);
            assert!(refused.status != 0 && !refused.stdout.contains("hello"), "{}", refused.stderr);
            let after = log();
            let requests =
                |log: &str| log.matches("Request (file").count() + log.matches("TCP_").count();
            assert_eq!(requests(&after), requests(&before), "the refused host got there: {after}");
            if web.is_some() {
                let script = "curl -sS --cacert tls.crt https://web.test/hello";
                let output = run_behind(world, ("web.test", port), script);
                assert_eq!(output.stdout, "hello over TLS\n", "{}\n{}", output.stderr, log());
                assert!(requests(&log()) > requests(&after), "{}", log());
            }
        }
    });
}
