//! Whatever the text, the reader answers, and every finding lies in the file.

use super::with;
use belay_config::{Reading, Severity, read, read_bytes};
use proptest::prelude::*;
use proptest::sample::Index;

/// A file with every element and attribute that is known, so that mutations reach all of the reader.
fn full() -> String {
    with(
        "<cman two_node=\"0\" expected_votes=\"3\" transport=\"udpu\"/>
<fence_daemon post_join_delay=\"3\" post_fail_delay=\"0\" daemon_grace=\"1m\" clean_start=\"0\"/>
<rm log_level=\"5\"><failoverdomains><failoverdomain name=\"One\" ordered=\"1\" restricted=\"1\" nofailback=\"0\">
<failoverdomainnode name=\"n1\" priority=\"1\"/><failoverdomainnode name=\"n2\" priority=\"2\"/></failoverdomain></failoverdomains>
<vm name=\"wéb\" domain=\"one\" path=\"/a:/b\" autostart=\"0\" exclusive=\"0\" recovery=\"restart\" max_restarts=\"2\"
 restart_expire_time=\"10m\" migrate=\"live\" migration_mapping=\"n1:x,n2:y\" use_virsh=\"1\" no_kill=\"1\"><action name=\"start\" timeout=\"9\"/></vm>
<placement overcommit=\"0\" cpu_ratio=\"4\" max_starts=\"8\" max_migrations=\"2\">
<affinity name=\"near\" vms=\"wéb, db\" required=\"1\"/><anti-affinity name=\"far\" vms=\"vm:db vm:mail\" required=\"1\"/></placement>
<vm name=\"mail\" path=\"/a\" priority=\"5\" depend=\"vm:db\" depend_mode=\"soft\" guest_shutdown=\"stop\" memory=\"2G\" vcpus=\"4\"/>
<vm name=\"db\" xmlfile=\"/a/db.xml\" hypervisor_uri=\"qemu:///system\" migration_uri=\"qemu+ssh://%s/system\" tunnelled=\"1\"/>
<service name=\"s\"><ip address=\"10.0.0.1\"/></service></rm><totem token=\"1000\"/>",
    )
}

pub(crate) fn sound(reading: &Reading, text: &str) -> Result<(), TestCaseError> {
    let errors = reading.of(Severity::Error).count();
    prop_assert_eq!(reading.cluster.is_none(), errors > 0, "a model is held back only with a reason");
    let lines: Vec<&str> = text.split('\n').collect();
    let mut last = 0;
    for finding in &reading.diagnostics {
        prop_assert!(finding.span.start >= last, "findings are in the order of the file");
        last = finding.span.start;
        prop_assert!(text.get(finding.span.clone()).is_some(), "{finding:?}");
        let line = lines.get(finding.line - 1).map(|line| line.chars().count());
        prop_assert!(line.is_some_and(|length| finding.column <= length + 1), "{finding:?}");
        prop_assert!(!finding.to_string().contains('\n'), "{finding}");
        prop_assert!(finding.help.as_ref().is_none_or(|help| !help.is_empty()), "{finding:?}");
    }
    let rendered = reading.render(false);
    prop_assert_eq!(rendered.is_empty(), reading.diagnostics.is_empty());
    prop_assert!(!rendered.contains("Failed to read contents"), "{}", rendered);
    Ok(())
}

/// Cuts out, doubles or overwrites a piece of the text.
pub(crate) fn mutate(text: &str, changes: &[(Index, Index, u8, String)]) -> String {
    let mut text = text.to_owned();
    for (at, length, how, piece) in changes {
        let place =
            |i: usize, text: &str| (0..=i.min(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
        let start = place(at.index(text.len() + 1), &text);
        let end = place(start + length.index(20), &text).max(start);
        match how % 4 {
            0 => text.replace_range(start..end, ""),
            1 => text.replace_range(start..end, piece),
            2 => text.insert_str(start, piece),
            _ => {
                let copy = text[start..end].to_owned();
                text.insert_str(end, &copy);
            }
        }
    }
    text
}

proptest! {
    #[test]
    fn any_text_is_answered(text in r#"(?s)([<>/="' \n&;a-z0-9äß]|<cluster |<rm>|<vm |name="|<!--|-->|\PC){0,80}"#) {
        sound(&read("f", &text), &text)?;
    }

    #[test]
    fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let reading = read_bytes("f", &bytes);
        prop_assert!(reading.cluster.is_none());
        let _ = reading.render(true);
    }

    #[test]
    fn a_damaged_file_is_answered(
        changes in proptest::collection::vec((any::<Index>(), any::<Index>(), any::<u8>(), r#"[<>/="' \n&a-z0-9ä]{0,8}"#), 1..6),
    ) {
        let text = mutate(&full(), &changes);
        let reading = read("f", &text);
        sound(&reading, &text)?;
    }

    #[test]
    fn any_value_of_any_attribute_is_answered(which in any::<Index>(), value in r#"[ -~äß€]{0,30}|-?[0-9]{1,25}|[0-9]{1,4}[smhdwy]"#) {
        let full = full();
        let starts: Vec<usize> = full.match_indices("=\"").map(|(at, _)| at + 2).collect();
        let start = starts[which.index(starts.len())];
        let end = start + full[start..].find('"').unwrap_or(0);
        let escaped = value.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
        let text = format!("{}{escaped}{}", &full[..start], &full[end..]);
        let reading = read("f", &text);
        sound(&reading, &text)?;
        let debug = format!("{reading:?}");
        prop_assert!(!debug.contains("s3cret"));
    }
}

#[test]
fn the_file_the_properties_start_from_is_usable() {
    let reading = read("f", &full());
    assert!(reading.cluster.is_some(), "{}", reading.render(false));
}
