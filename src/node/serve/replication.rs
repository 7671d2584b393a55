//! Alarms about what replicates: transactions that wait for a clock, histories that parted, rows
//! that differ, rows that no peer ever gets.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::node::{ClusterView, Node, hex, now_ms};
use crate::replica::session::Proven;
use crate::replica::{Incarnation, NodeId};
use crate::store::StoreError;
use crate::store::events::{Alarm, Event, Kind, Level};

/// Names the alarm about histories that parted.
const FORK: &str = "fork";
/// It stands for so long after the last one was met.
const FORK_MS: u64 = 24 * 3_600_000;
/// Rows that have no clock are first counted so long after the start.
const FIRST_COUNT: Duration = Duration::from_secs(120);
/// And again so long after each count: it reads all rows.
const COUNT: Duration = Duration::from_secs(6 * 3_600);

/// Adds what is the case; `stood` are the names of what stood before.
pub(super) fn look(node: &Node, view: &ClusterView, stood: &[String], alarms: &mut Vec<Alarm>) {
    waiting(node, view, alarms);
    forks(node, alarms);
    differing(node, view, stood, alarms);
    strangers(node, alarms);
}

/// Contract 10: what is stamped beyond the bound waits with an alarm.
fn waiting(node: &Node, view: &ClusterView, alarms: &mut Vec<Alarm>) {
    // Asked first, as it waits for no writer.
    if !node.store.waits() {
        return;
    }
    let Ok(ahead) = node.store.ahead() else {
        return; // the store is refused, which is an alarm of its own
    };
    let Some(latest) = ahead.iter().map(|ahead| ahead.hlc.millis()).max() else {
        return;
    };
    let whose = |origin| node.store.owner(origin).ok().flatten();
    let mut names: Vec<String> = ahead
        .iter()
        .map(|ahead| named(node, view, ahead.origin, whose(ahead.origin)))
        .collect();
    names.sort();
    names.dedup();
    alarms.push(Alarm {
        id: "transactions-ahead".into(),
        level: Level::Error,
        text: format!(
            "Changes made at {} are stamped up to {} ahead of this system's clock and wait",
            names.join(" and "),
            long(latest.saturating_sub(now_ms()))
        ),
        action: "Compare the time of the two systems, and set NTP servers that answer on the one \
                 that is wrong: System > Time. What waits is taken in by itself once the clocks \
                 agree."
            .into(),
    });
}

/// A length of time in its largest unit.
fn long(ms: u64) -> String {
    let seconds = ms.div_ceil(1_000);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} minutes", seconds / 60),
        7_200..172_800 => format!("{} hours", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// The system behind an incarnation as an operator knows it.
fn named(node: &Node, view: &ClusterView, origin: Incarnation, id: Option<NodeId>) -> String {
    let Some(id) = id else {
        return format!("an unknown system (incarnation {origin:016x})");
    };
    if id == node.store.node() {
        return node.name.clone();
    }
    let met = node.met.borrow();
    let is = |address: IpAddr| met.node(address) == Some(id);
    let mut peers = view.peers.iter();
    let peer = peers.find_map(|peer| peer.address.filter(|at| is(*at)).map(|at| (peer, at)));
    match peer {
        Some((peer, address)) => peer.name.clone().unwrap_or_else(|| address.to_string()),
        None => format!("a former peer (node {})", hex(&id)),
    }
}

/// One origin was found to have two histories on the link with `peer` (contract 6): one of the two
/// sides issues its part again. Blocks.
pub(super) fn forked(node: &Node, peer: IpAddr, origin: Incarnation) {
    let owner = node.store.owner(origin).ok().flatten();
    let whose = named(node, &node.view(), origin, owner);
    let text = format!("{whose} has two histories, as the link with {peer} showed");
    node.forked_ms.store(now_ms(), Ordering::Relaxed);
    node.note(&Event {
        source: peer.to_string(),
        ..Event::new(
            Kind::Cluster,
            Level::Warning,
            format!("{text}: incarnation {origin:016x}"),
        )
    });
    node.raise(&Alarm {
        id: FORK.into(),
        level: Level::Warning,
        text,
        action:
            "Its memory or its disk was put back while it ran (a restored virtual machine), or \
                 it runs twice: see that one of it runs, and set a copy up anew. The shorter \
                 history was written again by itself: look at Status > Conflicts. This goes a day \
                 after the last time."
                .into(),
    });
}

/// Our part of it was issued again.
pub(super) fn healed(node: &Node, peer: IpAddr, origin: Incarnation, count: Option<usize>) {
    let text = match count {
        None => format!(
            "The numbers of incarnation {origin:016x} are in use elsewhere (this system was \
             restored or copied): it goes on under a fresh one"
        ),
        Some(count) => format!(
            "Our part of a history that parted was written again: {count} transactions of \
             incarnation {origin:016x}"
        ),
    };
    node.note(&Event {
        source: peer.to_string(),
        ..Event::new(Kind::Cluster, Level::Warning, text)
    });
}

/// The link raised it; it stands for a day after the last fork, over a restart too.
fn forks(node: &Node, alarms: &mut Vec<Alarm>) {
    let Ok(all) = node.events.alarms() else {
        return;
    };
    let mut standing = all.into_iter().filter(|row| row.lowered_ms.is_none());
    let Some(row) = standing.find(|row| row.id == FORK) else {
        return;
    };
    let last = row.raised_ms.max(node.forked_ms.load(Ordering::Relaxed));
    if now_ms().saturating_sub(last) < FORK_MS {
        alarms.push(Alarm {
            id: row.id,
            level: Level::Warning,
            text: row.text,
            action: row.action,
        });
    }
}

/// Contract 9: rows that differ and of which nobody can tell which is right.
fn differing(node: &Node, view: &ClusterView, stood: &[String], alarms: &mut Vec<Alarm>) {
    let others = view.peers.iter().filter(|peer| !peer.own);
    for (peer, address) in others.filter_map(|peer| Some((peer, peer.address?))) {
        let id = format!("rows-differ-{address}");
        let rows = match proof(node, address) {
            Some((_, proven)) => match proven.unclear {
                0 => continue,
                1 => "A row differs".to_owned(),
                rows => format!("{rows} rows differ"),
            },
            // No proof ended since the start: what stood, stands.
            None if stood.contains(&id) => "Rows differed".into(),
            None => continue,
        };
        let name = peer.name.clone().unwrap_or_else(|| address.to_string());
        alarms.push(Alarm {
            id,
            level: Level::Error,
            text: format!("{rows} from those of {name}, and nothing tells which are right"),
            action:
                "The journal names them (journalctl -u tutti-serve, \"not repaired\"). Look at \
                     the disks of both systems, and write the right values anew: Tables."
                    .into(),
        });
    }
}

/// The last proof with the peer at `address`: when it began, and what it found.
pub(super) fn proof(node: &Node, address: IpAddr) -> Option<(u64, Proven)> {
    let id = node.met.borrow().node(address)?;
    let mut all = node.store.proofs().into_iter();
    all.find_map(|(peer, began_ms, proven)| (peer == id).then_some((began_ms, proven)))
}

/// A proof ended; what it found and repaired is a line of the event log.
pub(super) fn proven(node: &Node, peer: IpAddr, proven: &Proven) {
    if proven.differing == 0 {
        tracing::debug!("no row differs from those of {peer}, as far as was compared");
        node.touch();
        return;
    }
    let (rows, repaired, unclear) = (proven.differing, proven.repaired, proven.unclear);
    node.note(&Event {
        source: peer.to_string(),
        ..Event::new(
            Kind::Cluster,
            Level::Warning,
            format!(
                "{rows} rows differed from those of the peer: {repaired} were repaired here, \
                 {unclear} want a person's look"
            ),
        )
    });
    node.touch();
}

/// Rows written past the engine, as counted last.
fn strangers(node: &Node, alarms: &mut Vec<Alarm>) {
    let found = node.strangers.borrow();
    if found.is_empty() {
        return;
    }
    let tables = found
        .iter()
        .map(|(table, rows)| format!("{rows} in {table}"));
    let tables: Vec<String> = tables.collect();
    alarms.push(Alarm {
        id: "rows-unreplicated".into(),
        level: Level::Error,
        text: format!("Rows that no peer gets: {}", tables.join(", ")),
        action: "They were written to the database file past this service, which nothing may do. \
                 Note what they hold, and write it again as a normal change: Tables."
            .into(),
    });
}

/// Counts rows written past the engine, now and then, for ever.
pub(super) async fn count(node: Arc<Node>) {
    tokio::time::sleep(FIRST_COUNT).await;
    loop {
        let counted = Arc::clone(&node);
        let counted = tokio::task::spawn_blocking(move || recount(&counted)).await;
        match counted {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "rows without a clock could not be counted"),
            Err(error) => tracing::error!(%error, "counting rows without a clock failed"),
        }
        tokio::time::sleep(COUNT).await;
    }
}

/// As it is now. Blocks.
pub(super) fn recount(node: &Node) -> Result<(), StoreError> {
    node.strangers.send_replace(node.store.strangers()?);
    Ok(())
}
