//! XML: parse it within limits, and say where it is not well-formed in words that lead to the mistake.

use super::findings::{Findings, quoted};
use crate::scan;
use crate::source::Source;
use roxmltree::{Document, Error, ParsingOptions};
use std::ops::Range;

/// An element of the file.
pub(super) type Xml<'a> = roxmltree::Node<'a, 'a>;

/// More attributes in one element, or more namespaces, cost the parser quadratic time.
const MOST_ATTRIBUTES: usize = 2000;
/// A cluster.conf has no use for namespaces; nested ones multiply in the parser's memory.
const MOST_NAMESPACES: usize = 32;
/// Elements, comments and texts.
const MOST_NODES: u32 = 1_000_000;

/// The document, or `None` after an error was noted.
pub(super) fn parse<'t>(text: &'t str, source: &Source, findings: &mut Findings<'_>) -> Option<Document<'t>> {
    let mut namespaces = 0;
    for tag in scan::tags(text) {
        namespaces += tag.namespaces;
        if tag.attributes > MOST_ATTRIBUTES || namespaces > MOST_NAMESPACES {
            findings.error(tag.span, format!("{} has too many attributes or namespaces to be read", quoted(tag.name)));
            return None;
        }
    }
    let options = ParsingOptions { nodes_limit: MOST_NODES, ..ParsingOptions::default() };
    match Document::parse_with_options(text, options) {
        Ok(document) => Some(document),
        Err(error) => {
            not_well_formed(&error, text, source, findings);
            None
        }
    }
}

/// `<` and the name of an element's opening tag: where findings about the element as a whole point.
pub(super) fn tag(element: Xml<'_>) -> Range<usize> {
    let range = element.range();
    let text = element.document().input_text();
    let opening = text.get(range.clone()).unwrap_or("");
    let length = opening.find(|c: char| c.is_whitespace() || matches!(c, '>' | '/')).unwrap_or(opening.len());
    range.start..range.start + length
}

/// Whether it is the element of this name, and not one of some other namespace.
pub(super) fn is(element: Xml<'_>, name: &str) -> bool {
    let home = element.document().root_element().tag_name().namespace();
    element.is_element() && element.tag_name().name() == name && element.tag_name().namespace() == home
}

/// The child elements of this name.
pub(super) fn children<'a>(parent: Xml<'a>, name: &'static str) -> impl Iterator<Item = Xml<'a>> {
    parent.children().filter(move |child| is(*child, name))
}

/// Notes the one error that stops the reading. The parser's own texts are not used: they quote pieces of the file, which
/// may be pieces of a password, and put some mistakes at the file's beginning.
fn not_well_formed(error: &Error, text: &str, source: &Source, findings: &mut Findings<'_>) {
    let pos = error.pos();
    let offset = source.offset(text, pos.row as usize, pos.col as usize);
    let at = offset..text.get(offset..).and_then(|rest| rest.chars().next()).map_or(offset, |c| offset + c.len_utf8());
    let end = text.trim_end().len()..text.trim_end().len();
    match error {
        Error::UnexpectedCloseTag(expected, actual, _) => {
            let finding = format!("</{}> closes nothing: <{}> is still open", plain(actual), plain(expected));
            let opened = scan::innermost_open(&text[..offset]).map(|tag| findings.line(tag.span.start));
            let help = opened.map_or(String::new(), |line| format!("<{}> was opened in line {line}", plain(expected)));
            findings.error(at, not_xml(&finding)).help(help);
        }
        Error::UnclosedRootNode | Error::UnexpectedEndOfStream => match scan::innermost_open(text) {
            Some(tag) => {
                let name = plain(tag.name);
                findings
                    .error(tag.span, not_xml(&format!("<{name}> is opened here and never closed")))
                    .help(format!("write </{name}> at its end, or /> if it has no content"));
            }
            None => findings.error(end, not_xml("the file ends in the middle")).help("is the file complete?"),
        },
        Error::NoRootNode => {
            let message = if text.trim().is_empty() { "the file is empty" } else { "there is no element in the file" };
            findings.error(end, message).help("a cluster.conf has one <cluster> element around everything else");
        }
        Error::DtdDetected => {
            let start = text.find("<!DOCTYPE").unwrap_or(0);
            findings
                .error(
                    start..start + "<!DOCTYPE".len().min(text.len() - start),
                    "a document type (DTD) is not accepted",
                )
                .help("remove the <!DOCTYPE …> declaration, and write entities that it defines in full");
        }
        Error::NodesLimitReached | Error::AttributesLimitReached | Error::NamespacesLimitReached => {
            findings
                .error(0..0, format!("the file has more than {MOST_NODES} parts; that is not read"))
                .help("is this really a cluster.conf?");
        }
        Error::DuplicatedAttribute(name, _) => {
            findings
                .error(at, not_xml(&format!("attribute {} is written twice in this element", quoted(name))))
                .help("keep the one that is meant");
        }
        Error::InvalidAttributeValue(_) | Error::InvalidChar(..) | Error::InvalidChar2(..) | Error::InvalidName(_)
            if text[at.clone()] == *"<" =>
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

/// The quote that opens the last attribute's value, if nothing closes it.
fn value_before(text: &str) -> Option<usize> {
    let quote = text.rfind(['"', '\''])?;
    text[..quote].trim_end().ends_with('=').then_some(quote)
}

fn not_xml(reason: &str) -> String {
    format!("not well-formed XML: {reason}")
}

/// A tag's name in a message.
fn plain(name: &str) -> String {
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
        _ => ("this is not XML", "check the characters around this place"),
    }
}
