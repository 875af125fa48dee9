//! Fence agents' output. The first line of an input is a password; what follows is what the agent printed.

use belay_driver::fence::default_action_in;
use belayd::executor::fence::fuzzing::shown;

/// Any output.
pub(crate) fn output(bytes: &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (password, printed) = (String::from_utf8_lossy(&bytes[..end]), bytes.get(end + 1..).unwrap_or_default());
    let arguments =
        vec![("ipaddr".to_owned(), "10.0.0.1".to_owned()), ("passwd".to_owned(), password.clone().into_owned())];
    for piece in [printed.len(), 3] {
        let (whole, words) = shown(&arguments, printed, piece);
        let secret = password.trim();
        // What stands for a password, and the note on what was cut, are no secret of anybody.
        let harmless = secret.is_empty() || "********".contains(secret) || words_of_ours(secret);
        assert!(harmless || !whole.contains(secret), "{secret:?} is shown");
        assert!(harmless || !words.contains(secret), "{secret:?} is said");
        assert!(words.chars().all(|c| !c.is_control()), "{words:?} is one line");
    }
    let text = String::from_utf8_lossy(bytes);
    let _ = default_action_in(&text);
    let _ = fence_belay_demo::understands(&text);
}

/// Whether our own words around an agent's hold this text.
fn words_of_ours(secret: &str) -> bool {
    let digits = |c: char| c.is_ascii_digit();
    secret.chars().all(digits)
        || ["\n[… ", " bytes not kept …]\n", ", saying '", ", and said nothing", " / ", "'"]
            .iter()
            .any(|own| own.contains(secret) || secret.contains('*'))
}
