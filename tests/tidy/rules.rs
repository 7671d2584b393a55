//! The rules themselves, over one file's text; pure, so that planted breaches can test them.

use super::lex::{Token, raw_string_lines, tokens};

/// Modules without I/O, clock, tokio or randomness of their own.
const CORE: &[&str] = &[
    "wire",
    "ike",
    "tunnel",
    "replica",
    "cluster",
    "conference",
    "settings",
    "setup",
];
/// Modules around exactly one outside thing each.
const ADAPTERS: &[&str] = &["store", "sys", "tls", "bridge"];
/// Everything else of ours.
const SHELL: &[&str] = &["node", "web", "console", "host", "lifecycle"];

/// Crates that a core module never names.
const OUTSIDE: &[&str] = &[
    "tokio",
    "tokio_rustls",
    "axum",
    "hyper",
    "hyper_util",
    "http_body_util",
    "tower",
    "clap",
    "getrandom",
    "sd_notify",
    "tempfile",
    "tracing_subscriber",
];
/// Names that are I/O or a clock wherever they come from.
const WORLD: &[&str] = &[
    "UdpSocket",
    "TcpStream",
    "TcpListener",
    "UnixStream",
    "UnixListener",
    "ToSocketAddrs",
    "SystemTime",
    "Instant",
];
/// Modules of `std` that are the world.
const STD: &[&str] = &["fs", "process", "env", "thread", "os"];

/// A crate and the directories that may name it.
const OWNERS: &[(&str, &[&str])] = &[
    ("rusqlite", &["store"]),
    ("nix", &["sys"]),
    ("libc", &["sys"]),
    ("netlink_sys", &["sys"]),
    ("netlink_packet_core", &["sys"]),
    ("netlink_packet_xfrm", &["sys"]),
    ("rustls", &["tls"]),
    ("webpki", &["tls"]),
    ("x509_parser", &["tls"]),
    ("rcgen", &["tls"]),
    ("tokio_rustls", &["tls", "node", "web"]),
];

/// What only some files of `src/store` may name, and why nobody else: SQLite's hook does not tell of
/// what a blob handle writes; and whoever opens and closes a database beside SQLite, or its `-shm`,
/// takes SQLite's locks away. These open the log alone, and files that are no database of ours yet.
const STORE: &[(&str, &[&str])] = &[
    ("blob_open", &["log", "pieces"]),
    // Makes the file, so that nobody else may read it, before SQLite is there.
    ("OpenOptions", &["local"]),
    (
        "File",
        &[
            "sync", "snapshot", "joining", "pieces", "spill", "bound", "damage",
        ],
    ),
];

const FILE_LINES: usize = 600;
const COLUMNS: usize = 100;

/// Every breach in one file, each as `file:line: what is wrong`.
pub fn check(file: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut complain = |line: usize, what: String| found.push(format!("{file}:{line}: {what}"));
    let module = module(file);
    lines(file, text, &mut complain);
    let tokens = tokens(text);
    let tokens = &tokens[..];
    if module.is_some() {
        unfinished(tokens, &mut complain);
    }
    if let Some(module) = module {
        let code = &tokens[..production(file, tokens)];
        owners(file, module, code, &mut complain);
        beside(file, code, &mut complain);
        if CORE.contains(&module) {
            purity(module, code, &mut complain);
        }
        imports(file, module, code, &mut complain);
    }
    found
}

/// The top-level module a file of `src/` belongs to.
fn module(file: &str) -> Option<&str> {
    let inside = file.strip_prefix("src/")?;
    Some(inside.split('/').next()?.trim_end_matches(".rs"))
}

fn lines(file: &str, text: &str, complain: &mut dyn FnMut(usize, String)) {
    let count = text.lines().count();
    if count > FILE_LINES {
        complain(
            count,
            format!("{count} lines, at most {FILE_LINES}: cut it in two"),
        );
    }
    // The rules and their planted breaches spell out what they forbid.
    let itself = file.starts_with("tests/tidy");
    let raw = raw_string_lines(text);
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let columns = line.chars().count();
        let excused = line.contains("://") || raw.contains(&number);
        if file.starts_with("src/") && columns > COLUMNS && !excused {
            complain(number, format!("{columns} columns, at most {COLUMNS}"));
        }
        if itself {
            continue;
        }
        if [concat!("/wo", "rk/"), "/root/", "/home/"]
            .iter()
            .any(|p| path_starts(line, p))
        {
            complain(number, "a path of one machine".into());
        }
        let registries = [
            concat!("crates", ".io"),
            concat!("index", ".crates"),
            concat!("pypi", ".org"),
            concat!("registry", ".npmjs"),
            concat!("proxy", ".golang"),
        ];
        if registries.iter().any(|r| line.contains(r)) {
            complain(number, "names a package registry".into());
        }
    }
}

/// Whether `prefix` occurs as the start of an absolute path.
fn path_starts(line: &str, prefix: &str) -> bool {
    line.match_indices(prefix).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '}' | '-' | '/'))
    })
}

fn unfinished(tokens: &[Token], complain: &mut dyn FnMut(usize, String)) {
    for pair in tokens.windows(2) {
        let unfinished = matches!(pair[0].text.as_str(), "todo" | "unimplemented");
        if unfinished && pair[1].text == "!" {
            complain(pair[0].line, format!("`{}!` is left", pair[0].text));
        }
    }
}

/// How many tokens belong to the product: a test module at the end is free to read files.
fn production(file: &str, tokens: &[Token]) -> usize {
    if file.ends_with("/tests.rs") || file.contains("/tests/") {
        return 0;
    }
    let wanted = ["#", "[", "cfg", "(", "test", ")", "]", "mod"];
    tokens
        .windows(wanted.len() + 2)
        .position(|window| {
            let matches = window.iter().zip(wanted).all(|(t, w)| t.text == w);
            matches && window[wanted.len() + 1].text == "{"
        })
        .unwrap_or(tokens.len())
}

/// Whether the token at `at` names a crate: starts a path or is imported whole.
fn names_crate(tokens: &[Token], at: usize) -> bool {
    let before = at.checked_sub(1).map(|b| tokens[b].text.as_str());
    let after = tokens.get(at + 1).map(|t| t.text.as_str());
    if matches!(before, Some("::" | ".")) {
        // `::tokio` is a path from the root; `a::tokio` is not.
        let rooted = at >= 2 && before == Some("::") && {
            let earlier = tokens[at - 2].text.chars().next_back();
            !earlier.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '>')
        };
        return rooted;
    }
    after == Some("::") || matches!(before, Some("use" | "crate"))
}

fn owners(file: &str, module: &str, tokens: &[Token], complain: &mut dyn FnMut(usize, String)) {
    for (at, token) in tokens.iter().enumerate() {
        // SQLite calls a VFS by C pointers, and is named in `store` alone.
        let home = module == "sys" || file == "src/store/frames.rs";
        if token.text == "unsafe" && !home {
            complain(token.line, "`unsafe` is written only in src/sys".into());
        }
        let owner = OWNERS.iter().find(|(name, _)| *name == token.text);
        if let Some((name, homes)) = owner
            && !homes.contains(&module)
            && names_crate(tokens, at)
        {
            let homes = homes.join(", src/");
            complain(token.line, format!("`{name}` is named only in src/{homes}"));
        }
    }
}

fn beside(file: &str, tokens: &[Token], complain: &mut dyn FnMut(usize, String)) {
    let Some(inside) = file.strip_prefix("src/store/") else {
        return;
    };
    let file = inside.trim_end_matches(".rs");
    for token in tokens {
        let rule = STORE.iter().find(|(name, _)| *name == token.text);
        if let Some((name, homes)) = rule
            && !homes.contains(&file)
        {
            complain(token.line, format!("`{name}` beside SQLite"));
        }
    }
}

fn purity(module: &str, tokens: &[Token], complain: &mut dyn FnMut(usize, String)) {
    for (at, token) in tokens.iter().enumerate() {
        let name = token.text.as_str();
        let outside = OUTSIDE.contains(&name) && names_crate(tokens, at);
        if outside || WORLD.contains(&name) {
            complain(token.line, format!("core module `{module}` names `{name}`"));
        }
        if name == "std" {
            for (part, line) in heads(tokens, at + 1) {
                if STD.contains(&part) {
                    complain(line, format!("core module `{module}` names `std::{part}`"));
                }
            }
        }
    }
}

fn imports(file: &str, module: &str, tokens: &[Token], complain: &mut dyn FnMut(usize, String)) {
    let depth = depth(file);
    for (at, token) in tokens.iter().enumerate() {
        let found = match token.text.as_str() {
            "crate" => heads(tokens, at + 1),
            "super" if at == 0 || tokens[at - 1].text != "::" => {
                let mut end = at;
                let mut climbed = 1;
                while tokens.get(end + 2).is_some_and(|t| t.text == "super") {
                    end += 2;
                    climbed += 1;
                }
                if climbed < depth {
                    continue;
                }
                heads(tokens, end + 1)
            }
            _ => continue,
        };
        for (target, line) in found {
            if let Some(why) = forbidden(module, target) {
                complain(line, format!("`{module}` imports `{target}`: {why}"));
            }
        }
    }
}

/// How many `super`s lead from a file's module to the crate's root.
fn depth(file: &str) -> usize {
    let parts = file.trim_start_matches("src/").split('/').count();
    let root = file.ends_with("/mod.rs") || file == "src/lib.rs" || file == "src/main.rs";
    if root { parts - 1 } else { parts }
}

/// The first names after a `::` at `at`: one, or each of a braced group.
fn heads(tokens: &[Token], at: usize) -> Vec<(&str, usize)> {
    if tokens.get(at).is_none_or(|t| t.text != "::") {
        return Vec::new();
    }
    let Some(first) = tokens.get(at + 1) else {
        return Vec::new();
    };
    if first.text != "{" {
        return vec![(first.text.as_str(), first.line)];
    }
    let mut found = Vec::new();
    let mut depth = 0;
    let mut before = "";
    for token in &tokens[at + 1..] {
        match token.text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            name if depth == 1 && matches!(before, "{" | ",") => {
                found.push((name, token.line));
            }
            _ => {}
        }
        before = &token.text;
        if depth == 0 {
            break;
        }
    }
    found
}

/// Why `module` may not import `target`, if so.
fn forbidden(module: &str, target: &str) -> Option<&'static str> {
    let (core, adapter) = (CORE.contains(&module), ADAPTERS.contains(&module));
    let shell_target = SHELL.contains(&target);
    if module == target {
        return None;
    }
    if core && (shell_target || ADAPTERS.contains(&target)) {
        return Some("the core knows neither adapters nor the shell");
    }
    if module == "wire" && CORE.contains(&target) {
        return Some("wire stands at the bottom");
    }
    if matches!((module, target), ("ike", "replica") | ("replica", "ike")) {
        return Some("keying and replication never know each other");
    }
    if adapter && ADAPTERS.contains(&target) {
        return Some("adapters never know each other");
    }
    if adapter && shell_target {
        return Some("an adapter stands below the shell");
    }
    if matches!((module, target), ("web", "console") | ("console", "web")) {
        return Some("they meet only through the core's types and the node");
    }
    None
}
