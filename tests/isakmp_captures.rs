//! Every IKEv2 message that strongSwan sent in the captures parses, and re-encodes to the same
//! bytes.

#![allow(clippy::unwrap_used)]

use cbc::cipher::{BlockModeDecrypt, KeyIvInit};
use tutti::ike::cipher::{Cipher, OpenError};
use tutti::ike::suite::{Encryption, Integrity};
use tutti::wire::isakmp::{Message, Payload, WireError, payload};

/// UDP port 500 payloads of a pcap file (Ethernet, little-endian, IPv4 without options).
fn isakmp_datagrams(name: &str) -> Vec<Vec<u8>> {
    let path = format!("{}/tests/vectors/{name}", env!("CARGO_MANIFEST_DIR"));
    let file = std::fs::read(path).unwrap();
    assert_eq!(file[..4], [0xd4, 0xc3, 0xb2, 0xa1]);
    let mut found = Vec::new();
    let mut rest = &file[24..];
    while rest.len() >= 16 {
        let len = u32::from_le_bytes(rest[8..12].try_into().unwrap()) as usize;
        let frame = &rest[16..16 + len];
        rest = &rest[16 + len..];
        if frame[12..14] == [8, 0] && frame[14] == 0x45 && frame[23] == 17 {
            let udp = &frame[34..];
            if udp[2..4] == 500u16.to_be_bytes() {
                let length = u16::from_be_bytes([udp[4], udp[5]]) as usize;
                found.push(udp[8..length].to_vec());
            }
        }
    }
    found
}

#[test]
fn every_captured_ikev2_message_survives_a_round_trip() {
    let files = [
        ("ss-ikev2-psk.pcap", 4, 0),
        ("ss-ikev2-psk-cbc.pcap", 4, 0),
        ("ss-ikev2-cert.pcap", 4, 0),
        ("ss-keys.pcap", 6, 11),
    ];
    for (file, v2, v1) in files {
        let mut counted = (0, 0);
        for datagram in isakmp_datagrams(file) {
            match Message::parse(&datagram) {
                Ok(message) => {
                    assert_eq!(message.encode(), datagram, "{file}");
                    counted.0 += 1;
                }
                Err(WireError::Version(1)) => counted.1 += 1,
                Err(error) => panic!("{file}: {error}"),
            }
        }
        assert_eq!(counted, (v2, v1), "{file}");
    }
}

/// SK_ei, SK_er, SK_ai and SK_ar of the IKEv2 part of `ss-keys.pcap`, from its tshark key table.
const SK: [&str; 4] = [
    "2a44ba0b872cb1602b178deb190d57dab9faea02c4b301b98d6c6a00f8b5eaa7",
    "a64b27eb811a53b3afa72c2839b3a765ce7f5f2e2ac4253376bf1400326b7183",
    "107a1cbd13800cd46ff52b09949da9ab02962f0f4b3269f77a2bf0988230607d",
    "b027f30b707d8398eb246eb30205d3eaa178d6514c0c830f9dad38ce8c5178b3",
];

fn hex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}

fn cipher(from_initiator: bool) -> Cipher {
    let side = usize::from(!from_initiator);
    let encryption = Encryption::AesCbc256(Integrity::HmacSha2_256_128);
    Cipher::new(encryption, (&hex(SK[side]), &hex(SK[2 + side]))).unwrap()
}

/// The encrypted messages of the IKEv2 part of `ss-keys.pcap`.
fn encrypted_messages() -> Vec<(Vec<u8>, Message)> {
    let all = isakmp_datagrams("ss-keys.pcap").into_iter();
    let parsed = all.filter_map(|d| Message::parse(&d).ok().map(|m| (d, m)));
    let encrypted = |m: &Message| matches!(m.payloads.last(), Some(Payload::Encrypted(_)));
    parsed.filter(|(_, m)| encrypted(m)).collect()
}

/// The octets inside, by AES alone.
fn decrypted(message: &Message) -> Vec<u8> {
    let Some(Payload::Encrypted(sealed)) = message.payloads.last() else {
        panic!("not encrypted");
    };
    let key = hex(SK[usize::from(!message.header.from_initiator)]);
    let (iv, rest) = sealed.body.split_at(16);
    let mut plain = rest[..rest.len() - 16].to_vec();
    let mut cbc = cbc::Decryptor::<aes::Aes256>::new_from_slices(&key, iv).unwrap();
    for block in plain.as_chunks_mut::<16>().0 {
        cbc.decrypt_block(block.into());
    }
    let padding = usize::from(*plain.last().unwrap());
    plain.truncate(plain.len() - 1 - padding);
    plain
}

#[test]
fn captured_encrypted_messages_open_with_their_keys() {
    let mut spis = Vec::new();
    let mut opened = 0;
    for (datagram, message) in encrypted_messages() {
        let cipher = cipher(message.header.from_initiator);
        let payloads = cipher.open_whole(&datagram, &message).unwrap();
        for payload in &payloads {
            if let Payload::Sa(proposals) = payload {
                spis.push(proposals[0].spi.clone());
            }
        }
        opened += 1;
        let mut again = Vec::new();
        payload::encode_chain(&payloads, &mut again);
        assert_eq!(again, decrypted(&message), "what is inside, written again");
        // The other direction's keys open nothing.
        let other = self::cipher(!message.header.from_initiator);
        assert_eq!(
            other.open_whole(&datagram, &message),
            Err(OpenError::Forged)
        );
    }
    assert_eq!(opened, 4);
    // The SPIs of the kernel's AH SAs at that time.
    assert_eq!(spis, [hex("c8d1a6bf"), hex("caf8b55e")]);
}

#[test]
fn every_altered_byte_of_a_captured_message_is_noticed() {
    for (datagram, message) in encrypted_messages() {
        let cipher = cipher(message.header.from_initiator);
        for at in 0..datagram.len() {
            let mut changed = datagram.clone();
            changed[at] ^= 0x10;
            if let Ok(message) = Message::parse(&changed) {
                assert_eq!(
                    cipher.open_whole(&changed, &message),
                    Err(OpenError::Forged)
                );
            }
        }
    }
}

#[test]
fn no_cut_or_changed_capture_panics() {
    for datagram in isakmp_datagrams("ss-ikev2-cert.pcap") {
        for cut in 0..datagram.len() {
            let _ = Message::parse(&datagram[..cut]);
            let _ = payload::parse_chain(datagram[16], &datagram[28.min(cut)..cut]);
        }
        for at in 0..datagram.len() {
            for bit in 0..8 {
                let mut changed = datagram.clone();
                changed[at] ^= 1 << bit;
                if let Ok(message) = Message::parse(&changed) {
                    assert_eq!(message.encode().len(), changed.len());
                }
            }
        }
    }
}
