//! The house rules that a compiler does not know: which module may name which, who may name a
//! crate of the outside world, how long a file and a line may be. Every failure says file:line.

#[path = "tidy/lex.rs"]
mod lex;
#[path = "tidy/rules.rs"]
mod rules;

use std::fs;
use std::path::{Path, PathBuf};

use rules::check;

fn sources(dir: &Path, into: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for entry in entries {
        let path = entry.expect("a readable directory entry").path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
}

#[test]
fn the_tree_keeps_the_house_rules() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for dir in ["src", "tests", "fuzz/fuzz_targets"] {
        sources(&root.join(dir), &mut files);
    }
    files.sort();
    assert!(files.len() > 10, "found only {} source files", files.len());
    let mut found = Vec::new();
    for file in files {
        let name = file.strip_prefix(root).expect("below the root");
        let name = name.to_str().expect("file names are plain text");
        let text = fs::read_to_string(&file).expect("sources are UTF-8");
        found.extend(check(name, &text));
    }
    assert!(
        found.is_empty(),
        "{} breaches of the house rules:\n{}",
        found.len(),
        found.join("\n")
    );
}

/// One planted breach: its file, its text, and what the complaint must contain.
const PLANTED: &[(&str, &str, &str)] = &[
    (
        "src/ike/a.rs",
        "use tokio::time;",
        "src/ike/a.rs:1: core module `ike` names `tokio`",
    ),
    (
        "src/ike/a.rs",
        "\nuse std::net::{IpAddr, UdpSocket};",
        "a.rs:2: core module `ike` names `UdpSocket`",
    ),
    ("src/wire/a.rs", "use std::fs::File;", "names `std::fs`"),
    ("src/wire/a.rs", "use std::{fmt, fs};", "names `std::fs`"),
    (
        "src/replica/clock.rs",
        "fn f() { let _ = std::time::Instant::now(); }",
        "names `Instant`",
    ),
    (
        "src/tunnel/a.rs",
        "use std::time::{Duration, SystemTime};",
        "names `SystemTime`",
    ),
    (
        "src/cluster/a.rs",
        "fn f() { getrandom::fill(&mut []); }",
        "names `getrandom`",
    ),
    (
        "src/wire/a.rs",
        "use crate::ike::Proposal;",
        "`wire` imports `ike`",
    ),
    (
        "src/wire/isakmp/a.rs",
        "use super::super::super::tunnel::message;",
        "`wire` imports `tunnel`",
    ),
    (
        "src/wire/mod.rs",
        "use super::tunnel;",
        "`wire` imports `tunnel`",
    ),
    (
        "src/ike/a.rs",
        "use crate::replica::NodeId;",
        "`ike` imports `replica`",
    ),
    (
        "src/replica/a.rs",
        "use crate::{ike, wire};",
        "`replica` imports `ike`",
    ),
    (
        "src/settings/a.rs",
        "use crate::sys::terminal;",
        "`settings` imports `sys`",
    ),
    (
        "src/cluster/a.rs",
        "use crate::node::Dirs;",
        "`cluster` imports `node`",
    ),
    (
        "src/store/a.rs",
        "use crate::{sys::xfrm, replica};",
        "`store` imports `sys`",
    ),
    (
        "src/tls/a.rs",
        "use crate::node::ipc;",
        "`tls` imports `node`",
    ),
    (
        "src/web/a.rs",
        "use crate::console::cli;",
        "`web` imports `console`",
    ),
    (
        "src/node/a.rs",
        "use rusqlite::Connection;",
        "`rusqlite` is named only in src/store",
    ),
    (
        "src/node/a.rs",
        "fn f() { nix::unistd::getuid(); }",
        "`nix` is named only in src/sys",
    ),
    (
        "src/host/a.rs",
        "use libc as c;",
        "`libc` is named only in src/sys",
    ),
    (
        "src/node/a.rs",
        "use netlink_sys::Socket;",
        "`netlink_sys` is named only in src/sys",
    ),
    (
        "src/web/a.rs",
        "use rustls::ServerConfig;",
        "`rustls` is named only in src/tls",
    ),
    (
        "src/host/a.rs",
        "use tokio_rustls::TlsStream;",
        "`tokio_rustls` is named only in src/tls",
    ),
    (
        "src/node/a.rs",
        "fn f() { unsafe { g() } }",
        "`unsafe` is written only in src/sys",
    ),
    ("src/node/a.rs", "fn f() { todo!() }", "`todo!` is left"),
    (
        "src/store/tx.rs",
        "fn f(db: &Db) { db.blob_open(); }",
        "`blob_open` beside SQLite",
    ),
    (
        "src/store/writer.rs",
        "fn f() { let _ = std::fs::File::open(\"replicated.db\"); }",
        "`File` beside SQLite",
    ),
    (
        "src/node/a.rs",
        "const A: &str = \"/home/x\";",
        "a path of one machine",
    ),
    (
        "tests/a.rs",
        "const A: &str = \"/root/.cargo\";",
        "a path of one machine",
    ),
    (
        "src/node/a.rs",
        concat!("// see crates", ".io/crates/x"),
        "names a package registry",
    ),
];

#[test]
fn each_planted_breach_is_caught() {
    for (file, text, expected) in PLANTED {
        let found = check(file, text);
        assert!(
            found.iter().any(|f| f.contains(expected)),
            "{file}: {text:?} gave {found:?}, expected {expected:?}"
        );
    }
}

#[test]
fn long_files_and_long_lines_are_caught() {
    let long = format!("// {}\n", "x".repeat(100));
    assert!(check("src/node/a.rs", &long)[0].contains("a.rs:1: 103 columns"));
    let url = format!("// https://example.org/{}\n", "x".repeat(100));
    assert_eq!(check("src/node/a.rs", &url), Vec::<String>::new());
    let raw = format!("const A: &str = r\"{}\";\n", "x".repeat(100));
    assert_eq!(check("src/node/a.rs", &raw), Vec::<String>::new());
    let file = "fn f() {}\n".repeat(601);
    assert!(check("src/node/a.rs", &file)[0].contains("a.rs:601: 601 lines"));
}

#[test]
fn honest_code_passes() {
    for (file, text) in [
        (
            "src/ike/a.rs",
            "use crate::wire::isakmp; use crate::tunnel::message::Secret;",
        ),
        (
            "src/ike/a.rs",
            "// tokio and rusqlite, std::fs\nconst A: &str = \"use tokio::x\";",
        ),
        (
            "src/ike/a.rs",
            "fn f<'a>(x: &'a str, c: char) -> bool { c == '\"' || x == \"tokio::\" }",
        ),
        (
            "src/wire/isakmp/a.rs",
            "use super::super::reader; use crate::wire::isakmp;",
        ),
        (
            "src/replica/a.rs",
            "#[cfg(test)]\nmod tests {\n    use std::fs::File;\n}",
        ),
        (
            "src/wire/a.rs",
            "fn f(nix: u8, m: M) { m.tokio(nix); let rustls = nix; }",
        ),
        (
            "src/store/mod.rs",
            "use rusqlite::Connection; use crate::replica::NodeId;",
        ),
        ("src/web/a.rs", "use tokio_rustls::server::TlsStream;"),
        ("src/sys/a.rs", "fn f() { unsafe { libc::getuid() }; }"),
        ("src/host/a.rs", "use crate::settings::System; use std::fs;"),
    ] {
        assert_eq!(check(file, text), Vec::<String>::new(), "{file}: {text}");
    }
}
