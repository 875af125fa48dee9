//! Typed values of an element's attributes, with findings for what is not a value of the type.

use super::findings::{Findings, quoted};
use super::xml::{self, Xml};
use belay_proto::Span;
use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::str::FromStr;

/// An attribute as it is written.
#[derive(Clone, Debug)]
pub(super) struct Value<'a> {
    /// Its text.
    pub(super) value: &'a str,
    /// The whole attribute, name and value.
    pub(super) at: Range<usize>,
}

/// How the original read a switch; where it would have decided otherwise, the reader says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Old {
    /// On when an integer other than zero; a word counted as 0.
    Integer,
    /// Off for `no` and 0, on for everything else.
    OffIfNo,
    /// Read as Belay reads it.
    Same,
}

/// An element's attributes.
pub(super) struct Values<'a, 'f, 's> {
    element: Xml<'a>,
    findings: &'f mut Findings<'s>,
}

impl<'a, 'f, 's> Values<'a, 'f, 's> {
    pub(super) fn of(element: Xml<'a>, findings: &'f mut Findings<'s>) -> Self {
        Self { element, findings }
    }

    pub(super) fn findings(&mut self) -> &mut Findings<'s> {
        self.findings
    }

    /// The attribute, even if empty.
    pub(super) fn find(&self, name: &str) -> Option<Value<'a>> {
        let attribute = self.element.attributes().find(|a| a.namespace().is_none() && a.name() == name)?;
        Some(Value { value: attribute.value(), at: attribute.range() })
    }

    /// Where the attribute is.
    pub(super) fn at(&self, name: &str) -> Option<Range<usize>> {
        self.find(name).map(|value| value.at)
    }

    /// The attribute, unless it is empty: configuration tools write `domain=""` for "none".
    pub(super) fn text(&mut self, name: &str) -> Option<Value<'a>> {
        self.find(name).filter(|value| !value.value.trim().is_empty())
    }

    /// An attribute that must be there, without blanks around it.
    pub(super) fn required_name(&mut self, name: &str) -> Option<Value<'a>> {
        let element = self.element.tag_name().name();
        match self.find(name) {
            None => {
                let near = self.findings.near(name, self.element.attributes().map(|attribute| attribute.name()));
                let finding = self.findings.error(xml::tag(self.element), format!("<{element}> has no {name}"));
                if let Some(near) = near {
                    finding.help(format!("is {} meant to be {name}?", quoted(near)));
                }
                None
            }
            Some(value) if value.value.trim().is_empty() => {
                self.findings.error(value.at, format!("the {name} of <{element}> is empty"));
                None
            }
            Some(value) if value.value.contains(char::is_control) => {
                self.findings.error(value.at, format!("the {name} of <{element}> contains a control character"));
                None
            }
            Some(value) => {
                if value.value.trim() != value.value {
                    self.findings
                        .warning(value.at.clone(), format!("{} begins or ends with a blank", quoted(value.value)))
                        .help("names are compared letter by letter: blanks count");
                }
                Some(value)
            }
        }
    }

    /// A whole number within bounds; an error and `None` if it is none, `None` alone if it is not given.
    pub(super) fn number<T>(&mut self, name: &str, bounds: RangeInclusive<T>) -> Option<T>
    where
        T: FromStr + PartialOrd + Display,
    {
        let value = self.text(name)?;
        match value.value.trim().parse::<T>().ok().filter(|number| bounds.contains(number)) {
            Some(number) => Some(number),
            None => {
                let (low, high) = (bounds.start(), bounds.end());
                self.findings.error(
                    value.at,
                    format!("{name}={} is not a whole number from {low} to {high}", quoted(value.value)),
                );
                None
            }
        }
    }

    /// A length of time; an error and `None` if it is none, `None` alone if it is not given.
    pub(super) fn span(&mut self, name: &str) -> Option<Span> {
        let value = self.text(name)?;
        match value.value.parse::<Span>() {
            Ok(span) => Some(span),
            Err(_) => {
                self.findings
                    .error(value.at, format!("{name}={} is not a length of time", quoted(value.value)))
                    .help("write seconds (90), or numbers with s, m, h, d, w or y (10m, 1h30m)");
                None
            }
        }
    }

    /// A switch.
    pub(super) fn flag(&mut self, name: &str, default: bool, old: Old) -> bool {
        let Some(value) = self.text(name) else {
            return default;
        };
        let Some(on) = switch(value.value) else {
            self.findings
                .error(value.at, format!("{name}={} is neither on nor off", quoted(value.value)))
                .help("write 1 or 0");
            return default;
        };
        let before = match old {
            Old::Integer => integer(value.value).is_some_and(|number| number != 0),
            Old::OffIfNo => !value.value.trim().eq_ignore_ascii_case("no") && integer(value.value) != Some(0),
            Old::Same => on,
        };
        if before != on {
            let word = |on: bool| if on { "on" } else { "off" };
            let (now, then) = (word(on), word(before));
            self.findings
                .warning(value.at, format!("{name}={} means {now} here; RHCS took it for {then}", quoted(value.value)))
                .help(format!("write {name}=\"{}\", which means the same to both", u8::from(on)));
        }
        on
    }
}

fn integer(text: &str) -> Option<i64> {
    text.trim().parse().ok()
}

/// On, off, or neither.
pub(super) fn switch(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "yes" | "true" | "on" => Some(true),
        "no" | "false" | "off" => Some(false),
        other => integer(other).map(|number| number != 0),
    }
}
