//! Whether this system's clock is synchronized, as chrony says, and what follows when it is: our
//! transactions that a wrong clock had stamped are stamped anew (replication contract 10).

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;

use super::node::{Node, random};
use crate::replica::fresh_incarnation;
use crate::store::events::{Event, Kind, Level};

/// How often chrony is asked.
const PERIOD: Duration = Duration::from_secs(15);
/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What chrony says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, utoipa::ToSchema)]
#[schema(as = Clock)]
pub struct TimeReport {
    /// `Starting`, `Synchronized`, `Unsynchronized` or `Down`.
    pub state: State,
    /// How far the system's clock is off, in seconds, as chrony estimates; positive: it is slow.
    pub offset_s: f64,
    /// The stratum of this system.
    pub stratum: u32,
    /// The servers.
    pub servers: Vec<Server>,
}

/// The clock's state, as the page words it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = ClockState)]
pub enum State {
    /// Not asked yet.
    #[default]
    Starting,
    /// It follows a server.
    Synchronized,
    /// It follows none.
    Unsynchronized,
    /// Chrony does not answer.
    Down,
}

impl State {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            State::Starting => "Starting",
            State::Synchronized => "Synchronized",
            State::Unsynchronized => "Unsynchronized",
            State::Down => "Down",
        }
    }
}

/// One time server.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
#[schema(as = TimeServer)]
pub struct Server {
    /// Its address or name.
    pub address: String,
    /// What chrony makes of it, in words.
    pub condition: &'static str,
    /// Its stratum.
    pub stratum: u32,
    /// Its last eight answers, the newest last: `1` came, `0` did not.
    pub reachability: String,
    /// Seconds since its last answer; none before the first.
    pub last_s: Option<u64>,
    /// Its offset from us in seconds, positive: we are fast.
    pub offset_s: f64,
    /// The margin of that, in seconds.
    pub error_s: f64,
}

/// Asks for ever.
pub async fn run(node: Arc<Node>) {
    loop {
        let report = report().await;
        let synchronized = report.state == State::Synchronized;
        node.time.send_replace(report);
        let before = node.synchronized.swap(synchronized, Ordering::Relaxed);
        if before != synchronized {
            let (level, not) = match synchronized {
                true => (Level::Information, ""),
                false => (Level::Warning, "not "),
            };
            let text = format!("This system's clock is {not}synchronized");
            node.note(&Event::new(Kind::System, level, text));
            node.touch();
        }
        if synchronized {
            let keeper = Arc::clone(&node);
            let restamp = move || keeper.store.restamp(|| fresh_incarnation(random()));
            match tokio::task::spawn_blocking(restamp).await {
                Ok(Ok(0)) => {}
                Ok(Ok(count)) => tracing::warn!(
                    "{count} transactions had been stamped by a clock that was ahead; they are \
                     stamped anew"
                ),
                Ok(Err(error)) => tracing::error!(%error, "transactions could not be restamped"),
                Err(error) => tracing::error!(%error, "restamping failed"),
            }
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// Asks chrony how the clock and its servers are doing.
async fn report() -> TimeReport {
    let Some(tracking) = chronyc("tracking").await else {
        return TimeReport {
            state: State::Down,
            ..TimeReport::default()
        };
    };
    let sources = chronyc("sources").await.unwrap_or_default();
    let (stratum, offset_s) = figures(&tracking).unwrap_or_default();
    TimeReport {
        state: match is_synchronized(&tracking) {
            true => State::Synchronized,
            false => State::Unsynchronized,
        },
        offset_s,
        stratum,
        servers: sources.lines().filter_map(server).collect(),
    }
}

/// What `chronyc` reports, comma-separated; `None` where there is no chrony.
async fn chronyc(what: &str) -> Option<String> {
    let asked = tokio::process::Command::new("chronyc")
        .args(["-c", "-n", what])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PATIENCE, asked).await.ok()?.ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then_some(text)
}

/// The last of the fourteen fields is the leap status.
fn is_synchronized(report: &str) -> bool {
    let fields: Vec<&str> = report.trim().split(',').collect();
    fields.len() == 14 && fields[13] != "Not synchronised"
}

/// Stratum and system offset of a tracking report.
fn figures(report: &str) -> Option<(u32, f64)> {
    let fields: Vec<&str> = report.trim().split(',').collect();
    Some((fields.get(2)?.parse().ok()?, fields.get(4)?.parse().ok()?))
}

/// One line of `chronyc -c sources`: mode, state, name, stratum, poll, reach (octal), seconds since
/// the last answer, adjusted offset, measured offset, margin.
fn server(line: &str) -> Option<Server> {
    let fields: Vec<&str> = line.trim().split(',').collect();
    let reach = u8::from_str_radix(fields.get(5)?, 8).ok()?;
    let last: u64 = fields.get(6)?.parse().ok()?;
    Some(Server {
        address: (*fields.get(2)?).to_owned(),
        condition: match *fields.get(1)? {
            "*" => "followed",
            "+" => "combined",
            "-" => "not combined",
            "x" => "rejected: it disagrees with the others",
            "~" => "rejected: it varies too much",
            _ => "no usable answer",
        },
        stratum: fields.get(3)?.parse().ok()?,
        reachability: format!("{reach:08b}"),
        last_s: (reach != 0 && last < u64::from(u32::MAX)).then_some(last),
        offset_s: fields.get(7)?.parse().ok()?,
        error_s: fields.get(9)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leap_status_tells() {
        let report = |leap: &str| {
            let numbers = "0.00002,-0.00001,0.00002,-3.1,0.0,0.2,0.001,0.002,64.4";
            format!("0A630001,10.99.0.1,4,1764086400.1,{numbers},{leap}\n")
        };
        assert!(is_synchronized(&report("Normal")));
        assert!(is_synchronized(&report("Insert second")));
        assert!(!is_synchronized(&report("Not synchronised")));
        assert!(!is_synchronized("506 Cannot talk to daemon"));
        assert!(!is_synchronized(""));
    }

    #[test]
    fn a_server_is_read_with_its_last_eight_answers() {
        let read = server("^,*,10.99.0.1,3,6,377,22,-0.000012,0.000031,0.000410").unwrap();
        assert_eq!((read.condition, read.stratum), ("followed", 3));
        assert_eq!(
            (read.reachability.as_str(), read.last_s),
            ("11111111", Some(22))
        );
        let read = server("^,?,10.99.0.9,0,6,0,4294967295,0.0,0.0,0.0").unwrap();
        assert_eq!((read.condition, read.last_s), ("no usable answer", None));
        assert_eq!(server("506 Cannot talk to daemon"), None);
        let tracking =
            "0A630001,10.99.0.1,4,1764086400.1,-0.00002,-0.00001,0,0,0,0,0,0,64.4,Normal";
        assert_eq!(figures(tracking), Some((4, -0.00002)));
    }
}
