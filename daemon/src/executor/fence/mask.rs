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
            .flat_map(|(_, value)| [value.clone(), value.trim().to_owned()])
            .collect();
        secrets.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        secrets.dedup();
        Self { secrets }
    }

    /// The output as text, without secrets, without broken halves of a secret at the place where something was
    /// discarded.
    pub(super) fn apply(&self, captured: &Captured) -> String {
        let longest = self.secrets.first().map_or(0, String::len);
        let (head, tail) = captured.parts(longest);
        let mut text = self.hide(&String::from_utf8_lossy(head));
        if captured.discarded() > 0 {
            text.push_str(&format!("\n[… {} bytes not kept …]\n", captured.discarded()));
        }
        text.push_str(&self.hide(&String::from_utf8_lossy(&tail)));
        text
    }

    fn hide(&self, text: &str) -> String {
        self.secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, MASKED))
    }
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
