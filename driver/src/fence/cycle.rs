//! Splitting a power cycle: a victim is proven off as soon as its power is off, so its VMs need not wait until it is on
//! again.
//!
//! `reboot`, the usual action of power agents, is off, verify, on, in one call. Here the off of all devices comes first,
//! which is the proof, and the on of all devices is work of its own that follows when the proof is known. That saves the
//! seconds of every "on", and a host with two power supplies really loses its power: two reboots one after the other never take it
//! from both at a time.

/// The action that means off, verify, on (FenceAgentAPI).
pub(super) const REBOOT: &str = "reboot";

/// Its first half.
pub(super) const OFF: &str = "off";

/// Its second half.
pub(super) const ON: &str = "on";

/// What asks an agent to describe itself.
pub(super) fn question() -> Vec<(String, String)> {
    vec![("action".to_owned(), "metadata".to_owned())]
}

/// What the agent is told to do; with most agents the last word counts, and `option` is the old name.
pub(super) fn action(arguments: &[(String, String)]) -> Option<&str> {
    let told = arguments.iter().rev().find(|(key, _)| key == "action" || key == "option");
    told.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
}

/// The same call with another action.
pub(super) fn with_action(arguments: &[(String, String)], action: &str) -> Vec<(String, String)> {
    let others = arguments.iter().filter(|(key, _)| key != "action" && key != "option").cloned();
    std::iter::once(("action".to_owned(), action.to_owned())).chain(others).collect()
}

/// `parameter[@name="action"]/content/@default` of the agent's metadata.
#[must_use]
pub fn default_in(metadata: &str) -> Option<String> {
    // Around the XML there may be warnings of the agent's language, which share its output.
    const END: &str = "</resource-agent>";
    let xml = metadata.get(metadata.find("<resource-agent")?..metadata.rfind(END)? + END.len())?;
    let document = roxmltree::Document::parse(xml).ok()?;
    let parameter = document
        .descendants()
        .find(|node| node.has_tag_name("parameter") && matches!(node.attribute("name"), Some("action")))?;
    let content = parameter.children().find(|node| node.has_tag_name("content"))?;
    content.attribute("default").map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn the_last_action_counts_and_is_replaced_wherever_it_stood() {
        let arguments = pairs(&[("option", "off"), ("port", "2"), ("action", "reboot")]);
        assert_eq!(action(&arguments), Some("reboot"));
        assert_eq!(with_action(&arguments, "off"), pairs(&[("action", "off"), ("port", "2")]));
    }

    #[test]
    fn the_default_action_is_read_from_the_metadata() {
        let metadata = r#"<?xml version="1.0" ?><resource-agent name="fence_x"><parameters>
            <parameter name="port"><content type="string"/></parameter>
            <parameter name="action" unique="0" required="1"><content type="string" default="reboot"/></parameter>
            </parameters></resource-agent>"#;
        assert_eq!(default_in(metadata).as_deref(), Some("reboot"));
        let warned = format!("x.py:5: DeprecationWarning: <pipes>\n{metadata}\ntrailing words");
        assert_eq!(default_in(&warned).as_deref(), Some("reboot"));
        assert_eq!(default_in("no xml"), None);
    }

    proptest! {
        #[test]
        fn any_metadata_is_read_or_ignored_without_a_panic(text in ".{0,200}") {
            let _ = default_in(&text);
            let _ = default_in(&format!("</resource-agent>{text}<resource-agent{text}</resource-agent>"));
        }
    }
}
