//! The role's socket: one typed request at a time, from root and `serve` only.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::keep::{self, Kept};
use super::{HostError, Place, actions};
use crate::node::ipc::{self, Connection};
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
    let allowed = place.user(SERVE).map(|(uid, _)| uid);
    runtime.block_on(async {
        // Anybody may connect; who may ask is decided on the accepted connection.
        let listener = ipc::listen(&path, 0o666).map_err(|e| socket(e.to_string()))?;
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        tracing::info!(socket = %path.display(), "host role ready");
        let turn = Arc::new(Mutex::new(()));
        loop {
            let (stream, _) = listener.accept().await.map_err(|e| socket(e.to_string()))?;
            let (place, turn) = (place.clone(), Arc::clone(&turn));
            tokio::spawn(async move {
                let mut connection = Connection::<HostReply, HostRequest>::new(stream);
                let user = match connection.peer_user() {
                    Ok(user) if user == 0 || Some(user) == allowed => user,
                    other => {
                        tracing::warn!(?other, "a user that may not ask was turned away");
                        return;
                    }
                };
                if let Err(error) = converse(&mut connection, &place, &turn).await {
                    tracing::warn!(user, %error, "a host connection ended");
                }
            });
        }
    })
}

async fn converse(
    connection: &mut Connection<HostReply, HostRequest>,
    place: &Place,
    turn: &Mutex<()>,
) -> Result<(), ipc::IpcError> {
    while let Some(request) = connection.recv().await? {
        let place = place.clone();
        let _held = turn.lock().await;
        let done = tokio::task::spawn_blocking(move || perform(&place, &request)).await;
        let reply = match done {
            Ok(Ok(())) => HostReply::Done,
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
fn perform(place: &Place, request: &HostRequest) -> Result<(), HostError> {
    match request {
        HostRequest::Apply(system) => {
            keep::store_system(place, system)?;
            keep::render(place, &Kept::load(place)?)?;
            actions::apply(place, system)
        }
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
