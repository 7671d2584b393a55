//! Asks the `host` role: settings of this system, and what only root may do.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::node::Node;
use crate::node::ipc::Connection;
use crate::settings::System;
use crate::settings::message::{HostReply, HostRequest, Trial};
use crate::store::events::{Event, Kind, Level};

/// How long a host action may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the role listens, below the run directory.
pub const SOCKET: &str = "host.sock";

/// Asks and waits for the answer.
///
/// # Errors
/// In an operator's words.
async fn ask(node: &Node, request: &HostRequest) -> Result<HostReply, String> {
    let Some(run) = node.run.get() else {
        return Err("this system has no host role".into());
    };
    let socket = run.join(SOCKET);
    let work = converse(&socket, request);
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(reply) => reply,
        Err(_) => Err("the host role does not answer".into()),
    }
}

async fn converse(socket: &Path, request: &HostRequest) -> Result<HostReply, String> {
    let mut host = Connection::<HostRequest, HostReply>::connect(socket)
        .await
        .map_err(|error| error.to_string())?;
    host.send(request)
        .await
        .map_err(|error| error.to_string())?;
    match host.recv().await {
        Ok(Some(HostReply::Failed(why))) => Err(why),
        Ok(Some(reply)) => Ok(reply),
        Ok(None) => Err("the host role closed the connection".into()),
        Err(error) => Err(error.to_string()),
    }
}

/// The settings as kept.
///
/// # Errors
/// In an operator's words.
pub async fn settings(node: &Node) -> Result<System, String> {
    kept(node).await.map(|(system, _)| system)
}

/// The settings as kept, and what became of a trial.
///
/// # Errors
/// In an operator's words.
pub async fn kept(node: &Node) -> Result<(System, Trial), String> {
    match ask(node, &HostRequest::Read).await? {
        HostReply::Settings(Some(system), trial) => {
            node.on_trial(trial.left_s);
            Ok((*system, trial))
        }
        HostReply::Settings(None, _) => Err("this system was not set up yet".into()),
        _ => Err("an unexpected answer of the host role".into()),
    }
}

/// The number of the last change that is in the event log, in `local.db`.
const NOTED: &str = "host_change";

/// Writes to the event log what the role changed without being asked from here: at a console, by
/// `tutti setup`, or because nobody confirmed it. Also learns whether root's password is default.
///
/// # Errors
/// In an operator's words.
pub async fn note_changes(node: &Node) -> Result<(), String> {
    let kept = node.local.value(NOTED).map_err(|error| error.to_string())?;
    let noted = kept.and_then(|kept| Some(u64::from_be_bytes(kept.as_slice().try_into().ok()?)));
    let request = HostRequest::Changes(noted.unwrap_or(0));
    let HostReply::Changes {
        all,
        root_password_default,
    } = ask(node, &request).await?
    else {
        return Err("an unexpected answer of the host role".into());
    };
    node.root_password_default
        .store(root_password_default, Ordering::Relaxed);
    for change in all {
        let level = match change.warning {
            true => Level::Warning,
            false => Level::Information,
        };
        node.note(&Event {
            who: change.who,
            source: change.source,
            before: change.before,
            after: change.after,
            ..Event::new(Kind::Change, level, change.text)
        });
        let number = change.number.to_be_bytes();
        let kept = node.local.set(&[(NOTED, Some(&number))]);
        kept.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Has something done.
///
/// # Errors
/// In an operator's words.
pub async fn perform(node: &Node, request: HostRequest) -> Result<(), String> {
    ask(node, &request).await.map(drop)
}
