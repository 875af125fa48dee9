//! "Did you mean …?": the known name that is nearest to what was written.

/// Longer words are not compared: nobody mistypes a name of this length, and comparing costs length times length.
const LONGEST: usize = 40;

/// The known name that a typing mistake or two, or the wrong case, would turn into `written`.
pub(crate) fn nearest<'k>(written: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let written: Vec<char> = written.to_lowercase().chars().take(LONGEST + 1).collect();
    if written.is_empty() || written.len() > LONGEST {
        return None;
    }
    let allowed = (written.len() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|name| (distance(&written, &name.to_lowercase().chars().take(LONGEST + 1).collect::<Vec<_>>()), name))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// How many insertions, deletions, replacements and swaps of neighbours turn one word into the other.
fn distance(left: &[char], right: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut row = vec![i + 1; right.len() + 1];
        for (j, b) in right.iter().enumerate() {
            let replaced = last[j] + usize::from(a != b);
            row[j + 1] = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            let swapped = i > 0 && j > 0 && *a == right[j - 1] && left[i - 1] == *b;
            if swapped {
                row[j + 1] = row[j + 1].min(before[j - 1] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KNOWN: [&str; 4] = ["autostart", "name", "max_restarts", "restart_expire_time"];

    #[test]
    fn a_typing_mistake_finds_its_name() {
        for (written, meant) in [
            ("autostrat", "autostart"),
            ("nme", "name"),
            ("Name", "name"),
            ("maxrestarts", "max_restarts"),
            ("restart_expire", "restart_expire_time"),
        ] {
            let found = nearest(written, KNOWN);
            if written == "restart_expire" {
                assert_eq!(found, None, "five letters are missing");
            } else {
                assert_eq!(found, Some(meant), "{written}");
            }
        }
    }

    #[test]
    fn another_word_finds_nothing() {
        for written in ["colour", "", "x", &"n".repeat(1000)] {
            assert_eq!(nearest(written, KNOWN), None, "{written}");
        }
    }

    proptest! {
        #[test]
        fn any_word_is_compared_without_a_panic(written in ".{0,60}", known in ".{0,60}") {
            let _ = nearest(&written, [known.as_str()]);
        }
    }
}
