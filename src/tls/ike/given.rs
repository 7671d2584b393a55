//! Certificates as an operator gives them: PEM texts, read and judged before they are in use, so
//! that what is wrong is told beside its field and not by a tunnel that never comes up.

use std::net::IpAddr;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use serde::Serialize;
use webpki::EndEntityCert;

use super::{IkeCertificates, private_key_der, reason};
use crate::cluster::{Field, Pem, Problem};
use crate::ike::certificate::CertificateError;
use crate::tunnel::message::{Certificates, Secret};
use crate::wire::isakmp::Identification;

/// Reads the texts; `Ok(None)` if there is no certificate.
///
/// # Errors
/// A text that is not what its field wants.
pub fn read(pem: &Pem) -> Result<Option<Certificates>, Problem> {
    if pem.certificate.is_empty() {
        return Ok(None);
    }
    Ok(Some(Certificates {
        chain: certificates(Field::Certificate, &pem.certificate)?,
        key: key(&pem.key)?,
        authorities: certificates(Field::Authorities, &pem.authorities)?,
        revoked: revocation_lists(&pem.revocation_lists)?,
        names: Vec::new(),
    }))
}

fn certificates(field: Field, text: &str) -> Result<Vec<Vec<u8>>, Problem> {
    let all = CertificateDer::pem_slice_iter(text.as_bytes());
    let all = all.map(|one| one.map(|one| one.to_vec()));
    let all: Result<Vec<Vec<u8>>, _> = all.collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        _ => Err(Problem::new(
            field,
            "holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)",
        )),
    }
}

fn revocation_lists(text: &str) -> Result<Vec<Vec<u8>>, Problem> {
    let all = CertificateRevocationListDer::pem_slice_iter(text.as_bytes());
    let all = all.map(|one| one.map(|one| one.to_vec()));
    let all: Result<Vec<Vec<u8>>, _> = all.collect();
    match all {
        Ok(all) if !all.is_empty() || text.trim().is_empty() => Ok(all),
        _ => Err(Problem::new(
            Field::RevocationLists,
            "holds no revocation list in PEM form (-----BEGIN X509 CRL-----)",
        )),
    }
}

fn key(text: &str) -> Result<Secret, Problem> {
    if let Some(key) = private_key_der(text.as_bytes()) {
        return Ok(key);
    }
    let message = if text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") {
        "is encrypted; decrypt it with: openssl pkcs8 -in FILE"
    } else if text.contains("PRIVATE KEY-----") {
        "is not in PKCS #8 form; convert it with: openssl pkcs8 -topk8 -nocrypt -in FILE"
    } else {
        "holds no private key in PEM form (-----BEGIN PRIVATE KEY-----)"
    };
    Err(Problem::new(Field::CertificateKey, message))
}

/// Reads the texts and judges whether this system, at the address `local`, can prove itself with
/// them to a peer that has the same authorities and revocation lists.
///
/// # Errors
/// What is wrong, beside its field.
pub fn examine(pem: &Pem, local: Option<IpAddr>) -> Result<Option<Certificates>, Problem> {
    let Some(all) = read(pem)? else {
        return Ok(None);
    };
    // One part more at a time, so that a complaint is about that part.
    let mut part = Certificates {
        authorities: Vec::new(),
        revoked: Vec::new(),
        ..all.clone()
    };
    let usable = |part: &Certificates, field| {
        IkeCertificates::new(part).map_err(|error| Problem::new(field, format!("{error}")))
    };
    if EndEntityCert::try_from(&CertificateDer::from(all.chain[0].as_slice())).is_err() {
        let message = "its first certificate cannot be read; it must be an X.509 version 3 one";
        return Err(Problem::new(Field::Certificate, message));
    }
    usable(&part, Field::CertificateKey)?;
    part.authorities.clone_from(&all.authorities);
    usable(&part, Field::Authorities)?;
    judge(&usable(&part, Field::Authorities)?, local)?;
    let made = usable(&all, Field::RevocationLists)?;
    judge(&made, local).map_err(|problem| match made.revoked.is_empty() {
        true => problem,
        false => Problem::new(Field::RevocationLists, problem.message),
    })?;
    Ok(Some(all))
}

fn judge(made: &IkeCertificates, local: Option<IpAddr>) -> Result<(), Problem> {
    let wrong = |error: CertificateError| Problem::new(Field::Certificate, error.to_string());
    let own = CertificateDer::from(made.chain[0].as_slice());
    let more: Vec<CertificateDer<'_>> = made.chain[1..]
        .iter()
        .map(|der| CertificateDer::from(der.as_slice()))
        .collect();
    let parsed = EndEntityCert::try_from(&own).map_err(|error| wrong(reason(error)))?;
    made.check_path(&parsed, &more, UnixTime::now())
        .map_err(wrong)?;
    super::check_key_usage(&own).map_err(wrong)?;
    if let Some(local) = local {
        let id = Identification::address(local);
        made.check_name(&parsed, local, &id).map_err(|error| {
            let words = "this system's address among the peers, as a subject alternative name";
            Problem::new(Field::Certificate, format!("{error}, {words}"))
        })?;
    }
    Ok(())
}

/// What a page says of the saved certificates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = Certificates)]
pub struct Summary {
    /// Subject of this node's certificate.
    pub subject: String,
    /// Its last day.
    pub valid_until: String,
    /// How many trust anchors.
    pub authorities: usize,
    /// How many revocation lists.
    pub revocation_lists: usize,
}

/// Describes certificates.
pub fn summary(all: &Certificates) -> Summary {
    let own = all.chain.first().map(Vec::as_slice).unwrap_or_default();
    let parsed = x509_parser::parse_x509_certificate(own).ok();
    let (subject, valid_until) = parsed.map_or_else(Default::default, |(_, own)| {
        let until = own.validity().not_after.to_datetime().date().to_string();
        (own.subject().to_string(), until)
    });
    Summary {
        subject,
        valid_until,
        authorities: all.authorities.len(),
        revocation_lists: all.revoked.len(),
    }
}

#[cfg(test)]
mod tests;
