//! The one error of a file that is not well-formed XML, in words that lead to the mistake.
//!
//! The parser's own texts are not used: they quote pieces of the file, which may be pieces of a password, and they put
//! some mistakes at the file's beginning.

use super::findings::{Findings, quoted};
use crate::scan;
use crate::source::Source;
use roxmltree::Error;

/// Notes why the parser stopped.
pub(super) fn report(error: &Error, text: &str, source: &Source, findings: &mut Findings<'_>) {
    let pos = error.pos();
    let offset = source.offset(text, pos.row as usize, pos.col as usize);
    let here = text.get(offset..).and_then(|rest| rest.chars().next());
    let at = offset..here.map_or(offset, |c| offset + c.len_utf8());
    match error {
        Error::UnexpectedCloseTag(expected, actual, _) => {
            let (open, closed) = (name(expected), name(actual));
            let opened = scan::innermost_open(&text[..offset]).map(|tag| findings.line(tag.span.start));
            let finding = findings.error(at, not_xml(&format!("</{closed}> closes nothing: <{open}> is still open")));
            if let Some(line) = opened {
                finding.help(format!("<{open}> was opened in line {line}"));
            }
        }
        Error::UnclosedRootNode | Error::UnexpectedEndOfStream => never_closed(text, findings),
        Error::NoRootNode => {
            let end = text.trim_end().len();
            let message = if end == 0 { "the file is empty" } else { "there is no element in the file" };
            findings.error(end..end, message).help("a cluster.conf has one <cluster> element around everything else");
        }
        Error::DtdDetected => {
            let start = text.find("<!DOCTYPE").unwrap_or(0);
            let end = start + "<!DOCTYPE".len().min(text.len() - start);
            findings
                .error(start..end, "a document type (DTD) is not accepted")
                .help("remove the <!DOCTYPE …> declaration, and write entities that it defines in full");
        }
        Error::DuplicatedAttribute(attribute, _) => {
            let attribute = quoted(attribute);
            findings
                .error(at, not_xml(&format!("attribute {attribute} is written twice in this element")))
                .help("keep the one that is meant");
        }
        Error::InvalidAttributeValue(_) | Error::InvalidChar(..) | Error::InvalidChar2(..) | Error::InvalidName(_)
            if here == Some('<') =>
        {
            let opened = value_before(&text[..offset]).map(|quote| findings.line(quote));
            let what = opened.map_or_else(
                || "a tag is not closed before it".to_owned(),
                |line| format!("the value that begins in line {line} is not closed before it"),
            );
            findings.error(at, not_xml("'<' inside a tag")).help(format!("{what}; for a plain '<' write &lt;"));
        }
        other => {
            let (message, help) = reason(other);
            findings.error(at, not_xml(message)).help(help);
        }
    }
}

/// The file ends while something is open.
fn never_closed(text: &str, findings: &mut Findings<'_>) {
    match scan::innermost_open(text) {
        Some(tag) => {
            let name = name(tag.name);
            findings
                .error(tag.span, not_xml(&format!("<{name}> is opened here and never closed")))
                .help(format!("write </{name}> at its end, or /> if it has no content"));
        }
        None => {
            let end = text.trim_end().len();
            findings.error(end..end, not_xml("the file ends in the middle")).help("is the file complete?");
        }
    }
}

/// The quote that opens the last attribute's value, if nothing closes it.
fn value_before(text: &str) -> Option<usize> {
    let quote = text.rfind(['"', '\''])?;
    text[..quote].trim_end().ends_with('=').then_some(quote)
}

fn not_xml(reason: &str) -> String {
    format!("not well-formed XML: {reason}")
}

/// A tag's name in a message.
fn name(name: &str) -> String {
    quoted(name).trim_matches('\'').to_owned()
}

/// The mistakes that need no look at the file.
fn reason(error: &Error) -> (&'static str, &'static str) {
    match error {
        Error::UnknownEntityReference(..) | Error::MalformedEntityReference(_) | Error::EntityReferenceLoop(_) => {
            ("'&' does not begin a known character reference here", "write &amp; for a plain '&'")
        }
        Error::InvalidChar(..) | Error::InvalidChar2(..) | Error::InvalidString(..) => {
            ("this character is not expected here", "check the quotes and the '=' of the attribute before it")
        }
        Error::InvalidName(_) => ("a name is expected here", "names begin with a letter; a plain '<' is written &lt;"),
        Error::NonXmlChar(..) => ("this character is not allowed in XML", "remove it"),
        Error::UnexpectedDeclaration(_) => {
            ("the <?xml …?> line must be the first thing in the file, and only once", "remove what stands before it")
        }
        Error::InvalidComment(_) => ("'--' inside a comment", "comments end with -->, and cannot be nested"),
        Error::InvalidCharacterData(_) => ("']]>' outside of character data", "write ]]&gt;"),
        Error::UnknownNamespace(..) => ("the prefix before ':' is not declared", "remove the prefix"),
        Error::UnknownToken(_) => ("something is written after the end of <cluster>, or a tag is broken", "remove it"),
        Error::NodesLimitReached | Error::AttributesLimitReached | Error::NamespacesLimitReached => {
            ("it has more than a million parts", "is this really a cluster.conf?")
        }
        _ => ("this is not XML", "check the characters around this place"),
    }
}
