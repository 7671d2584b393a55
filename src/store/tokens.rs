//! Just enough of SQL's tokens to see what a CREATE or DROP statement declares.

use std::ops::Range;

use crate::replica::schema::Kind;

/// One token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// A bare word, as written: a keyword or an identifier.
    Word(String),
    /// A quoted identifier.
    Quoted(String),
    /// A string or number, as written.
    Literal(String),
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

/// Whether a table of the engine is named; SQLite takes a text, too, where a name must stand.
pub(super) fn names_engine(words: &[Token]) -> bool {
    const BEFORE: [&str; 10] = [
        "into", "update", "from", "join", "replace", "ignore", "abort", "fail", "rollback", "on",
    ];
    let ours = |name: &str| name.to_ascii_lowercase().starts_with("_tutti_");
    let named = |at: usize| match (&words[at], at.checked_sub(1).map(|at| &words[at])) {
        (Token::Literal(text), Some(before)) => {
            let place = *before == Token::Sign('.') || BEFORE.iter().any(|word| before.is(word));
            place && ours(text.trim_matches('\''))
        }
        (word, _) => word.name().is_some_and(ours),
    };
    (0..words.len()).any(named)
}

/// Cuts SQL into tokens, comments dropped.
pub(super) fn tokens(sql: &str) -> Vec<Token> {
    let chars: Vec<char> = sql.chars().collect();
    spans(&chars).into_iter().map(|span| span.0).collect()
}

/// The tokens with the characters each is made of.
pub(super) fn spans(chars: &[char]) -> Vec<(Token, Range<usize>)> {
    let (mut out, mut at): (Vec<(Token, Range<usize>)>, usize) = (Vec::new(), 0);
    while at < chars.len() {
        let (c, start) = (chars[at], at);
        let next = chars.get(at + 1).copied();
        match c {
            _ if c.is_whitespace() => at += 1,
            '-' if next == Some('-') => at = until(chars, at, |w| w[0] == '\n'),
            '/' if next == Some('*') => {
                at = until(chars, at + 2, |w| w[0] == '*' && w.get(1) == Some(&'/')) + 2;
            }
            '\'' => {
                let (text, end) = quoted(chars, at, '\'');
                out.push((Token::Literal(format!("'{text}'")), start..end));
                at = end;
            }
            '"' | '`' | '[' => {
                let (name, end) = quoted(chars, at, if c == '[' { ']' } else { c });
                out.push((Token::Quoted(name), start..end));
                at = end;
            }
            _ if c.is_alphanumeric() || c == '_' || !c.is_ascii() => {
                let word = |c: char| c.is_alphanumeric() || c == '_' || c == '$' || !c.is_ascii();
                let end = until(chars, at, |w| !word(w[0]));
                let text: String = chars[at..end].iter().collect();
                let token = match c.is_ascii_digit() {
                    true => Token::Literal(text),
                    false => Token::Word(text),
                };
                out.push((token, start..end));
                at = end;
            }
            _ => {
                at += 1;
                out.push((Token::Sign(c), start..at));
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

/// What a CREATE or DROP statement declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    /// Whether it is a DROP.
    pub drops: bool,
    pub kind: Kind,
    pub name: String,
    /// The table that a created index or trigger belongs to.
    pub on: Option<String>,
    /// The tokens that make it what it is.
    tokens: Vec<Token>,
}

impl Statement {
    /// Whether a list of columns follows a table's name, and no SELECT.
    pub fn lists_columns(&self) -> bool {
        self.tokens.get(1) == Some(&Token::Sign('('))
    }

    /// Its tokens as written.
    pub fn words(&self) -> Vec<String> {
        let word = |token: &Token| match token {
            Token::Word(text) | Token::Quoted(text) | Token::Literal(text) => text.clone(),
            Token::Sign(sign) => sign.to_string(),
        };
        self.tokens.iter().map(word).collect()
    }

    /// Whether it declares the same, in whatever case its words are written.
    pub fn same(&self, other: &Statement) -> bool {
        let pairs = || self.tokens.iter().zip(&other.tokens);
        self.tokens.len() == other.tokens.len()
            && pairs().all(|(a, b)| match (a.name(), b.name()) {
                (Some(a), Some(b)) => a.eq_ignore_ascii_case(b),
                _ => a == b,
            })
    }
}

/// Recognizes one CREATE TABLE, CREATE [UNIQUE] INDEX, CREATE TRIGGER or a DROP of one of these;
/// anything else is `None`.
pub(super) fn statement(sql: &str) -> Option<Statement> {
    let all = tokens(sql);
    let mut rest = all.as_slice();
    let drops = take(&mut rest, "drop");
    if !drops && !take(&mut rest, "create") {
        return None;
    }
    let unique = !drops && take(&mut rest, "unique");
    let kinds = [Kind::Table, Kind::Index, Kind::Trigger].into_iter();
    let kind = kinds
        .filter(|kind| !unique || *kind == Kind::Index)
        .find(|kind| take(&mut rest, kind.word()))?;
    if take(&mut rest, "if") {
        take(&mut rest, "not");
        take(&mut rest, "exists");
    }
    let name = rest.first()?.name()?.to_owned();
    // A name of another database has no place here.
    if rest.get(1) == Some(&Token::Sign('.')) {
        return None;
    }
    let on = match (drops, kind) {
        (false, Kind::Index | Kind::Trigger) => {
            let at = rest.iter().position(|token| token.is("on"))?;
            Some(rest.get(at + 1)?.name()?.to_owned())
        }
        _ => None,
    };
    while rest.last() == Some(&Token::Sign(';')) {
        rest = &rest[..rest.len() - 1];
    }
    let unique = unique.then(|| Token::Word("UNIQUE".into()));
    Some(Statement {
        drops,
        kind,
        name,
        on,
        tokens: unique.into_iter().chain(rest.iter().cloned()).collect(),
    })
}

/// Whether a statement makes a virtual table, which is no declaration.
pub(super) fn is_virtual(sql: &str) -> bool {
    let all = tokens(sql);
    let mut rest = all.as_slice();
    take(&mut rest, "create") && take(&mut rest, "virtual")
}

fn take(rest: &mut &[Token], keyword: &str) -> bool {
    let found = rest.first().is_some_and(|token| token.is(keyword));
    if found {
        *rest = &rest[1..];
    }
    found
}

/// Cuts a script into its statements, triggers whole.
pub(super) fn script(sql: &str) -> Vec<String> {
    let chars: Vec<char> = sql.chars().collect();
    let (mut found, mut start, mut open) = (Vec::new(), None, 0);
    for (token, span) in spans(&chars) {
        let begin = *start.get_or_insert(span.start);
        if token.is("begin") || token.is("case") {
            open += 1;
        } else if token.is("end") {
            open -= 1;
        } else if token == Token::Sign(';') && open <= 0 {
            if span.start > begin {
                found.push(chars[begin..span.start].iter().collect());
            }
            (start, open) = (None, 0);
        }
    }
    found.extend(start.map(|begin| chars[begin..].iter().collect()));
    found
}

/// The WHERE of a CREATE INDEX, as written, with its tokens.
pub(super) fn predicate(sql: &str) -> Option<(String, Vec<Token>)> {
    let chars: Vec<char> = sql.chars().collect();
    let spans = spans(&chars);
    let at = spans.iter().position(|span| span.0.is("where"))?;
    let tail = &spans[at + 1..];
    let end = tail
        .iter()
        .rev()
        .find(|span| span.0 != Token::Sign(';'))
        .map(|span| span.1.end)?;
    let text = chars.get(tail.first()?.1.start..end)?.iter().collect();
    Some((text, tail.iter().map(|span| span.0.clone()).collect()))
}

/// What in an expression may fail, depending on the row: the first name that is called like a
/// function (`IN (...)`, `CAST(...)` and such are none), an arrow, which reads JSON, or a pattern
/// that the row may choose.
pub(super) fn fallible(words: &[Token]) -> Option<String> {
    let arrow = [Token::Sign('-'), Token::Sign('>')];
    if words.windows(2).any(|two| *two == arrow) {
        return Some("->".into());
    }
    let called = called(words).map(|name| format!("{name}()"));
    called.or_else(|| patterned(words))
}

/// `LIKE` and `GLOB`, but for a pattern that is a text of a length that SQLite takes, without
/// ESCAPE.
fn patterned(words: &[Token]) -> Option<String> {
    const PATTERN_MAX: usize = 50_000;
    let fails = |(at, word): (usize, &Token)| match word {
        word if word.is("escape") => true,
        word if word.is("like") || word.is("glob") => {
            !matches!(words.get(at + 1), Some(Token::Literal(text)) if text.len() < PATTERN_MAX)
        }
        _ => false,
    };
    let at = words.iter().enumerate().position(fails)?;
    words[at].name().map(str::to_uppercase)
}

fn called(words: &[Token]) -> Option<&str> {
    const NONE: [&str; 9] = [
        "in", "and", "or", "not", "is", "cast", "between", "then", "when",
    ];
    let calls = |two: &[Token]| match &two[0] {
        Token::Word(word) => {
            two[1] == Token::Sign('(') && !NONE.contains(&word.to_ascii_lowercase().as_str())
        }
        Token::Quoted(_) => two[1] == Token::Sign('('),
        _ => false,
    };
    words[words.windows(2).position(calls)?].name()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_through_quotes_and_comments() {
        let sql = "CREATE /* x */ TABLE IF NOT EXISTS \"a \"\"b\"(id INTEGER PRIMARY KEY) -- end";
        let made = statement(sql).unwrap();
        assert_eq!((made.kind, made.name.as_str()), (Kind::Table, "a \"b"));
        let index = statement("CREATE UNIQUE INDEX i ON t(a);").unwrap();
        assert_eq!((index.kind, index.on.as_deref()), (Kind::Index, Some("t")));
        let trigger = "CREATE TRIGGER x AFTER UPDATE OF a ON t BEGIN DELETE FROM u; END";
        let trigger = statement(trigger).unwrap();
        assert_eq!(
            (trigger.kind, trigger.on.as_deref()),
            (Kind::Trigger, Some("t"))
        );
        assert!(statement("DROP TABLE t").unwrap().drops);
        for other in [
            "DROP VIEW t",
            "CREATE TEMP TABLE a(b)",
            "CREATE TABLE temp.a(b)",
            "SELECT 1",
        ] {
            assert_eq!(statement(other), None, "{other}");
        }
    }

    #[test]
    fn a_declaration_is_its_words_not_its_spelling() {
        let read = |sql| statement(sql).unwrap();
        let plain = read("CREATE TABLE t(a INTEGER PRIMARY KEY, b DEFAULT 'X')");
        let spaced =
            read("create table IF NOT EXISTS t ( \"a\" INTEGER PRIMARY KEY,b DEFAULT 'X' );");
        let shouted = read("CREATE TABLE T(A integer PRIMARY KEY, b DEFAULT 'X')");
        let other = read("CREATE TABLE t(a INTEGER PRIMARY KEY, b DEFAULT 'x')");
        assert!(plain.words() == spaced.words() && plain.same(&spaced));
        assert!(plain.words() != shouted.words() && plain.same(&shouted));
        assert!(!plain.same(&other));
        assert!(!read("CREATE INDEX i ON t(a)").same(&read("CREATE UNIQUE INDEX i ON t(a)")));
    }

    #[test]
    fn a_script_is_cut_into_statements_and_triggers_stay_whole() {
        let trigger = "CREATE TRIGGER x AFTER INSERT ON t BEGIN \
                       UPDATE t SET a = CASE WHEN b THEN ';' ELSE 1 END; DELETE FROM u; END";
        let sql = format!("-- two;\nCREATE TABLE t(a);; {trigger};\nDROP TABLE u -- end");
        let found = script(&sql);
        assert_eq!(found[..2], ["CREATE TABLE t(a)", trigger]);
        assert!(found[2].starts_with("DROP TABLE u") && found.len() == 3);
        assert!(script(" ; -- nothing").is_empty());
    }

    #[test]
    fn a_predicate_is_cut_out_as_written() {
        let sql = "CREATE UNIQUE INDEX i ON t(a) WHERE b > 'a  where' AND c IN (1, 2) ; -- x";
        let (text, words) = predicate(sql).unwrap();
        assert_eq!(text, "b > 'a  where' AND c IN (1, 2)");
        assert_eq!(called(&words), None);
        let (_, words) = predicate("CREATE INDEX i ON t(a) WHERE json(b) = 1").unwrap();
        assert_eq!(called(&words), Some("json"));
        assert_eq!(predicate("CREATE INDEX i ON t(a)"), None);
    }
}
