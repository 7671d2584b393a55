//! Every IKEv2 message that strongSwan sent in the captures parses, and re-encodes to the same
//! bytes.

#![allow(clippy::unwrap_used)]

use ring::hmac;
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

/// SK_ai and SK_ar of the IKEv2 part of `ss-keys.pcap`, from its tshark key table.
const SK_A: [&str; 2] = [
    "107a1cbd13800cd46ff52b09949da9ab02962f0f4b3269f77a2bf0988230607d",
    "b027f30b707d8398eb246eb30205d3eaa178d6514c0c830f9dad38ce8c5178b3",
];

#[test]
fn the_checksums_of_captured_encrypted_messages_verify() {
    let mut verified = 0;
    for datagram in isakmp_datagrams("ss-keys.pcap") {
        let Ok(message) = Message::parse(&datagram) else {
            continue;
        };
        let Some(Payload::Encrypted(sk)) = message.payloads.last() else {
            continue;
        };
        let key = SK_A[usize::from(!message.header.from_initiator)];
        let bytes = (0..32).map(|n| u8::from_str_radix(&key[2 * n..2 * n + 2], 16).unwrap());
        let key = hmac::Key::new(hmac::HMAC_SHA256, &bytes.collect::<Vec<u8>>());
        let (covered, icv) = datagram.split_at(datagram.len() - 16);
        assert_eq!(hmac::sign(&key, covered).as_ref()[..16], *icv);
        assert!(sk.body.ends_with(icv));
        verified += 1;
    }
    assert_eq!(verified, 4);
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
