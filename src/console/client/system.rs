//! `tutti settings`, `tutti certificate` and `tutti restart|reboot|shutdown`.

use std::io::{BufRead, IsTerminal, Write};

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Map, Value, json};

use super::http::Client;
use super::{Failure, Output, print, show};

/// `tutti settings ...`
#[derive(Clone, Debug, Subcommand)]
pub enum Settings {
    /// Shows this system's settings.
    Show(Output),
    /// Changes settings by the names that `show` prints; what is not named stays.
    Set {
        /// For example time_zone=Europe/Oslo ssh=true ntp_servers=10.0.0.1,ntp.example.org; what is
        /// no text, list or word is JSON: ipv4='{"static": {"address": "10.0.0.5", "prefix": 24}}'.
        #[arg(required = true, value_name = "NAME=VALUE")]
        changes: Vec<String>,
        /// How to print.
        #[command(flatten)]
        output: Output,
    },
    /// Keeps a change of the network that waits for it.
    Confirm(Output),
}

/// `tutti certificate ...`
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum Certificate {
    /// Shows it, and how far a renewal is.
    Show(Output),
    /// Makes the next one with a new key, announces it to the peers, then presents it: no link is
    /// cut.
    Renew(Output),
}

/// Runs `tutti certificate`.
pub fn certificate(client: &Client, command: Certificate) -> Result<(), Failure> {
    match command {
        Certificate::Show(output) => show(output, client.get("/certificate")?, print::certificate),
        Certificate::Renew(output) => {
            let answer = client.send(Method::POST, "/certificate/renew", &Value::Null)?;
            let words = |_: &Value| "It has begun; tutti certificate show tells how far.\n".into();
            show(output, answer, words)
        }
    }
}

/// Options of the three that interrupt.
#[derive(Clone, Copy, Debug, Args)]
pub struct Sure {
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// How to print.
    #[command(flatten)]
    output: Output,
}

/// Runs `tutti settings`.
pub fn settings(client: &Client, command: Settings) -> Result<(), Failure> {
    match command {
        Settings::Show(output) => show(output, client.get("/settings")?, text),
        Settings::Set { changes, output } => {
            let mut all = client.get("/settings")?;
            let object = all.as_object_mut().ok_or("settings that are none")?;
            for change in &changes {
                apply(object, change)?;
            }
            let answer = client.send(Method::PUT, "/settings", &all)?;
            show(output, answer, |answer| {
                match answer["confirm_within_s"].as_u64() {
                    Some(left) => format!(
                        "In use, put back in {left} s unless confirmed: tutti settings confirm\n"
                    ),
                    None => "Saved and in use.\n".into(),
                }
            })
        }
        Settings::Confirm(output) => {
            let answer = client.send(Method::POST, "/settings/confirm", &Value::Null)?;
            show(output, answer, |_| "Kept.\n".into())
        }
    }
}

/// One setting a line, as `set` takes it.
fn text(all: &Value) -> String {
    let one = |(name, value): (&String, &Value)| {
        let value = match value {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            Value::Array(list) if list.iter().all(Value::is_string) => {
                let words: Vec<&str> = list.iter().filter_map(Value::as_str).collect();
                words.join(",")
            }
            other => other.to_string(),
        };
        format!("{name}={value}\n")
    };
    all.as_object().into_iter().flatten().map(one).collect()
}

/// `NAME=VALUE`, where the value has the type that the setting has or, being absent, could have.
fn apply(all: &mut Map<String, Value>, change: &str) -> Result<(), Failure> {
    let (name, value) = change
        .split_once('=')
        .ok_or_else(|| format!("{change}: expected NAME=VALUE"))?;
    let Some(held) = all.get_mut(name) else {
        let names: Vec<&str> = all.keys().map(String::as_str).collect();
        return Err(format!("{name}: no such setting; there are: {}", names.join(", ")).into());
    };
    let list = || {
        value
            .split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty())
    };
    *held = match (&*held, serde_json::from_str::<Value>(value)) {
        // The word `dhcp` gives way to an address, which is an object.
        (Value::String(_), Ok(json @ Value::Object(_))) => json,
        (Value::String(_), _) => json!(value),
        (Value::Array(_), Ok(Value::Array(items))) => json!(items),
        (Value::Array(_), _) => json!(list().collect::<Vec<_>>()),
        (_, Ok(json)) => json,
        (_, Err(_)) if value.is_empty() => Value::Null,
        (_, Err(_)) => json!(value),
    };
    Ok(())
}

/// Runs `tutti restart`, `reboot` or `shutdown`.
pub fn interrupt(client: &Client, what: &str, sure: Sure) -> Result<(), Failure> {
    if !sure.yes {
        if !std::io::stdin().is_terminal() {
            return Err(format!("to {what} without being asked, add --yes").into());
        }
        print!("{} (yes or no) [no]: ", effect(what));
        std::io::stdout().flush()?;
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer)?;
        if !matches!(answer.trim(), "yes" | "y") {
            return Err("nothing was done".into());
        }
    }
    let answer = client.send(Method::POST, &format!("/{what}"), &Value::Null)?;
    show(sure.output, answer, |_| "It has begun.\n".into())
}

fn effect(what: &str) -> &'static str {
    match what {
        "reboot" => "Reboot this machine? It answers again after a minute or two",
        "shutdown" => "Switch this machine off? Somebody must switch it on again",
        _ => "Restart the service? Pages and replication stop for some seconds",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_changed_by_name_in_the_type_they_have() {
        let mut all = json!({
            "host_name": "one", "ssh": false, "ntp_servers": ["a"], "vlan": null, "interface": null,
            "ipv4": "dhcp", "routes": [],
        });
        let object = all.as_object_mut().unwrap();
        for change in [
            "host_name=42",
            "ssh=true",
            "ntp_servers=b, c.example",
            "vlan=12",
            "interface=eth0",
            "routes=[{\"to\": \"10.8.0.0/16\", \"via\": \"10.7.0.2\"}]",
        ] {
            apply(object, change).unwrap();
        }
        let route = json!({ "to": "10.8.0.0/16", "via": "10.7.0.2" });
        let expected = json!({
            "host_name": "42", "ssh": true, "ntp_servers": ["b", "c.example"], "vlan": 12,
            "interface": "eth0", "ipv4": "dhcp", "routes": [route],
        });
        assert_eq!(all, expected);
        let object = all.as_object_mut().unwrap();
        apply(object, "ntp_servers=").unwrap();
        apply(object, "vlan=").unwrap();
        assert_eq!(
            (&object["ntp_servers"], &object["vlan"]),
            (&json!([]), &Value::Null)
        );
        assert!(
            apply(object, "ssh")
                .unwrap_err()
                .to_string()
                .contains("NAME=VALUE")
        );
        let unknown = apply(object, "sssh=true").unwrap_err().to_string();
        assert!(unknown.contains("no such setting") && unknown.contains("host_name"));
    }

    #[test]
    fn an_address_takes_the_place_of_the_word_dhcp_and_the_word_that_of_an_address() {
        let mut all = json!({ "ipv4": "dhcp" });
        let object = all.as_object_mut().unwrap();
        let fixed = r#"{"static": {"address": "10.0.0.5", "prefix": 24}}"#;
        apply(object, &format!("ipv4={fixed}")).unwrap();
        let expected = json!({ "static": { "address": "10.0.0.5", "prefix": 24 } });
        assert_eq!(object["ipv4"], expected);
        apply(object, "ipv4=dhcp").unwrap();
        assert_eq!(object["ipv4"], "dhcp");
    }

    #[test]
    fn what_is_shown_can_be_set() {
        let all =
            json!({ "host_name": "one", "ntp_servers": ["a", "b"], "vlan": null, "ssh": true });
        let mut again = all.clone();
        for line in text(&all).lines() {
            apply(again.as_object_mut().unwrap(), line).unwrap();
        }
        assert_eq!(again, all);
    }
}
