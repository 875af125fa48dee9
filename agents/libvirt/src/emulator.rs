//! What texts that libvirt wrote say of an emulator: the arguments it was started with, and the URI of its hypervisor.

use std::path::PathBuf;

/// The root directory that a `qemu:///embed` URI names.
#[must_use]
pub fn embed_root(uri: &str) -> Option<PathBuf> {
    let (base, query) = uri.split_once('?')?;
    if base != "qemu:///embed" {
        return None;
    }
    query.split('&').find_map(|pair| pair.strip_prefix("root=")).map(|root| PathBuf::from(percent_decoded(root)))
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = tail
            .get(..2)
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (first, code) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The domain's name and UUID from QEMU's arguments, as libvirt writes them: `-name guest=NAME,…` (a comma in the name
/// is doubled) and `-uuid UUID`.
#[must_use]
pub fn identity(cmdline: &[u8]) -> Option<(String, String)> {
    let arguments: Vec<_> = cmdline.split(|b| *b == 0).map(String::from_utf8_lossy).collect();
    let after = |flag: &str| arguments.iter().position(|a| a == flag).and_then(|i| arguments.get(i + 1));
    let name = unescaped(after("-name")?.strip_prefix("guest=")?);
    Some((name, after("-uuid")?.to_lowercase()))
}

fn unescaped(option: &str) -> String {
    let mut name = String::new();
    let mut letters = option.chars().peekable();
    while let Some(c) = letters.next() {
        if c == ',' && letters.next_if_eq(&',').is_none() {
            break;
        }
        name.push(c);
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "11111111-2222-3333-4444-555555555555";

    #[test]
    fn a_domain_is_known_by_what_its_emulator_was_started_with() {
        let line = format!("/usr/bin/qemu\0-name\0guest=web1,debug-threads=on\0-S\0-uuid\0{UUID}\0");
        assert_eq!(identity(line.as_bytes()), Some(("web1".into(), UUID.into())));
    }

    #[test]
    fn a_comma_in_a_name_is_part_of_it() {
        let line = format!("qemu\0-name\0guest=a,,b,debug-threads=on\0-uuid\0{UUID}");
        assert_eq!(identity(line.as_bytes()), Some(("a,b".into(), UUID.into())));
    }

    #[test]
    fn a_process_that_is_no_emulator_has_no_identity() {
        for line in ["", "sleep\x00100", "qemu\0-name", "qemu\0-name\0guest=a", "qemu\0-uuid\0x"] {
            assert_eq!(identity(line.as_bytes()), None, "{line:?}");
        }
    }

    #[test]
    fn the_root_of_an_embedded_hypervisor_is_read_from_its_uri() {
        assert_eq!(embed_root("qemu:///embed?root=/a%20b/c"), Some("/a b/c".into()));
        assert_eq!(embed_root("qemu:///embed?x=1&root=/r"), Some("/r".into()));
        assert_eq!(embed_root("qemu:///system"), None);
    }
}
