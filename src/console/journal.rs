//! The roles' log lines to journald by its native protocol: priority, text and each field by its
//! name. The text names the fields, too: it is all that `journalctl` prints and syslog carries.
//! Why not by a library: `docs/decisions/0008-lines-of-the-journal.md`.

use std::fmt::{Debug, Write};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// Where journald takes datagrams.
const SOCKET: &str = "/run/systemd/journal/socket";
/// Begins the name of each field of ours, so that none is mistaken for one of systemd's.
const PREFIX: &str = "TUTTI_";
/// The facility of services (RFC 5424), as systemd gives it to what they print.
const DAEMON: &str = "3";
/// Longest value of a field, in octets; a line with several stays below what a datagram may have.
const VALUE_MAX: usize = 16 * 1024;

/// A layer that sends each event as one entry.
pub struct Journal {
    socket: UnixDatagram,
}

impl Journal {
    /// Where standard error is connected to the journal, as systemd says in `JOURNAL_STREAM`;
    /// else nobody there would read what is sent.
    pub fn here() -> Option<Self> {
        let named = std::env::var("JOURNAL_STREAM").ok()?;
        let stderr = File::from(io::stderr().as_fd().try_clone_to_owned().ok()?);
        let meta = stderr.metadata().ok()?;
        let stream = format!("{}:{}", meta.dev(), meta.ino());
        if named != stream {
            return None;
        }
        Self::at(SOCKET).ok()
    }

    fn at(path: &str) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(path)?;
        Ok(Self { socket })
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Line::default();
        event.record(&mut line);
        let meta = event.metadata();
        let entry = line.entry(*meta.level(), meta.target());
        // journald was replaced: its socket is another one now.
        if self.socket.send(&entry).is_err()
            && self
                .socket
                .connect(SOCKET)
                .and_then(|()| self.socket.send(&entry))
                .is_err()
        {
            eprintln!("{}", line.message());
        }
    }
}

/// What an event says, as it is visited.
#[derive(Default)]
struct Line {
    text: String,
    /// Name, value, and the value as the text shows it.
    fields: Vec<(&'static str, String, String)>,
    /// Whence a line of another library came, through `log`.
    target: Option<String>,
}

impl Line {
    fn add(&mut self, field: &Field, value: String, shown: String) {
        match field.name() {
            "message" => self.text = value,
            "log.target" => self.target = Some(value),
            name if name.starts_with("log.") => {}
            name => self.fields.push((name, value, shown)),
        }
    }

    /// One line that says everything.
    fn message(&self) -> String {
        let mut all = self.text.clone();
        for (name, _, shown) in &self.fields {
            let _ = write!(all, " {name}={shown}");
        }
        all.chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect()
    }

    /// The datagram.
    fn entry(&self, level: Level, target: &str) -> Vec<u8> {
        let priority = match level {
            Level::ERROR => "3",
            Level::WARN => "4",
            Level::INFO => "6",
            Level::DEBUG | Level::TRACE => "7",
        };
        let mut entry = Vec::new();
        put(&mut entry, "MESSAGE", &self.message());
        put(&mut entry, "PRIORITY", priority);
        put(&mut entry, "SYSLOG_IDENTIFIER", "tutti");
        put(&mut entry, "SYSLOG_FACILITY", DAEMON);
        put(
            &mut entry,
            "TUTTI_MODULE",
            self.target.as_deref().unwrap_or(target),
        );
        for (name, value, _) in &self.fields {
            let plain = name
                .chars()
                .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' });
            let name: String = plain.map(|c| c.to_ascii_uppercase()).collect();
            put(&mut entry, &format!("{PREFIX}{name}"), value);
        }
        entry
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.to_owned(), format!("{value:?}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let value = format!("{value:?}");
        self.add(field, value.clone(), value);
    }
}

/// One field. Its length is told, so that no value can end it and begin another.
fn put(entry: &mut Vec<u8>, name: &str, value: &str) {
    let value = &value[..value.floor_char_boundary(VALUE_MAX)];
    entry.extend_from_slice(name.as_bytes());
    entry.push(b'\n');
    entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
    entry.extend_from_slice(value.as_bytes());
    entry.push(b'\n');
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// What journald would read.
    fn read(mut entry: &[u8]) -> BTreeMap<String, String> {
        let mut fields = BTreeMap::new();
        while !entry.is_empty() {
            let end = entry.iter().position(|octet| *octet == b'\n').unwrap();
            let name = String::from_utf8(entry[..end].to_vec()).unwrap();
            let (length, rest) = entry[end + 1..].split_at(8);
            let length = u64::from_le_bytes(length.try_into().unwrap()) as usize;
            assert_eq!(rest[length], b'\n');
            let value = String::from_utf8(rest[..length].to_vec()).unwrap();
            assert_eq!(fields.insert(name, value), None, "twice in one entry");
            entry = &rest[length + 1..];
        }
        fields
    }

    /// The entries that `work` makes.
    fn entries(work: impl FnOnce()) -> Vec<BTreeMap<String, String>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let journald = UnixDatagram::bind(&path).unwrap();
        let journal = Journal::at(path.to_str().unwrap()).unwrap();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(journal), work);
        journald.set_nonblocking(true).unwrap();
        let mut buffer = vec![0; 256 * 1024];
        let mut found = Vec::new();
        while let Ok(length) = journald.recv(&mut buffer) {
            found.push(read(&buffer[..length]));
        }
        found
    }

    #[test]
    fn each_line_has_its_priority_its_fields_and_a_text_that_names_them() {
        let found = entries(|| {
            let none: Option<&str> = None;
            tracing::info!(
                who = "admin",
                from = none,
                count = 3,
                "Cluster fields saved"
            );
            tracing::warn!(error = %io::Error::other("no way"), "refused");
            tracing::error!("broken");
            tracing::debug!("seen");
        });
        let priorities: Vec<&str> = found.iter().map(|entry| &*entry["PRIORITY"]).collect();
        assert_eq!(priorities, ["6", "4", "3", "7"]);
        let first = &found[0];
        assert_eq!(
            first["MESSAGE"],
            "Cluster fields saved who=\"admin\" count=3"
        );
        assert_eq!(
            (&*first["TUTTI_WHO"], &*first["TUTTI_COUNT"]),
            ("admin", "3")
        );
        assert_eq!(first["SYSLOG_IDENTIFIER"], "tutti");
        assert_eq!(first["SYSLOG_FACILITY"], "3");
        assert!(first["TUTTI_MODULE"].ends_with("journal::tests"));
        assert!(
            !first.contains_key("TUTTI_FROM"),
            "nothing to say is not said"
        );
        assert_eq!(found[1]["MESSAGE"], "refused error=no way");
        assert_eq!(found[1]["TUTTI_ERROR"], "no way");
    }

    #[test]
    fn no_value_makes_a_field_or_a_line_of_its_own() {
        let forged = "x\nPRIORITY=0\nTUTTI_WHO=root";
        let found = entries(|| tracing::info!(text = forged, error = %forged, "{forged}"));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0]["PRIORITY"], "6");
        assert_eq!(found[0]["TUTTI_TEXT"], forged);
        assert!(!found[0].contains_key("TUTTI_WHO"));
        assert!(
            !found[0]["MESSAGE"].contains('\n'),
            "{}",
            found[0]["MESSAGE"]
        );
    }

    #[test]
    fn a_line_with_long_values_arrives_shortened() {
        let long = "ä".repeat(1 << 20);
        let found = entries(|| tracing::info!(before = &*long, after = &*long, "{long}"));
        assert_eq!(found[0]["TUTTI_BEFORE"].len(), VALUE_MAX);
        assert_eq!(found[0]["MESSAGE"].len(), VALUE_MAX);
    }

    #[test]
    fn where_standard_error_is_no_journal_nothing_is_sent_there() {
        assert!(Journal::here().is_none());
    }
}
