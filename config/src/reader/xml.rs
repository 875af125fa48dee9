//! XML: parsed within limits that keep a strange file from costing time or memory, and looked at.

use super::findings::{Findings, quoted};
use super::not_xml;
use crate::scan;
use crate::source::Source;
use roxmltree::{Document, ParsingOptions};
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
            not_xml::report(&error, text, source, findings);
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
