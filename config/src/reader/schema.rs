//! What may stand where, and a finding for everything that is there and not acted on.
//!
//! Three kinds of names exist: those a part of the reader reads, those that mean something to RHCS but not to Belay yet
//! (a warning that says what to use instead, where there is something), and unknown ones (a warning with the known name
//! that is nearest). The tables are in [`super::tables`].

use super::findings::{Findings, quoted};
use super::tables::{ELEMENTS, Rule};
use super::xml::{self, Xml};

/// Reports every attribute, child element and piece of text of an element that the reader does not read.
pub(super) fn check(element: Xml<'_>, findings: &mut Findings<'_>) {
    let name = element.tag_name().name();
    let Some(rule) = rule(name) else {
        return;
    };
    attributes(element, rule, findings);
    for child in element.children() {
        if child.is_element() {
            child_element(child, rule, findings);
        } else if child.is_text() && child.text().is_some_and(|text| !text.trim().is_empty()) {
            let at = child.range();
            let text = child.text().unwrap_or("");
            let start = at.start + (text.len() - text.trim_start().len()).min(at.len());
            findings
                .warning(start..at.end, format!("text inside <{name}> has no meaning"))
                .help("did you mean to put it into a comment, <!-- like this -->?");
        } else if child.is_pi() {
            findings.warning(child.range(), "processing instructions have no meaning here");
        }
    }
}

fn rule(name: &str) -> Option<&'static Rule> {
    ELEMENTS.iter().find(|rule| rule.name == name)
}

fn attributes(element: Xml<'_>, rule: &Rule, findings: &mut Findings<'_>) {
    for attribute in element.attributes() {
        let name = attribute.name();
        let plain = attribute.namespace().is_none();
        if plain && (rule.any_attribute || rule.read.contains(&name) || rule.quiet.contains(&name)) {
            continue;
        }
        let unused = rule.unused.iter().find(|(unused, _)| plain && *unused == name);
        if let Some((_, instead)) = unused {
            if attribute.value().trim().is_empty() {
                continue;
            }
            let finding =
                findings.warning(attribute.range(), format!("{name} of <{}> is not used by Belay yet", rule.name));
            if !instead.is_empty() {
                finding.help(*instead);
            }
            continue;
        }
        let known = rule.read.iter().copied().chain(rule.unused.iter().map(|(name, _)| *name));
        let free = known.filter(|known| !element.has_attribute(*known));
        let near = findings.near(name, free);
        let finding =
            findings.warning(attribute.range(), format!("unknown attribute {} of <{}>", quoted(name), rule.name));
        if let Some(near) = near {
            finding.help(format!("did you mean '{near}'?"));
        }
    }
}

fn child_element(child: Xml<'_>, parent: &Rule, findings: &mut Findings<'_>) {
    let name = child.tag_name().name();
    let ours = xml::is(child, name);
    if ours && parent.children.contains(&name) {
        return;
    }
    let unused = parent.unused_children.iter().find(|(unused, _)| ours && *unused == name);
    if let Some((_, instead)) = unused {
        // Configuration tools write <resources/> into every file; nothing is lost by not reading it.
        let empty = child.attributes().len() == 0 && !child.children().any(|inner| inner.is_element());
        if !empty {
            let finding = findings.warning(xml::tag(child), format!("<{name}> is not used by Belay yet"));
            if !instead.is_empty() {
                finding.help(*instead);
            }
        }
        return;
    }
    let home = ELEMENTS.iter().find(|rule| ours && rule.children.contains(&name));
    let known = parent.children.iter().copied().chain(parent.unused_children.iter().map(|(name, _)| *name));
    let near = findings.near(name, known);
    let finding =
        findings.warning(xml::tag(child), format!("unknown element <{}> in <{}>", unquoted(name), parent.name));
    if let Some(home) = home {
        finding.help(format!("<{name}> belongs into <{}>", home.name));
    } else if let Some(near) = near {
        finding.help(format!("did you mean <{near}>?"));
    }
}

fn unquoted(name: &str) -> String {
    quoted(name).trim_matches('\'').to_owned()
}

/// The only element of this name; a second one is reported and not read.
pub(super) fn single<'a>(parents: &[Xml<'a>], name: &'static str, findings: &mut Findings<'_>) -> Option<Xml<'a>> {
    let mut all = parents.iter().flat_map(|parent| xml::children(*parent, name));
    let first = all.next()?;
    for another in all {
        let line = findings.line(first.range().start);
        findings
            .warning(xml::tag(another), format!("a second <{name}> is not read"))
            .help(format!("the first is in line {line}; move what is meant there"));
    }
    check(first, findings);
    Some(first)
}

/// All elements of this name, read as one list, which is worth a note: it is seldom meant.
pub(super) fn joined<'a>(parent: Xml<'a>, name: &'static str, findings: &mut Findings<'_>) -> Vec<Xml<'a>> {
    let all: Vec<_> = xml::children(parent, name).collect();
    for (index, element) in all.iter().enumerate() {
        if let (true, Some(first)) = (index > 0, all.first()) {
            let line = findings.line(first.range().start);
            findings.info(xml::tag(*element), format!("another <{name}>; read together with the one in line {line}"));
        }
        check(*element, findings);
    }
    all
}

/// All elements of this name in a list of parents, each checked.
pub(super) fn listed<'a>(parents: &[Xml<'a>], name: &'static str, findings: &mut Findings<'_>) -> Vec<Xml<'a>> {
    let all: Vec<_> = parents.iter().flat_map(|parent| xml::children(*parent, name)).collect();
    for element in &all {
        check(*element, findings);
    }
    all
}
