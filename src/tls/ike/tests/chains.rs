//! Chains with intermediate authorities: what of them is taken, and in which words the rest is
//! refused (RFC 5280 section 6.1).

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CidrSubnet, DnType,
    GeneralSubtree, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, NameConstraints,
    RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};

use super::*;
use crate::ike::certificate::HASHES;

/// The peer, as it is named by its certificate.
pub(super) const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 11));

/// The serial number of every authority.
const SERIAL: u64 = 9;

/// An authority and the certificates from it up to the root, which is not among them.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(super) der: Vec<u8>,
    above: Vec<Vec<u8>>,
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.serial_number = Some(SerialNumber::from(SERIAL));
    params
}

/// An authority of its own, changed by `change`.
pub(super) fn root(change: impl FnOnce(&mut CertificateParams)) -> Authority {
    let key = KeyPair::generate().unwrap();
    let mut params = params("root");
    change(&mut params);
    let der = params.self_signed(&key).unwrap().der().to_vec();
    Authority {
        issuer: Issuer::new(params, key),
        der,
        above: Vec::new(),
    }
}

impl Authority {
    /// An authority under this one, changed by `change`.
    pub(super) fn intermediate(
        &self,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = params(name);
        change(&mut params);
        let der = params.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        Authority {
            issuer: Issuer::new(params, key),
            above: [std::slice::from_ref(&der), &self.above[..]].concat(),
            der,
        }
    }

    /// The peer's certificates, which trust `root`.
    pub(super) fn leaf(
        &self,
        root: &Authority,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Certificates {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = vec![SanType::IpAddress(PEER)];
        change(&mut params);
        let own = params.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        Certificates {
            chain: [&[own], &self.above[..]].concat(),
            key: Secret(key.serialize_der()),
            authorities: vec![root.der.clone()],
            revoked: Vec::new(),
            names: Vec::new(),
        }
    }

    /// A revocation list that is good until the year `until`.
    pub(super) fn list(&self, serials: &[u64], until: i32) -> Vec<u8> {
        self.list_of(2024, serials, until)
    }

    /// The same, issued at the beginning of that year.
    pub(super) fn list_of(&self, year: i32, serials: &[u64], until: i32) -> Vec<u8> {
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(year, 1, 1),
            next_update: date_time_ymd(until, 1, 1),
            crl_number: SerialNumber::from(1u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().der().to_vec()
    }
}

/// What the certificates prove to one who has the same authorities and lists; in words, if nothing.
fn judged(given: &Certificates) -> Result<(), String> {
    let made = IkeCertificates::new(given).unwrap();
    let data = made.sign(b"octets", &HASHES).unwrap();
    let chain: Vec<&[u8]> = given.chain.iter().map(Vec::as_slice).collect();
    let claim = Claim {
        chain: &chain,
        address: PEER,
        id: &Identification::address(PEER),
        proof: Proof::Octets {
            octets: b"octets",
            data: &data,
        },
    };
    made.verify(&claim).map_err(|error| error.to_string())
}

/// What a chain of root, intermediate authority and leaf proves.
fn judged_under(
    of_root: impl FnOnce(&mut CertificateParams),
    of_intermediate: impl FnOnce(&mut CertificateParams),
) -> Result<(), String> {
    let root = root(of_root);
    let between = root.intermediate("between", of_intermediate);
    judged(&between.leaf(&root, |_| {}))
}

fn refused(words: &str) -> Result<(), String> {
    Err(words.to_owned())
}

const NO_ISSUER: &str = "certificate issued by one that may not issue certificates (key usage)";

#[test]
fn a_chain_by_an_intermediate_authority_is_taken_whole_and_not_without_it() {
    assert_eq!(judged_under(|_| {}, |_| {}), Ok(()));
    let root = root(|_| {});
    let mut given = root.intermediate("between", |_| {}).leaf(&root, |_| {});
    given.chain.truncate(1);
    let untrusted = refused("certificate not issued by a trusted authority");
    assert_eq!(judged(&given), untrusted);
}

#[test]
fn an_authority_whose_key_usage_lacks_certificates_issues_no_peer() {
    let lists_only = |p: &mut CertificateParams| p.key_usages = vec![KeyUsagePurpose::CrlSign];
    assert_eq!(judged_under(|_| {}, lists_only), refused(NO_ISSUER));
    assert_eq!(judged_under(lists_only, |_| {}), refused(NO_ISSUER));
    // Without the extension nothing is restricted.
    let silent = |p: &mut CertificateParams| p.key_usages.clear();
    assert_eq!(judged_under(silent, silent), Ok(()));
    // Further up in the chain it counts as much.
    let root = root(|_| {});
    let upper = root.intermediate("upper", lists_only);
    let lower = upper.intermediate("lower", |_| {});
    assert_eq!(judged(&lower.leaf(&root, |_| {})), refused(NO_ISSUER));
}

#[test]
fn one_that_is_no_authority_issues_no_peer() {
    let none = |p: &mut CertificateParams| p.is_ca = IsCa::ExplicitNoCa;
    assert_eq!(judged_under(|_| {}, none), refused(NO_ISSUER));
}

#[test]
fn another_certificate_of_the_same_authority_may_issue_where_one_may_not() {
    let root = root(|_| {});
    let between = root.intermediate("between", |_| {});
    let mut given = between.leaf(&root, |_| {});
    let mut barred = params("between");
    barred.key_usages = vec![KeyUsagePurpose::CrlSign];
    let barred = barred
        .signed_by(between.issuer.key(), &root.issuer)
        .unwrap();
    given.chain.insert(1, barred.der().to_vec());
    assert_eq!(judged(&given), Ok(()));
}

#[test]
fn a_path_longer_than_an_authority_allows_is_refused() {
    let root = root(|_| {});
    let least = |p: &mut CertificateParams| p.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let upper = root.intermediate("upper", least);
    assert_eq!(judged(&upper.leaf(&root, |_| {})), Ok(()));
    let lower = upper.intermediate("lower", |_| {});
    let words = "certificate path longer than one of its authorities allows";
    assert_eq!(judged(&lower.leaf(&root, |_| {})), refused(words));
}

#[test]
fn a_name_that_an_authority_may_not_give_is_refused() {
    let only = |net: [u8; 4]| {
        move |p: &mut CertificateParams| {
            let subnet = CidrSubnet::V4(net, [255, 255, 255, 0]);
            p.name_constraints = Some(NameConstraints {
                permitted_subtrees: vec![GeneralSubtree::IpAddress(subnet)],
                excluded_subtrees: Vec::new(),
            });
        }
    };
    assert_eq!(judged_under(|_| {}, only([192, 0, 2, 0])), Ok(()));
    let words = "certificate names what one of its authorities may not name (name constraints)";
    let judged = judged_under(|_| {}, only([198, 51, 100, 0]));
    assert_eq!(judged, refused(words));
}

#[test]
fn a_list_of_the_root_that_revokes_the_intermediate_authority_is_obeyed() {
    let root = root(|_| {});
    let between = root.intermediate("between", |_| {});
    let mut given = between.leaf(&root, |p| p.serial_number = Some(SerialNumber::from(1u64)));
    let own = between.list(&[], 2049);
    given.revoked = vec![root.list(&[SERIAL + 1], 2049), own.clone()];
    assert_eq!(judged(&given), Ok(()));
    given.revoked = vec![root.list(&[SERIAL], 2049), own.clone()];
    assert_eq!(judged(&given), refused("certificate revoked"));
    // Each authority's list is needed.
    given.revoked = vec![own];
    let unknown = refused("no current revocation list covers the certificate");
    assert_eq!(judged(&given), unknown);
}

/// The first in the text counted: whom only the newer one revokes was taken, and an older one that
/// ran out ended all.
#[test]
fn of_two_lists_of_one_issuer_the_one_issued_last_counts() {
    let root = root(|_| {});
    let mut given = root.leaf(&root, |p| p.serial_number = Some(SerialNumber::from(1u64)));
    let newer = root.list_of(2025, &[1], 2049);
    for older in [root.list(&[], 2049), root.list_of(2023, &[], 2024)] {
        for lists in [[&older, &newer], [&newer, &older]] {
            given.revoked = lists.map(Clone::clone).to_vec();
            assert_eq!(judged(&given), refused("certificate revoked"));
        }
    }
    let older = root.list_of(2023, &[1], 2024);
    given.revoked = vec![older, root.list_of(2025, &[], 2049)];
    assert_eq!(judged(&given), Ok(()));
}

/// The list issued last was that of the other key, and every certificate of this one was refused.
#[test]
fn where_an_issuer_changed_its_key_each_key_s_own_list_counts() {
    let (old, new) = (root(|_| {}), root(|_| {}));
    for (ours, other, year) in [(&old, &new, 2023), (&new, &old, 2025)] {
        let mut given = ours.leaf(ours, |p| p.serial_number = Some(SerialNumber::from(1u64)));
        given.authorities = vec![old.der.clone(), new.der.clone()];
        let before = ours.list_of(year - 1, &[], 2049);
        let others = other.list_of(2024, &[], 2049);
        given.revoked = vec![
            before.clone(),
            others.clone(),
            ours.list_of(year, &[], 2049),
        ];
        assert_eq!(judged(&given), Ok(()), "{year}");
        given.revoked = vec![before, others.clone(), ours.list_of(year, &[1], 2049)];
        assert_eq!(judged(&given), refused("certificate revoked"), "{year}");
        given.revoked = vec![others];
        assert!(judged(&given).is_err(), "{year}: no list of its key");
    }
}
