//! A quick look over the tags of a text that may not be XML at all.
//!
//! The XML parser says that an element was never closed, but not which one, and it takes quadratic time for an element
//! with a million attributes. Both are answered here, before and after it, without believing anything about the text.

use std::ops::Range;

/// What a tag does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `<a>`
    Open,
    /// `<a/>`
    Empty,
    /// `</a>`
    Close,
}

/// One tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tag<'t> {
    pub(crate) kind: Kind,
    pub(crate) name: &'t str,
    /// From `<` to the end of the name.
    pub(crate) span: Range<usize>,
    /// How many attributes it seems to have.
    pub(crate) attributes: usize,
    /// How many of them declare a namespace.
    pub(crate) namespaces: usize,
}

/// The tags of a text in order; comments, character data, instructions and declarations are skipped.
pub(crate) fn tags(text: &str) -> impl Iterator<Item = Tag<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let start = at + text.get(at..)?.find('<')?;
            let rest = &text[start..];
            let skipped = [("<!--", "-->"), ("<![CDATA[", "]]>"), ("<?", "?>"), ("<!", ">")];
            let Some((_, end)) = skipped.iter().find(|(begin, _)| rest.starts_with(begin)) else {
                let (tag, length) = tag(text, start);
                at = start + length;
                return Some(tag);
            };
            at = start + rest.find(end).map_or(rest.len(), |found| found + end.len());
        }
    })
}

/// The element that is open at the end of the text, innermost.
pub(crate) fn innermost_open(text: &str) -> Option<Tag<'_>> {
    let mut open = Vec::new();
    for tag in tags(text) {
        match tag.kind {
            Kind::Open => open.push(tag),
            Kind::Close => drop(open.pop()),
            Kind::Empty => {}
        }
    }
    open.pop()
}

/// The tag that begins at `start`, and its length.
fn tag(text: &str, start: usize) -> (Tag<'_>, usize) {
    let rest = &text[start + 1..];
    let closes = rest.starts_with('/');
    let name = &rest[usize::from(closes)..];
    let name =
        &name[..name.find(|c: char| c.is_whitespace() || matches!(c, '/' | '>' | '<' | '=')).unwrap_or(name.len())];
    let span = start..start + 1 + usize::from(closes) + name.len();
    let mut tag = Tag {
        kind: if closes { Kind::Close } else { Kind::Open },
        name,
        span: span.clone(),
        attributes: 0,
        namespaces: 0,
    };
    let bytes = text.as_bytes();
    let mut at = span.end;
    let (mut word, mut in_word) = (at, false);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' | b'\'' => {
                at += bytes[at + 1..].iter().position(|b| b == byte).map_or(bytes.len() - at, |end| end + 1)
            }
            b'=' => {
                tag.attributes += 1;
                tag.namespaces += usize::from(bytes[word..at].starts_with(b"xmlns"));
            }
            b'>' => {
                if bytes[at - 1] == b'/' && tag.kind == Kind::Open {
                    tag.kind = Kind::Empty;
                }
                return (tag, at + 1 - start);
            }
            b'<' => break,
            _ => {}
        }
        let begins = byte.is_ascii_alphabetic() && !in_word;
        if begins {
            word = at;
        }
        in_word = begins || (in_word && !byte.is_ascii_whitespace() && !matches!(byte, b'=' | b'"' | b'\''));
        at += 1;
    }
    (tag, at.min(bytes.len()) - start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tags_are_found_and_what_only_looks_like_one_is_not() {
        let text = r#"<?xml version="1"?><!-- <no> --><a x="<>/" y='1'><b xmlns:z = "u" q="1"/><![CDATA[<c>]]></a>"#;
        let found: Vec<_> = tags(text).map(|t| (t.kind, t.name, t.attributes, t.namespaces)).collect();
        assert_eq!(found, [(Kind::Open, "a", 2, 0), (Kind::Empty, "b", 2, 1), (Kind::Close, "a", 0, 0)]);
    }

    #[test]
    fn the_innermost_open_element_is_found() {
        let text = "<cluster><rm><vm/><vm name='>'>";
        assert_eq!(innermost_open(text).map(|t| (t.name, t.span)), Some(("vm", 18..21)));
        assert_eq!(innermost_open("<a></a>"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_scanned_to_its_end(text in r#"(?s)([<>/=!?"' a-cäxmlns:-]|<!--|-->){0,60}"#) {
            for tag in tags(&text) {
                prop_assert!(text.get(tag.span).is_some());
            }
            let _ = innermost_open(&text);
        }
    }
}
