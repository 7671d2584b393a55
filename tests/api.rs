//! What a running system answers is what its OpenAPI document says, for every operation of it; and
//! the command line prints the same, as JSON for programs.
#![allow(clippy::unwrap_used, reason = "a test; a panic is its way to fail")]

#[path = "serve/peer.rs"]
mod peer;

use std::collections::BTreeSet;

use peer::{Cluster, KEY, Peer};
use serde_json::{Map, Value, json};

const SETTINGS: &str = "protocol = 'ipv4'\nhost_name = 'peer-a'\n[ipv4.static]\n\
    address = '192.0.2.11'\nprefix = 24\n[[routes]]\nto = '10.8.0.0/16'\nvia = '192.0.2.1'\n\
    [syslog]\nserver = 'logs.example.org'\n";
const PASSWORD: &str = "green-Valley-52-oboe";

/// The document of a running system, and which operations were held against it.
struct Judge {
    document: Value,
    judged: BTreeSet<String>,
}

impl Judge {
    /// An object may have what its schema names and nothing else, unless others build on it.
    fn of(peer: &Peer) -> Self {
        let mut document = peer.get("/openapi.json");
        let text = document.to_string();
        let schemas = document["components"]["schemas"].as_object_mut().unwrap();
        for (name, schema) in schemas {
            // utoipa puts what is flattened into `allOf`, as a reference.
            let built_on = format!("\"allOf\":[{{\"$ref\":\"#/components/schemas/{name}\"");
            let second = format!("}},{{\"$ref\":\"#/components/schemas/{name}\"}}");
            if !text.contains(&built_on) && !text.contains(&second) {
                schema["unevaluatedProperties"] = false.into();
            }
        }
        Judge {
            document,
            judged: BTreeSet::new(),
        }
    }

    /// The path as the document has it.
    fn template(&self, method: &str, path: &str) -> String {
        let asked: Vec<&str> = path.split('?').next().unwrap().split('/').collect();
        let same = |template: &str| {
            let parts: Vec<&str> = template.split('/').collect();
            let fits = |(part, asked): (&&str, &&str)| part == asked || part.starts_with('{');
            parts.len() == asked.len() && parts.iter().zip(&asked).all(fits)
        };
        let all = self.document["paths"].as_object().unwrap();
        let has = |item: &Value| item.get(method.to_lowercase()).is_some();
        let mut found: Vec<&String> = all
            .iter()
            .filter(|(template, item)| same(template) && has(item))
            .map(|(template, _)| template)
            .collect();
        // Words before parameters.
        found.sort_by_key(|template| template.matches('{').count());
        let found = found.first();
        (*found.unwrap_or_else(|| panic!("{method} {path} is not documented"))).clone()
    }

    /// Holds an answer against the document.
    fn judge(&mut self, method: &str, path: &str, status: u16, answer: &Value) {
        let template = self.template(method, path);
        let operation = &self.document["paths"][&template][method.to_lowercase()];
        let media = &operation["responses"][status.to_string()]["content"]["application/json"];
        let mut schema = media["schema"].as_object().cloned().unwrap_or_else(|| {
            panic!("{method} {template}: no schema of {status}: {answer}");
        });
        let components = self.document["components"].clone();
        schema.insert("components".into(), components);
        let validator = jsonschema::validator_for(&Value::Object(schema)).unwrap();
        let wrong: Vec<String> = validator
            .iter_errors(answer)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(wrong.is_empty(), "{method} {path}: {wrong:#?}\n{answer:#}");
        if status == 200 {
            self.judged.insert(format!("{method} {template}"));
        }
    }

    /// Asks, and holds the answer against the document.
    fn ask(&mut self, peer: &Peer, method: &str, path: &str, body: Value) -> Value {
        self.ask_for(200, peer, method, path, body)
    }

    fn ask_for(
        &mut self,
        wanted: u16,
        peer: &Peer,
        method: &str,
        path: &str,
        body: Value,
    ) -> Value {
        let path = format!("/api/v1{path}");
        let (status, kind, text) = peer.ask(method, &path, &body);
        assert_eq!(status, wanted, "{method} {path}: {text}");
        assert_eq!(kind, "application/json", "{method} {path}");
        let answer: Value = serde_json::from_str(&text).unwrap();
        self.judge(method, &path, status, &answer);
        answer
    }

    /// Those that no answer was held against.
    fn left(&self) -> Vec<String> {
        let paths = self.document["paths"].as_object().unwrap();
        let methods = |item: &Value| -> Vec<String> {
            let all = item.as_object().map(Map::keys).into_iter().flatten();
            all.map(|method| method.to_uppercase()).collect()
        };
        let all = paths.iter().flat_map(|(path, item)| {
            methods(item)
                .into_iter()
                .map(move |method| format!("{method} {path}"))
        });
        all.filter(|one| !self.judged.contains(one)).collect()
    }
}

/// Two conflicts and an alarm: both write while they are cut off from each other.
fn disagree(a: &Peer, b: &Peer) {
    a.tunnels(false);
    b.tunnels(false);
    a.wait_state(&b.ip, "Unreachable");
    for id in ["x", "y"] {
        for peer in [a, b] {
            let row = json!({ "id": id, "text": peer.name });
            peer.post("/tables/note/rows", row);
        }
    }
    let alarmed = || !a.get("/alarms")["alarms"].as_array().unwrap().is_empty();
    a.wait(alarmed, "an alarm");
    a.tunnels(true);
    b.tunnels(true);
    let count = || a.get("/conflicts")["conflicts"].as_array().unwrap().len();
    a.wait(|| count() == 2, "two conflicts");
}

fn tables(judge: &mut Judge, a: &Peer) {
    let sql = "CREATE TABLE thing(id INTEGER PRIMARY KEY, a, b, c, d)";
    judge.ask(a, "POST", "/tables", json!({ "sql": sql }));
    let row = json!({ "id": 1, "a": 1.5, "b": "text", "c": null, "d": { "hex": "00ff" } });
    judge.ask(a, "POST", "/tables/thing/rows", row.clone());
    let found = judge.ask(a, "GET", "/tables/thing/rows?limit=5", Value::Null);
    assert_eq!(found["rows"], json!([row]));
    judge.ask(a, "DELETE", "/tables/thing/rows", json!({ "id": 1 }));
    judge.ask_for(422, a, "GET", "/tables/nothing/rows", Value::Null);
    judge.ask_for(422, a, "POST", "/tables", json!({ "sql": "CREATE" }));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("item.db");
    let sql = "CREATE TABLE item(id INTEGER PRIMARY KEY); INSERT INTO item VALUES (1);";
    let made = rusqlite::Connection::open(&file).unwrap();
    made.execute_batch(sql).unwrap();
    drop(made);
    let (fine, answer, _) = a.run(&["tables", "import", file.to_str().unwrap(), "--json"]);
    assert!(fine);
    let answer = serde_json::from_str(&answer).unwrap();
    judge.judge("POST", "/api/v1/tables/import", 200, &answer);
}

fn accounts(judge: &mut Judge, a: &Peer) {
    for (name, role) in [("one", "administrator"), ("two", "read-only")] {
        let body = json!({ "name": name, "password": PASSWORD, "role": role });
        judge.ask(a, "POST", "/administrators", body);
    }
    let role = json!({ "role": "administrator" });
    judge.ask(a, "PATCH", "/administrators/two", role);
    let session = json!({ "name": "one", "password": PASSWORD });
    judge.ask(a, "POST", "/session", session);
    let password = json!({ "name": "one", "password": "amber-Meadow-63-viola" });
    judge.ask(a, "PUT", "/password", password);
    let token = json!({ "label": "test", "owner": "one", "read_only": true });
    let made = judge.ask(a, "POST", "/tokens", token);
    judge.ask(a, "GET", "/tokens", Value::Null);
    judge.ask(a, "GET", "/administrators", Value::Null);
    let path = format!("/tokens/{}", made["id"].as_str().unwrap());
    judge.ask(a, "DELETE", &path, Value::Null);
    judge.ask(a, "DELETE", "/administrators/two", Value::Null);
}

/// How the tunnel from `a` to `b` is keyed and what passed by it, in REST and among the figures.
fn tunnel(a: &Peer, b: &Peer) {
    let status = || {
        let peers = a.get("/peers")["peers"].clone();
        let all = peers.as_array().unwrap().iter();
        let of_b = all.filter(|peer| peer["address"] == b.ip.as_str());
        of_b.map(|peer| peer["tunnel_status"].clone())
            .next()
            .unwrap()
    };
    a.wait(|| status()["traffic"].is_object(), "the counters");
    let told = status();
    let wanted = json!({
        "state": "up", "version": "IKEv2",
        "proposal": "aes256gcm16-prfsha256-x25519-ke1_mlkem768", "ppk": false, "ah": "sha256-esn",
        "spis": ["00001234", "0000abcd"], "ike_rekeys": 0, "ah_rekeys": 0,
        "traffic": {
            "received_bytes": 100, "received_packets": 1, "sent_bytes": 200, "sent_packets": 2,
            "replays": 3, "integrity_failures": 4,
        },
        "since_ms": told["since_ms"], "last_error": told["last_error"],
    });
    assert_eq!(told, wanted);
    assert_eq!(told["last_error"]["text"], "no answer on UDP 500");
    let [since, until] = [&told["since_ms"], &told["last_error"]["until_ms"]];
    let [since, until] = [since, until].map(|ms| ms.as_u64().unwrap());
    assert_eq!(since - until, 60_000);
    let (_, _, figures) = a.ask("GET", "/metrics", &Value::Null);
    let value = |name: &str| {
        let line = figures.lines().find(|line| {
            let name = format!("tutti_peer_ah_{name}_total{{");
            line.starts_with(&name) && line.contains(&b.ip)
        });
        line.and_then(|line| line.rsplit(' ').next()).unwrap_or("?")
    };
    let names = [
        "received_bytes",
        "received_packets",
        "sent_bytes",
        "sent_packets",
        "replays",
    ];
    let found: Vec<&str> = names.into_iter().map(value).collect();
    assert_eq!(found, ["100", "1", "200", "2", "3"]);
    assert_eq!(value("integrity_failures"), "4");
    assert_eq!(a.get("/peers")["dropped"]["payloads"], 7);
    let line = "tutti_ike_dropped_total{reason=\"payloads\"} 7\n";
    assert!(figures.contains(line), "{figures}");
}

#[test]
fn every_operation_answers_as_the_document_says() {
    let mut cluster = Cluster::start("api");
    cluster.form_pair();
    cluster.peers[0].give_host(SETTINGS);
    let mut judge = Judge::of(&cluster.peers[0]);
    {
        let [a, b, c] = &cluster.peers;
        disagree(a, b);
        let inbox = judge.ask(a, "GET", "/conflicts", Value::Null);
        let id = |at: usize| inbox["conflicts"][at]["id"].as_str().unwrap().to_owned();
        let restored = format!("/conflicts/{}/restore", id(0));
        judge.ask(a, "POST", &restored, Value::Null);
        judge.ask(a, "DELETE", &format!("/conflicts/{}", id(1)), Value::Null);
        // It stands again if it was lowered meanwhile.
        a.tunnels(false);
        let alarms = || a.get("/alarms")["alarms"].as_array().unwrap().clone();
        a.wait(|| !alarms().is_empty(), "an alarm");
        let alarm = alarms()[0]["path"].as_str().unwrap().to_owned();
        judge.ask(
            a,
            "POST",
            &format!("/alarms/{alarm}/acknowledge"),
            Value::Null,
        );
        a.tunnels(true);
        a.wait_state(&b.ip, &format!("Active as {}", b.name));
        tunnel(a, b);
        tables(&mut judge, a);
        accounts(&mut judge, a);
        for path in [
            "/status",
            "/cluster",
            "/peers",
            "/tables",
            "/digest",
            "/events?limit=1000",
            "/alarms",
            "/settings",
            "/time",
            "/certificate",
            "/prerequisites",
            "/resolve?name=192.0.2.7",
        ] {
            judge.ask(a, "GET", path, Value::Null);
        }
        judge.ask_for(422, a, "GET", "/resolve?name=no+name", Value::Null);
        judge.ask(a, "POST", "/cluster/key", Value::Null);
        let fields = json!({ "peer1": a.ip, "peer2": b.ip });
        judge.ask(a, "PUT", "/cluster", fields);
        let wrong = json!({ "peer1": "nonsense" });
        let refused = judge.ask_for(422, a, "PUT", "/cluster", wrong);
        assert_eq!(refused["problems"][0]["field"], "peer1");
        judge.ask(c, "PUT", "/cluster", json!({ "key": KEY, "peer1": c.ip }));
        judge.ask(c, "GET", "/cluster", Value::Null);
        let made = judge.ask(c, "POST", "/cluster/key", Value::Null);
        let key =
            json!({ "peer1": c.ip, "post_quantum_key": made["key"], "post_quantum_key_id": "lab" });
        let told = judge.ask(c, "PUT", "/cluster", key);
        assert_eq!(told["post_quantum_key_set"], true);
        assert_eq!(told["post_quantum_key_id"], "lab");
        judge.ask(c, "DELETE", "/cluster", Value::Null);
        judge.ask(a, "POST", "/certificate/renew", Value::Null);
        // What changes the addresses waits to be confirmed, also over a restart.
        let mut settings = judge.ask(a, "GET", "/settings", Value::Null);
        settings["vlan"] = Value::Null;
        settings["ipv4"]["static"]["address"] = "192.0.2.12".into();
        judge.ask(a, "PUT", "/settings", settings);
    }
    cluster.peers[0].restart();
    let a = &cluster.peers[0];
    judge.ask(a, "POST", "/settings/confirm", Value::Null);
    // The host role takes this test, which is no user of its own, for somebody with a shell.
    let told = || a.events().contains("\"source\":\"tutti setup\"");
    a.wait(told, "what the host role was told by others");
    judge.ask(a, "POST", "/reboot", Value::Null);
    judge.ask(a, "POST", "/shutdown", Value::Null);
    for (path, starts) in [("/healthz", "ok\n"), ("/metrics", "# HELP tutti_")] {
        let (status, kind, text) = a.ask("GET", path, &Value::Null);
        assert_eq!(status, 200, "{path}");
        assert!(kind.starts_with("text/plain"), "{path}: {kind}");
        assert!(text.starts_with(starts), "{path}: {text}");
        judge.judged.insert(format!("GET {path}"));
    }
    judge.ask(a, "POST", "/restart", Value::Null);
    assert_eq!(judge.left(), Vec::<String>::new());
}

/// Runs a command with `--json`, and without; the first one's answer.
fn both(peer: &Peer, words: &[&str]) -> Value {
    let (fine, text, why) = peer.run(&[words, &["--json"]].concat());
    assert!(fine, "{words:?}: {why}");
    let answer = serde_json::from_str(&text);
    answer.unwrap_or_else(|error| panic!("{words:?}: {error}: {text}"))
}

#[test]
fn each_command_prints_json_for_programs_and_words_for_people() {
    let mut cluster = Cluster::start("command");
    cluster.form_pair();
    cluster.peers[0].give_host(SETTINGS);
    let a = &cluster.peers[0];
    for words in [
        "status",
        "peers",
        "cluster show",
        "cluster generate-key",
        "tables list",
        "tables show note",
        "tables digest",
        "conflicts",
        "events",
        "alarms",
        "prerequisites",
        "time",
        "accounts list",
        "tokens list",
        "resolve 192.0.2.7",
        "settings show",
        "certificate show",
    ] {
        let words: Vec<&str> = words.split(' ').collect();
        assert!(both(a, &words).is_object(), "{words:?}");
        let (fine, text, why) = a.run(&words);
        assert!(fine, "{words:?}: {why}");
        let quiet = ["accounts list", "prerequisites"].contains(&words.join(" ").as_str());
        assert!(quiet || !text.is_empty(), "{words:?}");
        assert!(!text.starts_with('{'), "{words:?}: {text}");
    }
    let resolved = both(a, &["resolve", "192.0.2.7"]);
    assert_eq!(resolved["addresses"], json!(["192.0.2.7"]));
    let (fine, _, why) = a.run(&["resolve", "no name"]);
    assert!(!fine && why.starts_with("tutti: "), "{why}");

    let body = json!({ "name": "one", "password": PASSWORD, "role": "administrator" });
    a.post("/administrators", body);
    let made = both(
        a,
        &["tokens", "create", "a job", "--owner", "one", "--read-only"],
    );
    let (id, token) = (
        made["id"].as_str().unwrap(),
        made["token"].as_str().unwrap(),
    );
    assert!(token.starts_with(&format!("tutti_{id}_")), "{made}");
    let (fine, text, _) = a.run(&["tokens", "create", "another", "--owner", "one"]);
    assert!(
        fine && text.starts_with("tutti_") && text.lines().count() == 1,
        "{text}"
    );
    let (_, list, _) = a.run(&["tokens", "list"]);
    assert!(
        list.contains("a job") && list.contains("reads only"),
        "{list}"
    );
    assert!(!list.contains(token), "its secret is told once");
    both(a, &["tokens", "revoke", id]);
    let (_, list, _) = a.run(&["tokens", "list"]);
    assert!(
        !list.contains("a job") && list.contains("another"),
        "{list}"
    );
    let (fine, _, why) = a.run(&["tokens", "create", "x", "--owner", "nobody"]);
    assert!(!fine && why.contains("nobody"), "{why}");
}
