//! Which columns the expressions of a CREATE TABLE are over: its CHECKs and computed columns.

use super::tokens::{Token, tokens};

/// How a constraint of a table begins, as no column does.
const CONSTRAINTS: [&str; 5] = ["constraint", "primary", "unique", "check", "foreign"];

/// What a CREATE TABLE says of its columns, beyond what SQLite tells.
pub(super) struct Definition {
    tokens: Vec<Token>,
    /// The replicated columns.
    columns: Vec<String>,
    /// The computed ones, each with the replicated columns that it is computed from.
    computed: Vec<(String, Vec<usize>)>,
}

impl Definition {
    /// Of the table that `sql` creates, with the replicated columns of these names.
    pub fn new(sql: &str, columns: Vec<String>) -> Self {
        let mut definition = Definition {
            tokens: tokens(sql),
            columns,
            computed: Vec::new(),
        };
        let expressions: Vec<(String, Vec<Token>)> = definition
            .parts()
            .filter_map(|(name, words)| Some((name.to_owned(), expression(words)?.to_vec())))
            .collect();
        let empty = expressions.iter().map(|(name, _)| (name.clone(), vec![]));
        definition.computed = empty.collect();
        // One may be computed from others: as often as there are, and all is known.
        for _ in 0..expressions.len() {
            for (at, (_, words)) in expressions.iter().enumerate() {
                definition.computed[at].1 = definition.named(words);
            }
        }
        definition
    }

    /// The columns that an expression is over.
    pub fn named(&self, words: &[Token]) -> Vec<usize> {
        let mut found = Vec::new();
        for name in words.iter().filter_map(Token::name) {
            let same = |other: &String| other.eq_ignore_ascii_case(name);
            found.extend(self.columns.iter().position(same));
            let computed = self.computed.iter().find(|(other, _)| same(other));
            found.extend(computed.iter().flat_map(|(_, from)| from));
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The columns that merge as one cell: each value was fine beside those it was written with,
    /// and may be refused beside others.
    pub fn groups(&self) -> Vec<Vec<usize>> {
        let all = self.tokens.iter().enumerate();
        let checks = all.filter(|(_, token)| token.is("check"));
        let checks = checks.map(|(at, _)| self.named(parenthesis(&self.tokens[at + 1..])));
        let computed = self.computed.iter().map(|(_, from)| from.clone());
        checks.chain(computed).collect()
    }

    /// How a column compares unless told otherwise.
    pub fn collation(&self, column: &str) -> Option<&str> {
        let same = |(name, _): &(&str, &[Token])| name.eq_ignore_ascii_case(column);
        let words = self.parts().find(same)?.1;
        // The last one counts.
        let at = outside(words)
            .filter(|&at| words[at].is("collate"))
            .last()?;
        words.get(at + 1)?.name()
    }

    /// The columns with the tokens that follow their names.
    fn parts(&self) -> impl Iterator<Item = (&str, &[Token])> {
        let begin = self.tokens.iter().position(|t| *t == Token::Sign('('));
        let body = begin.map_or(&[][..], |at| parenthesis(&self.tokens[at..]));
        let mut depth = 0;
        let parts = body.split(move |token| {
            match token {
                Token::Sign('(') => depth += 1,
                Token::Sign(')') => depth -= 1,
                _ => {}
            }
            depth == 0 && *token == Token::Sign(',')
        });
        parts.filter_map(|part| {
            let (first, rest) = part.split_first()?;
            let constraint = CONSTRAINTS.iter().any(|word| first.is(word));
            let name = match first {
                // SQLite takes a string for a name where it can be nothing else.
                Token::Literal(text) => text.trim_matches('\''),
                other => other.name()?,
            };
            (!constraint).then_some((name, rest))
        })
    }
}

/// What the first parenthesis is around, if one opens at once.
fn parenthesis(words: &[Token]) -> &[Token] {
    let mut depth = 0;
    for (at, token) in words.iter().enumerate() {
        match token {
            Token::Sign('(') => depth += 1,
            Token::Sign(')') => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return words.get(1..at).unwrap_or_default();
        }
    }
    words.get(1..).unwrap_or_default()
}

/// Where the words are that no parenthesis is around.
fn outside(words: &[Token]) -> impl Iterator<Item = usize> {
    let mut depth = 0;
    let outside = move |(at, token): (usize, &Token)| {
        match token {
            Token::Sign('(') => depth += 1,
            Token::Sign(')') => depth -= 1,
            _ => {}
        }
        (depth == 0).then_some(at)
    };
    words.iter().enumerate().filter_map(outside)
}

/// The expression that a column is computed by.
fn expression(words: &[Token]) -> Option<&[Token]> {
    let at = outside(words).find(|&at| words[at].is("as"))?;
    let rest = &words[at + 1..];
    (rest.first() == Some(&Token::Sign('('))).then(|| parenthesis(rest))
}

/// Groups that share a column are one.
pub(super) fn joined(groups: Vec<Vec<usize>>) -> Vec<Vec<usize>> {
    let mut found: Vec<Vec<usize>> = Vec::new();
    for mut group in groups {
        let shares = |other: &Vec<usize>, group: &[usize]| other.iter().any(|c| group.contains(c));
        while let Some(at) = found.iter().position(|other| shares(other, &group)) {
            group.extend(found.swap_remove(at));
        }
        group.sort_unstable();
        group.dedup();
        found.push(group);
    }
    found.retain(|group| group.len() > 1);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(sql: &str, columns: &[&str]) -> Definition {
        let columns = columns.iter().map(|&name| name.to_owned()).collect();
        Definition::new(sql, columns)
    }

    #[test]
    fn a_check_over_two_columns_ties_them() {
        let sql = "CREATE TABLE t(a, b CHECK (b > 0), c, CHECK (a < c OR 'b' = 'b'))";
        let found = definition(sql, &["a", "b", "c"]);
        assert_eq!(joined(found.groups()), [[0, 2]]);
    }

    #[test]
    fn a_computed_column_stands_for_what_it_is_computed_from() {
        let sql = "CREATE TABLE t(a DECIMAL(5, 2) DEFAULT (1), \"AS\" AS (twice || b), \
                   b TEXT CHECK (CAST(b AS TEXT) <> ''), \
                   twice INT GENERATED ALWAYS AS (a * (2)) STORED, c, d AS (1), \
                   CHECK (twice < c), PRIMARY KEY (a))";
        let found = definition(sql, &["a", "b", "c"]);
        let from: Vec<&[usize]> = found.computed.iter().map(|(_, from)| &from[..]).collect();
        assert_eq!(from, [&[0, 1][..], &[0], &[]]);
        assert_eq!(joined(found.groups()), [[0, 1, 2]]);
    }

    #[test]
    fn a_collation_is_its_columns_own() {
        let sql = "CREATE TABLE t(a TEXT NOT NULL COLLATE binary COLLATE nocase, \
                   b CHECK (b = 'x' COLLATE nocase), PRIMARY KEY (b COLLATE rtrim))";
        let found = definition(sql, &["a", "b"]);
        assert_eq!(found.collation("A"), Some("nocase"));
        assert_eq!(found.collation("b"), None);
    }
}
