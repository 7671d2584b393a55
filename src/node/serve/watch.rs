//! Looks at the node once a second: a line in the event log for each change of a peer's state, and
//! alarms that stand as long as their reason does.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::host;
use super::node::{ClusterView, Node, PeerView};
use super::states::steady;
use super::{replication, reserve};
use crate::cluster::advice;
use crate::node::pulse::Pulse;
use crate::settings::message::{HostRequest, Shown};
use crate::store::administrators;
use crate::store::events::{Alarm, Event, Kind, Level};
use crate::sys::disk;
use crate::wire::replication::MAX_ORIGINS;

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
    /// What the console was told, without figures.
    shown: Shown,
}

/// The console's text is told when it changed, and again after so many rounds.
const TOLD: u32 = 30;

/// How long the host role may take at the start.
const START: Duration = Duration::from_secs(10);

/// Looks for ever, and after each look tells systemd that the role works: it needed the database,
/// the node's state and a turn of the runtime.
pub async fn run(node: Arc<Node>) {
    let mut pulse = Pulse::as_asked();
    // A change of the network may wait for a confirmation since before our start.
    let _ = tokio::time::timeout(START, host::kept(&node)).await;
    let text = format!("{} started, version {}", node.name, super::node::VERSION);
    node.note(&Event::new(Kind::System, Level::Information, text));
    // Before the first look: the console shows each change of the alarms.
    let _ = host::note_changes(&node).await;
    tokio::spawn(note_changes(Arc::clone(&node)));
    let mut seen = Seen::default();
    // What stood when the process ended is judged anew.
    if let Ok(alarms) = node.events.alarms() {
        let standing = alarms.into_iter().filter(|row| row.lowered_ms.is_none());
        seen.raised = standing.map(|row| row.id).collect();
    }
    loop {
        let looked = Arc::clone(&node);
        let mut done = tokio::task::spawn_blocking(move || {
            look(&looked, &mut seen);
            let shown = shown(&looked);
            (seen, shown)
        });
        let done = loop {
            tokio::select! {
                done = &mut done => break done,
                () = tokio::time::sleep(PERIOD) => {}
            }
            // It waits for rows that are carried over a snapshot, which may take long: to end that
            // would be to begin it anew.
            if node.store.is_carrying() {
                pulse.beat();
            }
        };
        match done {
            Ok((back, shown)) => {
                pulse.beat();
                seen = back;
                let news = without_figures(&shown);
                if news != seen.shown || seen.round.is_multiple_of(TOLD) {
                    seen.shown = news;
                    // Without a host role there is no console; one that hangs holds up no alarm.
                    let told = host::perform(&node, HostRequest::Show(shown));
                    let _ = tokio::time::timeout(PERIOD, told).await;
                }
            }
            Err(error) => {
                tracing::error!(%error, "watching the node failed");
                seen = Seen::default();
            }
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// Asks for ever what the host role changed by itself; a role that is busy holds up nothing else.
async fn note_changes(node: Arc<Node>) {
    loop {
        // Without a host role there are no such changes; one that failed is asked again.
        let _ = host::note_changes(&node).await;
        tokio::time::sleep(PERIOD * SLOW).await;
    }
}

fn look(node: &Node, seen: &mut Seen) {
    node.note_states();
    let view = node.view();
    let mut alarms = Vec::new();
    peers(&view, seen, &mut alarms);
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
    if node.store.refused().is_some() && seen.round.is_multiple_of(SLOW) {
        // There may be room again, and nobody who writes.
        let _ = node.store.probe();
    }
    if let Some(why) = node.store.refused() {
        alarms.push(alarm(
            "database-refused",
            Level::Error,
            &format!("The database takes no writes: {why}"),
            "What is there is served and sent on. Make room, or look at the disk; where it was \
             mended, restart the service: Maintenance > Restart options.",
        ));
    }
    replication::look(node, &view, &seen.raised, &mut alarms);
    clock(node, seen, &mut alarms);
    names(node, &mut alarms);
    disk(node, &mut alarms);
    // Slow ones keep what they said the last time.
    let slow = ["default-password", "conflicts", "incarnations"];
    if seen.round.is_multiple_of(SLOW) {
        accounts(node, &mut alarms);
        incarnations(node.store.frontier_summary().0, &mut alarms);
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

/// What the console shows of this.
fn shown(node: &Node) -> Shown {
    let peer = |peer: PeerView| {
        let (address, state) = (peer.address?, peer.state?);
        Some(format!("{address}  {}", state.text))
    };
    let alarms = node.events.alarms().unwrap_or_default().into_iter();
    let standing = alarms.filter(|row| row.lowered_ms.is_none());
    Shown {
        certificate: node.identity().digest().to_vec(),
        peers: node.view().peers.into_iter().filter_map(peer).collect(),
        alarms: standing.map(|row| (row.text, row.action)).collect(),
    }
}

/// By this a change is told from a figure that moves, which would redraw the console each second.
fn without_figures(shown: &Shown) -> Shown {
    let alarm = |(text, action): &(String, String)| (steady(text), action.clone());
    Shown {
        certificate: shown.certificate.clone(),
        peers: shown.peers.iter().map(|peer| steady(peer)).collect(),
        alarms: shown.alarms.iter().map(alarm).collect(),
    }
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

fn peers(view: &ClusterView, seen: &mut Seen, alarms: &mut Vec<Alarm>) {
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
            _ => 1,
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

fn names(node: &Node, alarms: &mut Vec<Alarm>) {
    let silent = node.silent_servers.borrow();
    if !silent.is_empty() {
        let all: Vec<String> = silent.iter().map(ToString::to_string).collect();
        alarms.push(alarm(
            "name-servers",
            Level::Warning,
            &format!("No name server answers: {}", all.join(", ")),
            "Look at the network, or set servers that answer: System > DNS. Servers set by name, \
             those of the time too, cannot be found meanwhile.",
        ));
    }
}

/// The data partition is full when less than this part of it is free.
const LITTLE: u64 = 20;

fn disk(node: &Node, alarms: &mut Vec<Alarm>) {
    let (Ok(free), Ok(size)) = (disk::free(&node.state), disk::size(&node.state)) else {
        return;
    };
    if let Err(error) = reserve::hold(&node.state) {
        tracing::warn!("no room could be kept for the next start: {error}");
    }
    if free < size / LITTLE {
        alarms.push(alarm(
            "disk-full",
            Level::Error,
            "Less than 5 % of the data partition is free: soon nothing more can be changed",
            "Bring back peers that are away, for which changes are kept, or remove them; delete \
             backup files in /var/lib/tutti/serve; move to a larger disk.",
        ));
    }
}

/// Few incarnations are left when so many of [`MAX_ORIGINS`] are taken: one for each start that
/// wrote something.
const MANY_ORIGINS: usize = MAX_ORIGINS / 4 * 3;

fn incarnations(count: usize, alarms: &mut Vec<Alarm>) {
    if count >= MANY_ORIGINS {
        alarms.push(alarm(
            "incarnations",
            Level::Warning,
            &format!("{count} of {MAX_ORIGINS} incarnations have written to this cluster"),
            "Each start of a system that writes is one; beyond the last, peers take nothing new. \
             See whether a system restarts all the time. Where it is many years of starts, set up \
             a new cluster from an export of the tables.",
        ));
    }
}

fn accounts(node: &Node, alarms: &mut Vec<Alarm>) {
    let Ok(all) = administrators::list(&node.store) else {
        return;
    };
    let default = all.into_iter().filter(|who| who.change_password);
    let names = default.map(|who| who.name).collect();
    let root = node.root_password_default.load(Ordering::Relaxed);
    alarms.extend(default_password(names, root));
    if let Ok(count) = node.store.exported_conflicts()
        && count > 0
        && node.store.exported_path().exists()
    {
        alarms.push(alarm(
            "conflicts",
            Level::Warning,
            &format!("{count} older conflicts have left the inbox so far"),
            "The latest are in conflicts-exported.jsonl beside the database: move that file away \
             once you have looked at it. Restore or dismiss what is in Status > Conflicts.",
        ));
    }
}

/// Of accounts, and perhaps root, whose first password stands.
fn default_password(mut names: Vec<String>, root: bool) -> Option<Alarm> {
    let mut action = String::new();
    if !names.is_empty() {
        action += "Log in with that account and choose a new password, or delete the account: \
                   Users > Administrator accounts. ";
    }
    if root {
        names.push("root".into());
        action += "Log in as root at a console, which asks for a new password.";
    }
    let text = format!("A first password was not changed yet: {}", names.join(", "));
    let first = (!names.is_empty()).then_some("default-password")?;
    Some(alarm(first, Level::Warning, &text, action.trim_end()))
}

#[cfg(test)]
mod tests;
