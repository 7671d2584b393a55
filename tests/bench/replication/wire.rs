//! Bytes on a link, both ways, counted between the session and TLS.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::mpsc;
use tutti::node::link::{self, LinkConfig, LinkEvent};
use tutti::store::Store;

use super::Report;
use super::commit::{incarnation, insert, update};
use super::rows::{TABLE, UPDATE, mix};
use super::sample::on_disk;

const ROWS: i64 = 1_000;

/// A stream that counts what is written to it.
struct Counted {
    stream: DuplexStream,
    written: Arc<AtomicU64>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(length)) = polled {
            self.written.fetch_add(length as u64, Ordering::Relaxed);
        }
        polled
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl Counted {
    fn new(stream: DuplexStream) -> (Self, Arc<AtomicU64>) {
        let written = Arc::new(AtomicU64::new(0));
        let counted = Counted {
            stream,
            written: written.clone(),
        };
        (counted, written)
    }
}

/// What went over the link so far: from the writer, and back to it.
struct Traffic([Arc<AtomicU64>; 2]);

impl Traffic {
    fn now(&self) -> [u64; 2] {
        [0, 1].map(|way| self.0[way].load(Ordering::Relaxed))
    }

    /// Prints what went since `before`, a row.
    fn report(&self, report: &mut Report, name: &str, before: [u64; 2]) {
        let now = self.now();
        let [out, back] = [0, 1].map(|way| (now[way] - before[way]) as f64 / ROWS as f64);
        report.line(name, out + back);
        report.line(&format!("{name}_back"), back);
    }
}

/// Waits until `there` has applied all of `here`, and for the acknowledgement that follows.
async fn wait_equal(here: &Store, there: &Store) {
    let mut changes = there.changes();
    while there.frontier().missing(&here.frontier()) > 0 {
        changes.changed().await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
}

async fn run(report: &mut Report) {
    let dirs = [on_disk(), on_disk()];
    let open = |index: usize| {
        let node = [index as u8 + 1; 16];
        let store = Store::open(dirs[index].path(), node, incarnation()).unwrap();
        store.migrate(&[TABLE]).unwrap();
        store
    };
    let (a, b) = (open(0), open(1));
    insert(&a, 0, ROWS);
    let (left, right) = tokio::io::duplex(1 << 20);
    let (left, out) = Counted::new(left);
    let (right, back) = Counted::new(right);
    let traffic = Traffic([out, back]);
    let config = |name: &str| LinkConfig {
        name: name.into(),
        version: "bench".into(),
        schema: 1,
        cluster: Some([7; 16]),
        ..LinkConfig::default()
    };
    let (sender, mut events) = mpsc::channel(1 << 12);
    tokio::spawn(link::run(left, a.clone(), config("a"), sender));
    let (sender, _quiet) = mpsc::channel(1);
    tokio::spawn(link::run(right, b.clone(), config("b"), sender));
    while !matches!(events.recv().await, Some(LinkEvent::Live { .. })) {}
    wait_equal(&a, &b).await;

    let before = traffic.now();
    for number in 0..ROWS {
        let writer = a.clone();
        let one = move || update(&writer, number, mix(number as u64) as i64 % 1_000_000);
        tokio::task::spawn_blocking(one).await.unwrap();
    }
    wait_equal(&a, &b).await;
    traffic.report(report, "log_bytes_per_row", before);

    let before = traffic.now();
    a.transact(|tx| {
        for number in 0..ROWS {
            let amount = mix(!number as u64) as i64 % 1_000_000;
            tx.execute(UPDATE, &[amount.into(), number.into()])?;
        }
        Ok(())
    })
    .unwrap();
    wait_equal(&a, &b).await;
    traffic.report(report, "log_bytes_per_row_of_1000", before);
}

/// One column of four changed: each row in a transaction of its own, then 1,000 in one.
pub fn log_bytes_per_row(report: &mut Report) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(run(report));
    runtime.shutdown_background();
}
