//! Certificates for tests of the core: what is thought of the peer's is set by hand.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

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
            judged: AtomicUsize::new(0),
        }
    }

    /// What is said from now on of whoever proves itself.
    pub fn says_first(&self, verdict: Verdict) {
        *self.first.lock().unwrap_or_else(PoisonError::into_inner) = verdict;
    }

    /// What is said from now on of whoever has proved itself.
    pub fn says_later(&self, verdict: Verdict) {
        *self.later.lock().unwrap_or_else(PoisonError::into_inner) = verdict;
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

    fn verify(&self, _: &Claim<'_>) -> Verdict {
        self.judged.fetch_add(1, Ordering::Relaxed);
        let said = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        said.clone()
    }

    fn holds(&self, proven: &Proven, _: IpAddr) -> Verdict {
        assert_eq!(proven.chain, self.chain);
        let said = self.later.lock().unwrap_or_else(PoisonError::into_inner);
        said.clone()
    }
}
