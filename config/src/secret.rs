//! Which attributes are secrets, and how a configuration's text is shown without them.
//!
//! `fencedevice` lines hold the passwords of the hosts' power switches. They must not reach a log, a terminal or a bug
//! report, yet a finding shows the line it is about. So the text that findings are rendered from has every secret
//! value overwritten with asterisks, byte for byte, which leaves all positions as they were.

use std::fmt;

/// Parts of attribute names whose values open something. `community` is SNMP's password, `_kg` IPMI's key.
const SECRET_PARTS: [&str; 9] =
    ["passwd", "password", "passphrase", "secret", "community", "token", "apikey", "api_key", "access_key"];

/// Whether the attribute's value must never be shown. Scripts that print a password are named by path: no secret.
pub(crate) fn is_secret(attribute: &str) -> bool {
    let name = attribute.to_ascii_lowercase();
    let path = name.ends_with("_script") || name.ends_with("_file") || name.ends_with("_path");
    !path && (name.ends_with("_kg") || SECRET_PARTS.iter().any(|part| name.contains(part)))
}

/// Debug output of a fence agent's arguments, with asterisks in place of secrets.
pub(crate) struct Masked<'a>(pub(crate) &'a [(String, String)]);

impl fmt::Debug for Masked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |(key, value): &'_ (String, String)| {
            (key.clone(), if is_secret(key) { "***".to_owned() } else { value.clone() })
        };
        f.debug_list().entries(self.0.iter().map(shown)).finish()
    }
}

/// The text with each secret value, and each control character but line breaks and tabs, overwritten in place.
///
/// It works on text that is not well-formed too, which is where a missing quote would let a stricter scanner take the
/// password for something else: in doubt it blanks the rest of the line.
pub(crate) fn mask(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(is_name) {
        let length = rest[at..].find(|c| !is_name(c)).unwrap_or(rest.len() - at);
        let (before, name, after) = (&rest[..at], &rest[at..at + length], &rest[at + length..]);
        before.chars().for_each(|c| push_visible(&mut shown, c));
        shown.push_str(name);
        rest = after;
        let opened = after.trim_start().starts_with(['=', '"', '\'']);
        if opened && is_secret(name) {
            let (head, value) = after.split_at(value_start(after));
            let (value, tail) = value.split_at(value_length(value));
            shown.push_str(head);
            value.chars().for_each(|c| push_asterisks(&mut shown, c));
            rest = tail;
        }
    }
    rest.chars().for_each(|c| push_visible(&mut shown, c));
    shown
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':')
}

/// A control character could move the cursor of the terminal it is shown on.
fn push_visible(shown: &mut String, c: char) {
    if c.is_control() && !matches!(c, '\n' | '\r' | '\t') {
        shown.push_str(&".".repeat(c.len_utf8()));
    } else {
        shown.push(c);
    }
}

fn push_asterisks(shown: &mut String, c: char) {
    match c {
        '\n' | '\r' => shown.push(c),
        _ => shown.push_str(&"*".repeat(c.len_utf8())),
    }
}

/// Where the value begins behind an attribute's name: after `=`, blanks and the opening quote, as far as they are there.
fn value_start(after: &str) -> usize {
    let value = after.trim_start();
    let value = value.strip_prefix('=').unwrap_or(value).trim_start();
    after.len() - value.len()
}

/// How many bytes the value has, its quotes included; up to the end of the line if what follows is no attribute or tag's end.
fn value_length(value: &str) -> usize {
    let first = value.chars().next();
    let closed = match first {
        Some(quote @ ('"' | '\'')) => value[1..].find(quote).map(|end| end + 2),
        _ => value.find(|c: char| c.is_whitespace() || c == '>' || c == '<'),
    };
    let end = closed.unwrap_or(value.len());
    if continues_as_markup(&value[end..]) {
        return end;
    }
    value[end..].find('\n').map_or(value.len(), |line| end + line)
}

/// Whether an attribute's value may be followed by this in well-formed XML.
fn continues_as_markup(after: &str) -> bool {
    let next = after.trim_start();
    let ends = next.is_empty() || [">", "/>", "?>", "-->"].iter().any(|end| next.starts_with(end));
    let name = next.find(|c| !is_name(c)).unwrap_or(next.len());
    let another = name > 0 && next.len() != after.len() && next[name..].trim_start().starts_with('=');
    ends || another
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn passwords_are_secrets_and_the_scripts_that_print_them_are_not() {
        for secret in ["passwd", "password", "snmp_priv_passwd", "PASSWD", "community", "hexadecimal_kg", "secret_key"]
        {
            assert!(is_secret(secret), "{secret}");
        }
        for open in ["passwd_script", "password_script", "snmp_priv_passwd_script", "login", "ipaddr", "identity_file"]
        {
            assert!(!is_secret(open), "{open}");
        }
    }

    #[test]
    fn secret_values_are_overwritten_and_nothing_moves() {
        for (text, shown) in [
            (r#"<d login="a" passwd="s3cret" port="1"/>"#, r#"<d login="a" passwd=******** port="1"/>"#),
            ("<d passwd = 's3' />", "<d passwd = **** />"),
            (r#"<!-- passwd="old" -->"#, r#"<!-- passwd=***** -->"#),
            (r#"<d passwd_script="/bin/p"/>"#, r#"<d passwd_script="/bin/p"/>"#),
            ("a passwd is a word", "a passwd is a word"),
        ] {
            assert_eq!(mask(text), shown);
        }
    }

    #[test]
    fn a_broken_quote_does_not_uncover_a_password() {
        for text in [
            r#"<d passwd="s3"cret" port="1"/>"#,
            r#"<d passwd="s3 "cret" more" port="1"/>"#,
            r#"<d passwd=s3 cret" port="1"/>"#,
            r#"<d passwd "s3cret" port="1"/>"#,
            r#"<d passwd="s3cret"#,
            r#"<d passwd="s3<cret" port="1"/>"#,
        ] {
            let shown = mask(text);
            assert!(!shown.contains("cret") && !shown.contains("more"), "{shown}");
        }
    }

    #[test]
    fn control_characters_are_not_shown() {
        assert_eq!(mask("a\u{1b}[2Jb\tc\nd\u{85}"), "a.[2Jb\tc\nd..");
    }

    proptest! {
        #[test]
        fn masking_keeps_every_position(text in r#"(?s)([ -~\n]|passwd ?=|["'äß<>]){0,60}"#) {
            let shown = mask(&text);
            prop_assert_eq!(shown.len(), text.len());
            let lines = |t: &str| t.match_indices('\n').map(|(at, _)| at).collect::<Vec<_>>();
            prop_assert_eq!(lines(&shown), lines(&text));
        }
    }
}
