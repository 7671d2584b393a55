//! ISAKMP messages and payloads (RFC 7296 section 3).
