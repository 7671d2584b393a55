//! The role's socket: one typed request at a time, from root and `serve` only.

use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard};

use super::changes::{self, By};
use super::console::Screen;
use super::keep::{self, Kept};
use super::root_password::{self, RootPassword};
use super::{HostError, Place, actions, first_boot, serial, trial};
use crate::node::ipc::{self, Allowed};
use crate::node::pulse::Pulse;
use crate::settings::message::{HostReply, HostRequest};
use crate::sys::user;

/// The user that may ask besides root.
const SERVE: &str = "tutti-serve";

/// How often the console's text is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// The role while it runs. One request is performed at a time: who performs holds `turn`.
struct Role {
    place: Place,
    turn: Arc<Mutex<()>>,
    trial: StdMutex<trial::Watch>,
    screen: StdMutex<Screen>,
}

/// A panic while it was held leaves nothing half done in these.
fn lock<T>(mutex: &StdMutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers requests until the process is stopped.
pub fn run(place: &Place, trial_s: u16) -> Result<(), HostError> {
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
    let serial = serial::publish(place).unwrap_or_else(|error| {
        tracing::error!(%error, "this system has no serial number");
        "unknown".into()
    });
    let role = Arc::new(Role {
        place: place.clone(),
        turn: Arc::default(),
        trial: StdMutex::new(trial::Watch::new(Duration::from_secs(trial_s.into()))),
        screen: StdMutex::new(Screen::new(serial)),
    });
    let allowed = Allowed::new(SERVE, &[]).map_err(&socket)?;
    runtime.block_on(async {
        // Anybody may connect; who may ask is decided on the accepted connection.
        let listener = ipc::listen(&path, 0o666).map_err(|e| socket(e.to_string()))?;
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        tracing::info!(socket = %path.display(), "host role ready");
        tokio::spawn(show(Arc::clone(&role)));
        loop {
            let accepted = ipc::accept(&listener, &allowed).await;
            let mut connection = accepted.map_err(|e| socket(e.to_string()))?;
            let role = Arc::clone(&role);
            tokio::spawn(async move {
                if let Err(error) = converse(&mut connection, &role).await {
                    tracing::warn!(%error, "a host connection ended");
                }
            });
        }
    })
}

/// Keeps the console's text true. Tells systemd that the role works: as long as its screen is to be
/// had, and no request keeps its turn for good.
async fn show(role: Arc<Role>) {
    let mut failed = false;
    let mut pulse = Pulse::as_asked();
    loop {
        let here = Arc::clone(&role);
        let done = tokio::task::spawn_blocking(move || lock(&here.screen).refresh(&here.place));
        if let Ok(Err(error)) = done.await
            && !std::mem::replace(&mut failed, true)
        {
            tracing::warn!(%error, "the console's text could not be made");
        }
        if role.turn.try_lock().is_ok() {
            pulse.beat();
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Brings files, firewall and host name into line with what is kept, before anybody asks. What
/// fails is told and leaves the role running: it is also what can put it right.
fn start(place: &Place) {
    if trial::stands(place) {
        tracing::warn!("a change of the network was never confirmed: put back");
        if let Err(error) = trial::put_back(place, trial::LATE) {
            tracing::error!(%error, "a change of the network is not all put back");
        }
    }
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
    role: &Arc<Role>,
) -> Result<(), ipc::IpcError> {
    let by = match user::user_id(SERVE) == Some(connection.peer_user()?) {
        true => By::Serve,
        false => By::Root("tutti setup"),
    };
    while let Some(request) = connection.recv().await? {
        let turn = Arc::clone(&role.turn).lock_owned().await;
        let here = Arc::clone(role);
        let done = tokio::task::spawn_blocking(move || perform(&here, request, by, turn)).await;
        let reply = match done {
            Ok(Ok((reply, begun))) => {
                if let Some(number) = begun {
                    tokio::spawn(put_back_later(Arc::clone(role), number));
                }
                reply
            }
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

/// Puts a trial back that nobody confirmed in time.
async fn put_back_later(role: Arc<Role>, number: u64) {
    let patience = lock(&role.trial).patience;
    tokio::time::sleep(patience).await;
    let turn = Arc::clone(&role.turn).lock_owned().await;
    let done = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        // Confirmed, replaced, or settled at the console meanwhile.
        if !lock(&role.trial).is(number) || !trial::stands(&role.place) {
            return Ok(());
        }
        lock(&role.trial).ended(true);
        tracing::warn!("the change of the network was not confirmed: put back");
        trial::put_back(&role.place, trial::LATE)
    });
    if let Ok(Err(error)) = done.await {
        tracing::error!(%error, "the network as it was is not all in force");
    }
}

/// Performs one request; also the number of a trial that it began.
fn perform(
    role: &Role,
    request: HostRequest,
    by: By,
    _turn: OwnedMutexGuard<()>,
) -> Result<(HostReply, Option<u64>), HostError> {
    let place = &role.place;
    let mut begun = None;
    match request {
        HostRequest::Read => {
            let kept = Kept::load(place)?;
            let told = lock(&role.trial).told(trial::stands(place));
            return Ok((HostReply::Settings(kept.system.map(Box::new), told), None));
        }
        HostRequest::Changes(number) => {
            let root = RootPassword::load(place)?;
            let reply = HostReply::Changes {
                all: changes::after_number(place, number),
                root_password_default: root.is_some_and(|root| root.default),
            };
            return Ok((reply, None));
        }
        HostRequest::Apply(_) if trial::stands(place) => return Err(HostError::OnTrial),
        HostRequest::Apply(system) => first_boot::change(place, &system, by)?,
        HostRequest::Try(system) => {
            trial::begin(place, &system, by)?;
            begun = Some(lock(&role.trial).begun());
        }
        // Too late, or a second time: nobody shall believe that the tried settings stay.
        HostRequest::Confirm if !trial::stands(place) => return Err(HostError::NothingOnTrial),
        HostRequest::Confirm => {
            trial::confirm(place, by)?;
            lock(&role.trial).ended(false);
        }
        HostRequest::KeepRootPassword => {
            if root_password::keep_changed(place)? {
                tracing::info!("the password of root was changed, and is kept");
            }
        }
        HostRequest::SetPeers(peers) => {
            keep::store_peers(place, peers.as_ref())?;
            keep::render(place, &Kept::load(place)?)?;
            actions::command(place, actions::FIREWALL)?;
        }
        HostRequest::Show(shown) => {
            let mut screen = lock(&role.screen);
            screen.heard(shown);
            screen.refresh(place)?;
        }
        HostRequest::Restart => actions::command(place, actions::RESTART)?,
        HostRequest::Reboot => actions::command(place, actions::REBOOT)?,
        HostRequest::PowerOff => actions::command(place, actions::POWER_OFF)?,
    }
    Ok((HostReply::Done, begun))
}
