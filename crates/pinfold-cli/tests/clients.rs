//! Real clients reach the hosts that a rule names, with no option of theirs for it,
//! and no other. Every test has a network of its own, in which a public address leads
//! to one server that stands for all hosts.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod internet;
mod world;

use internet::{can, check, isolated, run};

#[test]
fn programs_that_fetch_pages() {
    isolated("programs_that_fetch_pages", |world, internet| {
        internet.file("web.test/hello", "hello from outside\n");
        let url = "http://web.test/hello";
        let without = "env -u http_proxy -u HTTP_PROXY -u all_proxy -u ALL_PROXY";
        let python =
            "import sys, urllib.request as r; print(r.urlopen(sys.argv[1]).read().decode())";
        let requests = "import sys; from pip._vendor import requests as r; a = r.get(sys.argv[1]); a.raise_for_status(); print(a.text)";
        let node = "fetch(process.argv[1]).then(async a => { if (!a.ok) process.exit(1); console.log(await a.text()) }, () => process.exit(1))";
        world.file(
            "Fetch.java",
            "public class Fetch { public static void main(String[] a) throws Exception {\n\
         try (var in = new java.net.URL(a[0]).openStream()) { in.transferTo(System.out); } } }\n",
        );
        for (program, script) in [
            ("curl", format!("curl -sSf {url}")),
            // It knows nothing of any proxy then.
            ("curl", format!("{without} curl -sSf {url}")),
            ("wget", format!("wget -qO- {url}")),
            ("wget", format!("{without} wget -qO- --tries=1 {url}")),
            ("python3", format!("python3 -c '{python}' {url}")),
            ("node", format!("node -e '{node}' {url}")),
            ("javac", format!("java Fetch.java {url}")),
        ] {
            if can(world, program, &format!("command -v {program}")) {
                check(world, internet, ("web.test", &script), "hello from outside");
            }
        }
        if can(world, "pip for Python", "python3 -c 'import pip'") {
            let script = format!("python3 -c '{requests}' {url}");
            check(world, internet, ("web.test", &script), "hello from outside");
        }
    });
}

#[test]
fn hosts_that_a_file_names_are_known_by_name() {
    isolated("hosts_that_a_file_names_are_known_by_name", |world, internet| {
        if !can(world, "curl", "command -v curl") {
            return;
        }
        internet.file("listed.test/hello", "hello from outside\n");
        let script = "curl -sSf --noproxy '*' http://listed.test/hello";
        check(world, internet, ("listed.test", script), "hello from outside");
        // Another name of the same address is another host.
        let other = run(world, "other.test", script);
        let text = format!("{}{}", other.stdout, other.stderr);
        assert!(other.status != 0 && !text.contains("hello"), "{text}");
        assert_eq!(internet.hosts(), [""; 0], "{text}");
    });
}

#[test]
fn git_clones() {
    isolated("git_clones", |world, internet| {
        if !can(world, "git", "command -v git") {
            return;
        }
        world.outside(
            "mkdir ~/made && cd ~/made && git init -q . && echo kept >file && git add file && \
         git -c user.name=a -c user.email=a@example.com commit -qm one && \
         git clone -q --bare . ~/internet/git.test/made.git && \
         cd ~/internet/git.test/made.git && git update-server-info",
        );
        let script = "rm -rf made; git clone -q http://git.test/made.git && cat made/file";
        check(world, internet, ("git.test", script), "kept");
    });
}

#[test]
fn pip_installs() {
    isolated("pip_installs", |world, internet| {
        if !can(world, "pip for Python", "python3 -c 'import pip'") {
            return;
        }
        let wheel = r#"
import os, zipfile
base = os.path.expanduser("~/internet/python.test/simple/thing")
os.makedirs(base)
name = "thing-1.0-py3-none-any.whl"
with zipfile.ZipFile(os.path.join(base, name), "w") as wheel:
    wheel.writestr("thing.py", "value = 'installed from outside'\n")
    wheel.writestr("thing-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n")
    wheel.writestr("thing-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr("thing-1.0.dist-info/RECORD", "")
with open(os.path.join(base, "index.html"), "w") as index:
    index.write(f'<!DOCTYPE html><html><body><a href="{name}">{name}</a></body></html>')
"#;
        world.file("wheel.py", wheel);
        world.outside("python3 wheel.py");
        let script = "export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_RETRIES=0 PIP_NO_CACHE_DIR=1\n\
        python3 -m pip install -q --target there --index-url http://python.test/simple/ \
        --trusted-host python.test thing\n\
        PYTHONPATH=there python3 -c 'import thing; print(thing.value)'";
        check(world, internet, ("python.test", script), "installed from outside");
        let more = std::env::var("PINFOLD_CLIENTS").unwrap_or_default();
        if can(world, "uv", &format!("{more}/bin/uv --version")) {
            let script = format!(
                "export UV_CACHE_DIR=$PWD/cache UV_HTTP_RETRIES=0\n\
                {more}/bin/uv pip install -q --target by-uv --python python3 \
                --index-url http://python.test/simple/ thing\n\
                PYTHONPATH=by-uv python3 -c 'import thing; print(thing.value)'"
            );
            check(world, internet, ("python.test", &script), "installed from outside");
        }
    });
}

#[test]
fn npm_installs() {
    isolated("npm_installs", |world, internet| {
        if !can(world, "npm", "command -v npm") {
            return;
        }
        world.outside(
            "mkdir -p ~/package ~/internet/npm.test/thing/-\n\
         echo '{\"name\":\"thing\",\"version\":\"1.0.0\"}' >~/package/package.json\n\
         echo 'module.exports = \"installed from outside\"' >~/package/index.js\n\
         tar -czf ~/internet/npm.test/thing/-/thing-1.0.0.tgz -C ~ package",
        );
        let package = r#"{"name":"user","version":"1.0.0","dependencies":{"thing":"1.0.0"}}"#;
        let lock = r#"{"name":"user","version":"1.0.0","lockfileVersion":3,"packages":{
        "":{"name":"user","version":"1.0.0","dependencies":{"thing":"1.0.0"}},
        "node_modules/thing":{"version":"1.0.0","resolved":"http://npm.test/thing/-/thing-1.0.0.tgz"}}}"#;
        world.file("package.json", package);
        world.file("package-lock.json", lock);
        let script = "export npm_config_cache=$PWD/cache npm_config_update_notifier=false \
        npm_config_fetch_retries=0 npm_config_audit=false npm_config_fund=false\n\
        npm ci --silent --registry http://npm.test/ && node -p 'require(\"thing\")'";
        check(world, internet, ("npm.test", script), "installed from outside");
    });
}

#[test]
fn go_downloads_modules() {
    isolated("go_downloads_modules", |world, internet| {
        if !can(world, "go", "command -v go && command -v python3") {
            return;
        }
        let module = r#"
import os, zipfile
base = os.path.expanduser("~/internet/go.test/example.test/thing/@v")
os.makedirs(base)
text = "module example.test/thing\n"
for name, content in [("list", "v1.0.0\n"), ("v1.0.0.mod", text), ("v1.0.0.info", '{"Version":"v1.0.0"}')]:
    with open(os.path.join(base, name), "w") as file:
        file.write(content)
with zipfile.ZipFile(os.path.join(base, "v1.0.0.zip"), "w") as archive:
    archive.writestr("example.test/thing@v1.0.0/go.mod", text)
    archive.writestr("example.test/thing@v1.0.0/thing.go", "package thing\n// fetched from outside\n")
"#;
        world.file("module.py", module);
        world.outside("python3 module.py");
        world.file(
            "go.mod",
            "module example.test/user\ngo 1.19\nrequire example.test/thing v1.0.0\n",
        );
        let script = "export GOPROXY=http://go.test GOSUMDB=off GOFLAGS=-modcacherw \
        GOMODCACHE=$PWD/modules GOCACHE=$PWD/cache GOTOOLCHAIN=local\n\
        go mod download && cat modules/example.test/thing@v1.0.0/thing.go";
        check(world, internet, ("go.test", script), "fetched from outside");
    });
}

#[test]
fn cargo_fetches() {
    isolated("cargo_fetches", |world, internet| {
        let cargo = env!("CARGO");
        if !can(world, "cargo for this user", &format!("{cargo} --version")) {
            return;
        }
        world.outside(
        "mkdir -p ~/thing-1.0.0/src ~/internet/crates.test/index/th/in ~/internet/crates.test/thing/1.0.0\n\
         printf '[package]\\nname = \"thing\"\\nversion = \"1.0.0\"\\n' >~/thing-1.0.0/Cargo.toml\n\
         echo '// fetched from outside' >~/thing-1.0.0/src/lib.rs\n\
         tar -czf ~/internet/crates.test/thing/1.0.0/download -C ~ thing-1.0.0\n\
         sum=$(sha256sum ~/internet/crates.test/thing/1.0.0/download | cut -d' ' -f1)\n\
         echo '{\"dl\":\"http://crates.test\"}' >~/internet/crates.test/index/config.json\n\
         echo '{\"name\":\"thing\",\"vers\":\"1.0.0\",\"deps\":[],\"features\":{},\"yanked\":false,\
         \"cksum\":\"'$sum'\"}' >~/internet/crates.test/index/th/in/thing",
    );
        world.file("src/lib.rs", "");
        world.file(
            "Cargo.toml",
            "[package]\nname = \"user\"\nversion = \"1.0.0\"\n\
         [dependencies]\nthing = { version = \"1.0.0\", registry = \"own\" }\n",
        );
        let script = format!(
            "export CARGO_HOME=$PWD/home CARGO_NET_RETRY=0 \
         CARGO_REGISTRIES_OWN_INDEX=sparse+http://crates.test/index/\n\
         {cargo} fetch -q && cat home/registry/src/*/thing-1.0.0/src/lib.rs"
        );
        check(world, internet, ("crates.test", &script), "fetched from outside");
    });
}
