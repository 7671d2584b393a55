//! A peer of IKEv1 that has the keys and says anything: for fuzzing, and the tests that go with it.
//!
//! In main mode with signatures that is anybody, since its keys follow from the key exchange.

use super::Engine;
use super::keys::{Keys, skeyid};
use super::main_mode::{Initiator, Responder, Step};
use super::phase1::Phase1;
use crate::ike::Context;
use crate::ike::exchange::hostile::{Input, System};
use crate::ike::suite::{Prf, Profile};
use crate::wire::isakmp::v1::{Header, Payload, exchange};

/// Any payloads behind a right HASH in quick mode and Informational. The input: whether a quick
/// mode of ours is under way, then messages, each an exchange, a message id and payloads. How many
/// datagrams we sent for them.
pub fn authentic(input: &[u8]) -> usize {
    let mut input = Input(input);
    let mut sent = 0;
    let Some(state) = input.byte() else { return 0 };
    let mut profile = Profile::guide_era();
    profile.ike = "aes256-sha256-ecp256".parse().into_iter().collect();
    let Some(&suite) = profile.ike.first() else {
        return 0;
    };
    let mut system = System::new(state, profile);
    let mut context = system.context();
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
        return 0;
    };
    let mut engine = Engine::new(context.now, state & 1 == 1);
    engine.phase1.push(ours);
    if state & 2 == 2 {
        engine.advance(&mut context);
        while engine.poll_transmit().is_some() {}
    }
    while let (Some(kind), Some(id)) = (input.byte(), input.byte()) {
        let Some(payloads) = input.payloads() else {
            break;
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
        while engine.poll_transmit().is_some() {
            sent += 1;
        }
        context.now += 100;
    }
    sent
}

/// Whom the peer of a main mode has before it.
enum Role {
    Initiator(Initiator),
    Responder(Responder),
}

impl Role {
    fn keys(&self) -> Option<(&Keys, [u8; 16])> {
        match self {
            Role::Initiator(initiator) => initiator.keys(),
            Role::Responder(responder) => responder.keys(),
        }
    }
}

/// Any payloads under the right keys as the fifth or sixth message of main mode, or as what tells
/// an initiator why there is none. The input: whether with signatures, to whom, whether a responder
/// lists the peer, whether anybody's certificate is taken; then messages, each what it is and
/// payloads. How many proofs were looked at; with a key, how often a responder told why not.
pub fn main_mode(input: &[u8]) -> usize {
    let mut input = Input(input);
    let Some(state) = input.byte() else { return 0 };
    let mut profile = Profile::guide_era();
    profile.ike = "aes256-sha256-ecp256".parse().into_iter().collect();
    let takes = state & 8 == 8;
    let system = |seed| {
        let system = System::new(seed, profile.clone());
        match state & 1 {
            0 => (system, None),
            _ => {
                let (system, judge) = system.certified(takes);
                (system, Some(judge))
            }
        }
    };
    let ((mut a, of_a), (mut b, of_b)) = (system(state), system(!state));
    let (mut a, mut b) = (a.context(), b.context());
    (b.local, b.remote) = (b.remote, b.local);
    let Some((initiator, responder, cookies)) = until_proofs(&mut a, &mut b) else {
        return 0;
    };
    let (mut victim, context, judge) = match state & 6 {
        0 | 4 => (Role::Initiator(initiator), &mut a, of_a),
        2 => (Role::Responder(responder), &mut b, of_b),
        _ => (Role::Responder(responder.unlisted()), &mut b, of_b),
    };
    let mut hints = 0;
    while let (Some(kind), Some(payloads)) = (input.byte(), input.payloads()) {
        let payloads = payloads.into_iter();
        let payloads: Vec<Payload> = payloads.map(|(k, b)| Payload::new(k, b.to_vec())).collect();
        let Some((keys, iv)) = victim.keys() else {
            break;
        };
        let (main, telling) = messages(keys, iv, cookies, payloads);
        let header = Header::new(cookies, exchange::MAIN, true, 0);
        let step = match &mut victim {
            Role::Initiator(initiator) if kind & 1 == 1 => {
                initiator.informed(&telling.0, &telling.1);
                Step::Nothing
            }
            Role::Initiator(initiator) => initiator.receive(context, &header, &main),
            Role::Responder(responder) => responder.receive(context, &main),
        };
        match step {
            Step::Done(sa, ..) => {
                assert!(sa.proven.is_some(), "convinced by anything");
                break;
            }
            // Who is not listed is told so.
            Step::Send(_) => assert!(takes && state & 7 == 7, "convinced by anything"),
            Step::Hint(_) | Step::Refuse(..) => hints += 1,
            Step::Nothing => {}
        }
    }
    judge.map_or(hints, |judge| judge.judged())
}

/// The message that would be the last of main mode, and one of Informational, with these payloads.
fn messages(
    keys: &Keys,
    iv: [u8; 16],
    cookies: (u64, u64),
    payloads: Vec<Payload>,
) -> (Vec<u8>, (Header, Vec<u8>)) {
    let header = Header::new(cookies, exchange::MAIN, true, 0);
    let main = keys.seal(&header, &payloads, &mut iv.clone());
    let header = Header::new(cookies, exchange::INFORMATIONAL, true, 7);
    let mut iv = keys.exchange_iv(&iv, header.id);
    let covered = header.id.to_be_bytes();
    let telling = keys.seal_hashed(&header, &[&covered], payloads, &mut iv);
    (main, (header, telling))
}

/// Both sides of a main mode whose fifth message was not received yet, and its cookies.
fn until_proofs(
    a: &mut Context<'_>,
    b: &mut Context<'_>,
) -> Option<(Initiator, Responder, (u64, u64))> {
    let (mut initiator, first) = Initiator::start(a, true).ok()?;
    let header = |bytes: &[u8]| Some(Header::parse(bytes).ok()?.0);
    let begun = Responder::start(b, &header(&first)?, &first)?;
    let (mut responder, second) = begun.ok()?;
    let Step::Send(third) = initiator.receive(a, &header(&second)?, &second) else {
        return None;
    };
    let Step::Send(fourth) = responder.receive(b, &third) else {
        return None;
    };
    let last = header(&fourth)?;
    let Step::Send(_) = initiator.receive(a, &last, &fourth) else {
        return None;
    };
    Some((initiator, responder, (last.cky_i, last.cky_r)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ike::seeded::Seeded;
    use crate::ike::suite::Group;
    use crate::ike::v1::quick_mode;
    use crate::wire::isakmp::v1::{Id, encode_sa, kind};

    /// Payloads that quick mode and Informational have, as they should be.
    fn bodies() -> Vec<(u8, Vec<u8>)> {
        let mut profile = Profile::guide_era();
        profile.ike = "aes256-sha256-ecp256".parse().into_iter().collect();
        let mut system = System::new(0, profile);
        let context = system.context();
        let offer = |group| encode_sa(&[quick_mode::offer(&context, 0x2_0000, group)]);
        let notify = |number: u16, cookies: (u64, u64)| {
            let spi = [cookies.0.to_be_bytes(), cookies.1.to_be_bytes()].concat();
            let head = [0, 0, 0, 1, 1, 16, (number >> 8) as u8, number as u8];
            [&head[..], &spi, &[0, 0, 0, 7]].concat()
        };
        vec![
            (kind::SA, offer(Some(Group::P256))),
            (kind::SA, offer(None)),
            (kind::NONCE, vec![9; 20]),
            (kind::NONCE, vec![9; 300]),
            (kind::KE, vec![7; 64]),
            (kind::ID, Id::address([10, 0, 0, 1].into()).encode()),
            (kind::ID, Id::address([10, 0, 0, 2].into()).encode()),
            (kind::NOTIFY, notify(36_136, (4, 5))),
            (kind::NOTIFY, notify(36_137, (4, 5))),
            (kind::NOTIFY, notify(40_180, (4, 5))),
            (kind::DELETE, vec![0, 0, 0, 1, 2, 4, 0, 1, 0, 2, 0, 0]),
            (kind::HASH, vec![7; 32]),
        ]
    }

    /// Messages with payloads of every kind, most of them with bodies that parse, and beginnings of
    /// quick mode as they should be, one payload in four of them damaged.
    #[test]
    fn an_authentic_peer_of_main_mode_that_says_anything_breaks_nothing() {
        let bodies = bodies();
        let quick = [0, 2, 5, 6].map(|n| bodies[n].clone());
        let mut random = Seeded(5);
        let mut sent = 0;
        for _ in 0..3_000 {
            let mut input = vec![random.draw(4) as u8];
            for _ in 0..1 + random.draw(4) {
                let said: Vec<(u8, Vec<u8>)> = match random.draw(4) {
                    0 => quick.to_vec(),
                    _ => (0..random.draw(8))
                        .map(|_| bodies[random.draw(bodies.len())].clone())
                        .collect(),
                };
                input.extend([random.draw(4) as u8, random.draw(256) as u8]);
                random.say(&mut input, said, 1..21, 16);
            }
            sent += authentic(&input);
        }
        // Who is dropped at once would test nothing.
        assert!(sent > 300, "{sent} datagrams answered");
    }

    /// Proofs by the key and by signatures as they should be but for the proof itself, one payload
    /// in eight of them damaged, and payloads of every kind.
    #[test]
    fn a_peer_that_says_anything_as_its_proof_of_main_mode_convinces_nobody() {
        let mut all = bodies();
        let cert = |n: u8| (kind::CERT, vec![4, 0x30, 1, n]);
        all.extend([
            cert(0),
            cert(1),
            (kind::SIG, vec![7; 64]),
            (kind::CERTREQ, vec![4]),
        ]);
        let (hash, signature) = (all[11].clone(), all[14].clone());
        // The identity that the victim expects of its peer.
        let id = |state: usize| all[if state & 2 == 2 { 5 } else { 6 }].clone();
        let by_key = |state| vec![id(state), hash.clone()];
        let (own, more) = (&all[12], &all[13]);
        let signed = |state| vec![id(state), own.clone(), more.clone(), signature.clone()];
        let mut random = Seeded(9);
        let mut looked_at = [0; 4];
        for _ in 0..1_000 {
            let state = random.draw(16);
            let mut input = vec![state as u8];
            for _ in 0..1 + random.draw(4) {
                let said = match (random.draw(4), state & 1) {
                    (0, _) => (0..random.draw(8))
                        .map(|_| all[random.draw(all.len())].clone())
                        .collect(),
                    (_, 0) => by_key(state),
                    _ => signed(state),
                };
                input.extend([random.draw(8) as u8 / 7]);
                random.say(&mut input, said, 1..21, 24);
            }
            looked_at[state & 3] += main_mode(&input);
        }
        // An initiator with a key takes note of nothing that does not convince.
        assert!(looked_at[1..].iter().all(|n| *n > 50), "{looked_at:?}");
    }
}
