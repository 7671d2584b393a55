//! Every IKEv2 message that strongSwan sent in the captures parses, and re-encodes to the same
//! bytes.

#![allow(clippy::unwrap_used)]

use tutti::wire::isakmp::{Message, WireError, payload};

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
