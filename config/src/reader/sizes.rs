//! How big hosts and VMs are: memory in MiB or with a unit, processors as a number.
//!
//! The bounds are far beyond any machine. They are there so that the sums of the engine stay sums.

use super::findings::{Findings, quoted};
use super::values::Values;
use super::xml::Xml;

/// An exbibyte, in MiB.
const MOST_MEMORY_MIB: u64 = 1 << 40;

/// More processors than libvirt gives a domain or Linux finds in a host.
const MOST_PROCESSORS: u32 = 65_536;

/// `@memory` in MiB.
pub(super) fn memory(element: Xml<'_>, findings: &mut Findings<'_>) -> Option<u64> {
    let mut values = Values::of(element, findings);
    let value = values.text("memory")?;
    let mib = mebibytes(value.value).filter(|mib| (1..=MOST_MEMORY_MIB).contains(mib));
    if mib.is_none() {
        values
            .findings()
            .error(value.at, format!("memory={} is not an amount of memory", quoted(value.value)))
            .help("write mebibytes (2048), or a whole number with M, G or T (512M, 2G)");
    }
    mib
}

/// `@cpus` or `@vcpus`.
pub(super) fn processors(element: Xml<'_>, name: &'static str, findings: &mut Findings<'_>) -> Option<u32> {
    Values::of(element, findings).number(name, 1..=MOST_PROCESSORS)
}

/// A number of mebibytes, gibibytes or tebibytes; without a unit it counts mebibytes.
fn mebibytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let each = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "m" | "mib" => 1,
        "g" | "gib" => 1 << 10,
        "t" | "tib" => 1 << 20,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(each)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn memory_counts_mebibytes_unless_it_has_a_unit() {
        for (text, mib) in
            [("2048", 2048), ("512M", 512), ("2G", 2048), (" 2 GiB ", 2048), ("1t", 1 << 20), ("3mib", 3), ("0", 0)]
        {
            assert_eq!(mebibytes(text), Some(mib), "{text}");
        }
    }

    #[test]
    fn what_is_no_amount_is_not_guessed() {
        for text in ["", "G", "-1", "+1", "1.5G", "1K", "2GB", "2 G G", "18446744073709551615T", "1e3", "٣"] {
            assert_eq!(mebibytes(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_an_amount_or_none(text in ".{0,20}|[0-9]{1,25}[MGTmgt]?") {
            let _ = mebibytes(&text);
        }
    }
}
