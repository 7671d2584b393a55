//! Lines with the keys of IKE SAs, as tshark takes them after `-o uat:`, for laboratories. Nothing
//! asks for them unless `tutti ike --key-log` does.

use zeroize::Zeroizing;

use super::suite::{Encryption, Integrity};

/// One line, wiped when dropped.
pub type Line = Zeroizing<String>;

/// Of one direction: encryption, integrity.
type Keys<'a> = (&'a [u8], &'a [u8]);

fn hex(bytes: &[u8]) -> Line {
    use std::fmt::Write;
    let mut out = Zeroizing::new(String::with_capacity(2 * bytes.len()));
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(out, "{byte:02x}");
    }
    out
}

/// Of IKEv2: both SPIs, and for each direction the keys of encryption and integrity.
pub(super) fn v2(encryption: Encryption, spis: (u64, u64), (i, r): (Keys<'_>, Keys<'_>)) -> Line {
    let (cipher, integrity) = match encryption {
        Encryption::AesGcm256 => ("AES-GCM-256 with 16 octet ICV [RFC5282]", "NONE [RFC4306]"),
        Encryption::AesCbc256(integrity) => (
            "AES-CBC-256 [RFC3602]",
            match integrity {
                Integrity::HmacSha2_256_128 => "HMAC_SHA2_256_128 [RFC4868]",
                Integrity::HmacSha2_384_192 => "HMAC_SHA2_384_192 [RFC4868]",
                Integrity::HmacSha2_512_256 => "HMAC_SHA2_512_256 [RFC4868]",
            },
        ),
    };
    Zeroizing::new(format!(
        "ikev2_decryption_table:{:016x},{:016x},{},{},\"{cipher}\",{},{},\"{integrity}\"",
        spis.0,
        spis.1,
        *hex(i.0),
        *hex(r.0),
        *hex(i.1),
        *hex(r.1),
    ))
}

/// Of IKEv1: the initiator's cookie and the key of encryption.
pub(super) fn v1(cookie: u64, key: &[u8]) -> Line {
    Zeroizing::new(format!(
        "ikev1_decryption_table:{cookie:016x},{}",
        *hex(key)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_as_tshark_takes_them() {
        let gcm = v2(Encryption::AesGcm256, (1, 2), ((&[3], &[]), (&[4], &[])));
        let name = "AES-GCM-256 with 16 octet ICV [RFC5282]";
        let expected = format!(
            "ikev2_decryption_table:0000000000000001,0000000000000002,03,04,\"{name}\",,,\
             \"NONE [RFC4306]\""
        );
        assert_eq!(*gcm, expected);
        assert_eq!(
            *v1(5, &[6, 7]),
            "ikev1_decryption_table:0000000000000005,0607"
        );
    }
}
