//! Every target takes its committed corpus, and inputs near it. What libFuzzer once found is in the corpus, so it stays
//! mended. The mutations are always the same ones: looking for new bytes is the business of `make fuzz`, and what a
//! change is judged by must not depend on luck.

// What goes wrong here fails the test.
#![allow(clippy::unwrap_used, clippy::panic)]

use belay_fuzz::{TARGETS, Target, find};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{RngAlgorithm, TestError, TestRng, TestRunner};
use std::fs;
use std::path::{Path, PathBuf};

/// Mutations of each target's corpus. `PROPTEST_CASES` asks for more.
fn cases() -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig { cases: usual.cases / 2, failure_persistence: None, ..usual }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// A target's inputs, in the order of their names.
fn corpus(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = folder().join(target.name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|file| (file.clone(), fs::read(file).unwrap())).collect()
}

#[test]
fn every_target_has_a_corpus_and_every_corpus_a_target() {
    for target in TARGETS {
        assert!(corpus(target).len() >= 3, "{} needs well-formed inputs and nasty ones", target.name);
    }
    for entry in fs::read_dir(folder()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(find(&name).is_some(), "{name} is no target");
    }
}

/// One change to some bytes.
#[derive(Clone, Debug)]
enum Change {
    Cut(Index, usize),
    Double(Index, usize),
    Put(Index, Vec<u8>),
    Flip(Index, u8),
    /// Goes on as another input does.
    Join(Index, Index, Index),
}

fn change() -> impl Strategy<Value = Change> {
    let telling: Vec<&[u8]> = vec![
        b"",
        b"\n",
        b"\0",
        b"\"",
        b"{",
        b"}",
        b"<",
        b">",
        b"-1",
        b"0",
        b"18446744073709551615",
        b"\xff",
        b"null",
        b" ",
    ];
    let piece = prop_oneof![
        proptest::sample::select(telling).prop_map(<[u8]>::to_vec),
        proptest::collection::vec(any::<u8>(), 0..6)
    ];
    let at = any::<Index>;
    prop_oneof![
        (at(), 0usize..40).prop_map(|(place, length)| Change::Cut(place, length)),
        (at(), 0usize..40).prop_map(|(place, length)| Change::Double(place, length)),
        (at(), piece).prop_map(|(place, piece)| Change::Put(place, piece)),
        (at(), 1u8..=255).prop_map(|(place, bits)| Change::Flip(place, bits)),
        (at(), at(), at()).prop_map(|(place, other, from)| Change::Join(place, other, from)),
    ]
}

fn changed(mut bytes: Vec<u8>, changes: &[Change], corpus: &[(PathBuf, Vec<u8>)]) -> Vec<u8> {
    for change in changes {
        let length = bytes.len();
        let place = |index: &Index| index.index(length + 1);
        match change {
            Change::Cut(at, many) => drop(bytes.drain(place(at)..(place(at) + many).min(length))),
            Change::Double(at, many) => {
                let piece = bytes[place(at)..(place(at) + many).min(length)].to_vec();
                bytes.splice(place(at)..place(at), piece);
            }
            Change::Put(at, piece) => drop(bytes.splice(place(at)..place(at), piece.iter().copied())),
            Change::Flip(at, bits) if length > 0 => bytes[at.index(length)] ^= bits,
            Change::Flip(..) => {}
            Change::Join(at, other, from) => {
                let (_, other) = other.get(corpus);
                bytes.truncate(place(at));
                bytes.extend_from_slice(&other[from.index(other.len() + 1)..]);
            }
        }
    }
    bytes
}

/// The whole corpus as it is, and then some inputs near it.
fn takes_its_corpus(target: &Target) {
    let corpus = corpus(target);
    for (file, bytes) in &corpus {
        println!("{}", file.display());
        (target.run)(bytes);
    }
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let inputs = (any::<Index>(), proptest::collection::vec(change(), 1..5));
    let ran = TestRunner::new_with_rng(cases(), rng).run(&inputs, |(which, changes)| {
        (target.run)(&changed(which.get(&corpus).1.clone(), &changes, &corpus));
        Ok(())
    });
    if let Err(TestError::Fail(why, (which, changes))) = &ran {
        let input = changed(which.get(&corpus).1.clone(), changes, &corpus);
        panic!("{}: {why}\n{:?}", target.name, String::from_utf8_lossy(&input));
    }
    ran.unwrap();
}

macro_rules! targets_take_their_corpora {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                takes_its_corpus(find(stringify!($name)).expect("a target"));
            }
        )*

        #[test]
        fn every_target_is_tested_here() {
            let tested = [$(stringify!($name)),*];
            assert_eq!(TARGETS.iter().map(|target| target.name).collect::<Vec<_>>(), tested);
        }
    };
}

targets_take_their_corpora! {
    cluster_conf cluster_edit ring_messages snapshot entries local_log control_calls control_replies agent_lines agent_calls
    fence_agents domain_xml store command_lines scenario words
}
