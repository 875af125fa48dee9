//! What reading a configuration gave: the model if it is usable, and everything there is to say about the file.

use crate::diagnostic::{Diagnostic, Severity};
use crate::model::Validated;
use crate::source::Source;
use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, SourceCode};
use std::fmt;

/// A file that was read. It holds the text with its secrets overwritten, so that it can be printed and logged.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The configuration, if nothing was found that is an error.
    pub cluster: Option<Validated>,
    /// Every finding, in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
    pub(crate) source: Source,
}

impl Reading {
    /// Whether the configuration cannot be used.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.cluster.is_none()
    }

    /// The findings of one severity.
    pub fn of(&self, severity: Severity) -> impl Iterator<Item = &Diagnostic> {
        self.diagnostics.iter().filter(move |finding| finding.severity == severity)
    }

    /// Why the configuration cannot be used, in one line: the first error, for the first finding may be a mere warning.
    #[must_use]
    pub fn refusal(&self) -> Option<String> {
        self.of(Severity::Error).next().map(ToString::to_string)
    }

    /// All findings for a person at a terminal, each with the place in the file it is about; empty if there are none.
    #[must_use]
    pub fn render(&self, colours: bool) -> String {
        let theme = if colours { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let handler = GraphicalReportHandler::new_themed(theme)
            .with_width(100)
            .with_links(false)
            .with_context_lines(1)
            .without_syntax_highlighting();
        let mut text = String::new();
        for finding in &self.diagnostics {
            let shown = Shown { finding, source: &self.source };
            if handler.render_report(&mut text, &shown).is_err() {
                text.push_str(&finding.to_string());
            }
            text.push('\n');
        }
        text
    }
}

/// A finding together with its file, as miette wants it.
#[derive(Debug)]
struct Shown<'a> {
    finding: &'a Diagnostic,
    source: &'a Source,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.finding.message)
    }
}

impl std::error::Error for Shown<'_> {}

impl miette::Diagnostic for Shown<'_> {
    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.finding.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
            Severity::Info => miette::Severity::Advice,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.finding.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = self.source.underlined(&self.finding.span);
        Some(Box::new(std::iter::once(LabeledSpan::underline(span))))
    }
}
