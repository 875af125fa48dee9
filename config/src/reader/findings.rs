//! The list that findings are written on while a file is read.

use crate::diagnostic::{Diagnostic, Severity};
use crate::near;
use crate::source::Source;
use std::ops::Range;

/// More are counted, but not kept: a file of a million unknown elements must not fill the memory.
const MOST: usize = 1000;

/// Findings so far.
pub(super) struct Findings<'s> {
    source: &'s Source,
    kept: Vec<Diagnostic>,
    errors: usize,
    dropped: usize,
}

/// A finding just made, to be given a help text.
pub(super) struct Finding<'f>(Option<&'f mut Diagnostic>);

impl Finding<'_> {
    /// What to do about it.
    pub(super) fn help(self, text: impl Into<String>) {
        if let Some(finding) = self.0 {
            finding.help = Some(text.into());
        }
    }
}

impl<'s> Findings<'s> {
    pub(super) fn new(source: &'s Source) -> Self {
        Self { source, kept: Vec::new(), errors: 0, dropped: 0 }
    }

    /// The configuration cannot be used.
    pub(super) fn error(&mut self, at: Range<usize>, message: impl Into<String>) -> Finding<'_> {
        self.errors += 1;
        self.push(Severity::Error, at, message.into())
    }

    /// The configuration may not mean what its author thinks.
    pub(super) fn warning(&mut self, at: Range<usize>, message: impl Into<String>) -> Finding<'_> {
        self.push(Severity::Warning, at, message.into())
    }

    /// Worth knowing.
    pub(super) fn info(&mut self, at: Range<usize>, message: impl Into<String>) -> Finding<'_> {
        self.push(Severity::Info, at, message.into())
    }

    pub(super) fn any_error(&self) -> bool {
        self.errors > 0
    }

    /// The known name nearest to a wrong one; none when findings are no longer kept, so that a file of a million wrong
    /// names is not compared a million times.
    pub(super) fn near<'k>(&self, written: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
        if self.kept.len() >= MOST { None } else { near::nearest(written, known.into_iter().take(MOST)) }
    }

    /// The line of a byte, to name another place in a message.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.source.line(offset)
    }

    fn push(&mut self, severity: Severity, span: Range<usize>, message: String) -> Finding<'_> {
        // The first error is kept in any case: a refused file must say why.
        if self.kept.len() >= MOST && !(severity == Severity::Error && self.errors == 1) {
            self.dropped += 1;
            return Finding(None);
        }
        let file = self.source.file().clone();
        self.kept.push(Diagnostic { severity, message, help: None, file, span, line: 0, column: 0 });
        Finding(self.kept.last_mut())
    }

    /// All findings in the order of the file, with lines and columns.
    pub(super) fn finish(mut self, text: &str) -> Vec<Diagnostic> {
        if self.dropped > 0 {
            let end = self.source.len();
            let message = format!("{} more findings are not listed", self.dropped);
            self.dropped = 0;
            let file = self.source.file().clone();
            let severity = Severity::Warning;
            self.kept.push(Diagnostic { severity, message, help: None, file, span: end..end, line: 0, column: 0 });
        }
        self.kept.sort_by_key(|finding| (finding.span.start, finding.severity));
        // Counting on from the finding before keeps a file that is one endless line from being counted a thousand times.
        let mut last = (0, 1, 1);
        for finding in &mut self.kept {
            let (before, line, column) = last;
            let at = finding.span.start;
            (finding.line, finding.column) = if self.source.line(at) == line {
                (line, column + text.get(before..at).map_or(0, |between| between.chars().count()))
            } else {
                self.source.position(text, at)
            };
            last = (at, finding.line, finding.column);
        }
        self.kept
    }
}

/// A value as a message quotes it: on one line, and not endless.
pub(super) fn quoted(value: &str) -> String {
    const LONGEST: usize = 60;
    let mut text: String = value.chars().take(LONGEST).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if value.chars().nth(LONGEST).is_some() {
        text.push('…');
    }
    format!("'{text}'")
}
