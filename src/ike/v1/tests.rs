//! Main mode and quick mode against strongSwan's captured messages; wrong, repeated and replayed
//! ones.

mod apart;
mod beside_charon;
mod certified;
mod refused;

use std::net::IpAddr;

use zeroize::Zeroizing;

use super::keys::{Keys, Seeds, one, skeyid};
use super::*;
use crate::ike::seeded::Seeded;
use crate::ike::suite::{Prf, Profile};
use crate::ike::{Credentials, Dropped, Lifetimes};
use crate::wire::isakmp::v1::{self, Header, Id, exchange, kind};

const KEY: &[u8] = b"labpsk-0123456789abcdef0123456789abcdef";

/// UDP port 500 payloads of version 1 in a pcap file (Ethernet, little-endian, IPv4).
fn captured(file: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut rest = &file[24..];
    while rest.len() >= 16 {
        let len = u32::from_le_bytes(rest[8..12].try_into().unwrap()) as usize;
        let (frame, next) = rest[16..].split_at(len);
        rest = next;
        if frame[12..15] == [8, 0, 0x45] && frame[23] == 17 && frame[36..38] == [1, 0xf4] {
            let length = u16::from_be_bytes([frame[38], frame[39]]) as usize;
            let datagram = frame[42..34 + length].to_vec();
            if datagram[17] == 0x10 {
                found.push(datagram);
            }
        }
    }
    found
}

const PSK: &[u8] = include_bytes!("../../../tests/vectors/ss-ikev1-psk.pcap");
const CERT: &[u8] = include_bytes!("../../../tests/vectors/ss-ikev1-cert.pcap");
const KEYED: &[u8] = include_bytes!("../../../tests/vectors/ss-keys.pcap");

#[test]
fn every_captured_message_survives_a_round_trip() {
    for file in [PSK, CERT, KEYED] {
        let (mut plain, mut sealed) = (0, 0);
        for datagram in captured(file) {
            let (header, first) = Header::parse(&datagram).unwrap();
            if header.is_encrypted() {
                let mut again = Vec::new();
                header.encode(first, datagram.len(), &mut again);
                assert_eq!(again, datagram[..v1::HEADER_LEN]);
                sealed += 1;
                continue;
            }
            let (header, payloads) = v1::parse(&datagram).unwrap();
            assert_eq!(v1::encode(&header, &payloads), datagram);
            for payload in payloads.iter().filter(|p| p.kind == kind::SA) {
                let proposals = v1::parse_sa(&payload.body).unwrap();
                assert_eq!(v1::encode_sa(&proposals), payload.body);
            }
            plain += 1;
        }
        assert!(plain >= 4 && sealed >= 5, "{plain} {sealed}");
    }
}

#[test]
fn captured_signatures_are_negotiated_and_certificates_asked_for_by_name() {
    let all = captured(CERT);
    let main: Vec<&Vec<u8>> = all.iter().filter(|d| d[18] == exchange::MAIN).collect();
    let plain = |n: usize| v1::parse(main[n]).unwrap().1;
    let offered = v1::parse_sa(one(&plain(0), kind::SA).unwrap()).unwrap();
    let suites = ["aes256-sha256-ecp256", "aes256-sha256-modp3072"].map(|s| s.parse().unwrap());
    let choose = |scheme| proposal::choose(&suites, scheme, &offered);
    assert!(choose(Some(signature::Scheme::EcdsaP256)).is_ok());
    for other in [
        None,
        Some(signature::Scheme::Rsa),
        Some(signature::Scheme::EcdsaP384),
    ] {
        assert_eq!(choose(other), Err(proposal::Mismatch::Method));
    }
    // X.509 for signatures, then a sequence: a distinguished name.
    let answer = plain(3);
    let request = one(&answer, kind::CERTREQ).unwrap();
    assert_eq!(request[..2], [4, 0x30]);
}

/// The encryption key from the table that tshark opens `ss-keys.pcap` with.
const ENCRYPTION: [u8; 32] = [
    0xb4, 0x6c, 0x76, 0x14, 0x89, 0x65, 0x9e, 0x0f, 0x16, 0x18, 0xc2, 0x47, 0xec, 0x9f, 0xf4, 0x85,
    0x14, 0xaf, 0xae, 0xac, 0x24, 0x04, 0x53, 0x85, 0xd3, 0xa6, 0x42, 0x42, 0x8b, 0x91, 0xa0, 0x8c,
];

/// What is inside is the same, octet for octet; strongSwan pads by up to a block more than we.
fn assert_written_again(again: &[u8], captured: &[u8]) {
    let (again, captured) = (&again[v1::HEADER_LEN..], &captured[v1::HEADER_LEN..]);
    assert!(captured.len() - again.len() <= 16);
    assert_eq!(again, &captured[..again.len()]);
}

#[test]
fn captured_hashes_are_those_of_the_key_and_quick_mode_names_the_kernels_spis() {
    let all = captured(KEYED);
    let main: Vec<&Vec<u8>> = all.iter().filter(|d| d[18] == exchange::MAIN).collect();
    let plain = |n: usize| v1::parse(main[n]).unwrap().1;
    let body = |n: usize, kind| one(&plain(n), kind).unwrap().to_vec();
    let header = Header::parse(main[5]).unwrap().0;
    let (ni, nr) = (body(2, kind::NONCE), body(3, kind::NONCE));
    let (gi, gr) = (body(2, kind::KE), body(3, kind::KE));
    let (sa, cookies) = (body(0, kind::SA), (header.cky_i, header.cky_r));
    let key = skeyid(Prf::Sha256, KEY, &ni, &nr);
    let mut keys = Keys::new(Prf::Sha256, key, b"", cookies).unwrap();
    keys.set_encryption(ENCRYPTION);
    let seeds = Seeds {
        cookies,
        publics: (&gi, &gr),
    };
    let mut iv = keys.first_iv(seeds.publics);
    for (n, of_initiator, address) in [(4, true, [10, 0, 0, 1]), (5, false, [10, 0, 0, 2])] {
        let opened = keys.open(main[n], &iv).unwrap();
        let id = opened.one(kind::ID).unwrap();
        let hash = opened.one(kind::HASH).unwrap();
        let expected = keys.authenticator(Prf::Sha256, &seeds, of_initiator, &sa, id);
        assert_eq!(*expected, hash);
        assert_eq!(Id::parse(id).unwrap().data, address);
        let header = Header::parse(main[n]).unwrap().0;
        let again = keys.seal(&header, &opened.payloads, &mut iv.clone());
        assert_written_again(&again, main[n]);
        iv = opened.next_iv;
    }
    let quick: Vec<&Vec<u8>> = all.iter().filter(|d| d[18] == exchange::QUICK).collect();
    let id = Header::parse(quick[0]).unwrap().0.id;
    let mut quick_iv = keys.exchange_iv(&iv, id);
    let mut spis = Vec::new();
    for message in &quick[..2] {
        let opened = keys.open(message, &quick_iv).unwrap();
        let proposals = v1::parse_sa(opened.one(kind::SA).unwrap()).unwrap();
        spis.push(proposals[0].spi.clone());
        assert_eq!(v1::encode_sa(&proposals), opened.one(kind::SA).unwrap());
        let header = Header::parse(message).unwrap().0;
        let again = keys.seal(&header, &opened.payloads, &mut quick_iv.clone());
        assert_written_again(&again, message);
        quick_iv = opened.next_iv;
    }
    let kernel = [0xca5f_fad9u32, 0xceac_e3ce].map(|spi| spi.to_be_bytes().to_vec());
    assert_eq!(spis, kernel);
}

struct Side {
    random: Seeded,
    local: IpAddr,
    remote: IpAddr,
    credentials: Credentials,
    profile: Profile,
    engine: Engine,
}

impl Side {
    fn new(n: u8) -> Self {
        let mut profile = Profile::guide_era();
        profile.ike = vec!["aes256-sha256-ecp256".parse().unwrap()];
        Self {
            random: Seeded(u64::from(n)),
            local: IpAddr::from([10, 0, 0, n]),
            remote: IpAddr::from([10, 0, 0, 3 - n]),
            credentials: Credentials {
                key: Zeroizing::new(KEY.to_vec()),
                certificate: [n; 32].into(),
                certified: None,
                ppk: None,
                tokens: Zeroizing::new([9; 32]),
            },
            profile,
            engine: Engine::new(0, n == 2),
        }
    }

    fn act<T>(&mut self, now: u64, act: impl FnOnce(&mut Engine, &mut Context<'_>) -> T) -> T {
        let mut context = Context {
            now,
            random: &mut self.random,
            local: self.local,
            remote: self.remote,
            credentials: &self.credentials,
            profile: &self.profile,
            lifetimes: Lifetimes::default(),
            dropped: Dropped::default(),
        };
        act(&mut self.engine, &mut context)
    }

    fn sent(&mut self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.engine.poll_transmit()).collect()
    }

    fn handle(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        self.act(0, |engine, context| engine.handle(context, bytes));
        self.sent()
    }
}

/// Runs a handshake; all its messages with the receiver of each.
fn handshake(a: &mut Side, b: &mut Side) -> Vec<(usize, Vec<u8>)> {
    a.act(0, |engine, context| engine.advance(context));
    let mut log = Vec::new();
    let mut wire: std::collections::VecDeque<(usize, Vec<u8>)> =
        a.sent().into_iter().map(|m| (1, m)).collect();
    while let Some((to, bytes)) = wire.pop_front() {
        let receiver = if to == 0 { &mut *a } else { &mut *b };
        for answer in receiver.handle(&bytes) {
            wire.push_back((1 - to, answer));
        }
        log.push((to, bytes));
    }
    log
}

#[test]
fn six_and_three_messages_make_one_pair_with_the_same_keys() {
    let (mut a, mut b) = (Side::new(1), Side::new(2));
    let log = handshake(&mut a, &mut b);
    assert_eq!(log.len(), 9);
    let (x, y) = (a.engine.outbound().unwrap(), b.engine.outbound().unwrap());
    assert_eq!((x.spi_in, x.spi_out), (y.spi_out, y.spi_in));
    assert_eq!(x.key_in, y.key_out);
    assert_eq!(x.key_out, y.key_in);
    assert_ne!(x.key_in, x.key_out);
    assert!(x.esn && y.esn);
    assert_eq!(a.engine.certificate(), Some([2; 32].into()));
    assert_eq!(b.engine.certificate(), Some([1; 32].into()));
}

/// `a` begins to replace the pair; its third message, not delivered yet.
fn replace(a: &mut Side, b: &mut Side, now: u64) -> Vec<u8> {
    a.act(now, |engine, context| {
        engine.children[0].child.rekey_at = now;
        engine.advance(context);
    });
    let first = a.sent().remove(0);
    b.act(now, |engine, context| engine.handle(context, &first));
    let second = b.sent().remove(0);
    a.act(now, |engine, context| engine.handle(context, &second));
    a.sent().remove(0)
}

#[test]
fn a_pair_that_replaces_another_carries_nothing_until_the_peer_surely_receives_on_it() {
    let (mut a, mut b) = (Side::new(1), Side::new(2));
    handshake(&mut a, &mut b);
    let old = a.engine.outbound().unwrap().spi_out;
    let third = replace(&mut a, &mut b, 1_000);
    // charon would receive on the new pair only when it has the third message.
    assert_eq!(a.engine.children.len(), 2);
    assert_eq!(a.engine.outbound().unwrap().spi_out, old);
    b.act(1_100, |engine, context| engine.handle(context, &third));
    // Changed over before the older one is deleted, so that nothing under way is lost.
    let new = a.engine.children[1].child.spi_out;
    let (mut changed, mut deleted) = (None, None);
    while deleted.is_none() {
        let now = a.engine.due().unwrap();
        a.act(now, |engine, context| engine.advance(context));
        if changed.is_none() && a.engine.outbound().unwrap().spi_out == new {
            changed = Some(now);
        }
        deleted = (a.engine.children.len() == 1).then_some(now);
    }
    assert_eq!(changed, Some(1_000 + upkeep::HOLD_MS));
    assert!(deleted > changed);
    assert_eq!(a.engine.outbound().unwrap().spi_out, new);
}

#[test]
fn a_quick_mode_that_is_not_answered_is_the_only_question_under_way() {
    let (mut a, mut b) = (Side::new(1), Side::new(2));
    handshake(&mut a, &mut b);
    a.act(1_000, |engine, context| {
        engine.children[0].child.rekey_at = 1_000;
        engine.advance(context);
    });
    // charon remembers the last message alone: after a question of another exchange it would take
    // this one, repeated, for what follows it.
    let mut sent = a.sent();
    while let Some(now) = a.engine.due().filter(|now| *now < 14_000) {
        a.act(now, |engine, context| engine.advance(context));
        sent.append(&mut a.sent());
    }
    assert!(sent.len() > 3);
    assert!(sent.iter().all(|message| *message == sent[0]));
    // It is missed all the same.
    a.act(15_000, |engine, context| engine.advance(context));
    assert!(a.engine.phase1.is_empty());
}

#[test]
fn a_pair_that_waited_for_another_carries_the_traffic_when_that_one_is_deleted() {
    let (mut a, mut b) = (Side::new(1), Side::new(2));
    handshake(&mut a, &mut b);
    let third = replace(&mut a, &mut b, 1_000);
    b.act(1_000, |engine, context| engine.handle(context, &third));
    let old = b.engine.children[0].child.spi_in;
    let delete = b.act(1_000, |engine, context| {
        engine.phase1[0].delete_child(context, old)
    });
    let new = a.engine.children[1].child.spi_out;
    a.act(1_000, |engine, context| engine.handle(context, &delete));
    assert_eq!(a.engine.outbound().unwrap().spi_out, new);
}

#[test]
fn replayed_messages_make_nothing_new() {
    let (mut a, mut b) = (Side::new(1), Side::new(2));
    let log = handshake(&mut a, &mut b);
    let before = (a.engine.children.len(), b.engine.children.len());
    for _ in 0..3 {
        for (to, bytes) in &log {
            let side = if *to == 0 { &mut a } else { &mut b };
            side.handle(bytes);
        }
    }
    assert_eq!((a.engine.children.len(), b.engine.children.len()), before);
    assert_eq!((a.engine.phase1.len(), b.engine.phase1.len()), (1, 1));
}

#[test]
fn every_altered_byte_of_every_message_leads_to_nothing_wrong() {
    let lengths: Vec<usize> = {
        let log = handshake(&mut Side::new(1), &mut Side::new(2));
        log.iter().map(|(_, bytes)| bytes.len()).collect()
    };
    for (target, length) in lengths.into_iter().enumerate() {
        for at in 0..length {
            let (mut a, mut b) = (Side::new(1), Side::new(2));
            a.act(0, |engine, context| engine.advance(context));
            let mut wire: std::collections::VecDeque<(usize, Vec<u8>)> =
                a.sent().into_iter().map(|m| (1, m)).collect();
            let mut n = 0;
            while let Some((to, mut bytes)) = wire.pop_front() {
                if n == target {
                    bytes[at] ^= 1 << (at % 8);
                }
                n += 1;
                let receiver = if to == 0 { &mut a } else { &mut b };
                for answer in receiver.handle(&bytes) {
                    wire.push_back((1 - to, answer));
                }
            }
            let (x, y) = (a.engine.outbound(), b.engine.outbound());
            if let (Some(x), Some(y)) = (x, y) {
                assert_eq!(x.key_in, y.key_out, "message {target} byte {at}");
                assert_eq!(x.key_out, y.key_in, "message {target} byte {at}");
                let (x, y) = ((x.spi_in, x.spi_out), (y.spi_out, y.spi_in));
                assert_eq!(x, y, "message {target} byte {at}");
            }
            // Nobody keys with a peer that was not heard to the end.
            let proven = |side: &Side| !side.engine.phase1.is_empty();
            assert!(proven(&a) || a.engine.children.is_empty());
            assert!(proven(&b) || b.engine.children.is_empty());
        }
    }
}

#[test]
fn aggressive_mode_and_other_exchanges_get_no_answer() {
    let (mut a, mut b) = (Side::new(1), Side::new(2));
    a.act(0, |engine, context| engine.advance(context));
    let first = a.sent().remove(0);
    for exchange in 0..=255 {
        let mut other = first.clone();
        other[18] = exchange;
        let answers = b.handle(&other);
        assert_eq!(answers.is_empty(), exchange != exchange::MAIN, "{exchange}");
        b = Side::new(2);
    }
    assert_eq!(exchange::AGGRESSIVE, 4);
}

#[test]
fn unprotected_and_forged_informational_messages_delete_nothing() {
    let (mut a, mut b) = (Side::new(1), Side::new(2));
    handshake(&mut a, &mut b);
    let spi = a.engine.outbound().unwrap().spi_in;
    let delete = a.act(0, |engine, context| {
        engine.phase1[0].delete_child(context, spi)
    });
    // In clear, with the same content.
    let plain = v1::Delete {
        protocol: 2,
        spis: vec![spi.to_be_bytes().to_vec()],
    };
    let cookies = b.engine.phase1[0].cookies;
    let header = Header::new(cookies, exchange::INFORMATIONAL, false, 7);
    b.handle(&v1::encode(&header, &[plain.payload()]));
    assert_eq!(b.engine.children.len(), 1);
    for at in 0..delete.len() {
        let mut altered = delete.clone();
        altered[at] ^= 1;
        b.handle(&altered);
        assert_eq!(b.engine.children.len(), 1, "byte {at}");
    }
    b.handle(&delete);
    assert_eq!(b.engine.children.len(), 0);
}

#[test]
fn a_proposal_without_group_or_key_length_is_refused() {
    for missing in [4, 14, 2, 3, 1] {
        let (mut a, mut b) = (Side::new(1), Side::new(2));
        a.act(0, |engine, context| engine.advance(context));
        let (header, mut payloads) = v1::parse(&a.sent()[0]).unwrap();
        let mut proposals = v1::parse_sa(&payloads[0].body).unwrap();
        for transform in &mut proposals[0].transforms {
            transform.attributes.retain(|a| match a {
                crate::wire::isakmp::Attribute::Short(kind, _) => *kind != missing,
                crate::wire::isakmp::Attribute::Long(..) => true,
            });
        }
        payloads[0].body = v1::encode_sa(&proposals);
        let answers = b.handle(&v1::encode(&header, &payloads));
        let (header, payloads) = v1::parse(&answers[0]).unwrap();
        assert_eq!(header.exchange, exchange::INFORMATIONAL);
        let notify = v1::Notify::parse(&payloads[0].body).unwrap();
        assert_eq!(notify.kind, 14);
        assert!(b.engine.half_open.is_empty());
    }
}

/// First messages of strangers at the peer's address.
fn flood(b: &mut Side, seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let mut stranger = Side::new(1);
        stranger.random = Seeded(seed);
        stranger.act(0, |engine, context| engine.advance(context));
        b.handle(&stranger.sent()[0]);
    }
}

#[test]
fn a_flood_of_first_messages_keeps_few_and_none_that_came_back() {
    let (mut a, mut b) = (Side::new(1), Side::new(2));
    a.act(0, |engine, context| engine.advance(context));
    let second = b.handle(&a.sent()[0]);
    // Its cookie has not come back yet: a hundred others do not push it out.
    flood(&mut b, 10..110);
    let third = a.handle(&second[0]);
    let fourth = b.handle(&third[0]);
    flood(&mut b, 110..1_000);
    assert_eq!(b.engine.half_open.len(), 1 + 256);
    let fifth = a.handle(&fourth[0]);
    assert_eq!(b.handle(&fifth[0]).len(), 1);
    assert_eq!(b.engine.phase1.len(), 1);
}

#[test]
fn of_those_whose_cookie_came_back_the_latest_stay() {
    let mut b = Side::new(2);
    for seed in 10..30 {
        let mut stranger = Side::new(1);
        stranger.random = Seeded(seed);
        stranger.act(0, |engine, context| engine.advance(context));
        let second = b.handle(&stranger.sent()[0]);
        let third = stranger.handle(&second[0]);
        assert_eq!(b.handle(&third[0]).len(), 1);
    }
    assert_eq!(b.engine.half_open.len(), 8);
}

/// All messages between two sides at a time; at most `limit` are handed over, what is left is
/// returned.
fn talk(a: &mut Side, b: &mut Side, now: u64, limit: usize) -> Option<(usize, Vec<u8>)> {
    a.act(now, |engine, context| engine.advance(context));
    let mut wire: std::collections::VecDeque<_> = a.sent().into_iter().map(|m| (1, m)).collect();
    for _ in 0..limit {
        let (to, bytes) = wire.pop_front()?;
        let receiver = if to == 0 { &mut *a } else { &mut *b };
        receiver.act(now, |engine, context| engine.handle(context, &bytes));
        wire.extend(receiver.sent().into_iter().map(|m| (1 - to, m)));
    }
    wire.pop_front()
}

/// The fifth message, which brings INITIAL-CONTACT, is held back: of the SAs that the peer has by
/// then, one was there when its exchange began, or came to be since.
#[test]
fn initial_contact_ends_only_what_stood_when_main_mode_began() {
    for (other_at, left) in [(0, 1), (2_000, 2)] {
        let mut b = Side::new(2);
        let other = |b: &mut Side| {
            let mut other = Side::new(1);
            other.random = Seeded(77);
            assert_eq!(talk(&mut other, b, other_at, 100), None);
            assert_eq!(b.engine.phase1.len(), 1);
        };
        if other_at == 0 {
            other(&mut b);
        }
        let mut a = Side::new(1);
        let fifth = talk(&mut a, &mut b, 1_000, 4).expect("a fifth message").1;
        if other_at > 0 {
            other(&mut b);
        }
        b.act(3_000, |engine, context| engine.handle(context, &fifth));
        assert_eq!(b.engine.phase1.len(), left, "the other at {other_at}");
    }
}

#[test]
fn certificates_never_fall_back_to_the_key() {
    struct Nothing;
    impl crate::ike::Certified for Nothing {
        fn chain(&self) -> &[Vec<u8>] {
            &[]
        }
        fn authorities(&self) -> &[u8] {
            &[]
        }
        fn sign(&self, _: &[u8], _: &[u16]) -> Option<Vec<u8>> {
            None
        }
        fn authority_names(&self) -> &[Vec<u8>] {
            &[]
        }
        fn scheme(&self) -> Option<signature::Scheme> {
            None
        }
        fn sign_hash(&self, _: &[u8]) -> Option<Vec<u8>> {
            None
        }
        fn verify(
            &self,
            _: &crate::ike::certificate::Claim<'_>,
        ) -> Result<(), crate::ike::certificate::CertificateError> {
            Err(crate::ike::certificate::CertificateError::Missing)
        }
        fn holds(
            &self,
            _: &crate::ike::certificate::Proven,
            _: IpAddr,
        ) -> Result<(), crate::ike::certificate::CertificateError> {
            Err(crate::ike::certificate::CertificateError::Missing)
        }
    }
    let (mut a, mut b) = (Side::new(1), Side::new(2));
    b.credentials.certified = Some(std::sync::Arc::new(Nothing));
    b.act(5_000, |engine, context| engine.advance(context));
    assert!(b.sent().is_empty());
    handshake(&mut a, &mut b);
    assert!(a.engine.children.is_empty() && b.engine.children.is_empty());
    assert!(matches!(b.engine.fault(), Some(Refusal::Other(_))));
}
