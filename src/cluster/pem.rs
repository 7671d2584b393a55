//! The certificate fields as they are kept: PEM texts (RFC 7468). What is in them is judged by
//! `tls`; here only whether they are there and not too long.

use zeroize::Zeroizing;

use super::{Field, Problem};

/// Longest text of one field, in bytes: `serve` passes all four to `ike` in one message.
pub const TEXT_MAX: usize = 128 * 1024;

/// The four texts; empty is none.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Pem {
    /// This node's certificate, then intermediate ones.
    pub certificate: String,
    /// Its private key.
    pub key: Zeroizing<String>,
    /// Trust anchors.
    pub authorities: String,
    /// Revocation lists; may be empty.
    pub revocation_lists: String,
}

/// What an operator typed: `None` leaves what is saved, empty deletes it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PemChange {
    /// Certificate and intermediate ones. Without any there is no key either.
    pub certificate: Option<String>,
    /// The private key.
    pub key: Option<Zeroizing<String>>,
    /// Trust anchors.
    pub authorities: Option<String>,
    /// Revocation lists.
    pub revocation_lists: Option<String>,
}

impl PemChange {
    /// What is kept after this change of `old`.
    pub fn apply(&self, old: &Pem) -> Pem {
        let text = |new: &Option<String>, old: &str| match new {
            Some(new) => new.trim().to_owned(),
            None => old.to_owned(),
        };
        let certificate = text(&self.certificate, &old.certificate);
        let key = match &self.key {
            _ if certificate.is_empty() => Zeroizing::default(),
            Some(new) => Zeroizing::new(new.trim().to_owned()),
            None => old.key.clone(),
        };
        Pem {
            certificate,
            key,
            authorities: text(&self.authorities, &old.authorities),
            revocation_lists: text(&self.revocation_lists, &old.revocation_lists),
        }
    }
}

impl Pem {
    /// Checks sizes, and that all is there that authentication by certificates needs.
    pub(super) fn check(&self, needed: bool, problems: &mut Vec<Problem>) {
        let all = [
            (Field::Certificate, self.certificate.as_str(), true),
            (Field::CertificateKey, self.key.as_str(), true),
            (Field::Authorities, self.authorities.as_str(), true),
            (
                Field::RevocationLists,
                self.revocation_lists.as_str(),
                false,
            ),
        ];
        for (field, text, must) in all {
            if text.len() > TEXT_MAX {
                let message = format!("is longer than {} KiB", TEXT_MAX / 1024);
                problems.push(Problem::new(field, message));
            } else if needed && must && text.is_empty() {
                let message = "is missing; authentication by certificates needs it, in PEM form";
                problems.push(Problem::new(field, message));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_typed_is_kept_and_no_key_outlives_its_certificate() {
        let first = PemChange {
            certificate: Some(" one\n".into()),
            key: Some(Zeroizing::new("two".into())),
            authorities: Some("three".into()),
            revocation_lists: None,
        };
        let kept = first.apply(&Pem::default());
        assert_eq!(
            (kept.certificate.as_str(), kept.key.as_str()),
            ("one", "two")
        );
        assert!(PemChange::default().apply(&kept) == kept);
        let gone = PemChange {
            certificate: Some(String::new()),
            ..PemChange::default()
        };
        assert!(gone.apply(&kept).key.is_empty());
    }

    #[test]
    fn what_is_missing_or_too_long_is_told_beside_its_field() {
        let long = Pem {
            revocation_lists: "x".repeat(TEXT_MAX + 1),
            ..Pem::default()
        };
        let mut problems = Vec::new();
        long.check(true, &mut problems);
        let fields: Vec<Field> = problems.iter().map(|p| p.field).collect();
        let wanted = [
            Field::Certificate,
            Field::CertificateKey,
            Field::Authorities,
            Field::RevocationLists,
        ];
        assert_eq!(fields, wanted);
    }
}
