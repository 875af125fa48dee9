//! What the watcher reads: plain lines with the time since the start, nothing that needs a clever terminal.

use std::io::Write;
use std::time::{Duration, Instant};

/// How wide a paragraph may be.
const WIDTH: usize = 76;

/// Prints a line. Whoever reads may have gone (`make demo | head`); the story goes on and ends in good order.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// The story's page.
pub struct Screen {
    start: Instant,
    chapter: u32,
}

impl Screen {
    /// A page whose clock starts now.
    #[must_use]
    pub fn new() -> Self {
        Self { start: Instant::now(), chapter: 0 }
    }

    /// A new chapter, and a few words on what it is about.
    pub fn chapter(&mut self, title: &str, about: &str) {
        self.chapter += 1;
        say(&format!("\n{}. {title}\n", self.chapter));
        self.paragraph(about);
        say("");
    }

    /// A paragraph of explanation.
    pub fn paragraph(&self, text: &str) {
        for line in wrapped(text, WIDTH) {
            say(&format!("   {line}"));
        }
    }

    /// Something that happened just now.
    pub fn event(&self, text: &str) {
        say(&format!("   [{:6.2} s] {text}", self.start.elapsed().as_secs_f64()));
    }

    /// A command as a person would type it, and what it printed.
    pub fn command(&self, words: &[&str], printed: &str) {
        self.event(&format!("# {}", words.join(" ")));
        self.block(printed);
    }

    /// Lines to be shown as they are.
    pub fn block(&self, text: &str) {
        for line in text.trim_end().lines() {
            say(format!("              {}", line.trim_end()).trim_end());
        }
    }

    /// Time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

impl Default for Screen {
    fn default() -> Self {
        Self::new()
    }
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// A time as the story tells it.
#[must_use]
pub fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

/// Names as a person lists them.
#[must_use]
pub fn list(names: &[String]) -> String {
    match names {
        [] => "nothing".to_owned(),
        [one] => one.clone(),
        [rest @ .., last] => format!("{} and {last}", rest.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paragraph_keeps_its_words_within_the_width() {
        let lines = wrapped("a host that  goes\nsilent may still run its VMs", 14);
        assert_eq!(lines, ["a host that", "goes silent", "may still run", "its VMs"]);
        assert_eq!(list(&["a".into(), "b".into(), "c".into()]), "a, b and c");
    }
}
