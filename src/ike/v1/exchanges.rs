//! Messages of the peer: main mode, and quick mode as either side.

use super::main_mode::{Responder, Step};
use super::phase1::{Answering, Asking, PATIENCE_MS, Phase1};
use super::quick_mode::{self, Ah};
use super::{Engine, Owned};
use crate::ike::child::Child;
use crate::ike::group::Exchange;
use crate::ike::proposal;
use crate::ike::retransmit::Retry;
use crate::ike::{Context, Presented, Refusal};
use crate::wire::isakmp::v1::{self, Header, Notify, Payload, exchange, kind};

/// Half-open SAs kept; the oldest whose cookie did not come back goes first.
const MAX_HALF_OPEN: usize = 8;
/// Beside these, half-open SAs whose cookie has not come back yet: they cost no key exchange, and
/// whoever forges many at the peer's address hits the peer's own by chance alone.
const MAX_UNREACHABLE: usize = 256;
/// The largest first message; each is kept.
const MAX_FIRST: usize = 4_096;
const MAX_PHASE1: usize = 4;
const MAX_CHILDREN: usize = 6;
const NONCE_LEN: usize = 32;
pub(super) const NO_PROPOSAL_CHOSEN: u16 = 14;
const INVALID_ID_INFORMATION: u16 = 18;
/// Private: SHA-256 of a node certificate of the sender, in the first two messages of quick mode.
const NODE_CERTIFICATE: u16 = 40_180;
const PROTO_ISAKMP: u8 = 1;

impl Engine {
    /// Handles a datagram from the peer's address.
    pub fn handle(&mut self, context: &mut Context<'_>, bytes: &[u8]) {
        let header = match Header::parse(bytes) {
            Ok((header, _)) => header,
            Err(error) => return context.dropped.note(&error),
        };
        self.spoke = Some(context.now);
        if let Some(at) = self.phase1.iter().position(|sa| sa.owns(&header)) {
            match header.exchange {
                exchange::QUICK if header.is_encrypted() => {
                    self.quick(context, at, &header, bytes);
                }
                exchange::INFORMATIONAL if header.is_encrypted() => {
                    self.informational(context, at, &header, bytes);
                }
                exchange::MAIN if self.phase1[at].last_main.0 == bytes => {
                    self.out.push_back(self.phase1[at].last_main.1.clone());
                }
                _ => {}
            }
        } else if header.exchange == exchange::MAIN && header.id == 0 {
            self.main(context, &header, bytes);
        } else if header.exchange == exchange::INFORMATIONAL {
            self.refused(context, &header, bytes);
        } else {
            context.dropped.no_sa += 1;
        }
        self.answers.append(&mut self.out);
        self.advance(context);
    }

    pub(super) fn main(&mut self, context: &mut Context<'_>, header: &Header, bytes: &[u8]) {
        let mut begun = self
            .half_open
            .iter()
            .filter(|h| h.began_with(header.cky_i))
            .take(MAX_HALF_OPEN);
        if let Some(again) = begun.find_map(|h| h.repeat(bytes)) {
            return self.out.push_back(again);
        }
        if header.cky_r == 0 && header.cky_i != 0 {
            // Ours goes first; the peer gives up its own when it hears of it.
            if self.yields || self.attempt.is_none() {
                self.first(context, header, bytes);
            }
            return;
        }
        if let Some(at) = self.half_open.iter().position(|h| h.owns(header)) {
            let mut half_open = self.half_open.remove(at);
            let began = half_open.began;
            let step = half_open.receive(context, bytes);
            if half_open.names_nat() {
                self.fault.note(context.now, Refusal::Nat);
            }
            if !matches!(step, Step::Done(..)) {
                self.keep(half_open);
            }
            return self.main_step(context, step, began);
        }
        if let Some(attempt) = self.attempt.as_mut().filter(|a| a.owns(header)) {
            let began = attempt.began;
            let step = attempt.receive(context, header, bytes);
            if matches!(step, Step::Done(..)) {
                self.attempt = None;
            }
            self.main_step(context, step, began);
        } else {
            context.dropped.no_sa += 1;
        }
    }

    fn first(&mut self, context: &mut Context<'_>, header: &Header, bytes: &[u8]) {
        if bytes.len() > MAX_FIRST {
            context.dropped.payloads += 1;
            return;
        }
        match Responder::start(context, header, bytes) {
            None => {}
            Some(Err(refusal)) => {
                let notify = Notify {
                    protocol: PROTO_ISAKMP,
                    spi: Vec::new(),
                    kind: NO_PROPOSAL_CHOSEN,
                    data: Vec::new(),
                };
                let cookies = (header.cky_i, context.ike_spi());
                let header = Header::new(cookies, exchange::INFORMATIONAL, false, 0);
                self.out.push_back(v1::encode(&header, &[notify.payload()]));
                self.fault.note(context.now, refusal);
            }
            Some(Ok((responder, reply))) => {
                let unreachable = self.places(false);
                if unreachable.len() >= MAX_UNREACHABLE {
                    let nth = u32::from_be_bytes(context.bytes()) as usize % unreachable.len();
                    self.half_open.remove(unreachable[nth]);
                }
                self.half_open.push(responder);
                self.out.push_back(reply);
            }
        }
    }

    /// Where the half-open SAs are whose cookie came back, or did not.
    fn places(&self, reachable: bool) -> Vec<usize> {
        let all = self.half_open.iter().enumerate();
        let those = all.filter(|(_, h)| h.is_reachable() == reachable);
        those.map(|(at, _)| at).collect()
    }

    /// Of those whose cookie came back the one goes of which nothing was heard for the longest.
    fn keep(&mut self, half_open: Responder) {
        self.half_open.push(half_open);
        let reachable = self.places(true);
        if reachable.len() > MAX_HALF_OPEN {
            self.half_open.remove(reachable[0]);
        }
    }

    fn main_step(&mut self, context: &mut Context<'_>, step: Step, began: u64) {
        match step {
            Step::Nothing => {}
            Step::Hint(refusal) => {
                self.fault.note(context.now, refusal);
                self.judge_again(context);
            }
            Step::Refuse(refusal, told) => {
                self.out.push_back(told);
                self.fault.note(context.now, refusal);
                self.judge_again(context);
            }
            Step::Send(bytes) => self.out.push_back(bytes),
            Step::Done(phase1, reply, initial) => {
                self.out.extend(reply);
                if initial {
                    // Only what stood before this exchange began.
                    self.phase1.retain(|sa| sa.born > began);
                    if self.phase1.is_empty() {
                        let before = |o: &mut Owned| o.child.born <= began;
                        let left = self.children.extract_if(.., before);
                        self.left.extend(left.map(|owned| owned.child));
                        self.left_until = phase1.born + super::upkeep::LEFT_MS;
                    } else {
                        self.evicted(phase1.born);
                    }
                }
                self.established(*phase1);
            }
        }
    }

    fn established(&mut self, phase1: Phase1) {
        if !self.phase1.is_empty() {
            self.rekeys.0 += 1;
        }
        if self.phase1.len() >= MAX_PHASE1 {
            self.phase1.remove(0);
        }
        self.heard = phase1.born;
        self.quick_at = phase1.born;
        if !phase1.initiator {
            // The one who began it goes on; we do if it does not.
            self.quick_at += super::upkeep::QUICK_WAIT_MS;
            self.attempt = None;
        }
        self.phase1.push(phase1);
        self.move_house();
    }

    /// Begins a quick mode under an ISAKMP SA.
    pub(super) fn begin_quick(&mut self, context: &mut Context<'_>, at: usize) {
        let sa = &mut self.phase1[at];
        let Some(id) = sa.take_id(context) else {
            // Its message ids are used up: a new one must take its place.
            sa.rekey_at = context.now;
            return;
        };
        let nonce: [u8; NONCE_LEN] = context.bytes();
        let spi = context.ah_spi();
        let group = context.profile.pfs.then_some(sa.suite.group);
        let exchange = group.map(|group| Exchange::new(group, context.random));
        let offer = quick_mode::offer(context, spi, group);
        let mut payloads = vec![
            Payload::new(kind::SA, v1::encode_sa(&[offer])),
            Payload::new(kind::NONCE, nonce.to_vec()),
        ];
        payloads.extend(exchange.as_ref().map(ke));
        payloads.extend(quick_mode::identities(context, true));
        let says = context.credentials.certificate;
        payloads.extend(name(&says));
        let mut iv = sa.exchange_iv(id);
        let id_bytes = id.to_be_bytes();
        let covers = (id, &[&id_bytes[..]][..]);
        let last = sa.seal(exchange::QUICK, covers, payloads, &mut iv);
        self.out.push_back(last.clone());
        sa.asking = Some(Asking {
            id,
            iv,
            nonce: nonce.to_vec(),
            spi,
            exchange,
            says,
            last,
            retry: Retry::start(context.now, PATIENCE_MS),
            done: None,
        });
    }

    pub(super) fn quick(
        &mut self,
        context: &mut Context<'_>,
        at: usize,
        header: &Header,
        bytes: &[u8],
    ) {
        let sa = &mut self.phase1[at];
        if sa.asking.as_ref().is_some_and(|a| a.id == header.id) {
            self.answered(context, at, bytes);
        } else if let Some(answering) = sa.answering.iter().position(|a| a.id == header.id) {
            if sa.answering[answering].request == bytes {
                self.out.push_back(sa.answering[answering].last.clone());
            } else {
                self.confirmed(context, at, answering, bytes);
            }
        } else {
            self.requested(context, at, header.id, bytes);
        }
    }

    /// The peer's answer to a quick mode of ours.
    fn answered(&mut self, context: &mut Context<'_>, at: usize, bytes: &[u8]) {
        let sa = &mut self.phase1[at];
        let Some(asking) = sa.asking.take() else {
            return;
        };
        let ok = self.finish(context, at, &asking, bytes);
        let asking = match ok {
            Some(third) => {
                self.out.push_back(third.clone());
                Asking {
                    done: Some((bytes.to_vec(), third)),
                    retry: Retry::start(context.now, PATIENCE_MS),
                    ..asking
                }
            }
            None => asking,
        };
        self.phase1[at].asking = Some(asking);
    }

    /// Makes the AH pair; the third message.
    fn finish(
        &mut self,
        context: &mut Context<'_>,
        at: usize,
        asking: &Asking,
        bytes: &[u8],
    ) -> Option<Vec<u8>> {
        if let Some((answer, third)) = &asking.done {
            return (answer == bytes).then(|| third.clone());
        }
        let sa = &self.phase1[at];
        let id = asking.id.to_be_bytes();
        let covers: [&[u8]; 2] = [&id, &asking.nonce];
        let opened = context.authentic(sa.open(bytes, &covers, &asking.iv))?;
        let proposals = v1::parse_sa(opened.one(kind::SA)?).ok()?;
        let nr = quick_mode::nonce(&opened.payloads)?.to_vec();
        let ah = quick_mode::chosen(context, &proposals, sa.suite.group);
        let ah = ah.filter(|_| quick_mode::covers(context, &opened.payloads, true));
        let Some(ah) = ah else {
            self.fault.note(context.now, Refusal::NoProposal);
            return None;
        };
        let shared = match &asking.exchange {
            Some(ours) => ours.agree(opened.one(kind::KE)?)?,
            None => Default::default(),
        };
        let nonces = (&asking.nonce[..], &nr[..]);
        let third = {
            let zero_id = [&[0][..], &id].concat();
            let mut iv = opened.next_iv;
            let covers = (asking.id, &[&zero_id[..], nonces.0, nonces.1][..]);
            sa.seal(exchange::QUICK, covers, Vec::new(), &mut iv)
        };
        self.note_certificate(&opened.payloads);
        self.told = Some(asking.says);
        self.add_child(context, at, (asking.spi, ah), (&shared, nonces), true);
        Some(third)
    }

    /// A quick mode of the peer begins.
    fn requested(&mut self, context: &mut Context<'_>, at: usize, id: u32, bytes: &[u8]) {
        let sa = &self.phase1[at];
        let mut iv = sa.exchange_iv(id);
        let id_bytes = id.to_be_bytes();
        let Some(opened) = context.authentic(sa.open(bytes, &[&id_bytes], &iv)) else {
            return;
        };
        iv = opened.next_iv;
        if !self.yields && self.phase1.iter().any(Phase1::asks) {
            // Ours goes first; it comes again, should the peer not give it up.
            return;
        }
        if !self.phase1[at].note_id(id) || self.children.len() >= MAX_CHILDREN {
            return;
        }
        for sa in &mut self.phase1 {
            sa.asking.take_if(|a| a.done.is_none());
        }
        self.heard = context.now;
        let spi = context.ah_spi();
        let granted = self.grant(context, at, spi, &opened.payloads);
        let (ah, shared, nonces, payloads) = match granted {
            Ok(granted) => granted,
            Err(error) => {
                let report = self.phase1[at].report(context, error);
                self.out.push_back(report);
                return self.fault.note(context.now, Refusal::NoProposal);
            }
        };
        let sa = &mut self.phase1[at];
        let covers = (id, &[&id_bytes[..], &nonces.0][..]);
        let last = sa.seal(exchange::QUICK, covers, payloads, &mut iv);
        self.out.push_back(last.clone());
        sa.answering.push(Answering {
            id,
            iv,
            nonces: nonces.clone(),
            spi,
            says: context.credentials.certificate,
            request: bytes.to_vec(),
            last,
            retry: Retry::start(context.now, PATIENCE_MS),
        });
        self.note_certificate(&opened.payloads);
        let seeds = (&shared[..], (&nonces.0[..], &nonces.1[..]));
        self.add_child(context, at, (spi, ah), seeds, false);
    }

    /// Judges the peer's first message; what is needed for the second, or the error.
    fn grant(
        &self,
        context: &mut Context<'_>,
        at: usize,
        spi: u32,
        payloads: &[Payload],
    ) -> Result<Granted, u16> {
        let sa = &self.phase1[at];
        let refused = NO_PROPOSAL_CHOSEN;
        let one = |kind| super::keys::one(payloads, kind);
        let proposals = one(kind::SA).and_then(|sa| v1::parse_sa(sa).ok());
        let proposals = proposals.ok_or(refused)?;
        let ni = quick_mode::nonce(payloads).ok_or(refused)?;
        let group = sa.suite.group;
        let (ah, chosen) = quick_mode::choose(context, &proposals, group, spi).ok_or(refused)?;
        if !quick_mode::covers(context, payloads, false) {
            return Err(INVALID_ID_INFORMATION);
        }
        let exchange = ah.pfs.map(|group| Exchange::new(group, context.random));
        let shared = match &exchange {
            Some(ours) => {
                let theirs = one(kind::KE).and_then(|theirs| ours.agree(theirs));
                theirs.ok_or(refused)?
            }
            None => Default::default(),
        };
        let nr: [u8; NONCE_LEN] = context.bytes();
        let mut answer = vec![
            Payload::new(kind::SA, v1::encode_sa(&[chosen])),
            Payload::new(kind::NONCE, nr.to_vec()),
        ];
        answer.extend(exchange.as_ref().map(ke));
        answer.extend(quick_mode::identities(context, false));
        answer.extend(name(&context.credentials.certificate));
        Ok((ah, shared, (ni.to_vec(), nr.to_vec()), answer))
    }

    /// The third message: the peer receives on the new pair.
    fn confirmed(&mut self, context: &mut Context<'_>, at: usize, answering: usize, bytes: &[u8]) {
        let sa = &mut self.phase1[at];
        let waiting = &sa.answering[answering];
        let zero_id = [&[0][..], &waiting.id.to_be_bytes()].concat();
        let (ni, nr) = &waiting.nonces;
        let opened = sa.open(bytes, &[&zero_id, ni, nr], &waiting.iv);
        if context.authentic(opened).is_none() {
            return;
        }
        self.heard = context.now;
        let answered = sa.answering.swap_remove(answering);
        self.told = Some(answered.says);
        let spi = answered.spi;
        for owned in self.children.iter_mut().filter(|o| o.child.spi_in == spi) {
            owned.confirmed = true;
        }
    }

    fn add_child(
        &mut self,
        context: &mut Context<'_>,
        at: usize,
        (spi, ah): (u32, Ah),
        (shared, nonces): (&[u8], (&[u8], &[u8])),
        ours: bool,
    ) {
        let keys = &self.phase1[at].keys;
        let len = ah.integrity.key_len();
        let keymat = |spi| keys.keymat(shared, spi, nonces, len);
        let (inward, outward) = (keymat(spi), keymat(ah.spi));
        let pair = if ours {
            (outward, inward)
        } else {
            (inward, outward)
        };
        let agreed = proposal::Ah {
            number: 1,
            spi: ah.spi,
            integrity: ah.integrity,
            esn: ah.esn,
        };
        let mut child = Child::new(context, spi, agreed, pair, ours);
        // Others (charon) receive on a pair only when they have our third message.
        let carries = |older: &Owned| older.confirmed && self.is_at_home(older);
        let waits = ours && self.children.iter().any(carries);
        child.held_until = waits.then_some(context.now + super::upkeep::HOLD_MS);
        if !self.children.is_empty() {
            self.rekeys.1 += 1;
        }
        for older in &mut self.children {
            older.child.rekey_at = u64::MAX;
        }
        self.heard = context.now;
        self.paired = true;
        self.children.push(Owned {
            child,
            ours,
            confirmed: ours && !waits,
            home: self.phase1[at].cookies,
            stood: false,
        });
        self.move_house();
    }

    fn note_certificate(&mut self, payloads: &[Payload]) {
        let notifies = payloads.iter().filter(|p| p.kind == kind::NOTIFY);
        let parsed = notifies.filter_map(|p| Notify::parse(&p.body).ok());
        let named: Vec<_> = parsed.filter(|n| n.kind == NODE_CERTIFICATE).collect();
        self.certificate = Presented::read(named.iter().map(|n| n.data.as_slice()));
    }

    /// Whether the peer, one of ours, does not know yet what we present: a quick mode tells. Not
    /// before the last one is forgotten, whose third message may have to be repeated.
    pub(super) fn must_announce(&self, ours: Presented) -> bool {
        let last = self.phase1.iter().any(|sa| sa.asking.is_some());
        self.certificate.is_some() && self.told.is_some_and(|told| told != ours) && !last
    }
}

/// What an agreement gives: AH, the shared secret of PFS, nonces, the answer's payloads.
type Granted = (Ah, crate::ike::keys::Key, (Vec<u8>, Vec<u8>), Vec<Payload>);

fn ke(exchange: &Exchange) -> Payload {
    Payload::new(kind::KE, exchange.public.clone())
}

/// Names our node certificates, the one in use first.
fn name(presented: &Presented) -> Vec<Payload> {
    let notify = |digest: &[u8; 32]| Notify {
        protocol: PROTO_ISAKMP,
        spi: Vec::new(),
        kind: NODE_CERTIFICATE,
        data: digest.to_vec(),
    };
    let notifies = presented.digests().map(notify);
    notifies.map(|notify| notify.payload()).collect()
}
