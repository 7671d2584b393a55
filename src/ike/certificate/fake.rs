//! Certificates for tests of the core: what is thought of the peer's is set by hand.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{CertificateError, Certified, Claim, Proven};
use crate::ike::v1::signature::Scheme;

type Verdict = Result<(), CertificateError>;

/// Signs with nothing, and judges as it was told.
pub(crate) struct Fake {
    chain: Vec<Vec<u8>>,
    names: Vec<Vec<u8>>,
    /// What is said of whoever proves itself.
    first: Mutex<Verdict>,
    /// What is said later.
    later: Mutex<Verdict>,
    /// The chains of those who proved themselves.
    proven: Mutex<Vec<Vec<Vec<u8>>>>,
    /// How often it judged who proves itself.
    judged: AtomicUsize,
}

impl Fake {
    /// Takes everything.
    pub fn new() -> Self {
        Self {
            chain: vec![vec![0x30, 1, 0], vec![0x30, 1, 1]],
            names: vec![vec![0x30, 0]],
            first: Mutex::new(Ok(())),
            later: Mutex::new(Ok(())),
            proven: Mutex::new(Vec::new()),
            judged: AtomicUsize::new(0),
        }
    }

    /// What is said from now on of whoever proves itself.
    pub fn says_first(&self, verdict: Verdict) {
        *lock(&self.first) = verdict;
    }

    /// What is said from now on of whoever has proved itself.
    pub fn says_later(&self, verdict: Verdict) {
        *lock(&self.later) = verdict;
    }

    /// Both.
    pub fn says(&self, verdict: Verdict) {
        self.says_first(verdict.clone());
        self.says_later(verdict);
    }

    /// How often it judged who proves itself.
    pub fn judged(&self) -> usize {
        self.judged.load(Ordering::Relaxed)
    }
}

impl Certified for Fake {
    fn chain(&self) -> &[Vec<u8>] {
        &self.chain
    }

    fn authorities(&self) -> &[u8] {
        &[0; 20]
    }

    fn sign(&self, _: &[u8], _: &[u16]) -> Option<Vec<u8>> {
        Some(vec![0; 64])
    }

    fn authority_names(&self) -> &[Vec<u8>] {
        &self.names
    }

    fn scheme(&self) -> Option<Scheme> {
        Some(Scheme::EcdsaP256)
    }

    fn sign_hash(&self, _: &[u8]) -> Option<Vec<u8>> {
        Some(vec![0; 64])
    }

    fn verify(&self, claim: &Claim<'_>) -> Verdict {
        self.judged.fetch_add(1, Ordering::Relaxed);
        lock(&self.proven).push(Proven::of(claim).chain);
        lock(&self.first).clone()
    }

    fn holds(&self, proven: &Proven, _: IpAddr) -> Verdict {
        assert!(lock(&self.proven).contains(&proven.chain));
        lock(&self.later).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
