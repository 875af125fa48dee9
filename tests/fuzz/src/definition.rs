//! A domain's definition: the name that is expected in the first line, the XML behind it.

use belay_agent_libvirt::definition::check;

/// Any definition of a domain of any name.
pub(crate) fn read(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (name, xml) = text.split_once('\n').unwrap_or(("a", &text));
    let _ = belay_driver::vm::size_of(xml);
    match check(xml, name) {
        Ok(definition) => {
            let canonical = |uuid: &String| uuid.len() == 36 && uuid.chars().all(|c| c == '-' || c.is_ascii_hexdigit());
            assert!(definition.uuid.as_ref().is_none_or(canonical), "{definition:?}");
        }
        Err(fault) => assert!(!fault.message.is_empty()),
    }
}
