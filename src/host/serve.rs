//! The role's socket: one typed request at a time, from root and `serve` only.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::keep::{self, Kept};
use super::{HostError, Place, actions, first_boot};
use crate::node::ipc::{self, Allowed};
use crate::settings::message::{HostReply, HostRequest};

/// The user that may ask besides root.
const SERVE: &str = "tutti-serve";

/// Answers requests until the process is stopped.
pub fn run(place: &Place) -> Result<(), HostError> {
    let path = place.run.join("host.sock");
    let socket = |reason: String| HostError::Socket {
        path: path.clone(),
        reason,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| socket(e.to_string()))?;
    super::place::make_dir(&place.run)?;
    start(place);
    let allowed = Allowed::new(SERVE, &[]).map_err(&socket)?;
    runtime.block_on(async {
        // Anybody may connect; who may ask is decided on the accepted connection.
        let listener = ipc::listen(&path, 0o666).map_err(|e| socket(e.to_string()))?;
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        tracing::info!(socket = %path.display(), "host role ready");
        let turn = Arc::new(Mutex::new(()));
        loop {
            let accepted = ipc::accept(&listener, &allowed).await;
            let mut connection = accepted.map_err(|e| socket(e.to_string()))?;
            let (place, turn) = (place.clone(), Arc::clone(&turn));
            tokio::spawn(async move {
                if let Err(error) = converse(&mut connection, &place, &turn).await {
                    tracing::warn!(%error, "a host connection ended");
                }
            });
        }
    })
}

/// Brings files, firewall and host name into line with what is kept, before anybody asks. What
/// fails is told and leaves the role running: it is also what can put it right.
fn start(place: &Place) {
    let rendered = Kept::load(place).and_then(|kept| {
        keep::render(place, &kept)?;
        let loaded = actions::command(place, actions::FIREWALL);
        match &kept.system {
            Some(system) if place.is_this_system() => loaded.and(actions::set_host_name(system)),
            _ => loaded,
        }
    });
    if let Err(error) = rendered {
        tracing::error!(%error, "the kept settings are not all in force");
    }
}

async fn converse(
    connection: &mut ipc::Connection<HostReply, HostRequest>,
    place: &Place,
    turn: &Mutex<()>,
) -> Result<(), ipc::IpcError> {
    while let Some(request) = connection.recv().await? {
        let place = place.clone();
        let _held = turn.lock().await;
        let done = tokio::task::spawn_blocking(move || perform(&place, &request)).await;
        let reply = match done {
            Ok(Ok(reply)) => reply,
            Ok(Err(error)) => {
                tracing::warn!(%error, "a host request failed");
                HostReply::Failed(error.to_string())
            }
            Err(error) => HostReply::Failed(format!("the action ended early: {error}")),
        };
        connection.send(&reply).await?;
    }
    Ok(())
}

/// Performs one request.
fn perform(place: &Place, request: &HostRequest) -> Result<HostReply, HostError> {
    if matches!(request, HostRequest::Read) {
        let kept = Kept::load(place)?;
        return Ok(HostReply::Settings(kept.system.map(Box::new)));
    }
    act(place, request).map(|()| HostReply::Done)
}

fn act(place: &Place, request: &HostRequest) -> Result<(), HostError> {
    match request {
        HostRequest::Read => Ok(()),
        HostRequest::Apply(system) => first_boot::change(place, system),
        HostRequest::SetPeers(peers) => {
            keep::store_peers(place, peers.as_ref())?;
            keep::render(place, &Kept::load(place)?)?;
            actions::command(place, actions::FIREWALL)
        }
        HostRequest::Restart => actions::command(place, actions::RESTART),
        HostRequest::Reboot => actions::command(place, actions::REBOOT),
        HostRequest::PowerOff => actions::command(place, actions::POWER_OFF),
    }
}
