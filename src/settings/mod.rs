//! Typed configuration with validation; unknown fields are refused.
