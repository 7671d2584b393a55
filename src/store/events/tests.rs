//! Lines that are kept, counted and found; alarms raised and lowered.

use super::*;

fn events() -> (tempfile::TempDir, Events) {
    let dir = tempfile::tempdir().unwrap();
    let events = Events::open(&dir.path().join("events.db")).unwrap();
    (dir, events)
}

fn all() -> EventQuery {
    EventQuery {
        limit: LISTED_MAX,
        ..EventQuery::default()
    }
}

#[test]
fn lines_outlive_the_process_and_are_searched() {
    let (dir, events) = events();
    let mut change = Event::new(Kind::Change, Level::Information, "Cluster fields saved");
    (change.who, change.after) = ("admin".into(), "Peer 1: 192.0.2.11".into());
    events.write(1_000, &change).unwrap();
    let refused = Event::new(Kind::Input, Level::Warning, "refused\r\nforged line");
    events.write(2_000, &refused).unwrap();
    drop(events);
    let events = Events::open(&dir.path().join("events.db")).unwrap();
    let found = events.list(&all()).unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!(
        found[0].text, "refused  forged line",
        "one event is one line"
    );
    let query = |text: &str| EventQuery {
        text: Some(text.into()),
        ..all()
    };
    assert_eq!(events.list(&query("192.0.2.11")).unwrap().len(), 1);
    assert_eq!(events.list(&query("ADMIN")).unwrap().len(), 1);
    assert!(events.list(&query("%")).unwrap().is_empty());
    let grave = EventQuery {
        level: Some(Level::Warning),
        ..all()
    };
    assert_eq!(events.list(&grave).unwrap()[0].kind, "input");
    let early = EventQuery {
        until_ms: Some(2_000),
        ..all()
    };
    assert_eq!(events.list(&early).unwrap()[0].who, "admin");
}

#[test]
fn of_a_peers_states_the_last_line_is_how_it_stands() {
    let (_dir, events) = events();
    let state = |text: &str| Event::new(Kind::Cluster, Level::Warning, text);
    for text in ["up", "up", "down", "up"] {
        events.write(1, &state(text)).unwrap();
    }
    let rows = events.list(&all()).unwrap();
    let told: Vec<_> = rows
        .iter()
        .map(|row| (row.text.as_str(), row.times))
        .collect();
    assert_eq!(told, [("up", 1), ("down", 1), ("up", 2)]);
}

#[test]
fn the_same_line_is_counted_and_a_flood_pushes_no_change_out() {
    let (_dir, events) = events();
    events
        .write(0, &Event::new(Kind::Change, Level::Information, "kept"))
        .unwrap();
    let same = Event::new(Kind::Input, Level::Warning, "same");
    assert!(events.write(1, &same).unwrap());
    assert!(!events.write(2, &same).unwrap());
    assert_eq!(events.list(&all()).unwrap()[0].times, 2);
    assert!(events.write(SAME_MS + 10, &same).unwrap());
    events.lock().execute_batch("BEGIN").unwrap();
    for number in 0..KEPT as u64 + 50 {
        let line = Event::new(Kind::Input, Level::Warning, format!("line {number}"));
        events.write(number, &line).unwrap();
    }
    events.lock().execute_batch("COMMIT").unwrap();
    let count: i64 = events
        .lock()
        .query_row(
            "SELECT count(*) FROM event WHERE kind = 'input'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(count, KEPT);
    let changes = EventQuery {
        kind: Some(Kind::Change),
        ..all()
    };
    assert_eq!(events.list(&changes).unwrap()[0].text, "kept");
}

#[test]
fn an_alarm_stands_once_is_acknowledged_and_lowered() {
    let (_dir, events) = events();
    let alarm = Alarm {
        id: "time".into(),
        level: Level::Warning,
        text: "not synchronized".into(),
        action: "set servers".into(),
    };
    assert!(events.raise(5, &alarm).unwrap());
    assert!(!events.raise(6, &alarm).unwrap());
    assert_eq!(events.standing().unwrap(), (1, 1));
    assert_eq!(events.acknowledge("other", "a").unwrap(), None);
    assert!(events.acknowledge("time", "admin").unwrap().is_some());
    assert_eq!(events.standing().unwrap(), (0, 1));
    assert!(events.lower(9, "time").unwrap().is_some());
    assert_eq!(events.lower(9, "time").unwrap(), None);
    assert!(events.raise(10, &alarm).unwrap(), "it comes back as new");
    let found = events.alarms().unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!(
        (found[0].lowered_ms, &found[0].acknowledged_by),
        (None, &None)
    );
    assert_eq!(found[1].lowered_ms, Some(9));
    assert_eq!(found[1].acknowledged_by.as_deref(), Some("admin"));
}

#[test]
fn a_damaged_file_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.db");
    std::fs::write(&path, vec![b'x'; 8192]).unwrap();
    let events = Events::open(&path).unwrap();
    assert!(events.list(&all()).unwrap().is_empty());
    assert!(dir.path().join("events.damaged").exists());
}
