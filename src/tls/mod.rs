//! Certificates, pinning and TLS.
