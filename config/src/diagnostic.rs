//! One finding about a configuration: how bad it is, what it is, where it is, and what to do about it.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The configuration is not used.
    Error,
    /// The configuration is used, though perhaps not as its author meant it.
    Warning,
    /// Worth knowing.
    Info,
}

impl Severity {
    /// The word that stands in front of the message.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// One finding. Printed, it is one line: `cluster.conf:12:5: warning: …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How much it matters.
    pub severity: Severity,
    /// What was found, in one line.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// The file, as the caller named it.
    pub file: Arc<str>,
    /// Which bytes of the file.
    pub span: Range<usize>,
    /// The line where it begins, counted from 1.
    pub line: usize,
    /// The character in that line, counted from 1.
    pub column: usize,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { severity, message, file, line, column, .. } = self;
        write!(f, "{file}:{line}:{column}: {severity}: {message}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_prints_as_one_line_that_editors_understand() {
        let finding = Diagnostic {
            severity: Severity::Warning,
            message: "unknown attribute 'nme'".to_owned(),
            help: Some("did you mean 'name'?".to_owned()),
            file: "cluster.conf".into(),
            span: 3..6,
            line: 2,
            column: 4,
        };
        assert_eq!(finding.to_string(), "cluster.conf:2:4: warning: unknown attribute 'nme'");
    }
}
