//! What was taken once and is judged again later.

use std::net::Ipv4Addr;
use std::time::Duration;

use rcgen::date_time_ymd;

use super::chains::{PEER, root};
use super::*;

fn year(year: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs((year - 1970) * 31_556_952))
}

fn judged(given: &Certificates, now: UnixTime) -> Result<(), String> {
    let made = IkeCertificates::new(given).unwrap();
    let chain: Vec<&[u8]> = given.chain.iter().map(Vec::as_slice).collect();
    let id = Identification::address(PEER);
    let judged = made.judge(&chain, (PEER, &id), now);
    judged.map_err(|error| error.to_string())
}

#[test]
fn a_chain_is_good_until_the_first_of_its_certificates_or_lists_ends() {
    let root = root(|_| {});
    let between = root.intermediate("between", |p| p.not_after = date_time_ymd(2041, 1, 2));
    let mut given = between.leaf(&root, |p| p.not_after = date_time_ymd(2043, 3, 4));
    let ended = |day: &str| Err(format!("certificate expired on {day}"));
    assert_eq!(judged(&given, year(2040)), Ok(()));
    assert_eq!(judged(&given, year(2042)), ended("2041-01-02"));
    let other = root.leaf(&root, |p| p.not_after = date_time_ymd(2043, 3, 4));
    assert_eq!(judged(&other, year(2042)), Ok(()));
    assert_eq!(judged(&other, year(2044)), ended("2043-03-04"));
    given.revoked = vec![root.list(&[], 2040), between.list(&[], 2039)];
    assert_eq!(judged(&given, year(2038)), Ok(()));
    let unknown = "no current revocation list covers the certificate".to_owned();
    // Half a year after the list's end.
    let later = UnixTime::since_unix_epoch(Duration::from_secs(year(2039).as_secs() + 16_000_000));
    assert_eq!(judged(&given, later), Err(unknown));
}

#[test]
fn what_was_proven_holds_while_the_chain_is_good_and_the_name_right() {
    let root = root(|_| {});
    let good = root.leaf(&root, |_| {});
    let over = root.leaf(&root, |p| {
        p.not_before = date_time_ymd(2020, 1, 1);
        p.not_after = date_time_ymd(2021, 2, 3);
    });
    let made = IkeCertificates::new(&good).unwrap();
    let holds = |given: &Certificates, address: IpAddr| {
        let proven = Proven {
            chain: given.chain.clone(),
            id: Identification::address(address),
        };
        made.holds(&proven, address)
    };
    assert_eq!(holds(&good, PEER), Ok(()));
    let expired = CertificateError::Expired("2021-02-03".into());
    assert_eq!(holds(&over, PEER), Err(expired));
    let other = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 12));
    assert_eq!(holds(&good, other), Err(CertificateError::Name(other)));
}
