//! A peer of IKEv1 that has the keys and says anything: for fuzzing, and the tests that go with it.

use std::net::IpAddr;

use zeroize::Zeroizing;

use super::Engine;
use super::keys::{Keys, skeyid};
use super::phase1::Phase1;
use crate::ike::exchange::hostile::Input;
use crate::ike::suite::{Prf, Profile};
use crate::ike::{Context, Credentials, Lifetimes, Random};
use crate::wire::isakmp::v1::{Payload, exchange};

struct Counting(u8);

impl Random for Counting {
    fn fill(&mut self, out: &mut [u8]) {
        for byte in out {
            self.0 = self.0.wrapping_mul(13).wrapping_add(101);
            *byte = self.0;
        }
    }
}

/// Any payloads behind a right HASH in quick mode and Informational. The input: whether a quick mode
/// of ours is under way, then messages, each an exchange, a message id and payloads.
pub fn authentic(input: &[u8]) {
    let mut input = Input(input);
    let Some(state) = input.byte() else { return };
    let mut profile = Profile::guide_era();
    profile.ike = "aes256-sha256-ecp256".parse().into_iter().collect();
    let credentials = Credentials {
        key: Zeroizing::new(b"key".to_vec()),
        certificate: [7; 32],
        certified: None,
        tokens: Zeroizing::new([9; 32]),
    };
    let mut random = Counting(state);
    let mut context = Context {
        now: 1_000,
        random: &mut random,
        local: IpAddr::from([10, 0, 0, 1]),
        remote: IpAddr::from([10, 0, 0, 2]),
        credentials: &credentials,
        profile: &profile,
        lifetimes: Lifetimes::default(),
    };
    let Some(&suite) = profile.ike.first() else {
        return;
    };
    let phase1 = |context: &mut Context<'_>, initiator| {
        let skeyid = skeyid(Prf::Sha256, b"key", &[1; 32], &[2; 32]);
        let keys = Keys::new(Prf::Sha256, skeyid, &[3; 64], (4, 5))?;
        Some(Phase1::new(
            context,
            (4, 5),
            initiator,
            (suite, keys, [6; 16]),
        ))
    };
    let (ours, theirs) = (phase1(&mut context, true), phase1(&mut context, false));
    let (Some(ours), Some(peer)) = (ours, theirs) else {
        return;
    };
    let mut engine = Engine::new(context.now, state & 1 == 1);
    engine.phase1.push(ours);
    if state & 2 == 2 {
        engine.advance(&mut context);
    }
    while let (Some(kind), Some(id)) = (input.byte(), input.byte()) {
        let Some(payloads) = input.payloads() else {
            return;
        };
        let payloads = payloads.into_iter();
        let payloads: Vec<Payload> = payloads.map(|(k, b)| Payload::new(k, b.to_vec())).collect();
        let exchange = match kind & 1 {
            0 => exchange::QUICK,
            _ => exchange::INFORMATIONAL,
        };
        // The id of a quick mode of ours, if the input says so.
        let asking = engine.phase1.first().and_then(|sa| sa.asking.as_ref());
        let id = match (kind & 2, asking) {
            (2, Some(asking)) => asking.id,
            _ => u32::from(id),
        };
        let id_bytes = id.to_be_bytes();
        let (mut iv, nonce) = match asking {
            Some(asking) if asking.id == id => (asking.iv, asking.nonce.clone()),
            _ => (peer.exchange_iv(id), Vec::new()),
        };
        let covers = (id, &[&id_bytes[..], &nonce][..]);
        let datagram = peer.seal(exchange, covers, payloads, &mut iv);
        engine.handle(&mut context, &datagram);
        while engine.poll_transmit().is_some() {}
        context.now += 100;
    }
}
