//! Seeds from strongSwan's captured messages, and one made by hand for each kind of payload that no
//! capture shows in clear.

use std::fs;
use std::path::Path;

use tutti::wire::isakmp::{Message, payload, v1};

const CAPTURES: [&[u8]; 6] = [
    include_bytes!("../vectors/ss-ikev1-cert.pcap"),
    include_bytes!("../vectors/ss-ikev1-psk.pcap"),
    include_bytes!("../vectors/ss-ikev2-cert.pcap"),
    include_bytes!("../vectors/ss-ikev2-psk-cbc.pcap"),
    include_bytes!("../vectors/ss-ikev2-psk.pcap"),
    include_bytes!("../vectors/ss-keys.pcap"),
];

/// Names of fuzz targets and payload types.
pub const IKEV2: [(&str, u8); 14] = [
    ("sa", 33),
    ("ke", 34),
    ("id", 35),
    ("cert", 37),
    ("certreq", 38),
    ("auth", 39),
    ("nonce", 40),
    ("notify", 41),
    ("delete", 42),
    ("vendor", 43),
    ("ts", 44),
    ("sk", 46),
    ("skf", 53),
    ("solution", 54),
];

/// Likewise.
pub const IKEV1: [(&str, u8); 5] = [
    ("sa", 1),
    ("chain", 4),
    ("id", 5),
    ("notify", 11),
    ("delete", 12),
];

/// UDP port 500 payloads of a pcap file (Ethernet, little-endian, IPv4).
fn captured(file: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut rest = &file[24..];
    while rest.len() >= 16 {
        let len = u32::from_le_bytes(rest[8..12].try_into().unwrap()) as usize;
        let (frame, next) = rest[16..].split_at(len);
        rest = next;
        if frame[12..15] == [8, 0, 0x45] && frame[23] == 17 && frame[36..38] == [1, 0xf4] {
            let length = u16::from_be_bytes([frame[38], frame[39]]) as usize;
            found.push(frame[42..34 + length].to_vec());
        }
    }
    found
}

/// Whole datagrams of both versions.
pub fn datagrams() -> Vec<Vec<u8>> {
    CAPTURES.iter().flat_map(|file| captured(file)).collect()
}

/// What no capture shows in clear: identity, certificate, proof, delete, selectors,
/// fragment, solution of a puzzle.
fn by_hand(kind: u8) -> Vec<Vec<u8>> {
    match kind {
        35 => vec![
            vec![1, 0, 0, 0, 10, 0, 0, 1],
            vec![2, 0, 0, 0, b'a', b'.', b'b'],
        ],
        37 | 38 => vec![[&[4], &[0x30, 0x82, 1, 2][..]].concat(), vec![4; 21]],
        39 => vec![[&[14, 0, 0, 0], &[7; 64][..]].concat(), vec![2, 0, 0, 0, 1]],
        42 => vec![vec![1, 0, 0, 0], vec![2, 4, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8]],
        43 => vec![vec![9; 16]],
        44 => vec![
            vec![
                1, 0, 0, 0, 7, 0, 0, 16, 0, 0, 255, 255, 10, 0, 0, 1, 10, 0, 0, 1,
            ],
            [&[1, 0, 0, 0, 8, 0, 0, 40, 0, 0, 255, 255], &[1; 32][..]].concat(),
        ],
        53 => vec![[&[0, 1, 0, 2], &[5; 40][..]].concat()],
        54 => vec![(0..16).collect(), (0..128).collect()],
        _ => Vec::new(),
    }
}

/// Bodies of one type of payload.
pub fn ikev2(kind: u8) -> Vec<Vec<u8>> {
    let mut found = by_hand(kind);
    let all = datagrams();
    let messages = all.iter().filter_map(|bytes| Message::parse(bytes).ok());
    for one in messages
        .flat_map(|m| m.payloads)
        .filter(|p| p.kind() == kind)
    {
        let mut chain = Vec::new();
        payload::encode_chain(&[one], &mut chain);
        found.push(chain.split_off(4));
    }
    found.sort();
    found.dedup();
    found
}

/// Bodies of one type of payload, or of whole chains.
pub fn ikev1(kind: u8) -> Vec<Vec<u8>> {
    let mut found = match kind {
        5 => vec![vec![1, 17, 1, 0xf4, 10, 0, 0, 1]],
        11 => vec![vec![0, 0, 0, 1, 1, 4, 0, 14, 1, 2, 3, 4, 5, 6]],
        12 => vec![vec![0, 0, 0, 1, 2, 4, 0, 1, 1, 2, 3, 4]],
        _ => Vec::new(),
    };
    let all = datagrams();
    for (_, payloads) in all.iter().filter_map(|bytes| v1::parse(bytes).ok()) {
        if kind == 4 && payloads[0].kind == 4 {
            let mut chain = Vec::new();
            v1::encode_chain(&payloads, &mut chain);
            found.push(chain);
        } else if kind != 4 {
            let of = payloads.into_iter().filter(|p| p.kind == kind);
            found.extend(of.map(|p| p.body));
        }
    }
    found.sort();
    found.dedup();
    found
}

/// All datagrams in every state, each as it is and with the SPIs, the message id or both of what was
/// sent last, behind its length: which state and who receives come first.
pub fn in_states() -> Vec<Vec<u8>> {
    let sized = |(n, bytes): (usize, &Vec<u8>)| {
        let length = bytes.len() as u16 | (n as u16 % 4) << 14;
        [&length.to_be_bytes(), &bytes[..]].concat()
    };
    let all: Vec<u8> = datagrams().iter().enumerate().flat_map(sized).collect();
    let state = |n: u8| n * 4 + n % 4;
    // Each way to stand, once with either version.
    let how = |n: u8| (n / 2) ^ (n / 4);
    (0..64)
        .map(|n| [&[state(n), how(n)], &all[..]].concat())
        .collect()
}

/// Claims of each kind of key by either version, as they should be, and with an edit of each kind in
/// each part.
pub fn claims() -> Vec<Vec<u8>> {
    let kinds = (0..8).map(|n| [n / 2, n % 2]);
    let edits = (0..16).map(|n| vec![n / 4, n % 4, 0, 40, 1]);
    let edits: Vec<Vec<u8>> = edits.chain([Vec::new()]).collect();
    kinds
        .flat_map(|kind| edits.iter().map(move |edit| [&kind[..], edit].concat()))
        .collect()
}

/// One directory for each fuzz target.
pub fn write(dir: &Path) -> std::io::Result<()> {
    let mut sets = vec![("isakmp_message".to_string(), datagrams())];
    sets.extend(IKEV2.map(|(name, kind)| (format!("ikev2_{name}"), ikev2(kind))));
    sets.extend(IKEV1.map(|(name, kind)| (format!("ikev1_{name}"), ikev1(kind))));
    sets.push(("ike_datagrams".to_string(), in_states()));
    sets.push(("ike_claims".to_string(), claims()));
    for (target, seeds) in sets {
        let place = dir.join(target);
        fs::create_dir_all(&place)?;
        for (n, seed) in seeds.iter().enumerate() {
            fs::write(place.join(format!("seed-{n}")), seed)?;
        }
    }
    Ok(())
}
