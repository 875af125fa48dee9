//! Secrets: which of an agent's arguments are, and keeping them out of what it printed.

use super::capture::Captured;

/// What stands where a secret was.
const MASKED: &str = "********";

/// Parts of keys whose values nobody but the agent may see. Better one word too many than a password in a log.
const SECRET_KEYS: [&str; 6] = ["pass", "secret", "token", "community", "credential", "key"];

/// Keys of that kind whose values are names of files.
const FILE_KEYS: [&str; 3] = ["_script", "_file", "keyfile"];

/// Replaces an agent's secrets in its output.
pub(super) struct Mask {
    /// Longest first, so that one which contains another goes first.
    secrets: Vec<String>,
}

impl Mask {
    pub(super) fn new(arguments: &[(String, String)]) -> Self {
        let mut secrets: Vec<String> = arguments
            .iter()
            .filter(|(key, value)| is_secret(key) && !value.trim().is_empty())
            .flat_map(|(_, value)| [value.clone(), value.trim().to_owned(), printable(value)])
            .filter(|secret| !secret.is_empty())
            .collect();
        secrets.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        secrets.dedup();
        Self { secrets }
    }

    /// The output as text, without secrets, without broken halves of a secret at the place where something was
    /// discarded.
    pub(super) fn apply(&self, captured: &Captured) -> String {
        if captured.discarded() == 0 {
            return self.hide(&printable(&captured.text()));
        }
        let (head, tail) = captured.ends();
        let (head, tail) = (self.cut_end(head), self.cut_beginning(&tail));
        let note = format!("\n[… {} bytes not kept …]\n", captured.discarded());
        let text = |bytes| self.hide(&printable(&String::from_utf8_lossy(bytes)));
        [text(head), note, text(tail)].concat()
    }

    /// Without the bytes at the end in which half of a secret could stand. The cut itself must leave no half either.
    fn cut_end<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let mut end = bytes.len().saturating_sub(self.longest());
        while let Some((start, _)) = self.across(bytes, end) {
            end = start;
        }
        &bytes[..end]
    }

    /// The same at the beginning.
    fn cut_beginning<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let mut start = self.longest().min(bytes.len());
        while let Some((_, end)) = self.across(bytes, start) {
            start = end;
        }
        &bytes[start..]
    }

    fn longest(&self) -> usize {
        self.secrets.first().map_or(0, String::len)
    }

    /// A secret that a cut at this place would break, by where it begins and ends.
    fn across(&self, bytes: &[u8], cut: usize) -> Option<(usize, usize)> {
        self.secrets.iter().find_map(|secret| {
            let mut starts = (cut + 1).saturating_sub(secret.len())..cut;
            let start = starts.find(|start| bytes[*start..].starts_with(secret.as_bytes()))?;
            Some((start, start + secret.len()))
        })
    }

    fn hide(&self, text: &str) -> String {
        self.secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, MASKED))
    }
}

/// Without what a terminal obeys instead of showing it. It goes before secrets are looked for: one with such a character
/// in its middle is none that anybody would find, and can be read all the same.
fn printable(text: &str) -> String {
    text.chars().filter(|c| *c == '\n' || !c.is_control()).collect()
}

fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SECRET_KEYS.iter().any(|part| key.contains(part)) && !FILE_KEYS.iter().any(|end| key.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mask(arguments: &[(&str, &str)]) -> Mask {
        let arguments: Vec<_> = arguments.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Mask::new(&arguments)
    }

    fn captured(bytes: &[u8]) -> Captured {
        let mut captured = Captured::default();
        captured.take(bytes);
        captured
    }

    #[test]
    fn every_kind_of_secret_is_hidden_and_nothing_else() {
        let mask = mask(&[
            ("passwd", "hunter2"),
            ("snmp_priv_passwd", "hunter2-longer"),
            ("community", "private"),
            ("api_token", "t0k"),
            ("passwd_script", "/etc/pw.sh"),
            ("ipaddr", "10.0.0.9"),
            ("password", ""),
        ]);
        let shown = mask.apply(&captured(b"hunter2 hunter2-longer private t0k /etc/pw.sh 10.0.0.9"));
        assert_eq!(shown, "******** ******** ******** ******** /etc/pw.sh 10.0.0.9");
    }

    #[test]
    fn a_secret_in_pieces_that_no_screen_shows_apart_is_hidden() {
        let mask = mask(&[("passwd", "hunter2")]);
        for apart in ["\0", "\r", "\t", "\u{1b}\u{7f}"] {
            let shown = mask.apply(&captured(format!("with hun{apart}ter2\nfailed").as_bytes()));
            assert_eq!(shown, "with ********\nfailed");
        }
    }

    /// What is kept of each end of an agent's output.
    const END: usize = 32 * 1024;

    fn shows_nothing_of(secrets: &[&str], before: usize, after: usize) {
        let arguments: Vec<_> = secrets.iter().map(|secret| ("passwd", *secret)).collect();
        let said = secrets.concat();
        let output = ["X".repeat(before), said, "Y".repeat(after)].concat();
        let shown = mask(&arguments).apply(&captured(output.as_bytes()));
        let notes: Vec<_> = shown.split("\n[").filter(|part| !part.contains("not kept")).collect();
        assert!(!notes.concat().contains(|c: char| c.is_ascii_lowercase()), "{before} before it: {notes:?}");
    }

    #[test]
    fn a_secret_at_the_edge_of_what_is_not_kept_leaves_no_half() {
        for secrets in [&["hunter-second"][..], &["hunter-second", "third-of-some-length"], &["short", "hunter-second"]]
        {
            for place in END - 60..END + 10 {
                shows_nothing_of(secrets, place, 3 * END);
                shows_nothing_of(secrets, 3 * END, place);
            }
        }
    }

    proptest! {
        #[test]
        fn wherever_a_secret_stands_in_however_much_output_it_does_not_show(
            before in 0usize..140_000, after in 0usize..140_000, secret in "[a-z]{8,20}"
        ) {
            let mask = mask(&[("passwd", &secret)]);
            let output = ["X".repeat(before), secret.clone(), "Y".repeat(after)].concat();
            let shown = mask.apply(&captured(output.as_bytes()));
            // Not even half of it: lower-case letters come only from the secret and from the note on what was cut.
            for note in shown.split("\n[").filter(|part| !part.contains("not kept")) {
                prop_assert!(!note.contains(|c: char| c.is_ascii_lowercase()), "{}", secret);
            }
        }
    }
}
