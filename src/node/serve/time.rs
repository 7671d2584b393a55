//! Whether this system's clock is synchronized, as chrony says, and what follows when it is: our
//! transactions that a wrong clock had stamped are stamped anew (replication contract 10).

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::node::{Node, random};

/// How often chrony is asked.
const PERIOD: Duration = Duration::from_secs(15);
/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks for ever.
pub async fn run(node: Arc<Node>) {
    loop {
        let synchronized = match tokio::time::timeout(PATIENCE, tracking()).await {
            Ok(Some(report)) => is_synchronized(&report),
            _ => false,
        };
        let before = node.synchronized.swap(synchronized, Ordering::Relaxed);
        if before != synchronized {
            let not = if synchronized { "" } else { "not " };
            tracing::info!("this system's clock is {not}synchronized");
        }
        if synchronized {
            let keeper = Arc::clone(&node);
            let restamp = move || keeper.store.restamp(|| u64::from_be_bytes(random()));
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

/// What `chronyc tracking` reports, comma-separated; `None` where there is no chrony.
async fn tracking() -> Option<String> {
    let output = tokio::process::Command::new("chronyc")
        .args(["-c", "-n", "tracking"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then_some(text)
}

/// The last of the fourteen fields is the leap status.
fn is_synchronized(report: &str) -> bool {
    let fields: Vec<&str> = report.trim().split(',').collect();
    fields.len() == 14 && fields[13] != "Not synchronised"
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
}
