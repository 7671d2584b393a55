//! A line of the event log as the journal has it: nothing that the one says is missing in the
//! other.

use crate::store::events::{Event, Level};

/// Says it to the journal, each part in a field of its own; what is empty is left out.
pub fn say(event: &Event) {
    let kind = event.kind.name();
    let [who, from, before, after] = [&event.who, &event.source, &event.before, &event.after]
        .map(|part| Some(part.as_str()).filter(|part| !part.is_empty()));
    let text = &event.text;
    match event.level {
        Level::Information => tracing::info!(kind, who, from, before, after, "{text}"),
        Level::Warning => tracing::warn!(kind, who, from, before, after, "{text}"),
        Level::Error => tracing::error!(kind, who, from, before, after, "{text}"),
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::store::events::Kind;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(octets)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn said(event: &Event) -> String {
        let written = Written::default();
        let writer = written.clone();
        let lines = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .without_time()
            .with_ansi(false)
            .finish();
        tracing::subscriber::with_default(lines, || say(event));
        let octets = written.0.lock().unwrap().clone();
        String::from_utf8(octets).unwrap()
    }

    #[test]
    fn who_whence_before_and_after_of_a_change_are_in_the_journal_too() {
        let event = Event {
            who: "admin".into(),
            source: "192.0.2.7".into(),
            before: "Peer 2: none".into(),
            after: "Peer 2: 192.0.2.12".into(),
            ..Event::new(Kind::Change, Level::Information, "Cluster fields saved")
        };
        let line = said(&event);
        for part in [
            "INFO",
            "Cluster fields saved",
            "kind=\"change\"",
            "who=\"admin\"",
            "from=\"192.0.2.7\"",
            "before=\"Peer 2: none\"",
            "after=\"Peer 2: 192.0.2.12\"",
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
        let bare = said(&Event::new(Kind::System, Level::Error, "no room"));
        assert!(bare.contains("ERROR") && bare.contains("no room"), "{bare}");
        assert!(!bare.contains("who") && !bare.contains("before"), "{bare}");
    }
}
