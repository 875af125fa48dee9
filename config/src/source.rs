//! The file a finding points into: its lines, and the excerpt that is shown around a finding.

use crate::secret;
use miette::{MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents};
use std::ops::Range;
use std::sync::Arc;

/// A line longer than this is shown in part: a file without line breaks would otherwise be printed whole, once a finding.
const WIDEST: usize = 300;

/// A named text whose secrets were overwritten, with an index of its lines.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    file: Arc<str>,
    shown: String,
    line_starts: Vec<usize>,
}

impl Source {
    pub(crate) fn new(file: &str, text: &str) -> Self {
        let shown = secret::mask(text);
        let starts = std::iter::once(0).chain(shown.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { file: file.into(), shown, line_starts: starts }
    }

    pub(crate) fn file(&self) -> &Arc<str> {
        &self.file
    }

    /// The text's length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.shown.len()
    }

    /// Which line a byte is in, counted from 1.
    pub(crate) fn line(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset)
    }

    /// Line and column of a byte, both counted from 1, the column in characters of the original text.
    pub(crate) fn position(&self, original: &str, offset: usize) -> (usize, usize) {
        let line = self.line(offset);
        let start = self.line_starts.get(line - 1).copied().unwrap_or(0);
        let before = original.get(start..offset).unwrap_or("");
        (line, before.chars().count() + 1)
    }

    /// The byte at a line and column counted from 1, as the XML parser tells them.
    pub(crate) fn offset(&self, original: &str, line: usize, column: usize) -> usize {
        let Some(start) = self.line_starts.get(line.saturating_sub(1)).copied() else {
            return original.len();
        };
        let rest = original.get(start..).unwrap_or("");
        rest.char_indices().nth(column.saturating_sub(1)).map_or(original.len(), |(at, _)| start + at)
    }

    /// The bytes of the lines a span is in, with so many lines around it; of very long lines only what is near the span.
    fn excerpt(&self, span: &Range<usize>, before: usize, after: usize) -> Range<usize> {
        let first = (self.line(span.start) - 1).saturating_sub(before);
        let last = (self.line(span.end.max(span.start)) - 1).saturating_add(after).min(self.line_starts.len() - 1);
        let start = self.line_starts[first];
        let end = self.line_starts.get(last + 1).copied().unwrap_or(self.shown.len());
        let near = self.floor(span.start.saturating_sub(WIDEST))..self.floor(span.end.saturating_add(WIDEST));
        if end - start > (span.len() + 2 * WIDEST) { start.max(near.start)..end.min(near.end) } else { start..end }
    }

    /// The nearest place at or before `offset` where a character begins.
    fn floor(&self, offset: usize) -> usize {
        let mut at = offset.min(self.shown.len());
        while !self.shown.is_char_boundary(at) {
            at -= 1;
        }
        at
    }

    /// The part of a span that is shown underlined: within its first line and not too long.
    pub(crate) fn underlined(&self, span: &Range<usize>) -> Range<usize> {
        let start = self.floor(span.start);
        let end = self.floor(span.end.min(start.saturating_add(WIDEST))).max(start);
        let line = self.shown[start..end].find('\n').map_or(end, |at| start + at);
        start..line
    }
}

impl SourceCode for Source {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        context_lines_before: usize,
        context_lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let wanted = span.offset()..span.offset().saturating_add(span.len());
        if wanted.end > self.shown.len() {
            return Err(MietteError::OutOfBounds);
        }
        // Asked without context, miette wants the position of the span itself.
        let bare = context_lines_before == 0 && context_lines_after == 0;
        let range = if bare { wanted } else { self.excerpt(&wanted, context_lines_before, context_lines_after) };
        let (line, column) = self.position(&self.shown, range.start);
        let lines = self.line(range.end) - line;
        Ok(Box::new(MietteSpanContents::new_named(
            self.file.to_string(),
            &self.shown.as_bytes()[range.clone()],
            range.into(),
            line - 1,
            column - 1,
            lines,
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_a_line_and_a_column_in_characters() {
        let text = "ab\näöx\n";
        let source = Source::new("f", text);
        for (offset, position) in [(0, (1, 1)), (2, (1, 3)), (3, (2, 1)), (7, (2, 3)), (8, (2, 4)), (9, (3, 1))] {
            assert_eq!(source.position(text, offset), position, "byte {offset}");
            assert_eq!(source.offset(text, position.0, position.1), offset, "{position:?}");
        }
    }

    #[test]
    fn a_file_without_line_breaks_is_shown_in_part() {
        let text = "ä".repeat(100_000);
        let source = Source::new("f", &text);
        let shown = source.excerpt(&(50_000..50_002), 1, 1);
        assert!(shown.len() <= 2 * WIDEST + 4 && shown.contains(&50_000));
        assert!(source.shown.is_char_boundary(shown.start) && source.shown.is_char_boundary(shown.end));
    }
}
