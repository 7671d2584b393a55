//! How much passes on the replication links, and what the last hour looked like.

use std::collections::VecDeque;
use std::io::{IoSlice, Result};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::node::{Node, now_ms};

/// Between two samples.
pub const PERIOD: Duration = Duration::from_secs(10);
/// Samples of an hour, and the one that it began with.
const SAMPLES: usize = 361;

/// Octets of replication with one peer since the process started, before TLS and AH.
#[derive(Default)]
pub struct Traffic {
    received: AtomicU64,
    sent: AtomicU64,
}

impl Traffic {
    /// Received and sent.
    pub fn octets(&self) -> (u64, u64) {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (of(&self.received), of(&self.sent))
    }
}

/// A stream whose octets are counted.
pub struct Counted<S> {
    stream: S,
    traffic: Arc<Traffic>,
}

impl<S> Counted<S> {
    /// Counts what passes from now on.
    pub fn new(stream: S, traffic: Arc<Traffic>) -> Self {
        Self { stream, traffic }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        let read = (buffer.filled().len() - before) as u64;
        self.traffic.received.fetch_add(read, Ordering::Relaxed);
        polled
    }
}

impl<S: AsyncWrite + Unpin> Counted<S> {
    fn count(&self, polled: Poll<Result<usize>>) -> Poll<Result<usize>> {
        if let Poll::Ready(Ok(written)) = polled {
            self.traffic
                .sent
                .fetch_add(written as u64, Ordering::Relaxed);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.count(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.count(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// What was measured at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// When, milliseconds since 1970.
    pub at_ms: u64,
    /// Transactions that were ever applied here, by all origins.
    pub transactions: u64,
    /// For each other peer: how many changes it or we are behind, and the round-trip.
    pub peers: Vec<(IpAddr, u64, Option<f64>)>,
}

/// The samples of the last hour, the oldest first.
#[derive(Default)]
pub struct History(Mutex<VecDeque<Sample>>);

impl History {
    /// Adds one.
    pub fn add(&self, sample: Sample) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while all.len() >= SAMPLES {
            all.pop_front();
        }
        all.push_back(sample);
    }

    /// All of them.
    pub fn samples(&self) -> Vec<Sample> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().cloned().collect()
    }
}

/// Measures for ever.
pub async fn run(node: Arc<Node>) {
    loop {
        let view = node.view();
        let other = |peer: &&super::node::PeerView| peer.address.is_some() && !peer.own;
        let peers = view.peers.iter().filter(other);
        let sample = Sample {
            at_ms: now_ms(),
            transactions: node.store.frontier_summary().1,
            peers: peers
                .filter_map(|peer| Some((peer.address?, peer.behind, peer.round_trip_ms)))
                .collect(),
        };
        node.history.add(sample);
        tokio::time::sleep(PERIOD).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn what_passes_is_counted() {
        let (a, mut b) = tokio::io::duplex(64);
        let traffic = Arc::new(Traffic::default());
        let mut a = Counted::new(a, traffic.clone());
        a.write_all(b"five!").await.unwrap();
        b.write_all(b"two").await.unwrap();
        let mut got = [0; 3];
        a.read_exact(&mut got).await.unwrap();
        assert_eq!(traffic.octets(), (3, 5));
    }

    #[test]
    fn only_the_last_hour_is_kept() {
        let history = History::default();
        for at_ms in 0..500 {
            history.add(Sample {
                at_ms,
                transactions: at_ms,
                peers: Vec::new(),
            });
        }
        let kept = history.samples();
        assert_eq!((kept.len(), kept[0].at_ms), (SAMPLES, 500 - SAMPLES as u64));
    }
}
