//! Just enough of SQL's tokens to see what a CREATE statement declares.

/// One token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// A bare word, as written: a keyword or an identifier.
    Word(String),
    /// A quoted identifier.
    Quoted(String),
    /// A string or number.
    Literal,
    /// Anything else, one character.
    Sign(char),
}

impl Token {
    /// Whether it is this keyword.
    pub fn is(&self, keyword: &str) -> bool {
        matches!(self, Token::Word(word) if word.eq_ignore_ascii_case(keyword))
    }

    /// The identifier it names.
    pub fn name(&self) -> Option<&str> {
        match self {
            Token::Word(name) | Token::Quoted(name) => Some(name),
            _ => None,
        }
    }
}

/// Cuts SQL into tokens, comments dropped.
pub(super) fn tokens(sql: &str) -> Vec<Token> {
    let chars: Vec<char> = sql.chars().collect();
    let (mut out, mut at) = (Vec::new(), 0);
    while at < chars.len() {
        let c = chars[at];
        let next = chars.get(at + 1).copied();
        match c {
            _ if c.is_whitespace() => at += 1,
            '-' if next == Some('-') => at = until(&chars, at, |w| w[0] == '\n'),
            '/' if next == Some('*') => {
                at = until(&chars, at + 2, |w| w[0] == '*' && w.get(1) == Some(&'/')) + 2;
            }
            '\'' => {
                at = quoted(&chars, at, '\'').1;
                out.push(Token::Literal);
            }
            '"' | '`' | '[' => {
                let (name, end) = quoted(&chars, at, if c == '[' { ']' } else { c });
                out.push(Token::Quoted(name));
                at = end;
            }
            _ if c.is_alphanumeric() || c == '_' || !c.is_ascii() => {
                let word = |c: char| c.is_alphanumeric() || c == '_' || c == '$' || !c.is_ascii();
                let end = until(&chars, at, |w| !word(w[0]));
                let text: String = chars[at..end].iter().collect();
                out.push(if c.is_ascii_digit() {
                    Token::Literal
                } else {
                    Token::Word(text)
                });
                at = end;
            }
            _ => {
                out.push(Token::Sign(c));
                at += 1;
            }
        }
    }
    out
}

fn until(chars: &[char], from: usize, stop: impl Fn(&[char]) -> bool) -> usize {
    (from..chars.len())
        .find(|&at| stop(&chars[at..]))
        .unwrap_or(chars.len())
}

/// The text between quotes (doubled ones undone) and where it ends.
fn quoted(chars: &[char], start: usize, close: char) -> (String, usize) {
    let (mut text, mut at) = (String::new(), start + 1);
    while at < chars.len() {
        if chars[at] == close {
            if chars.get(at + 1) == Some(&close) && close != ']' {
                at += 1;
            } else {
                return (text, at + 1);
            }
        }
        text.push(chars[at]);
        at += 1;
    }
    (text, at)
}

/// What a CREATE statement makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Created {
    /// `table` or `index`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
}

/// Recognizes one CREATE TABLE or CREATE [UNIQUE] INDEX; anything else is `None`.
pub(super) fn created(sql: &str) -> Option<Created> {
    let all = tokens(sql);
    let mut rest = all.as_slice();
    let mut take = |keyword: &str| match rest.first() {
        Some(token) if token.is(keyword) => {
            rest = &rest[1..];
            true
        }
        _ => false,
    };
    if !take("create") {
        return None;
    }
    take("unique");
    let kind = if take("table") {
        "table"
    } else if take("index") {
        "index"
    } else {
        return None;
    };
    if take("if") {
        take("not");
        take("exists");
    }
    let name = rest.first()?.name()?.to_owned();
    let single = |at: usize| at + 1 == all.len();
    let semicolon = all.iter().position(|token| *token == Token::Sign(';'));
    (semicolon.is_none_or(single)).then_some(Created { kind, name })
}

/// The columns that each CHECK of a CREATE TABLE names together.
pub(super) fn check_groups(sql: &str, columns: &[String]) -> Vec<Vec<usize>> {
    let all = tokens(sql);
    let mut groups = Vec::new();
    for at in 0..all.len() {
        if !all[at].is("check") {
            continue;
        }
        let (mut depth, mut group) = (0, Vec::new());
        for token in &all[at + 1..] {
            match token {
                Token::Sign('(') => depth += 1,
                Token::Sign(')') => depth -= 1,
                _ => {
                    let named = |column: &String| {
                        token.name().is_some_and(|n| n.eq_ignore_ascii_case(column))
                    };
                    group.extend(columns.iter().position(named));
                }
            }
            if depth == 0 {
                break;
            }
        }
        group.sort_unstable();
        group.dedup();
        if group.len() > 1 {
            groups.push(group);
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_through_quotes_and_comments() {
        let sql = "CREATE /* x */ TABLE IF NOT EXISTS \"a \"\"b\"(id INTEGER PRIMARY KEY) -- end";
        let made = created(sql).unwrap();
        assert_eq!((made.kind, made.name.as_str()), ("table", "a \"b"));
        assert_eq!(
            created("CREATE UNIQUE INDEX i ON t(a);").unwrap().kind,
            "index"
        );
        assert_eq!(created("DROP TABLE t"), None);
        assert_eq!(created("CREATE TABLE a(b); DROP TABLE c"), None);
    }

    #[test]
    fn a_check_over_two_columns_ties_them() {
        let columns = ["a", "b", "c"].map(String::from);
        let sql = "CREATE TABLE t(a, b CHECK (b > 0), c, CHECK (a < c OR 'b' = 'b'))";
        assert_eq!(check_groups(sql, &columns), vec![vec![0, 2]]);
    }
}
