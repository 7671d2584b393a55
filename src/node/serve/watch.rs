//! Looks at the node once a second: a line in the event log for each change of a peer's state, and
//! alarms that stand as long as their reason does.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::node::{ClusterView, Node};
use crate::cluster::{Colour, advice};
use crate::store::administrators;
use crate::store::events::{Alarm, Event, Kind, Level};

/// How often.
const PERIOD: Duration = Duration::from_secs(1);
/// A peer's trouble is an alarm once it was seen so often in a row: a restart is none.
const PATIENCE: u32 = 5;
/// The clock's and the accounts' state is looked at every so many rounds.
const SLOW: u32 = 5;
/// An unsynchronized clock is an alarm after so many rounds: chrony needs a moment at the start.
const CLOCK_PATIENCE: u32 = 120;

/// What was seen before.
#[derive(Default)]
struct Seen {
    round: u32,
    states: HashMap<u8, (String, u32)>,
    raised: Vec<String>,
    unsynchronized: u32,
}

/// Looks for ever.
pub async fn run(node: Arc<Node>) {
    let text = format!("{} started, version {}", node.name, super::node::VERSION);
    node.note(&Event::new(Kind::System, Level::Information, text));
    let mut seen = Seen::default();
    // What stood when the process ended is judged anew.
    if let Ok(alarms) = node.events.alarms() {
        let standing = alarms.into_iter().filter(|row| row.lowered_ms.is_none());
        seen.raised = standing.map(|row| row.id).collect();
    }
    loop {
        let looked = Arc::clone(&node);
        let done = tokio::task::spawn_blocking(move || {
            look(&looked, &mut seen);
            seen
        });
        match done.await {
            Ok(back) => seen = back,
            Err(error) => {
                tracing::error!(%error, "watching the node failed");
                seen = Seen::default();
            }
        }
        tokio::time::sleep(PERIOD).await;
    }
}

fn look(node: &Node, seen: &mut Seen) {
    let view = node.view();
    let mut alarms = Vec::new();
    peers(node, &view, seen, &mut alarms);
    if view.standing != "standalone" && !view.peers.iter().any(|peer| peer.own) {
        alarms.push(alarm(
            "peer-list",
            Level::Error,
            "This system's own address is not in its peer list",
            "Enter one of this system's addresses as a peer: System > Clustering.",
        ));
    }
    if let Some(why) = &*node.store.damage().borrow() {
        alarms.push(alarm(
            "database-damaged",
            Level::Error,
            &format!("The database is damaged on the disk: {why}"),
            "What can be read is served on. Look at the disk, export what is needed, and restore \
             a backup; a member of a cluster gets its rows back from the other peers.",
        ));
    }
    clock(node, seen, &mut alarms);
    // Slow ones keep what they said the last time.
    let slow = ["default-password", "conflicts"];
    if seen.round.is_multiple_of(SLOW) {
        accounts(node, &mut alarms);
    } else {
        let kept = seen.raised.iter().filter(|id| slow.contains(&id.as_str()));
        let kept: Vec<String> = kept.cloned().collect();
        settle(node, seen, &alarms, &kept);
        seen.round = seen.round.wrapping_add(1);
        return;
    }
    settle(node, seen, &alarms, &[]);
    seen.round = seen.round.wrapping_add(1);
}

fn alarm(id: &str, level: Level, text: &str, action: &str) -> Alarm {
    Alarm {
        id: id.into(),
        level,
        text: text.into(),
        action: action.into(),
    }
}

/// Raises what is the case and lowers what no longer is.
fn settle(node: &Node, seen: &mut Seen, alarms: &[Alarm], kept: &[String]) {
    let stands = |id: &String| alarms.iter().any(|alarm| &alarm.id == id) || kept.contains(id);
    for id in seen.raised.iter().filter(|id| !stands(id)) {
        node.lower(id);
    }
    for alarm in alarms {
        node.raise(alarm);
    }
    let mut raised: Vec<String> = alarms.iter().map(|alarm| alarm.id.clone()).collect();
    raised.extend(kept.iter().cloned());
    seen.raised = raised;
}

fn peers(node: &Node, view: &ClusterView, seen: &mut Seen, alarms: &mut Vec<Alarm>) {
    for peer in &view.peers {
        let (Some(address), Some(state)) = (peer.address, &peer.state) else {
            seen.states.remove(&peer.field);
            continue;
        };
        let words = steady(&state.text);
        let before = seen.states.get(&peer.field);
        let key = format!("{address} {words}");
        let times = match before {
            Some((old, times)) if *old == key => times.saturating_add(1),
            _ => {
                let level = match state.colour {
                    Colour::Green => Level::Information,
                    _ => Level::Warning,
                };
                node.note(&Event {
                    source: address.to_string(),
                    ..Event::new(
                        Kind::Cluster,
                        level,
                        format!("Peer {}: {}", peer.field, state.text),
                    )
                });
                1
            }
        };
        seen.states.insert(peer.field, (key, times));
        if times < PATIENCE {
            // Neither raised nor lowered by a moment: what stood, stands.
            let id = peer_alarm(address);
            if seen.raised.contains(&id)
                && let Some(action) = advice(state)
            {
                let text = format!("Peer {} ({address}): {}", peer.field, state.text);
                alarms.push(alarm(&id, Level::Error, &text, action));
            }
            continue;
        }
        if let Some(action) = advice(state) {
            let text = format!("Peer {} ({address}): {}", peer.field, state.text);
            alarms.push(alarm(&peer_alarm(address), Level::Error, &text, action));
        }
    }
}

fn peer_alarm(address: std::net::IpAddr) -> String {
    format!("peer-{address}")
}

/// The words without their figures, so that a rising percentage is one state.
fn steady(text: &str) -> String {
    match text.starts_with("Active as") {
        true => text.to_owned(),
        false => text.chars().filter(|c| !c.is_ascii_digit()).collect(),
    }
}

fn clock(node: &Node, seen: &mut Seen, alarms: &mut Vec<Alarm>) {
    if node.synchronized.load(Ordering::Relaxed) {
        seen.unsynchronized = 0;
        return;
    }
    seen.unsynchronized = seen.unsynchronized.saturating_add(1);
    let stood = seen.raised.iter().any(|id| id == "time");
    if seen.unsynchronized >= CLOCK_PATIENCE || stood {
        alarms.push(alarm(
            "time",
            Level::Warning,
            "This system's clock is not synchronized",
            "Set NTP servers that answer: System > Time. Without them a wrong clock decides which \
             of two changes is the later one.",
        ));
    }
}

fn accounts(node: &Node, alarms: &mut Vec<Alarm>) {
    let Ok(all) = administrators::list(&node.store) else {
        return;
    };
    let default: Vec<String> = all
        .into_iter()
        .filter(|who| who.change_password)
        .map(|who| who.name)
        .collect();
    if !default.is_empty() {
        alarms.push(alarm(
            "default-password",
            Level::Warning,
            &format!(
                "A first password was not changed yet: {}",
                default.join(", ")
            ),
            "Log in with that account and choose a new password, or delete the account: \
             Users > Administrator accounts.",
        ));
    }
    if let Ok(count) = node.store.exported_conflicts()
        && count > 0
    {
        alarms.push(alarm(
            "conflicts",
            Level::Warning,
            &format!("{count} older conflicts did not fit into the inbox"),
            "They are in conflicts-exported.jsonl beside the database. Restore or dismiss what \
             is in Status > Conflicts.",
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rising_figure_is_no_new_state() {
        assert_eq!(steady("Joining 4 %"), steady("Joining 43 %"));
        assert_ne!(steady("Active as b1"), steady("Active as b2"));
    }
}
