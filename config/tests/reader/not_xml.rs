use super::found;
use belay_config::{read, read_bytes};

#[test]
fn a_mistake_in_the_xml_is_one_error_at_its_place() {
    for (text, finding) in [
        ("", "1:1: error: the file is empty"),
        ("  \n", "1:1: error: the file is empty"),
        ("hello", "1:1: error: not well-formed XML: "),
        (
            "<cluster>\n  <rm>\n</cluster>",
            "3:1: error: not well-formed XML: </cluster> closes nothing: <rm> is still open",
        ),
        ("<cluster>\n <rm>\n <vm/>", "2:2: error: not well-formed XML: <rm> is opened here and never closed"),
        ("<cluster>\n <rm a='1", "2:2: error: not well-formed XML: "),
        (
            "<cluster>\n<a b=\"1\" b=\"2\"/></cluster>",
            "2:10: error: not well-formed XML: attribute 'b' is written twice",
        ),
        ("<cluster>\n<a b=1/></cluster>", "2:6: error: not well-formed XML: this character is not expected here"),
        ("<cluster>\n<a b='<'/></cluster>", "2:7: error: not well-formed XML: '<' inside a tag"),
        ("<cluster>\n<a b='1'\n<c/></cluster>", "3:1: error: not well-formed XML: '<' inside a tag"),
        ("<cluster>\n a & b</cluster>", "2:4: error: not well-formed XML: '&' does not begin a known"),
        ("<cluster a='&secret;'/>", "1:13: error: not well-formed XML: '&' does not begin a known"),
        ("<cluster>\n<!-- a -- b --></cluster>", "2:1: error: not well-formed XML: '--' inside a comment"),
        ("<cluster/>\n<cluster/>", "2:1: error: not well-formed XML: "),
        ("\n<?xml version='1.0'?><cluster/>", "2:1: error: not well-formed XML: the <?xml …?> line must be the first"),
        ("<cluster>\u{1}</cluster>", "1:10: error: not well-formed XML: this character is not allowed in XML"),
    ] {
        let findings = found(text);
        assert!(findings.len() == 1 && findings[0].starts_with(finding), "{text:?} gave {findings:?}");
        assert!(read("f", text).cluster.is_none());
    }
}

#[test]
fn the_element_that_was_left_open_is_named_with_its_line() {
    let reading = read("f", "<cluster>\n  <rm>\n    <vm>\n  </rm>\n</cluster>");
    let [finding] = reading.diagnostics.as_slice() else { panic!("{:?}", reading.diagnostics) };
    assert_eq!((finding.line, finding.help.as_deref()), (4, Some("<vm> was opened in line 3")));
}

#[test]
fn a_quote_that_was_not_closed_is_named_with_its_line() {
    let reading = read("f", "<cluster>\n  <vm name=\"web>\n  </vm>\n</cluster>");
    let [finding] = reading.diagnostics.as_slice() else { panic!("{:?}", reading.diagnostics) };
    let help = "the value that begins in line 2 is not closed before it; for a plain '<' write &lt;";
    assert_eq!((finding.line, finding.help.as_deref()), (3, Some(help)));
}

#[test]
fn a_document_type_is_refused_and_said_to_be() {
    let text = "<?xml version='1.0'?>\n<!DOCTYPE c [<!ENTITY x SYSTEM 'file:///etc/shadow'>]>\n<cluster name='&x;'/>";
    assert_eq!(found(text), ["2:1: error: a document type (DTD) is not accepted"]);
}

#[test]
fn a_parse_error_next_to_a_password_does_not_show_it() {
    for text in [
        "<cluster><fencedevice passwd='s3&cret;'/></cluster>",
        "<cluster><fencedevice passwd=s3cret/></cluster>",
        "<cluster><fencedevice passwd='s3cret port='1'/></cluster>",
        "<cluster><fencedevice passwd \"s3cret\"/></cluster>",
        "<cluster><fencedevice passwd='s3cret' passwd='s3cret'/></cluster>",
        "<cluster><fencedevice passwd=\"s3<cret\"/></cluster>",
    ] {
        let reading = read("f", text);
        let all = format!("{reading:?}{}{:?}", reading.render(true), found(text));
        assert!(reading.cluster.is_none() && !all.contains("cret"), "{all}");
    }
}

#[test]
fn bytes_that_are_not_utf8_are_an_error_with_a_place() {
    let reading = read_bytes("f", b"<cluster>\n<!-- M\xfcller --></cluster>");
    let findings: Vec<_> = reading.diagnostics.iter().map(ToString::to_string).collect();
    assert_eq!(findings, ["f:2:7: error: this byte is not UTF-8 text"]);
    assert!(!reading.render(false).is_empty());
}
