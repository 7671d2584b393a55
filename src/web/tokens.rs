//! API tokens as callers: `Authorization: Bearer tutti_ID_SECRET`.

use std::net::IpAddr;

use axum::http::StatusCode;
use axum::response::Response;
use tokio::task::spawn_blocking;

use super::guard::{Caller, challenge, refuse};
use super::{Origin, Web, session};
use crate::node::serve::node::{hex, now_ms, random};
use crate::store::api_tokens::{self, ApiToken};
use crate::store::{Store, StoreError, administrators};

/// The longest label, in characters.
const LABEL_MAX: usize = 80;
/// Tokens of one account.
const TOKENS_MAX: usize = 20;

/// Makes a token; it is shown this once.
pub fn make(
    store: &Store,
    owner: &str,
    label: &str,
    read_only: bool,
) -> Result<(ApiToken, String), StoreError> {
    let label = label.trim();
    if label.is_empty() || label.chars().count() > LABEL_MAX || label.chars().any(char::is_control)
    {
        let words = format!("say in 1 to {LABEL_MAX} characters what the token is for");
        return Err(StoreError::Refused(words));
    }
    administrators::existing(store, owner)?;
    let of_owner = |token: &&ApiToken| token.owner == owner;
    if api_tokens::list(store)?.iter().filter(of_owner).count() >= TOKENS_MAX {
        let words = format!("an account has at most {TOKENS_MAX} tokens; delete one first");
        return Err(StoreError::Refused(words));
    }
    let secret = hex(&random::<32>());
    let token = ApiToken {
        id: hex(&random::<8>()),
        owner: owner.to_owned(),
        label: label.to_owned(),
        digest: hex(&crate::tls::digest(secret.as_bytes())),
        read_only,
        created_ms: now_ms(),
    };
    api_tokens::add(store, &token)?;
    let text = format!("tutti_{}_{secret}", token.id);
    Ok((token, text))
}

/// The caller of a token, if it is good; wrong ones are counted as wrong guesses are.
pub async fn caller(web: &Web, origin: Origin, text: &str) -> Result<Caller, Response> {
    if let Some(left) = web.sessions.wait(origin) {
        return Err(session::later(left));
    }
    let parts = text
        .strip_prefix("tutti_")
        .and_then(|rest| rest.split_once('_'));
    let parts = parts.map(|(id, secret)| (id.to_owned(), secret.to_owned()));
    let store = web.node.store.clone();
    let work = spawn_blocking(move || -> Result<Option<Caller>, StoreError> {
        let Some((id, secret)) = parts else {
            return Ok(None);
        };
        let digest = hex(&crate::tls::digest(secret.as_bytes()));
        let token = api_tokens::find(&store, &id)?;
        let token = token.filter(|token| session::same(&token.digest, &digest));
        let Some(token) = token else { return Ok(None) };
        let owner = administrators::find(&store, &token.owner)?;
        Ok(owner.map(|owner| {
            let mut caller = Caller::new(&owner, String::new());
            caller.reads_only |= token.read_only;
            caller.name = format!("{} (token {})", owner.name, token.label);
            caller
        }))
    });
    match work.await {
        Ok(Ok(Some(caller))) => Ok(caller),
        Ok(Ok(None)) => {
            web.sessions.guessed(origin, false);
            Err(challenge("the token is not known"))
        }
        Ok(Err(error)) => Err(refuse(
            StatusCode::INTERNAL_SERVER_ERROR,
            &error.to_string(),
        )),
        Err(_) => Err(refuse(
            StatusCode::INTERNAL_SERVER_ERROR,
            "an internal task failed",
        )),
    }
}

/// How many requests a source may make: so many at once, and so many each second after that.
pub const BURST: f64 = 400.0;
/// See [`BURST`].
pub const EACH_SECOND: f64 = 150.0;
/// Sources remembered.
const SOURCES_MAX: usize = 4_096;

/// What each source has left.
#[derive(Default)]
pub struct Rates(std::sync::Mutex<std::collections::HashMap<IpAddr, (f64, std::time::Instant)>>);

impl Rates {
    /// Takes one request off a source's account; false where it has none left.
    pub fn take(&self, source: IpAddr, now: std::time::Instant) -> bool {
        let mut all = self.0.lock().unwrap_or_else(|poison| poison.into_inner());
        if all.len() >= SOURCES_MAX && !all.contains_key(&source) {
            let full = |(left, at): &(f64, std::time::Instant)| {
                left + now.saturating_duration_since(*at).as_secs_f64() * EACH_SECOND >= BURST
            };
            all.retain(|_, account| !full(account));
        }
        let account = all.entry(source).or_insert((BURST, now));
        let since = now.saturating_duration_since(account.1).as_secs_f64();
        *account = ((account.0 + since * EACH_SECOND).min(BURST), now);
        let enough = account.0 >= 1.0;
        if enough {
            account.0 -= 1.0;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn a_source_that_asks_too_often_waits_and_others_do_not() {
        let (rates, now) = (Rates::default(), Instant::now());
        let [busy, calm] = [1, 2].map(|last| IpAddr::from([192, 0, 2, last]));
        assert!((0..BURST as usize).all(|_| rates.take(busy, now)));
        assert!(!rates.take(busy, now));
        assert!(rates.take(calm, now));
        assert!(rates.take(busy, now + Duration::from_secs(1)));
    }
}
