//! Small changes to a `cluster.conf`'s text that leave everything else as it was written: one attribute set to a value.
//!
//! A rehearsal tries another setting by changing the text and reading it again, so that it gets every check and finding
//! that the changed file itself would get.

use roxmltree::{Document, Node};
use std::ops::Range;

/// Which element of a configuration an attribute belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// `cluster` itself.
    Cluster,
    /// `rm/vm` of this name.
    Vm(String),
    /// `clusternodes/clusternode` of this name.
    Node(String),
    /// `rm/failoverdomains/failoverdomain` of this name.
    Domain(String),
    /// `rm/placement`; made if there is none.
    Placement,
    /// `fence_daemon`; made if there is none.
    FenceDaemon,
}

/// Why an attribute cannot be set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The text is not XML.
    #[error("the configuration is not XML: {0}")]
    Syntax(String),
    /// There is no such element.
    #[error("there is no <{element}{}> in the configuration", .name.as_ref().map(|name| format!(" name=\"{name}\"")).unwrap_or_default())]
    Missing {
        /// The element.
        element: &'static str,
        /// Its name, where it has one.
        name: Option<String>,
    },
    /// The attribute's name is not one that XML allows.
    #[error("'{0}' is no name for an attribute")]
    Attribute(String),
    /// The value has a character that XML cannot hold, however it is written.
    #[error("the value of {0} has a control character, which no XML file can hold: leave it out")]
    Value(String),
}

/// The text with one attribute set to a value, whether it was there or not.
///
/// # Errors
/// When the text is not XML or has no such element, or the attribute or the value cannot be written in XML.
pub fn set_attribute(text: &str, subject: &Subject, attribute: &str, value: &str) -> Result<String, EditError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if attribute.is_empty()
        || !attribute.chars().all(plain)
        || attribute.starts_with(|c: char| !c.is_ascii_alphabetic())
    {
        return Err(EditError::Attribute(attribute.to_owned()));
    }
    if value
        .contains(|c: char| (c.is_ascii_control() && !"\t\n\r\x7f".contains(c)) || matches!(c, '\u{fffe}' | '\u{ffff}'))
    {
        return Err(EditError::Value(attribute.to_owned()));
    }
    let document = Document::parse(text).map_err(|error| EditError::Syntax(error.to_string()))?;
    let value = escaped(value);
    let (at, new) = match find(&document, subject)? {
        Place::Element(element) => match element.attribute_node(attribute) {
            Some(present) => (present.range_value(), value),
            None => {
                let at = element.range().start + 1 + written_name(text, element).len();
                (at..at, format!(" {attribute}=\"{value}\""))
            }
        },
        Place::Inside(parent, name) => inside(text, parent, &format!("{name} {attribute}=\"{value}\"/>"))?,
    };
    let mut changed = text.to_owned();
    changed.replace_range(at, &new);
    Ok(changed)
}

enum Place<'a> {
    Element(Node<'a, 'a>),
    /// A new element of this name is to be made in there.
    Inside(Node<'a, 'a>, &'static str),
}

fn find<'a>(document: &'a Document<'a>, subject: &Subject) -> Result<Place<'a>, EditError> {
    let root = document.root_element();
    let missing = |element, name: &str| EditError::Missing { element, name: Some(name.to_owned()) };
    // Along the path that the reader takes: an element of this name elsewhere in the file means nothing.
    let named = |path: &[&str], element: &'static str, name: &str| {
        let mut parents = vec![root];
        for step in path {
            parents =
                parents.iter().flat_map(|parent| parent.children()).filter(|node| node.has_tag_name(*step)).collect();
        }
        let all = || parents.iter().flat_map(|parent| parent.children()).filter(|node| node.has_tag_name(element));
        let called =
            |node: &Node<'_, '_>, so: fn(&str, &str) -> bool| node.attribute("name").is_some_and(|own| so(own, name));
        // Two VMs may differ in nothing but the case of a letter.
        let exact = all().find(|node| called(node, |own, name| own == name));
        exact.or_else(|| all().find(|node| called(node, str::eq_ignore_ascii_case))).map(Place::Element)
    };
    let only = |parent: Node<'a, 'a>, element: &'static str| {
        let found = parent.children().find(|node| node.has_tag_name(element));
        Ok(found.map_or(Place::Inside(parent, element), Place::Element))
    };
    match subject {
        Subject::Cluster => Ok(Place::Element(root)),
        Subject::Vm(name) => named(&["rm"], "vm", name).ok_or_else(|| missing("vm", name)),
        Subject::Node(name) => {
            named(&["clusternodes"], "clusternode", name).ok_or_else(|| missing("clusternode", name))
        }
        Subject::Domain(name) => {
            let found = named(&["rm", "failoverdomains"], "failoverdomain", name);
            found.ok_or_else(|| missing("failoverdomain", name))
        }
        Subject::FenceDaemon => only(root, "fence_daemon"),
        Subject::Placement => {
            let rm = root.children().find(|node| node.has_tag_name("rm"));
            only(rm.ok_or(EditError::Missing { element: "rm", name: None })?, "placement")
        }
    }
}

/// The element's name as the file has it, with the prefix of its namespace if it has one.
fn written_name<'t>(text: &'t str, element: Node<'_, '_>) -> &'t str {
    let opening = text.get(element.range().start + 1..).unwrap_or_default();
    let end = opening.find(|c: char| c.is_ascii_whitespace() || matches!(c, '/' | '>')).unwrap_or(opening.len());
    opening.get(..end).unwrap_or_default()
}

/// Where a new child goes, given without its `<`: right before the parent's closing tag, which one that was empty gets now.
fn inside(text: &str, parent: Node<'_, '_>, child: &str) -> Result<(Range<usize>, String), EditError> {
    let name = written_name(text, parent);
    // In its parent's namespace, or it would be another element.
    let prefix = name.split_inclusive(':').next().filter(|prefix| prefix.ends_with(':')).unwrap_or_default();
    let range = parent.range();
    let written = text.get(range.clone()).unwrap_or_default();
    if let Some(opening) = written.strip_suffix("/>") {
        let at = range.start + opening.len();
        return Ok((at..range.end, format!("><{prefix}{child}</{name}>")));
    }
    let closing = written.rfind("</").ok_or_else(|| EditError::Syntax(format!("<{name}> has no end")))?;
    let at = range.start + closing;
    Ok((at..at, format!("<{prefix}{child}")))
}

/// A line break or a tab that is not written as a number would be read as a blank.
fn escaped(value: &str) -> String {
    let escapes = [
        ('&', "&amp;"),
        ('<', "&lt;"),
        ('"', "&quot;"),
        ('\'', "&apos;"),
        ('\t', "&#9;"),
        ('\n', "&#10;"),
        ('\r', "&#13;"),
    ];
    escapes.iter().fold(value.to_owned(), |text, (letter, escape)| text.replace(*letter, escape))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "<cluster name='c' config_version='1'>\n  <!-- kept -->\n  <clusternodes>\
        <clusternode name='n1' nodeid='1'/></clusternodes>\n  <rm><vm name='a' recovery='restart'/></rm>\n</cluster>\n";

    fn set(subject: &Subject, attribute: &str, value: &str) -> Result<String, EditError> {
        set_attribute(TEXT, subject, attribute, value)
    }

    #[test]
    fn an_attribute_is_changed_and_nothing_else() {
        let changed = set(&Subject::Vm("a".into()), "recovery", "relocate").unwrap();
        assert_eq!(changed, TEXT.replace("restart", "relocate"));
    }

    #[test]
    fn an_attribute_that_was_not_there_is_added() {
        let changed = set(&Subject::Node("n1".into()), "memory", "4096").unwrap();
        assert_eq!(changed, TEXT.replace("<clusternode ", "<clusternode memory=\"4096\" "));
    }

    #[test]
    fn an_element_that_was_not_there_is_made() {
        let changed = set(&Subject::Placement, "overcommit", "1").unwrap();
        assert_eq!(changed, TEXT.replace("</rm>", "<placement overcommit=\"1\"/></rm>"));
        let empty = TEXT.replace("<rm><vm name='a' recovery='restart'/></rm>", "<rm/>");
        let changed = set_attribute(&empty, &Subject::Placement, "overcommit", "1").unwrap();
        assert!(changed.contains("<rm><placement overcommit=\"1\"/></rm>"), "{changed}");
    }

    #[test]
    fn a_value_cannot_break_out_of_its_attribute() {
        let changed = set(&Subject::Vm("a".into()), "domain", "x\" y='<&").unwrap();
        let document = Document::parse(&changed).unwrap();
        let vm = document.descendants().find(|node| node.has_tag_name("vm")).unwrap();
        assert_eq!(vm.attribute("domain"), Some("x\" y='<&"));
    }

    #[test]
    fn a_value_keeps_its_blanks_and_one_that_xml_cannot_hold_is_refused() {
        let changed = set(&Subject::Vm("a".into()), "path", "/a\tb\nc\r").unwrap();
        let document = Document::parse(&changed).unwrap();
        let vm = document.descendants().find(|node| node.has_tag_name("vm")).unwrap();
        assert_eq!(vm.attribute("path"), Some("/a\tb\nc\r"));
        for bad in ["\0", "a\u{1}", "\u{ffff}"] {
            assert_eq!(set(&Subject::Cluster, "name", bad), Err(EditError::Value("name".into())), "{bad:?}");
        }
    }

    #[test]
    fn the_element_that_is_changed_is_the_one_that_is_read() {
        let text = "<cluster><x><vm name='a'/></x><rm><vm name='A'/></rm><rm><vm name='a'/></rm></cluster>";
        let changed = set_attribute(text, &Subject::Vm("a".into()), "path", "/p").unwrap();
        assert_eq!(changed, text.replace("<rm><vm name='a'", "<rm><vm path=\"/p\" name='a'"));
    }

    #[test]
    fn an_element_with_a_prefix_is_changed_as_it_is_written() {
        let text = "<c:cluster xmlns:c='urn:c'><c:rm/></c:cluster>";
        let changed = set_attribute(text, &Subject::Placement, "overcommit", "1").unwrap();
        assert_eq!(changed, text.replace("<c:rm/>", "<c:rm><c:placement overcommit=\"1\"/></c:rm>"));
        let changed = set_attribute(text, &Subject::Cluster, "name", "n").unwrap();
        assert_eq!(changed, text.replace("<c:cluster ", "<c:cluster name=\"n\" "));
    }

    #[test]
    fn what_is_not_there_is_named() {
        let error = set(&Subject::Vm("b".into()), "recovery", "x").unwrap_err();
        assert_eq!(error.to_string(), "there is no <vm name=\"b\"> in the configuration");
        assert!(matches!(set(&Subject::Cluster, "a b", "x"), Err(EditError::Attribute(_))));
        assert!(matches!(set_attribute("<a", &Subject::Cluster, "x", "y"), Err(EditError::Syntax(_))));
    }
}
