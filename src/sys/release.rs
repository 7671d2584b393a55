//! What the image that this system was started from is.

use std::sync::OnceLock;

/// Who built the image says so here, and signs it.
const RELEASE: &str = "/usr/share/tutti/release";

/// The version, with the state of the sources it was built from: `0.1.0 (d764aa1c6b2f)`. Outside an
/// image the version alone.
pub fn version() -> &'static str {
    static VERSION: OnceLock<String> = OnceLock::new();
    VERSION.get_or_init(|| {
        let statement = std::fs::read_to_string(RELEASE).unwrap_or_default();
        with_build(env!("CARGO_PKG_VERSION"), &statement)
    })
}

/// `build = "..."` is one of the lines of the statement; what git would not say is not shown.
fn with_build(version: &str, statement: &str) -> String {
    let build = statement.lines().find_map(|line| {
        let value = line.strip_prefix("build = \"")?;
        value.strip_suffix('"')
    });
    let fine = |build: &&str| {
        (1..=40).contains(&build.len())
            && build
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    match build.filter(fine) {
        Some(build) => format!("{version} ({build})"),
        None => version.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_says_what_it_was_built_from() {
        let statement = "version = \"0.1.0\"\nbuild = \"d764aa1c6b2f-dirty\"\n";
        assert_eq!(with_build("0.1.0", statement), "0.1.0 (d764aa1c6b2f-dirty)");
        for none in [
            "",
            "build = \"\"\n",
            "build = \"a\\nb\"\n",
            "build = \"\u{1b}[2J\"\n",
        ] {
            assert_eq!(with_build("0.1.0", none), "0.1.0", "{none}");
        }
    }
}
