//! Answers as text for people.

use std::fmt::Write;

use serde_json::Value;

fn word(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn list<'a>(answer: &'a Value, name: &str) -> &'a [Value] {
    answer[name]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
}

/// Columns as wide as their widest cell.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
    };
    let widths: Vec<usize> = (0..columns)
        .map(|column| width(column).unwrap_or(0))
        .collect();
    let mut out = String::new();
    for row in rows {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

fn pairs(answer: &Value, names: &[(&str, &str)]) -> String {
    let row = |(label, name): &(&str, &str)| vec![format!("{label}:"), word(&answer[*name])];
    aligned(&names.iter().map(row).collect::<Vec<_>>())
}

/// `tutti certificate show`
pub fn certificate(answer: &Value) -> String {
    let names = [
        ("Subject", "subject"),
        ("Issuer", "issuer"),
        ("Serial number", "serial"),
        ("SHA-256 fingerprint", "fingerprint"),
        ("Next, announced", "next"),
        ("Former, still taken", "former"),
    ];
    let mut out = pairs(answer, &names);
    let know = list(answer, "peers").iter().map(|peer| {
        let told = match peer["told"].as_bool() {
            Some(true) => "knows them",
            _ => "was not told yet",
        };
        vec![format!("Peer {}:", word(&peer["address"])), told.into()]
    });
    out.push_str(&aligned(&know.collect::<Vec<_>>()));
    out
}

/// `tutti status`
pub fn status(answer: &Value) -> String {
    let names = [
        ("System name", "name"),
        ("Software version", "version"),
        ("Standing", "standing"),
        ("Cluster", "cluster"),
        ("IP addresses", "addresses"),
        ("Tunnel service", "tunnel_service"),
        ("Transactions held", "transactions"),
    ];
    pairs(answer, &names)
}

/// `tutti cluster show`
pub fn cluster(answer: &Value) -> String {
    let names = [
        ("Standing", "standing"),
        ("Cluster", "id"),
        ("Cluster pre-shared key set", "key_set"),
        ("Peer 1 IP address", "peer1"),
        ("Peer 2 IP address", "peer2"),
        ("Peer 3 IP address", "peer3"),
        ("IKE profile", "profile"),
        ("Authentication", "authentication"),
        ("Additional key exchange", "additional_key_exchange"),
        ("Post-quantum key set", "post_quantum_key_set"),
        ("Post-quantum key identity", "post_quantum_key_id"),
    ];
    let mut out = pairs(answer, &names);
    let certificate = &answer["certificate"];
    if !certificate.is_null() {
        let names = [
            ("Node certificate", "subject"),
            ("Valid until", "valid_until"),
            ("Trust anchors", "authorities"),
            ("Revocation lists", "revocation_lists"),
        ];
        out += &pairs(certificate, &names);
    }
    out
}

/// `tutti cluster generate-key`
pub fn key(answer: &Value) -> String {
    format!("{}\n", word(&answer["key"]))
}

/// `tutti peers`
pub fn peers(answer: &Value) -> String {
    let peers = list(answer, "peers");
    if peers.is_empty() {
        return "No peers: this system is standalone.\n".into();
    }
    let row = |peer: &Value| {
        let tunnel = if peer["tunnel"] == true { "AH" } else { "" };
        let trip = peer["round_trip_ms"].as_f64();
        let hinted = peer["colour"] == "red" && peer["authenticated"] == false;
        let hint = if hinted { "a hint" } else { "" };
        vec![
            format!("Peer {}", word(&peer["field"])),
            word(&peer["address"]),
            word(&peer["state"]),
            tunnel.into(),
            trip.map(|ms| format!("{ms:.1} ms")).unwrap_or_default(),
            compared(&peer["proof"]),
            hint.into(),
        ]
    };
    aligned(&peers.iter().map(row).collect::<Vec<_>>())
}

/// What the last comparison of all rows with a peer found.
fn compared(proof: &Value) -> String {
    let count = |name: &str| proof[name].as_u64().unwrap_or_default();
    match (proof["identical"].as_bool(), count("differing")) {
        (None, _) => String::new(),
        (Some(true), _) => "rows identical".into(),
        (Some(false), 0) => "rows compared in part".into(),
        (_, rows) => format!("{rows} rows differed, {} unclear", count("unclear")),
    }
}

/// `tutti tables list` and `import`
pub fn tables(answer: &Value) -> String {
    let row = |table: &Value| {
        let keys = table["keys"].as_str().filter(|keys| *keys == "engine");
        let keys = keys.map_or_else(String::new, |_| "keys of the engine".into());
        vec![word(&table["name"]), word(&table["rows"]), keys]
    };
    let mut out = aligned(&list(answer, "tables").iter().map(row).collect::<Vec<_>>());
    for skipped in list(answer, "skipped") {
        let _ = writeln!(out, "Left out: {}", word(skipped));
    }
    out
}

/// `tutti tables show`
pub fn rows(answer: &Value) -> String {
    let columns = list(&answer["table"], "columns");
    let mut table = vec![columns.iter().map(word).collect::<Vec<_>>()];
    for row in list(answer, "rows") {
        table.push(
            columns
                .iter()
                .map(|c| word(&row[c.as_str().unwrap_or_default()]))
                .collect(),
        );
    }
    aligned(&table)
}

/// `tutti tables digest`
pub fn digest(answer: &Value) -> String {
    format!("{}\n", word(&answer["digest"]))
}

/// `tutti tables delete`
pub fn deleted(answer: &Value) -> String {
    if answer["deleted"] == true {
        "Deleted.\n"
    } else {
        "There is no such row.\n"
    }
    .into()
}

/// `tutti conflicts`
pub fn conflicts(answer: &Value) -> String {
    let found = list(answer, "conflicts");
    let exported = match answer["exported"].as_u64() {
        None | Some(0) => String::new(),
        Some(count) => format!("{count} older conflicts are in conflicts-exported.jsonl.\n"),
    };
    if found.is_empty() {
        return format!("No conflicts.\n{exported}");
    }
    let mut table = vec![
        ["Id", "Table", "Key", "Column", "Lost value", "Reason"]
            .map(String::from)
            .to_vec(),
    ];
    for row in found {
        let names = ["id", "table", "key", "column", "value", "reason"];
        table.push(names.map(|name| word(&row[name])).to_vec());
    }
    aligned(&table) + &exported
}

/// `tutti events`, the newest last, as a terminal wants it
pub fn events(answer: &Value) -> String {
    let row = |event: &Value| {
        let change = match (word(&event["before"]), word(&event["after"])) {
            (before, after) if before.is_empty() && after.is_empty() => String::new(),
            (before, after) if before.is_empty() => format!(" (to {after})"),
            (before, after) => format!(" (from {before} to {after})"),
        };
        let times = match event["times"].as_u64() {
            Some(times) if times > 1 => format!(" x {times}"),
            _ => String::new(),
        };
        vec![
            word(&event["time"]),
            word(&event["level"]),
            word(&event["who"]),
            word(&event["source"]),
            word(&event["text"]) + &change + &times,
        ]
    };
    aligned(
        &list(answer, "events")
            .iter()
            .rev()
            .map(row)
            .collect::<Vec<_>>(),
    )
}

/// `tutti alarms`
pub fn alarms(answer: &Value) -> String {
    let alarms = list(answer, "alarms");
    if alarms.is_empty() {
        return "No alarms.\n".into();
    }
    let mut out = String::new();
    for alarm in alarms {
        let seen = alarm["acknowledged_by"].as_str();
        let seen = seen.map_or_else(String::new, |who| format!(", acknowledged by {who}"));
        let (id, level, text) = (
            word(&alarm["id"]),
            word(&alarm["level"]),
            word(&alarm["text"]),
        );
        let (raised, action) = (word(&alarm["raised"]), word(&alarm["action"]));
        let _ = writeln!(
            out,
            "{level}: {text}\n  {action}\n  {id}, raised {raised} UTC{seen}"
        );
    }
    out
}

/// `tutti prerequisites`
pub fn prerequisites(answer: &Value) -> String {
    let system = |field: &Value| match field.as_u64() {
        Some(peer) => format!("Peer {peer}"),
        None => "This system".into(),
    };
    let row = |check: &Value| {
        vec![
            system(&check["peer"]),
            word(&check["name"]),
            word(&check["grade"]),
            word(&check["detail"]),
            word(&check["seen"]),
            match check["by"].is_null() {
                true => String::new(),
                false => format!("{} says so", system(&check["by"]).to_lowercase()),
            },
        ]
    };
    aligned(
        &list(answer, "prerequisites")
            .iter()
            .map(row)
            .collect::<Vec<_>>(),
    )
}

/// `tutti time`
pub fn time(answer: &Value) -> String {
    let time = &answer["time"];
    let mut out = pairs(time, &[("State", "state"), ("Stratum", "stratum")]);
    let row = |server: &Value| {
        let names = [
            "address",
            "condition",
            "stratum",
            "reachability",
            "offset_s",
        ];
        names.map(|name| word(&server[name])).to_vec()
    };
    out += &aligned(&list(time, "servers").iter().map(row).collect::<Vec<_>>());
    out
}

/// `tutti tokens list`
pub fn tokens(answer: &Value) -> String {
    let found = list(answer, "tokens");
    if found.is_empty() {
        return "No tokens.\n".into();
    }
    let row = |token: &Value| {
        let may = match token["read_only"].as_bool() {
            Some(true) => "reads only",
            _ => "as its owner",
        };
        let named = ["id", "owner", "label", "created"].map(|name| word(&token[name]));
        let [id, owner, label, created] = named;
        vec![id, owner, label, may.into(), created]
    };
    aligned(&found.iter().map(row).collect::<Vec<_>>())
}

/// `tutti tokens create`
pub fn token(answer: &Value) -> String {
    format!("{}\n", word(&answer["token"]))
}

/// `tutti resolve`
pub fn resolved(answer: &Value) -> String {
    let addresses = list(answer, "addresses").iter();
    addresses.map(|one| word(one) + "\n").collect()
}

/// `tutti accounts list`
pub fn accounts(answer: &Value) -> String {
    let row = |who: &Value| {
        let change = who["change_password"] == true;
        let change = if change {
            "must change the password"
        } else {
            ""
        };
        vec![word(&who["name"]), word(&who["role"]), change.into()]
    };
    aligned(
        &list(answer, "administrators")
            .iter()
            .map(row)
            .collect::<Vec<_>>(),
    )
}
