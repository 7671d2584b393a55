//! Just enough of Rust's lexical grammar to tell names from comments, strings and lifetimes.

use std::collections::BTreeSet;

/// One identifier or one punctuation character (`::` is one token), with its line from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub text: String,
    pub line: usize,
}

/// The tokens of a source text; comments, literals and lifetimes leave none.
pub fn tokens(source: &str) -> Vec<Token> {
    lex(source).found
}

/// The lines that a raw string touches.
pub fn raw_string_lines(source: &str) -> BTreeSet<usize> {
    lex(source).raw
}

fn lex(source: &str) -> Lexer {
    let mut lexer = Lexer {
        chars: source.chars().collect(),
        at: 0,
        line: 1,
        found: Vec::new(),
        raw: BTreeSet::new(),
    };
    while lexer.at < lexer.chars.len() {
        lexer.step();
    }
    lexer
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
    line: usize,
    found: Vec<Token>,
    raw: BTreeSet<usize>,
}

impl Lexer {
    fn peek(&self, ahead: usize) -> char {
        self.chars.get(self.at + ahead).copied().unwrap_or('\0')
    }

    fn advance(&mut self) {
        if self.peek(0) == '\n' {
            self.line += 1;
        }
        self.at += 1;
    }

    fn skip(&mut self, count: usize) {
        for _ in 0..count {
            self.advance();
        }
    }

    fn step(&mut self) {
        let c = self.peek(0);
        match c {
            '/' if self.peek(1) == '/' => {
                while self.at < self.chars.len() && self.peek(0) != '\n' {
                    self.advance();
                }
            }
            '/' if self.peek(1) == '*' => self.block_comment(),
            '"' => self.string(),
            '\'' => self.quote(),
            _ if c.is_alphabetic() || c == '_' => self.word(),
            _ if c.is_ascii_digit() => {
                while self.peek(0).is_alphanumeric() || self.peek(0) == '_' {
                    self.advance();
                }
            }
            ':' if self.peek(1) == ':' => {
                self.push("::".into());
                self.skip(2);
            }
            _ => {
                if !c.is_whitespace() {
                    self.push(c.to_string());
                }
                self.advance();
            }
        }
    }

    fn push(&mut self, text: String) {
        let line = self.line;
        self.found.push(Token { text, line });
    }

    fn block_comment(&mut self) {
        let mut depth = 0;
        while self.at < self.chars.len() {
            if self.peek(0) == '/' && self.peek(1) == '*' {
                depth += 1;
                self.skip(2);
            } else if self.peek(0) == '*' && self.peek(1) == '/' {
                depth -= 1;
                self.skip(2);
                if depth == 0 {
                    return;
                }
            } else {
                self.advance();
            }
        }
    }

    fn string(&mut self) {
        self.advance();
        while self.at < self.chars.len() {
            match self.peek(0) {
                '\\' => self.skip(2),
                '"' => return self.advance(),
                _ => self.advance(),
            }
        }
    }

    /// A character literal, or a lifetime.
    fn quote(&mut self) {
        if self.peek(1) == '\\' {
            self.skip(3);
            while self.at < self.chars.len() && self.peek(0) != '\'' {
                self.advance();
            }
            self.advance();
        } else if self.peek(2) == '\'' {
            self.skip(3);
        } else {
            self.advance();
            while self.peek(0).is_alphanumeric() || self.peek(0) == '_' {
                self.advance();
            }
        }
    }

    /// An identifier, or the prefix of a (raw) string.
    fn word(&mut self) {
        let start = self.at;
        while self.peek(0).is_alphanumeric() || self.peek(0) == '_' {
            self.advance();
        }
        let text: String = self.chars[start..self.at].iter().collect();
        let prefix = matches!(text.as_str(), "r" | "b" | "br" | "c" | "cr");
        if prefix && self.peek(0) == '"' && !text.contains('r') {
            return self.string();
        }
        if prefix && text.contains('r') {
            let mut hashes = 0;
            while self.peek(hashes) == '#' {
                hashes += 1;
            }
            if self.peek(hashes) == '"' {
                return self.raw_string(hashes);
            }
        }
        if text == "b" && self.peek(0) == '\'' {
            return self.quote();
        }
        let line = self.line;
        self.found.push(Token { text, line });
    }

    fn raw_string(&mut self, hashes: usize) {
        let first = self.line;
        self.skip(hashes + 1);
        while self.at < self.chars.len() {
            if self.peek(0) == '"' && (1..=hashes).all(|n| self.peek(n) == '#') {
                self.raw.extend(first..=self.line);
                return self.skip(hashes + 1);
            }
            self.advance();
        }
    }
}
