//! Handshakes between two of strongSwan's, which wrote its secrets down (`tests/lab/vectors.sh`):
//! from the messages and the shared secrets follow the same keys, the same AUTH or HASH of both
//! sides, and the AH keys that the kernel got.

use zeroize::Zeroizing;

use super::{hex, lines};
use crate::ike::auth::Signed;
use crate::ike::cipher::Cipher;
use crate::ike::exchange::Parts;
use crate::ike::keys::{SaKeys, Seeds};
use crate::ike::suite::Prf;
use crate::ike::v1::keys::{self as v1_keys, Keys, one, skeyid};
use crate::ike::{Credentials, Integrity, Ppk, Refusal, Suite};
use crate::wire::isakmp::notify::kind as notify;
use crate::wire::isakmp::v1::{self, Header, kind};
use crate::wire::isakmp::{Identification, Message};

/// The values of one file by their names.
struct Vector(&'static str);

impl Vector {
    fn all(&self, name: &str) -> Vec<Vec<u8>> {
        let named = lines(self.0).filter(|fields| fields[0] == name);
        named.map(|fields| hex(fields[1])).collect()
    }

    fn one(&self, name: &str) -> Vec<u8> {
        let [value] = <[_; 1]>::try_from(self.all(name)).expect("one of that name");
        value
    }

    /// SPI and key of the AH SAs: what the initiator sends under, then the responder.
    fn kernel(&self) -> [(Vec<u8>, Vec<u8>); 2] {
        ["10.0.0.1", "10.0.0.2"].map(|source| {
            let mut sas = lines(self.0).filter(|f| f[..2] == ["kernel", source]);
            let sa = sas.next().expect("an SA");
            (hex(sa[2]), hex(sa[3]))
        })
    }
}

#[test]
fn keys_and_auth_of_ikev2_are_those_that_charon_wrote_down() {
    judge(&Vector(include_str!(
        "../../../tests/vectors/charon-v2.txt"
    )));
}

#[test]
fn with_a_post_quantum_key_they_are_so_too() {
    let vector = Vector(include_str!("../../../tests/vectors/charon-v2-ppk.txt"));
    judge(&vector);
    // Both say that they use it, one names it, the other that it was mixed in.
    let messages = vector.all("message");
    for message in &messages[..2] {
        let message = Message::parse(message).expect("readable");
        let parts = Parts::of(&message.payloads);
        assert_eq!(parts.notify(notify::USE_PPK).expect("USE_PPK").data, b"");
    }
}

/// Whether keys, AUTH and the kernel's keys are what ours are.
fn judge(vector: &Vector) {
    let suite: Suite = "aes256gcm16-prfsha384-x25519".parse().expect("a suite");
    let datagrams = vector.all("message");
    let messages = datagrams
        .iter()
        .map(|d| Message::parse(d).expect("readable"));
    let messages: Vec<Message> = messages.collect();
    let first = [0, 1].map(|n| Parts::of(&messages[n].payloads));
    let [ni, nr] = first.each_ref().map(|p| p.nonce.expect("a nonce"));
    let header = &messages[1].header;
    let seeds = Seeds {
        shared: &vector.one("shared"),
        ni,
        nr,
        spis: (header.spi_i, header.spi_r),
    };
    let mut keys = SaKeys::initial(suite, &seeds);
    let written = |at: usize| {
        // Only those that are mixed are written down a second time.
        let all = ["SK_d", "SK_ei", "SK_er", "SK_pi", "SK_pr"].map(|name| vector.all(name));
        all.map(|all| all[at.min(all.len() - 1)].clone()).concat()
    };
    assert_eq!(keys.concat(), written(0));
    let ppk = vector.all("PPK").pop();
    if let Some(secret) = &ppk {
        keys.mix(secret);
        assert_eq!(keys.concat(), written(1));
    }

    let ours = ppk.as_ref().map(|secret| Ppk {
        id: b"lab".to_vec(),
        secret: Zeroizing::new(secret.clone()),
    });
    let credentials = Credentials {
        key: Zeroizing::new(vector.one("key")),
        certificate: [0; 32].into(),
        certified: None,
        ppk: ours,
        tokens: Zeroizing::new([0; 32]),
    };
    let auths = vector.all("AUTH");
    let kernel = vector.kernel();
    for side in 0..2 {
        let ours = side == 0;
        let cipher = Cipher::new(suite.encryption, keys.direction(ours)).expect("keys");
        let (datagram, message) = (&datagrams[2 + side], &messages[2 + side]);
        let payloads = cipher.open_whole(datagram, message).expect("authentic");
        let parts = Parts::of(&payloads);
        let auth = parts.auth.expect("AUTH");
        assert_eq!(auth.data, auths[side]);
        let named = parts
            .notify(notify::PPK_IDENTITY)
            .map(|n| n.data.as_slice());
        let names: [&[u8]; 2] = [b"\x02lab", b""];
        assert_eq!(named, ppk.as_ref().map(|_| names[side]));
        let id = if ours { parts.id_i } else { parts.id_r };
        let address = [10, 0, 0, 1 + side as u8].into();
        let signed = |sk_p| Signed {
            prf: suite.prf,
            message: &datagrams[side],
            nonce: [nr, ni][side],
            sk_p,
            id: id.expect("an identity"),
            int_auth: &[],
        };
        let verify = |sk_p| signed(sk_p).verify(&credentials, address, &parts);
        let (own, other) = if ours {
            (&keys.pi, &keys.pr)
        } else {
            (&keys.pr, &keys.pi)
        };
        assert_eq!(id, Some(&Identification::address(address)));
        assert_eq!(verify(own), Ok(None));
        assert_eq!(verify(other), Err(Refusal::AuthenticationFailed));
        // Who says which SPI receives under it.
        assert_eq!(parts.sa.expect("AH")[0].spi, kernel[1 - side].0);
    }
    let (there, back) = keys.child(Integrity::HmacSha2_256_128, ni, nr);
    assert_eq!(
        [&there[..], &back[..]],
        [&kernel[0].1[..], &kernel[1].1[..]]
    );
}

#[test]
fn keys_and_hashes_of_main_and_quick_mode_are_those_that_charon_wrote_down() {
    let vector = Vector(include_str!("../../../tests/vectors/charon-v1.txt"));
    let messages = vector.all("message");
    let plain = |n: usize| v1::parse(&messages[n]).expect("readable").1;
    let body = |n: usize, kind| one(&plain(n), kind).expect("such a payload").to_vec();
    let header = Header::parse(&messages[1]).expect("a header").0;
    let (ni, nr) = (body(2, kind::NONCE), body(3, kind::NONCE));
    let (gi, gr) = (body(2, kind::KE), body(3, kind::KE));
    let seeds = v1_keys::Seeds {
        cookies: (header.cky_i, header.cky_r),
        publics: (&gi, &gr),
    };
    let hash = Prf::Sha256;
    let key = skeyid(hash, &vector.one("key"), &ni, &nr);
    let keys = Keys::new(hash, key, &vector.one("shared"), seeds.cookies).expect("keys");
    assert_eq!(keys.skeyid[..], vector.one("SKEYID"));

    let mut iv = keys.first_iv(seeds.publics);
    for (n, name) in [(4, "HASH_I"), (5, "HASH_R")] {
        let opened = keys.open(&messages[n], &iv).expect("readable");
        let id = opened.one(kind::ID).expect("an identity");
        let found = keys.authenticator(hash, &seeds, n == 4, &body(0, kind::SA), id);
        assert_eq!(found[..], vector.one(name));
        assert_eq!(opened.one(kind::HASH), Some(&found[..]));
        iv = opened.next_iv;
    }

    let id = Header::parse(&messages[6]).expect("a header").0.id;
    let mut iv = keys.exchange_iv(&iv, id);
    let opened = [6, 7, 8].map(|n| {
        let opened = keys.open(&messages[n], &iv).expect("readable");
        iv = opened.next_iv;
        opened
    });
    let [qm_ni, qm_nr] = [0, 1].map(|n| opened[n].one(kind::NONCE).expect("a nonce"));
    let id = id.to_be_bytes();
    let hashes = opened.each_ref().map(|o| o.hashed().expect("a hash first"));
    let expected = [
        keys.hash(&[&id, hashes[0].1]),
        keys.hash(&[&id, qm_ni, hashes[1].1]),
        keys.hash(&[&[0], &id, qm_ni, qm_nr]),
    ];
    for (n, name) in ["HASH(1)", "HASH(2)", "HASH(3)"].into_iter().enumerate() {
        assert_eq!(expected[n][..], vector.one(name));
        assert_eq!(hashes[n].0, vector.one(name));
    }

    let shared = vector.one("quick-mode-shared");
    for (side, (spi, key)) in vector.kernel().into_iter().enumerate() {
        let proposals = v1::parse_sa(opened[1 - side].one(kind::SA).expect("AH")).expect("one");
        assert_eq!(proposals[0].spi, spi);
        let spi = u32::from_be_bytes(spi.try_into().expect("four octets"));
        let found = keys.keymat(&shared, spi, (qm_ni, qm_nr), key.len());
        assert_eq!(found[..], key);
    }
}
