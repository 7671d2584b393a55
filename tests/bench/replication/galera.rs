//! The same rows through Debian's MariaDB Galera, by `tests/bench/galera.sh`.

use std::fmt::Write as _;
use std::process::{Command, Stdio};

use super::Report;
use super::peers::{CONVERGE_ROWS, CONVERGE_SIZE};
use super::rows::columns;
use super::sample::on_disk;

/// The rows as SQL: one INSERT for each transaction, or one for each row.
fn sql(statements: bool) -> String {
    let mut text = String::new();
    for id in 0..CONVERGE_ROWS {
        let (name, amount, remark) = columns(id);
        let first = id % CONVERGE_SIZE == 0;
        let last = (id + 1) % CONVERGE_SIZE == 0;
        text.push_str(match (statements, first) {
            (true, true) => "BEGIN;\nINSERT INTO item(id, name, amount, remark) VALUES",
            (_, true) | (true, _) => "INSERT INTO item(id, name, amount, remark) VALUES",
            (false, false) => ",",
        });
        // The texts hold nothing that SQL would have quoted.
        let _ = write!(text, "\n({id}, '{name}', {amount}, '{remark}')");
        text.push_str(match (statements, last) {
            (true, true) => ";\nCOMMIT;\n",
            (true, false) | (false, true) => ";\n",
            (false, false) => "",
        });
    }
    text
}

/// Prints Galera's rates, and ours, measured just before, as a multiple of the durable ones.
pub fn galera(report: &mut Report) {
    if !report.values.contains_key("converge_rows_per_s") {
        super::peers::converge(report);
    }
    let dir = on_disk();
    std::fs::write(dir.path().join("rows.sql"), sql(false)).unwrap();
    std::fs::write(dir.path().join("statements.sql"), sql(true)).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bench/galera.sh");
    let output = Command::new(script)
        .arg(dir.path())
        .arg(CONVERGE_ROWS.to_string())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    if !output.status.success() {
        report.fail("Galera did not run here, so there is no galera_ratio");
        return;
    }
    let lines = String::from_utf8(output.stdout).unwrap();
    for (name, value) in lines.lines().filter_map(|line| line.split_once(": ")) {
        report.line(name, value.parse().unwrap());
    }
    let rate = |name: &str| report.values[name];
    let ours = rate("converge_rows_per_s");
    let ratios = ["galera_rows_per_s", "galera_statement_rows_per_s"].map(|name| ours / rate(name));
    report.line("galera_ratio", ratios[0]);
    report.line("galera_statement_ratio", ratios[1]);
}
