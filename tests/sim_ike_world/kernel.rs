//! A model of one side's kernel and of the keyer that speaks to it.

use std::collections::{BTreeMap, BTreeSet};

use tutti::tunnel::message::{AhSa, KeyerReply, KeyerRequest};

#[derive(Default)]
pub struct Kernel {
    pub inbound: BTreeMap<u32, AhSa>,
    pub outbound: Option<AhSa>,
    pub installs: usize,
    /// Every key that ever sent.
    used: BTreeSet<Vec<u8>>,
    pub fails: bool,
    /// Failed once, so removals may name what was never installed.
    lenient: bool,
}

impl Kernel {
    /// As by `ip xfrm state flush`. What is not there any more can be removed (the keyer looks).
    pub fn flush(&mut self) {
        self.inbound.clear();
        self.outbound = None;
        self.lenient = true;
    }

    /// With `may_return`, an outbound SA that another took the place of may come back.
    pub fn perform(&mut self, request: KeyerRequest, may_return: bool) -> KeyerReply {
        match request {
            KeyerRequest::Install(_) if self.fails => {
                self.lenient = true;
                return KeyerReply::Failed("no".to_string());
            }
            KeyerRequest::Install(sa) => {
                self.installs += 1;
                assert!(sa.spi > 255 && sa.key.0.len() == sa.integrity.key_len());
                if sa.inbound {
                    assert!(self.inbound.insert(sa.spi, sa).is_none());
                } else {
                    // Its numbers would begin again, and the peer take its packets for replays.
                    let new = self.used.insert(sa.key.0.clone());
                    assert!(new || may_return, "put back: {:#x}", sa.spi);
                    self.outbound = Some(sa);
                }
            }
            KeyerRequest::Remove { spi, inbound, .. } => {
                if self.lenient {
                    self.inbound.remove(&spi);
                    self.outbound = self.outbound.take().filter(|sa| sa.spi != spi);
                } else if inbound {
                    assert!(self.inbound.remove(&spi).is_some());
                } else {
                    assert_eq!(self.outbound.take().map(|sa| sa.spi), Some(spi));
                }
            }
            KeyerRequest::Retain(spis) => {
                self.inbound.retain(|spi, _| spis.contains(spi));
                self.outbound = self.outbound.take().filter(|sa| spis.contains(&sa.spi));
            }
            KeyerRequest::Reload | KeyerRequest::Counters { .. } => {}
        }
        KeyerReply::Done
    }
}
