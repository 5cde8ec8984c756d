//! The same seed gives the same bits.

use crate::train::{Workplace, assert_equal_results, text};

#[test]
fn the_number_of_threads_does_not_matter() {
    let place = Workplace::new();
    place.smoke("score_matching_digits.json", "one", &["-q", "--threads", "1"]).succeeds();
    place.smoke("score_matching_digits.json", "two", &["-q", "--threads", "2"]).succeeds();
    assert_equal_results(&place.run("one"), &place.run("two"));
}

#[test]
fn another_seed_is_another_run() {
    let place = Workplace::new();
    place.smoke("score_matching_two_moons.json", "a", &["-q"]).succeeds();
    place.smoke("score_matching_two_moons.json", "b", &["-q", "--seed", "1"]).succeeds();
    let samples = |run: &str| std::fs::read(place.run(run).join("samples.npy")).unwrap();
    assert_ne!(samples("a"), samples("b"));
}

#[test]
fn a_sample_does_not_depend_on_how_many_are_drawn() {
    let place = Workplace::new();
    place.smoke("score_matching_two_moons.json", "run", &["-q"]).succeeds();
    let run = place.run("run");
    let draw = |count: &str| {
        let out = place.path(&format!("{count}.csv"));
        place.train(&["sample", text(&run), "--count", count, "--out", text(&out), "-q", "--steps", "4"]).succeeds();
        std::fs::read_to_string(out).unwrap()
    };
    let (few, many) = (draw("100"), draw("20000"));
    assert!(many.starts_with(&few), "the first hundred of 20000 samples are not the hundred drawn alone");
    assert_eq!(many.lines().count() - few.lines().count(), 19_900);
}
