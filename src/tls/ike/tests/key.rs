//! The private key: what is left of it when it is no longer needed.

use zeroize::Zeroizing;

use super::super::given;
use super::chains::root;
use super::*;
use crate::cluster::Pem;
use crate::sys::freed;

fn pem(tag: &str, der: &[u8]) -> String {
    pem::encode(&pem::Pem::new(tag, der))
}

#[test]
fn no_copy_of_the_private_key_stays_in_the_heap() {
    let root = root(|_| {});
    let leaf = root.leaf(&root, |_| {});
    let own = pem("CERTIFICATE", &leaf.chain[0]);
    let authorities = pem("CERTIFICATE", &leaf.authorities[0]);
    let key = pem("PRIVATE KEY", &leaf.key.0);
    // The end of what stands before the number and most of the number: that is in PKCS #8 alone.
    let secret = *leaf.key.0[28..].first_chunk().unwrap();
    let from_files = || {
        let texts = (own.as_bytes(), key.as_bytes(), authorities.as_bytes());
        let given = Certificates::from_pem(texts.0, texts.1, texts.2, b"", Vec::new());
        drop(IkeCertificates::new(&given.unwrap()).unwrap());
    };
    assert_eq!(freed::with(secret, from_files), 0);
    let texts = Pem {
        certificate: own.clone(),
        key: Zeroizing::new(key.clone()),
        authorities: authorities.clone(),
        revocation_lists: String::new(),
    };
    let from_a_page = || drop(given::examine(&texts, None).unwrap());
    assert_eq!(freed::with(secret, from_a_page), 0);
}
