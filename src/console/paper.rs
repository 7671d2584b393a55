//! How text is put on the terminal: as wide as it is, with marks where it shows them.

use std::env;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;

use crate::setup::wrap::wrap;
use crate::sys::terminal::columns;

/// A serial line says nothing of its width; terminals had 80 columns.
const WIDTH: usize = 80;
/// The narrowest that is taken for true.
const NARROW: usize = 20;
const BOLD: &str = "\u{1b}[1m";
const RED: &str = "\u{1b}[1;31m";
const END: &str = "\u{1b}[0m";

/// What the terminal is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paper {
    /// The last column stays free: some terminals begin a new line when it is written.
    width: usize,
    marks: bool,
}

impl Paper {
    /// That of the standard output. Marks need a terminal that is no dumb one by its `TERM`.
    pub fn of_output() -> Self {
        let out = io::stdout();
        let terminal = out.is_terminal();
        let size = terminal.then(|| columns(out.as_fd())).flatten();
        let kind = env::var("TERM").unwrap_or_default();
        let plain = env::var_os("NO_COLOR").is_some_and(|set| !set.is_empty());
        Self::new(
            size.map(usize::from),
            terminal && !plain && shows_marks(&kind),
        )
    }

    fn new(columns: Option<usize>, marks: bool) -> Self {
        let columns = columns.filter(|columns| *columns >= NARROW);
        Self {
            width: columns.unwrap_or(WIDTH) - 1,
            marks,
        }
    }

    /// Text in lines of this width; a heading `Summary` and lines that begin with `!` are marked.
    pub fn text(&self, text: &str) -> String {
        let mut wrong = false;
        let mark = |line: &str| {
            wrong = line.trim_start().starts_with("! ") || wrong && line.starts_with("    ");
            match (line, wrong) {
                (line, true) => self.marked(RED, line),
                ("Summary", _) => self.marked(BOLD, line),
                _ => line.to_owned(),
            }
        };
        let lines: Vec<String> = wrap(text, self.width).lines().map(mark).collect();
        lines.join("\n")
    }

    /// A heading.
    pub fn heading(&self, text: &str) -> String {
        self.marked(BOLD, &wrap(text, self.width))
    }

    /// What is wrong.
    pub fn wrong(&self, text: &str) -> String {
        self.marked(RED, &wrap(text, self.width))
    }

    /// What is asked, and what an empty answer means.
    pub fn prompt(&self, asked: &str, default: Option<&str>) -> String {
        let default = default.map_or(String::new(), |default| format!(" [{default}]"));
        let text = wrap(&format!("{asked}{default}:"), self.width - 1);
        // What is asked is never wrapped on a terminal that is wide enough for it.
        let text = match text.strip_prefix(asked) {
            Some(rest) => self.marked(BOLD, asked) + rest,
            None => text,
        };
        text + " "
    }

    fn marked(&self, mark: &str, text: &str) -> String {
        match self.marks && !text.is_empty() {
            true => format!("{mark}{text}{END}"),
            false => text.to_owned(),
        }
    }
}

/// Every terminal but a dumb one takes SGR (ECMA-48, 8.3.117), whatever it shows of it.
fn shows_marks(kind: &str) -> bool {
    !matches!(kind, "" | "dumb" | "unknown" | "network" | "dialup")
}

/// Writes at once.
pub fn say(text: &str) -> io::Result<()> {
    let mut out = io::stdout();
    out.write_all(text.as_bytes())?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dumb_terminal_gets_text_alone_and_a_good_one_marks() {
        let dumb = Paper::new(None, false);
        let good = Paper::new(None, true);
        let text = "Summary\n  SSH  off\n  ! No NTP server.";
        assert_eq!(dumb.text(text), text);
        let marked =
            "\u{1b}[1mSummary\u{1b}[0m\n  SSH  off\n\u{1b}[1;31m  ! No NTP server.\u{1b}[0m";
        assert_eq!(good.text(text), marked);
        assert_eq!(dumb.wrong("no"), "no");
        assert_eq!(good.wrong("no"), "\u{1b}[1;31mno\u{1b}[0m");
        assert_eq!(dumb.prompt("Name", Some("one")), "Name [one]: ");
        assert_eq!(good.prompt("Name", None), "\u{1b}[1mName\u{1b}[0m: ");
        for (kind, marks) in [
            ("vt220", true),
            ("linux", true),
            ("dumb", false),
            ("", false),
        ] {
            assert_eq!(shows_marks(kind), marks, "{kind}");
        }
    }

    #[test]
    fn a_width_that_cannot_be_is_eighty() {
        for none in [None, Some(0), Some(7)] {
            assert_eq!(Paper::new(none, false), Paper::new(Some(80), false));
        }
        let narrow = Paper::new(Some(24), true);
        let said = narrow.text("  ! This is a longer line than that.");
        assert!(said.lines().all(|line| line.starts_with(RED)), "{said}");
        assert!(said.lines().count() == 2, "{said}");
    }
}
