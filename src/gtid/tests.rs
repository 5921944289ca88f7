//! Texts byte by byte, and the algebra against a set of single transactions.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
const B: &str = "8a94f357-aab4-11df-86ab-c80aa9429444";

fn set(text: &str) -> GtidSet {
    GtidSet::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn texts_and_their_canonical_form() {
    for (text, canonical) in [
        (String::new(), String::new()),
        (" \n\t,, ,".into(), String::new()),
        (format!("{A}:1"), format!("{A}:1")),
        (format!("{A}:1-5:7"), format!("{A}:1-5:7")),
        (format!("{A}:7:1-5"), format!("{A}:1-5:7")),
        (format!("{A}:1-3:4-5:5-9"), format!("{A}:1-9")),
        (format!("{}:1-5", A.to_uppercase()), format!("{A}:1-5")),
        (format!("{}:1-5", A.replace('-', "")), format!("{A}:1-5")),
        (format!("{B}:1,\n{A}:2-3"), format!("{A}:2-3,{B}:1")),
        (format!(" {A} : 1 - 5 : 7 ,\r\n{A}:6"), format!("{A}:1-7")),
        (format!("{A}:tag:1-3"), format!("{A}:tag:1-3")),
        (format!("{A}:1-3:TAG:5-6"), format!("{A}:1-3:tag:5-6")),
        (format!("{A}:b:1:a:2:3:b:2"), format!("{A}:a:2-3:b:1-2")),
        (format!("{A}:_x9:1,{A}:5"), format!("{A}:5:_x9:1")),
        (format!("{A}:{}", i64::MAX), format!("{A}:{}", i64::MAX)),
        (format!("{A}:1-{}:{}", i64::MAX - 1, i64::MAX), format!("{A}:1-{}", i64::MAX)),
        ("0-1-5,1-2-7".into(), "0-1-5,1-2-7".into()),
        (" 1-2-7 ,\n0 - 1 - 5".into(), "0-1-5,1-2-7".into()),
        ("0-1-5,0-2-9,0-3-4".into(), "0-2-9".into()),
        (format!("{0}-{0}-{1}", u32::MAX, u64::MAX), format!("{0}-{0}-{1}", u32::MAX, u64::MAX)),
    ] {
        assert_eq!(set(&text).to_string(), canonical, "{text}");
        assert_eq!(set(&canonical), set(&text), "{text}");
    }
}

#[test]
fn texts_that_are_no_set() {
    use GtidError::{Backwards, Mixed, OutOfRange, Truncated, Unexpected};
    let tag33 = "t".repeat(33);
    let (min, max) = (1, i64::MAX.cast_unsigned());
    for (text, error) in [
        ("x".into(), Unexpected { at: 0, wanted: "a GTID" }),
        ("-1".into(), Unexpected { at: 0, wanted: "a GTID" }),
        ("\0".into(), Unexpected { at: 0, wanted: "a GTID" }),
        (A.into(), Truncated { at: 36, wanted: "a colon and an interval" }),
        (format!("{A}:"), Truncated { at: 37, wanted: "a number" }),
        (format!("{A}:1-"), Truncated { at: 39, wanted: "a number" }),
        (format!("{A}:1:"), Truncated { at: 39, wanted: "a number" }),
        (format!("{A}:tag"), Truncated { at: 40, wanted: "a colon and an interval" }),
        (format!("{A}:1 2"), Unexpected { at: 39, wanted: "a comma or the end" }),
        (format!("{A}:1;"), Unexpected { at: 38, wanted: "a comma or the end" }),
        (format!("{A}:t:u:1"), Unexpected { at: 39, wanted: "an interval of the tag before" }),
        (format!("{A}:t-u:1"), Unexpected { at: 38, wanted: "a colon and an interval" }),
        (
            format!("{A}:{tag33}:1"),
            Unexpected { at: 69, wanted: "the end of the tag (at most 32 characters)" },
        ),
        (format!("{A}:0"), OutOfRange { at: 37, min, max }),
        (format!("{A}:1-0"), OutOfRange { at: 39, min, max }),
        (format!("{A}:9223372036854775808"), OutOfRange { at: 37, min, max }),
        (format!("{A}:99999999999999999999999"), OutOfRange { at: 37, min, max }),
        (format!("{A}:5-4"), Backwards { at: 37 }),
        (A.replacen('-', "x", 1) + ":1", Unexpected { at: 8, wanted: "a UUID" }),
        (A.replacen("71ca", "71c", 1) + ":1", Unexpected { at: 12, wanted: "a UUID" }),
        ("0-1".into(), Truncated { at: 3, wanted: "a dash" }),
        ("0-1-".into(), Truncated { at: 4, wanted: "a number" }),
        ("0-1-5-".into(), Unexpected { at: 1, wanted: "a UUID" }),
        ("4294967296-1-5".into(), OutOfRange { at: 0, min: 0, max: u64::from(u32::MAX) }),
        ("0-1-18446744073709551616".into(), OutOfRange { at: 4, min: 0, max: u64::MAX }),
        (format!("0-1-5,{A}:1"), Mixed { at: 6 }),
        (format!("{A}:1,0-1-5"), Mixed { at: 39 }),
    ] {
        assert_eq!(GtidSet::parse(text.as_bytes()), Err(error), "{text}");
    }
}

#[test]
fn every_truncation_is_a_set_or_an_error() {
    let text = format!("{A}:1-5:tag:7-9,\n{B}:11");
    for end in 0..text.len() {
        // Cut inside a number it is a smaller set, cut elsewhere an error; never a panic.
        if let Ok(cut) = GtidSet::parse(&text.as_bytes()[..end]) {
            assert!(set(&text).contains(&cut) || cut.to_string().ends_with(":1"), "{cut}");
        }
    }
}

#[test]
fn the_number_of_intervals_is_limited() {
    let many = |n: usize| {
        let intervals: String = (0..n).map(|i| format!(":{}", 2 * (n - i))).collect();
        format!("{A}{intervals}")
    };
    assert_eq!(set(&many(MAX_INTERVALS)).interval_count(), MAX_INTERVALS);
    let error = GtidSet::parse(many(MAX_INTERVALS + 1).as_bytes());
    assert_eq!(error, Err(GtidError::TooMany));
    let domains: Vec<String> = (0..=MAX_INTERVALS).map(|n| format!("{n}-1-1")).collect();
    assert_eq!(GtidSet::parse(domains.join(",").as_bytes()), Err(GtidError::TooMany));
}

#[test]
fn contains() {
    for (has, wants, expected) in [
        ("A:1-5", "A:3", true),
        ("A:1-5", "A:1-5", true),
        ("A:1-5", "A:5-6", false),
        ("A:1-5:7-9", "A:5:7", true),
        ("A:1-5:7-9", "A:5-7", false),
        ("A:1-5", "B:1", false),
        ("A:1-5,B:1", "B:1", true),
        ("A:1-5", "A:t:1", false),
        ("A:t:1-5", "A:1", false),
        ("A:1:t:1-5", "A:1:t:5", true),
        ("A:1", "", true),
        ("", "A:1", false),
        ("", "", true),
        ("0-1-5", "0-2-5", true),
        ("0-1-5", "0-1-6", false),
        ("0-1-5", "1-1-1", false),
        ("0-1-5,1-1-9", "1-7-9", true),
        ("0-1-5", "A:1", false),
    ] {
        let read = |text: &str| set(&text.replace('A', A).replace('B', B));
        assert_eq!(read(has).contains(&read(wants)), expected, "{has} contains {wants}");
    }
}

#[test]
fn a_tracker_adds_its_transaction() {
    let mut token = GtidSet::default();
    for n in 1..=1_000 {
        token.insert_text(format!("{A}:{n}").as_bytes()).unwrap();
    }
    assert_eq!(token.to_string(), format!("{A}:1-1000"));
    assert!(token.insert_text(b"nonsense").is_err());
    assert_eq!(token.count(), 1_000);
    let mut token = set("0-1-5");
    token.insert_text(b"0-2-6").unwrap();
    token.insert_text(b"0-1-4").unwrap();
    assert_eq!(token.to_string(), "0-2-6");
}

#[test]
fn collapse_joins_each_source_and_no_more() {
    let wide = set(&format!("{A}:1:3:t:5:9,{B}:7"));
    let mut token = wide.clone();
    token.collapse(5);
    assert_eq!(token, wide, "five intervals are not more than five");
    token.collapse(4);
    assert_eq!(token.to_string(), format!("{A}:1-3:t:5-9,{B}:7"));
    token.collapse(0);
    assert_eq!(token.interval_count(), 3);
    assert!(token.contains(&wide));
}

#[test]
fn how_far_behind() {
    for (has, other, missing, left) in [
        ("A:1-5", "A:1-8", 3, "A:6-8"),
        ("A:1-5:7", "A:1-8,B:1-2", 4, "A:6:8,B:1-2"),
        ("A:1-9", "A:1-8", 0, ""),
        ("", "A:t:1-8", 8, "A:t:1-8"),
        ("0-1-5", "0-2-9,1-1-4", 8, "0-2-9,1-1-4"),
        ("0-1-9", "0-2-9", 0, ""),
    ] {
        let read = |text: &str| set(&text.replace('A', A).replace('B', B));
        assert_eq!(read(has).missing(&read(other)), missing, "{has} against {other}");
        assert_eq!(read(other).subtract(&read(has)), read(left), "{other} without {has}");
    }
    assert_eq!(set("0-1-18446744073709551615,1-1-5").count(), u64::MAX);
    assert_eq!(set(&format!("{A}:1-{}", i64::MAX)).count(), i64::MAX.cast_unsigned());
}

/// A set as its single transactions: source (a UUID and a tag) and number.
type Model = BTreeSet<(u8, u64)>;

const SOURCES: [&str; 4] = [A, B, A, A];
const TAGS: [&str; 4] = ["", "", ":t", ":u_1"];

/// Intervals of the model's sources, in any order, overlapping.
fn pieces(most: usize) -> impl Strategy<Value = Vec<(u8, u64, u64)>> {
    prop::collection::vec((0..4_u8, 1..200_u64, 0..6_u64), 0..most)
}

fn text_of(pieces: &[(u8, u64, u64)]) -> String {
    let piece = |&(source, first, more): &(u8, u64, u64)| {
        let (uuid, tag) = (SOURCES[usize::from(source)], TAGS[usize::from(source)]);
        format!("{uuid}{tag}:{first}-{}", first + more)
    };
    pieces.iter().map(piece).collect::<Vec<_>>().join(",")
}

fn model_of(pieces: &[(u8, u64, u64)]) -> Model {
    pieces
        .iter()
        .flat_map(|&(s, first, more)| (first..=first + more).map(move |n| (s, n)))
        .collect()
}

/// The fewest intervals that hold the model.
fn model_intervals(model: &Model) -> usize {
    model.iter().filter(|&&(source, n)| !model.contains(&(source, n - 1))).count()
}

proptest! {
    #[test]
    fn the_algebra_is_that_of_single_transactions(one in pieces(60), two in pieces(60)) {
        let (a, b) = (set(&text_of(&one)), set(&text_of(&two)));
        let (model_a, model_b) = (model_of(&one), model_of(&two));
        prop_assert_eq!(a.count(), model_a.len() as u64);
        prop_assert_eq!(a.interval_count(), model_intervals(&model_a));
        prop_assert_eq!(a.is_empty(), model_a.is_empty());
        prop_assert_eq!(a.contains(&b), model_b.is_subset(&model_a));
        prop_assert_eq!(a.missing(&b), model_b.difference(&model_a).count() as u64);
        let mut union = a.clone();
        union.union(&b);
        let model_union: Model = model_a.union(&model_b).copied().collect();
        prop_assert_eq!(union.count(), model_union.len() as u64);
        prop_assert_eq!(union.interval_count(), model_intervals(&model_union));
        prop_assert!(union.contains(&a) && union.contains(&b));
        let left = a.subtract(&b);
        let model_left: Model = model_a.difference(&model_b).copied().collect();
        prop_assert_eq!(left.count(), model_left.len() as u64);
        prop_assert_eq!(left.interval_count(), model_intervals(&model_left));
        prop_assert!(a.contains(&left));
        // Nothing lost, nothing gained: what was taken away plus what is common is the whole.
        let mut whole = left.clone();
        whole.union(&a.subtract(&left));
        prop_assert_eq!(&whole, &a);
        prop_assert_eq!(left.subtract(&b), left);
    }

    #[test]
    fn text_comes_back_as_it_went(one in pieces(12)) {
        let a = set(&text_of(&one));
        prop_assert_eq!(&set(&a.to_string()), &a);
        prop_assert_eq!(set(&a.to_string()).to_string(), a.to_string());
    }

    #[test]
    fn collapse_is_never_looser(one in pieces(12), most in 0..12_usize) {
        let a = set(&text_of(&one));
        let mut joined = a.clone();
        joined.collapse(most);
        prop_assert!(joined.contains(&a));
        prop_assert!(joined.interval_count() <= most.max(4));
    }

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let _ = GtidSet::parse(&bytes);
    }

    #[test]
    fn damaged_text_is_answered(one in pieces(4), at in 0..200_usize, byte in any::<u8>()) {
        let mut text = text_of(&one).into_bytes();
        if let Some(place) = text.get_mut(at) {
            *place = byte;
        }
        if let Ok(read) = GtidSet::parse(&text) {
            prop_assert_eq!(set(&read.to_string()), read);
        }
    }
}
