//! Checks a domain's definition before libvirt sees it: that it is XML, that it is a domain, and that it is the domain
//! that was asked for. A definition of another name would start a domain nobody watches.

use belay_proto::agent::{Fault, FaultKind};

/// What has to be known of a definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// Its UUID in the canonical form, if it carries a valid one.
    pub uuid: Option<String>,
}

/// Reads a definition that should be of the domain `name`.
///
/// # Errors
/// With what is wrong with it, and where.
pub fn check(xml: &str, name: &str) -> Result<Definition, Fault> {
    let bad = |message| Fault { kind: FaultKind::BadDefinition, message };
    let document = roxmltree::Document::parse(xml)
        .map_err(|error| bad(format!("the definition of {name} is not XML: {error}; correct the file")))?;
    let root = document.root_element();
    let place = |node: roxmltree::Node<'_, '_>| {
        let at = document.text_pos_at(node.range().start);
        format!("line {}, column {}", at.row, at.col)
    };
    if root.tag_name().name() != "domain" {
        let (tag, at) = (root.tag_name().name(), place(root));
        return Err(bad(format!("the definition of {name} is a <{tag}> ({at}), not a <domain>; correct the file")));
    }
    let child = |tag| root.children().find(|node| node.has_tag_name(tag));
    let Some(found) = child("name") else {
        let at = place(root);
        return Err(bad(format!("the <domain> ({at}) has no <name>; write <name>{name}</name> into it")));
    };
    let text = found.text().unwrap_or_default();
    if text != name {
        let message = format!(
            "the definition ({}) is of a domain named '{}', not '{name}'; correct one of the two",
            place(found),
            text.chars().take(80).collect::<String>(),
        );
        return Err(Fault { kind: FaultKind::WrongName, message });
    }
    Ok(Definition { uuid: child("uuid").and_then(|node| canonical(node.text()?)) })
}

/// A UUID as libvirt prints it. libvirt reads it with or without dashes.
fn canonical(text: &str) -> Option<String> {
    let digits: String = text.chars().filter(|c| !c.is_whitespace() && *c != '-').collect();
    if digits.len() != 32 || !digits.chars().all(|c| c.is_ascii_hexdigit()) {
        return None;
    }
    let digits = digits.to_lowercase();
    let parts = [(0, 8), (8, 12), (12, 16), (16, 20), (20, 32)].map(|(from, to)| digits.get(from..to));
    parts.into_iter().collect::<Option<Vec<_>>>().map(|parts| parts.join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_domain_of_the_right_name_is_accepted_with_its_uuid() {
        let xml = "<domain><name>web1</name><uuid>11111111222233334444-55555555555A</uuid></domain>";
        let uuid = Some("11111111-2222-3333-4444-55555555555a".to_owned());
        assert_eq!(check(xml, "web1"), Ok(Definition { uuid }));
        assert_eq!(check("<domain><name>web1</name></domain>", "web1"), Ok(Definition { uuid: None }));
    }

    #[test]
    fn what_is_not_xml_or_not_a_domain_is_refused_with_its_place() {
        for (xml, place) in [
            ("", "root node"),
            ("web1", "1:1"),
            ("<domain>\n  <name>web1</nam></domain>", "2:13"),
            ("<network><name>web1</name></network>", "line 1, column 1"),
            ("<domain>\n</domain>", "line 1, column 1"),
        ] {
            let fault = check(xml, "web1").expect_err(xml);
            assert_eq!(fault.kind, FaultKind::BadDefinition, "{xml}");
            assert!(fault.message.contains(place), "{xml}: {}", fault.message);
        }
    }

    #[test]
    fn a_definition_of_another_domain_is_refused_with_its_place() {
        let fault = check("<domain>\n  <name>web2</name>\n</domain>", "web1").expect_err("another name");
        assert_eq!(fault.kind, FaultKind::WrongName);
        assert!(fault.message.contains("line 2, column 3") && fault.message.contains("'web2'"), "{}", fault.message);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_without_a_panic(text in ".{0,200}", name in ".{0,10}") {
            let _ = check(&text, &name);
            let _ = check(&format!("<domain><name>{text}</name></domain>"), &name);
        }
    }
}
