//! Alarms as an operator sees them: raised while something is the case, and lowered after it.

use std::net::IpAddr;
use std::path::Path;

use super::*;
use crate::cluster::Change;
use crate::node::serve::replication;
use crate::replica::frontier::Frontier;
use crate::replica::session::Proven;
use crate::replica::skew::{BOUND_MS, Skew, judge};
use crate::store::Store;
use crate::store::events::EventQuery;
use crate::store::local::Local;
use crate::tls::Identity;
use crate::tunnel::message::{PeerStatus, TunnelState};

const ITEM: &str = "CREATE TABLE item(id INTEGER PRIMARY KEY, text TEXT)";
/// Some time in 2096.
const FUTURE: u64 = 4_000_000_000_000;
const OTHER: [u8; 16] = [2; 16];

fn other() -> IpAddr {
    [127, 78, 9, 12].into()
}

/// A system with one peer in its list, which it has met and whose node is `OTHER`.
fn system(dir: &Path) -> Node {
    let store = Store::open(dir, [1; 16], 7).unwrap();
    store
        .migrate(&[crate::store::administrators::TABLE])
        .unwrap();
    let local = Local::open(&dir.join("local.db")).unwrap();
    let identity = Identity::make("a", &[]).unwrap();
    let own: IpAddr = [127, 78, 9, 11].into();
    let node = Node::new(
        store,
        local,
        identity,
        "a".into(),
        vec![own],
        dir.to_owned(),
    )
    .unwrap();
    node.synchronized.store(true, Ordering::Relaxed);
    let change = Change {
        key: Some("vary-9umbrella-Kilo42-tidal".into()),
        peers: [own.to_string(), other().to_string(), String::new()],
        join: true,
        ..Change::default()
    };
    node.save(&change).unwrap();
    node.change_met(|met| met.greeted(other(), OTHER, &[], 0))
        .unwrap();
    node.note_link((other(), node.begin_link(other())), |link| {
        link.name = Some("system-b".into())
    });
    node
}

/// One look, and the alarm of that name if it stands: its words, and what to do.
fn looked(node: &Node, seen: &mut Seen, id: &str) -> Option<(String, String)> {
    look(node, seen);
    let all = node.events.alarms().unwrap().into_iter();
    let mut standing = all.filter(|row| row.lowered_ms.is_none());
    let row = standing.find(|row| row.id == id)?;
    Some((row.text, row.action))
}

fn logged(node: &Node, words: &str) -> usize {
    let all = EventQuery {
        limit: 100,
        ..EventQuery::default()
    };
    let events = node.events.list(&all).unwrap();
    events
        .iter()
        .filter(|event| event.text.contains(words))
        .count()
}

/// All of a store's log.
fn log(store: &Store) -> Vec<crate::replica::change::Logged> {
    store.log_after(&Frontier::default(), 0, 1 << 20).unwrap().0
}

#[test]
fn what_is_stamped_ahead_waits_with_an_alarm_however_it_came() {
    let dir = tempfile::tempdir().unwrap();
    let (node, mut seen) = (system(dir.path()), Seen::default());
    let id = "transactions-ahead";
    assert_eq!(looked(&node, &mut seen, id), None);
    // Two others whose clocks are as wrong; one relays what the other wrote.
    let [writer, relay] = [2, 3].map(|number: u8| {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(|| FUTURE);
        let store = Store::open_with_clock(dir.path(), [number; 16], number.into(), clock);
        (store.unwrap(), dir)
    });
    writer.0.declare(ITEM).unwrap();
    relay.0.apply(&log(&writer.0)).unwrap();
    node.store.apply(&log(&relay.0)).unwrap();
    let (text, action) = looked(&node, &mut seen, id).expect("an alarm");
    assert!(
        text.contains("system-b") && text.contains("days ahead"),
        "{text}"
    );
    assert!(action.contains("NTP"), "{action}");
    assert_eq!(logged(&node, "Alarm raised: Changes made at system-b"), 1);
    // Its writer stamped it anew, and says so with its next hello.
    node.store.greeted(OTHER, &Frontier::default()).unwrap();
    assert_eq!(looked(&node, &mut seen, id), None);
    assert_eq!(logged(&node, "Alarm lowered: Changes made at system-b"), 1);
}

#[test]
fn a_fork_is_an_alarm_that_outlives_a_restart_and_goes_a_day_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let (node, mut seen) = (system(dir.path()), Seen::default());
    let store = tempfile::tempdir().unwrap();
    let store = Store::open(store.path(), OTHER, 22).unwrap();
    store.declare(ITEM).unwrap();
    node.store.apply(&log(&store)).unwrap();
    assert_eq!(looked(&node, &mut seen, "fork"), None);
    replication::forked(&node, other(), 22);
    let (text, action) = looked(&node, &mut seen, "fork").expect("an alarm");
    assert!(text.starts_with("system-b has two histories"), "{text}");
    assert!(action.contains("twice"), "{action}");
    assert_eq!(logged(&node, "incarnation 0000000000000016"), 1);
    replication::healed(&node, other(), 22, Some(3));
    assert_eq!(
        logged(&node, "3 transactions of incarnation 0000000000000016"),
        1
    );
    // After a restart it is known from what stood.
    node.forked_ms.store(0, Ordering::Relaxed);
    let mut seen = Seen {
        raised: vec!["fork".into()],
        ..Seen::default()
    };
    assert!(looked(&node, &mut seen, "fork").is_some());
    // One that was raised two days ago, with none since.
    node.events.lower(1, "fork").unwrap();
    let row = Alarm {
        id: "fork".into(),
        level: Level::Warning,
        text,
        action,
    };
    let now_ms = crate::node::serve::node::now_ms();
    node.events.raise(now_ms - 2 * 86_400_000, &row).unwrap();
    assert_eq!(looked(&node, &mut seen, "fork"), None);
}

#[test]
fn rows_that_nobody_can_decide_are_an_alarm_until_a_proof_finds_none() {
    let dir = tempfile::tempdir().unwrap();
    let (node, mut seen) = (system(dir.path()), Seen::default());
    let id = format!("rows-differ-{}", other());
    let proven = |differing, unclear| Proven {
        differing,
        unclear,
        repaired: differing - unclear,
        ..Proven::default()
    };
    let mut ended = |began_ms, found: Proven| {
        node.store.proven(OTHER, began_ms, &found);
        replication::proven(&node, other(), &found);
        looked(&node, &mut seen, &id)
    };
    assert_eq!(ended(1_000, proven(0, 0)), None);
    // What could be repaired is in the event log, and is no condition that stays.
    assert_eq!(ended(2_000, proven(3, 0)), None);
    assert_eq!(
        logged(
            &node,
            "3 rows differed from those of the peer: 3 were repaired"
        ),
        1
    );
    let (text, action) = ended(3_000, proven(3, 2)).expect("an alarm");
    assert!(
        text.starts_with("2 rows differ from those of system-b"),
        "{text}"
    );
    assert!(action.contains("write the right values anew"), "{action}");
    let shown = node.view().peers[1].proof.clone().unwrap();
    assert_eq!(
        (shown.at_ms, shown.identical, shown.unclear),
        (3_000, false, 2)
    );
    assert_eq!(ended(4_000, proven(0, 0)), None);
    let shown = node.view().peers[1].proof.clone().unwrap();
    assert_eq!((shown.at_ms, shown.identical), (4_000, true));
}

#[test]
fn rows_that_differed_before_a_restart_stand_until_the_next_proof() {
    let dir = tempfile::tempdir().unwrap();
    let node = system(dir.path());
    let id = format!("rows-differ-{}", other());
    let mut seen = Seen {
        raised: vec![id.clone()],
        ..Seen::default()
    };
    assert!(looked(&node, &mut seen, &id).is_some());
    node.store.proven(OTHER, 1_000, &Proven::default());
    assert_eq!(looked(&node, &mut seen, &id), None);
}

#[test]
fn rows_written_past_the_engine_are_an_alarm_until_they_are_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let (node, mut seen) = (system(dir.path()), Seen::default());
    node.store.declare(ITEM).unwrap();
    node.store
        .corrupt("INSERT INTO item VALUES (5, 'past it'), (6, 'too')");
    let id = "rows-unreplicated";
    assert_eq!(looked(&node, &mut seen, id), None, "not counted yet");
    replication::recount(&node).unwrap();
    let (text, _) = looked(&node, &mut seen, id).expect("an alarm");
    assert_eq!(text, "Rows that no peer gets: 2 in item");
    let again = "UPDATE item SET text = text || ' again'";
    node.store.transact(|tx| tx.execute(again, &[])).unwrap();
    replication::recount(&node).unwrap();
    assert_eq!(looked(&node, &mut seen, id), None);
}

#[test]
fn conflicts_that_left_the_inbox_are_an_alarm_that_says_where_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let (node, mut seen) = (system(dir.path()), Seen::default());
    assert_eq!(looked(&node, &mut seen, "conflicts"), None);
    node.store
        .corrupt("DELETE FROM _tutti_exported; INSERT INTO _tutti_exported VALUES (1000)");
    std::fs::write(node.store.exported_path(), "{}").unwrap();
    // It is looked at every few rounds, and stands in between.
    seen.round = SLOW;
    for _ in 0..3 {
        let (text, action) = looked(&node, &mut seen, "conflicts").expect("an alarm");
        assert_eq!(text, "1000 older conflicts have left the inbox so far");
        assert!(action.contains("conflicts-exported.jsonl"), "{action}");
    }
    std::fs::remove_file(node.store.exported_path()).unwrap();
    seen.round = SLOW;
    let alarm = looked(&node, &mut seen, "conflicts");
    assert_eq!(alarm, None, "the operator has seen to it");
}

#[test]
fn where_both_clocks_are_synchronized_and_differ_both_systems_raise_the_alarm() {
    // As either side measures it: nobody knows who is wrong, and nobody keeps silent.
    for clock_offset_ms in [3_200, -3_200] {
        let dir = tempfile::tempdir().unwrap();
        let (node, mut seen) = (system(dir.path()), Seen::default());
        let skew = judge(true, true, clock_offset_ms, BOUND_MS);
        assert_eq!(skew, Skew::Unclear);
        let certificate = Some(node.identities.borrow().presented());
        let up = TunnelState::Up { certificate };
        node.tunnels
            .send_replace(Some(vec![PeerStatus::of(other(), up)]));
        node.note_link((other(), node.begin_link(other())), |link| {
            link.live = true;
            link.clock_offset_ms = clock_offset_ms;
            link.synchronized = Some(true);
            link.skew = Some(skew);
        });
        let id = peer_alarm(other());
        for _ in 1..PATIENCE {
            assert_eq!(looked(&node, &mut seen, &id), None);
        }
        let (text, action) = looked(&node, &mut seen, &id).expect("an alarm");
        assert!(text.ends_with("Clock off by 3.2 s"), "{text}");
        assert!(action.contains("which one is right"), "{action}");
        // The clocks agree again.
        node.note_link((other(), node.begin_link(other())), |link| {
            link.clock_offset_ms = 3
        });
        for _ in 0..PATIENCE {
            looked(&node, &mut seen, &id);
        }
        assert_eq!(looked(&node, &mut seen, &id), None);
    }
}

#[test]
fn each_state_of_a_tunnel_is_a_line_though_it_was_over_before_the_next_look() {
    let dir = tempfile::tempdir().unwrap();
    let (node, mut seen) = (system(dir.path()), Seen::default());
    let up = || TunnelState::Up { certificate: None };
    node.tunnels.send_replace(Some(Vec::new()));
    node.hear_change(PeerStatus::of(other(), up()));
    look(&node, &mut seen);
    let lines = |words: &str| logged(&node, words);
    assert_eq!(lines("Peer 2: Tunnel is up"), 1);
    for state in [TunnelState::NoAnswer, up(), TunnelState::NotListed, up()] {
        node.hear_change(PeerStatus::of(other(), state));
    }
    for _ in 0..3 {
        look(&node, &mut seen);
    }
    assert_eq!(lines("Peer 2: Unreachable"), 1);
    assert_eq!(lines("Peer 2: Not in its peer list"), 1);
    assert_eq!(lines("Peer 2: Tunnel is up"), 3);
}

#[test]
fn a_rising_figure_is_no_new_state() {
    assert_eq!(steady("Joining 4 %"), steady("Joining 43 %"));
    assert_ne!(steady("Active as b1"), steady("Active as b2"));
}

#[test]
fn the_console_is_told_of_a_state_and_not_of_each_figure() {
    let told = |peer: &str, alarm: &str| {
        without_figures(&Shown {
            peers: vec![peer.into()],
            alarms: vec![(alarm.into(), "Look".into())],
            ..Shown::default()
        })
    };
    let before = told("10.9.0.2  Joining 4 %", "Clock off by 3.2 s");
    assert_eq!(before, told("10.9.0.2  Joining 43 %", "Clock off by 3.3 s"));
    assert_ne!(before, told("10.9.0.2  Unreachable", "Clock off by 3.2 s"));
    assert_ne!(before, told("10.9.0.2  Joining 4 %", "Key mismatch"));
}

#[test]
fn a_first_password_is_an_alarm_that_names_whose_it_is() {
    assert_eq!(default_password(vec![], false), None);
    let of = |names: &[&str], root| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        default_password(names, root).expect("an alarm")
    };
    let both = of(&["admin"], true);
    assert!(both.text.ends_with(": admin, root"), "{}", both.text);
    assert!(both.action.contains("Users >"));
    assert!(both.action.contains("as root at a console"));
    let admin = of(&["admin"], false);
    assert!(admin.text.ends_with(": admin") && !admin.action.contains("root"));
    let root = of(&[], true);
    assert!(root.text.ends_with(": root") && !root.action.contains("Users"));
}
