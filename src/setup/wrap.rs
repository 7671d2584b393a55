//! Text in lines of a terminal's width.

/// Wraps what is longer than `width` columns at blanks. A line goes on below where its words began:
/// behind a label (two blanks or more end one), behind a mark, or as far in as it began itself. A
/// word that is longer than a line stays whole.
pub fn wrap(text: &str, width: usize) -> String {
    let lines: Vec<String> = text.lines().map(|line| wrap_line(line, width)).collect();
    lines.join("\n")
}

fn wrap_line(line: &str, width: usize) -> String {
    if line.chars().count() <= width {
        return line.to_owned();
    }
    let (head, words) = line.split_at(hang(line));
    let indent = " ".repeat(head.chars().count());
    let mut lines = vec![head.to_owned()];
    let mut empty = true;
    for word in words.split(' ').filter(|word| !word.is_empty()) {
        let last = lines.last_mut().expect("it began with one");
        let long = last.chars().count() + usize::from(!empty) + word.chars().count();
        if empty || long <= width {
            if !empty {
                last.push(' ');
            }
            last.push_str(word);
        } else {
            lines.push(format!("{indent}{word}"));
        }
        empty = false;
    }
    lines.join("\n")
}

/// Where the words of a line begin, in octets.
fn hang(line: &str) -> usize {
    let begin = line.len() - line.trim_start_matches(' ').len();
    let rest = &line[begin..];
    if rest.starts_with("! ") {
        return begin + 2;
    }
    let label = rest.find("  ").filter(|_| begin > 0);
    label.map_or(begin, |end| {
        let value = rest[end..].trim_start_matches(' ');
        line.len() - value.len()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_goes_on_below_where_its_words_began() {
        assert_eq!(wrap("one two three", 20), "one two three");
        assert_eq!(wrap("one two three", 8), "one two\nthree");
        assert_eq!(wrap("one\ntwo three four", 9), "one\ntwo three\nfour");
        assert_eq!(wrap("  DNS  a.b c.d e.f", 14), "  DNS  a.b c.d\n       e.f");
        assert_eq!(wrap("  ! it is so", 8), "  ! it\n    is\n    so");
        assert_eq!(wrap("  Expected this", 12), "  Expected\n  this");
    }

    #[test]
    fn nothing_is_lost_where_nothing_fits() {
        assert_eq!(
            wrap("2001:db8::1234 and more", 5),
            "2001:db8::1234\nand\nmore"
        );
        assert_eq!(wrap("", 10), "");
        assert_eq!(wrap("a\n\nb", 10), "a\n\nb");
        assert_eq!(wrap("    ", 2), "    ");
    }
}
