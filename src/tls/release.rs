//! The release key: who built an image signs what it is, and each system checks it of its own.

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;
use webpki::ring::RSA_PKCS1_2048_8192_SHA256;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Who signed the release, if it is one and of this version.
///
/// `statement` is what was signed (`version = "..."` among its lines), `signature` RSA with
/// SHA-256, `certificate` the builder's.
///
/// # Errors
/// In an operator's words.
pub fn check(
    statement: &[u8],
    signature: &[u8],
    certificate: &[u8],
    version: &str,
) -> Result<String, String> {
    let unreadable = |_| "the builder's certificate cannot be read".to_owned();
    let der = CertificateDer::from(certificate);
    let builder = EndEntityCert::try_from(&der).map_err(unreadable)?;
    builder
        .verify_signature(RSA_PKCS1_2048_8192_SHA256, statement, signature)
        .map_err(|_| "the release is not what its builder signed".to_owned())?;
    let line = format!("version = \"{version}\"");
    let text = str::from_utf8(statement).unwrap_or_default();
    if !text.lines().any(|candidate| candidate == line) {
        return Err(format!("it is for another version than {version}"));
    }
    let (_, parsed) = X509Certificate::from_der(certificate)
        .map_err(|_| "the builder's certificate cannot be read".to_owned())?;
    let name = parsed.subject().iter_common_name().next();
    let name = name.and_then(|name| name.as_str().ok());
    Ok(name.unwrap_or("a builder without a name").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn openssl(dir: &std::path::Path, arguments: &str) {
        let mut command = Command::new("openssl");
        let done = command
            .args(arguments.split_whitespace())
            .current_dir(dir)
            .output()
            .expect("openssl is installed");
        assert!(done.status.success(), "openssl {arguments}: {done:?}");
    }

    #[test]
    fn a_release_counts_as_its_builder_signed_it_and_for_its_version_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        let read = |name: &str| std::fs::read(path.join(name)).unwrap();
        std::fs::write(path.join("release"), "version = \"0.1.0\"\n").unwrap();
        openssl(
            path,
            "req -x509 -newkey rsa:2048 -sha256 -nodes -days 2 -subj /CN=builder \
             -keyout key.pem -out cert.der -outform DER",
        );
        openssl(path, "dgst -sha256 -sign key.pem -out sig release");
        let (statement, signature, cert) = (read("release"), read("sig"), read("cert.der"));
        let found = check(&statement, &signature, &cert, "0.1.0");
        assert_eq!(found.as_deref(), Ok("builder"));
        let other = check(&statement, &signature, &cert, "0.1.1").unwrap_err();
        assert!(other.contains("another version"), "{other}");
        let altered = check(b"version = \"0.1.1\"\n", &signature, &cert, "0.1.1").unwrap_err();
        assert!(altered.contains("signed"), "{altered}");
        assert!(check(&statement, &signature, b"no certificate", "0.1.0").is_err());
    }
}
