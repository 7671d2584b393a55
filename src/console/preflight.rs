//! At the end of a first boot that joins a cluster: what that needs, line by line as it becomes
//! known, until every peer is active, somebody presses Enter, or nothing more is to be expected.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::client::http::Client;
use crate::node::Dirs;
use crate::sys::terminal::wait_readable;

/// How long it looks at most.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often, in milliseconds.
const PERIOD_MS: u16 = 2_000;

/// What was said of each check or peer, by its name.
type Said = BTreeMap<String, String>;

/// Looks and tells, on standard output.
pub fn show(dirs: &Dirs) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(
        out,
        "\nJoining the cluster. What it needs, as it becomes known (Enter ends this):"
    )?;
    let client = Client::new(dirs.run.join("serve.sock"))?;
    let end = Instant::now() + PATIENCE;
    let mut said = Said::new();
    loop {
        // Until the service has started again there is no answer.
        let seen = (client.get("/prerequisites"), client.get("/cluster"));
        if let (Ok(checks), Ok(cluster)) = seen {
            let now = lines(&checks, &cluster);
            for line in news(&mut said, now) {
                writeln!(out, "  {line}")?;
            }
            if all_active(&cluster) {
                return writeln!(out, "The cluster stands.");
            }
        }
        if Instant::now() >= end || entered()? {
            return writeln!(
                out,
                "Look again with: tutti prerequisites, or on the page: Status > Cluster."
            );
        }
    }
}

/// Waits a moment; whether a line was entered, or the terminal ended.
fn entered() -> io::Result<bool> {
    let input = io::stdin();
    if !wait_readable(&input, PERIOD_MS)? {
        return Ok(false);
    }
    let mut byte = [0];
    Ok(input.lock().read(&mut byte)? == 0 || byte[0] == b'\n')
}

/// What is known, by name: a mark, the name, and the figure or what is missing.
fn lines(checks: &Value, cluster: &Value) -> Said {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut all = Said::new();
    for check in checks["prerequisites"].as_array().into_iter().flatten() {
        let mark = match check["grade"].as_str() {
            Some("met") => "ok",
            Some("warning") => "!",
            Some("unmet") => "MISSING",
            _ => continue,
        };
        // What peers say of themselves and of this system is on the page.
        if !check["by"].is_null() {
            continue;
        }
        let of = match check["peer"].as_u64() {
            Some(peer) => format!("Peer {peer}: "),
            None => String::new(),
        };
        let name = format!("{of}{}", text(&check["name"]));
        // A figure may move; a line is said again when its grade does.
        all.insert(name, format!("{mark:<8}\t{}", text(&check["detail"])));
    }
    for peer in cluster["peers"].as_array().into_iter().flatten() {
        let state = text(&peer["state"]["text"]);
        if !state.is_empty() && peer["own"] == false {
            let name = format!("Peer {}", peer["field"]);
            all.insert(name, format!("{:<8}\t{state}", "--"));
        }
    }
    all
}

/// What is to be said now: what is new, and what has another mark, or for a peer another state.
fn news(said: &mut Said, now: Said) -> Vec<String> {
    let mut out = Vec::new();
    for (name, text) in now {
        let (mark, detail) = text.split_once('\t').unwrap_or((&text, ""));
        let key = match mark.trim() {
            "--" => detail,
            _ => mark,
        };
        if said.insert(name.clone(), key.to_owned()).as_deref() != Some(key) {
            out.push(format!("{mark} {name}: {detail}"));
        }
    }
    out
}

fn all_active(cluster: &Value) -> bool {
    let mut others = cluster["peers"].as_array().into_iter().flatten();
    cluster["standing"] == "member"
        && others.all(|peer| peer["address"].is_null() || peer["state"]["colour"] == "green")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn seen(grade: &str, detail: &str, state: &str, colour: &str) -> (Value, Value) {
        let checks = json!({ "prerequisites": [
            { "name": "Path MTU", "peer": 1, "by": null, "grade": grade, "detail": detail },
            { "name": "NTP synchronized", "peer": 1, "by": 1, "grade": "met", "detail": "yes" },
            { "name": "Release key valid", "peer": null, "by": null, "grade": "unknown",
              "detail": "" },
        ]});
        let own = json!({ "field": 2, "address": "10.0.0.2", "own": true,
            "state": { "text": "This system", "colour": "green" } });
        let peer = json!({ "field": 1, "address": "10.0.0.1", "own": false,
            "state": { "text": state, "colour": colour } });
        let none = json!({ "field": 3, "address": null, "own": false, "state": null });
        let cluster = json!({ "standing": "member", "peers": [peer, own, none] });
        (checks, cluster)
    }

    #[test]
    fn each_is_said_once_and_again_when_it_changes_for_better_or_worse() {
        let mut said = Said::new();
        let mut tell = |grade, detail, state| {
            let (checks, cluster) = seen(grade, detail, state, "red");
            news(&mut said, lines(&checks, &cluster))
        };
        let first = tell("unmet", "1200 octets", "Unreachable");
        let expected = [
            "--       Peer 1: Unreachable",
            "MISSING  Peer 1: Path MTU: 1200 octets",
        ];
        assert_eq!(first, expected);
        assert!(tell("unmet", "1201 octets", "Unreachable").is_empty());
        assert_eq!(
            tell("met", "1500 octets", "Unreachable"),
            ["ok       Peer 1: Path MTU: 1500 octets"]
        );
        let joining = tell("met", "1500 octets", "Joining 43 %");
        assert_eq!(joining, ["--       Peer 1: Joining 43 %"]);
    }

    #[test]
    fn it_ends_when_every_listed_peer_is_active_and_this_system_a_member() {
        assert!(!all_active(&seen("met", "", "Joining 43 %", "amber").1));
        let (_, mut cluster) = seen("met", "", "Active as a", "green");
        assert!(all_active(&cluster));
        cluster["standing"] = "waiting".into();
        assert!(!all_active(&cluster));
    }
}
