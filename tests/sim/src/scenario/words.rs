//! The words of one line, and what is said when they make no sense: which file, which line, and what would.

use belay_proto::Span;
use std::fmt;

/// Why a file is no scenario. Printed, its first line is one that editors understand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub message: String,
    /// What would be right.
    pub help: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}\n  help: {}", self.file, self.line, self.message, self.help)
    }
}

impl std::error::Error for Mistake {}

/// What is wrong with a line, before it is known which line that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) message: String,
    pub(crate) help: String,
}

pub(crate) fn wrong<T>(message: impl Into<String>, help: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong { message: message.into(), help: help.into() })
}

/// One word of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) text: String,
    /// It began with a quote, so it is what somebody says and no word of the format.
    pub(crate) quoted: bool,
}

/// The words of a line without its comment. A quoted part keeps its blanks, also behind a `key=`.
pub(crate) fn split(line: &str) -> Result<Vec<Word>, Wrong> {
    let mut words = Vec::new();
    let mut chars = line.chars().peekable();
    while let Some(first) = chars.peek().copied() {
        if first.is_whitespace() {
            chars.next();
            continue;
        }
        if first == '#' {
            break;
        }
        let mut text = String::new();
        while let Some(c) = chars.peek().copied().filter(|c| !c.is_whitespace()) {
            chars.next();
            if c != '"' {
                text.push(c);
                continue;
            }
            loop {
                match chars.next() {
                    Some('"') => break,
                    Some(c) => text.push(c),
                    None => return wrong("a quote has no end", "close it with \" in the same line"),
                }
            }
        }
        words.push(Word { text, quoted: first == '"' });
    }
    Ok(words)
}

/// Reads the words of a line one after another.
#[derive(Clone, Debug)]
pub(crate) struct Words<'a> {
    rest: &'a [Word],
}

impl<'a> Words<'a> {
    pub(crate) fn new(rest: &'a [Word]) -> Self {
        Self { rest }
    }

    pub(crate) fn peek(&self) -> Option<&'a str> {
        self.rest.first().filter(|word| !word.quoted).map(|word| word.text.as_str())
    }

    pub(crate) fn next(&mut self) -> Option<&'a Word> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    /// The next words are exactly these.
    pub(crate) fn take(&mut self, words: &str) -> bool {
        let mut rest = self.rest;
        for wanted in words.split(' ') {
            match rest.split_first() {
                Some((word, more)) if !word.quoted && word.text == wanted => rest = more,
                _ => return false,
            }
        }
        self.rest = rest;
        true
    }

    /// A word that must be there; `what` says what it would be.
    pub(crate) fn need(&mut self, what: &str, help: &str) -> Result<&'a str, Wrong> {
        match self.next() {
            Some(word) => Ok(&word.text),
            None => wrong(format!("{what} is missing"), help),
        }
    }

    /// A quoted text that must be there.
    pub(crate) fn quoted(&mut self, help: &str) -> Result<String, Wrong> {
        match self.next() {
            Some(word) if word.quoted => Ok(word.text.clone()),
            Some(word) => wrong(format!("'{}' stands where a quoted text should", word.text), help),
            None => wrong("a quoted text is missing", help),
        }
    }

    /// Nothing may be left.
    pub(crate) fn end(&self, help: &str) -> Result<(), Wrong> {
        match self.rest.first() {
            None => Ok(()),
            Some(word) => wrong(format!("'{}' is too much in this line", word.text), help),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}

/// A length of time in milliseconds: as in `cluster.conf`, and besides `500ms` and `1.5s`.
pub(crate) fn milliseconds(text: &str) -> Result<u64, Wrong> {
    let plain = |text: &str| text.parse::<u64>().ok();
    let read = match text.strip_suffix("ms") {
        Some(number) => plain(number),
        None => match text.strip_suffix('s').and_then(|number| number.split_once('.')) {
            Some((whole, part)) if part.len() <= 3 => {
                let thousandths = plain(&format!("{part:0<3}"));
                plain(whole)
                    .and_then(|whole| whole.checked_mul(1000))
                    .zip(thousandths)
                    .and_then(|(ms, part)| ms.checked_add(part))
            }
            _ => text.parse::<Span>().ok().map(|span| span.0),
        },
    };
    match read {
        Some(ms) => Ok(ms),
        None => wrong(format!("'{text}' is no length of time"), "write 5s, 500ms, 1.5s, 10m or 1h30m"),
    }
}

/// A number.
pub(crate) fn number(text: &str) -> Result<u64, Wrong> {
    match text.parse() {
        Ok(number) => Ok(number),
        Err(_) => wrong(format!("'{text}' is no number"), "write it with digits: 2"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(line: &str) -> Vec<String> {
        split(line).unwrap().into_iter().map(|word| word.text).collect()
    }

    #[test]
    fn quotes_keep_blanks_together_and_a_comment_ends_a_line() {
        assert_eq!(
            texts(r##"expect log "died on node1" then "#1""##),
            ["expect", "log", "died on node1", "then", "#1"]
        );
        assert_eq!(texts(r#"vm a path="/a b" # why"#), ["vm", "a", "path=/a b"]);
        assert_eq!(texts("   # nothing"), Vec::<String>::new());
        assert!(split("expect log \"died").is_err());
    }

    #[test]
    fn times_are_read_in_every_usual_form() {
        for (text, ms) in
            [("5s", 5000), ("500ms", 500), ("1.5s", 1500), ("10m", 600_000), ("0", 0), ("1h30m", 5_400_000)]
        {
            assert_eq!(milliseconds(text).unwrap(), ms, "{text}");
        }
        for bad in ["", "soon", "1.5", "-1s", "1.2345s", "18446744073709551615.5s"] {
            assert!(milliseconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_phrase_is_taken_whole_or_not_at_all() {
        let line = split("power off node2").unwrap();
        let mut words = Words::new(&line);
        assert!(!words.take("power on"));
        assert!(words.take("power off"));
        assert_eq!(words.peek(), Some("node2"));
        assert!(words.end("").is_err());
    }
}
