//! `train chain`: numbers of an independent implementation, the bounds beside them, and every mistake with its cure.

use std::path::PathBuf;

use brenier_measure::data::write::write_points;
use brenier_measure::{Gaussian, Purpose, Sample, Stream};
use serde_json::Value;

use crate::train::{Outcome, Workplace, text, workspace};

impl Workplace {
    /// `train chain` with these arguments; what it says has no path of this place in it.
    fn chain(&self, arguments: &[&str]) -> Outcome {
        let outcome = self.train(&[&["chain", "-q"], arguments].concat());
        let folder = self.path("");
        let without = |said: String| said.replace(text(&folder), "");
        Outcome { stdout: without(outcome.stdout), stderr: without(outcome.stderr), ..outcome }
    }
}

/// The mixture of four normals on the line.
fn four_components() -> PathBuf {
    workspace().join("configs/localization/four_component_mixture.json")
}

fn two_points() -> PathBuf {
    workspace().join("configs/localization/two_points.json")
}

/// What an independent implementation found for 100 steps of 0.01.
fn fixture() -> Value {
    let path = workspace().join("crates/eval/tests/chain.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[track_caller]
fn close(ours: &Value, theirs: &Value, tolerance: f64) {
    assert!((number(ours) - number(theirs)).abs() <= tolerance, "{ours} against {theirs}");
}

#[test]
fn transport_maps_have_the_numbers_of_an_independent_implementation() {
    let place = Workplace::new();
    for (spec, name) in [(four_components(), "four_components"), (two_points(), "two_points")] {
        let file = &fixture()["ode"][name];
        for (start, key) in [("target", "from_muT"), ("point:0", "from_nuT")] {
            let outcome = place.chain(&[text(&spec), "--start", start, "--json"]).succeeds();
            assert_eq!(outcome.stdout.lines().count(), 1, "{}", outcome.stdout);
            let answer = outcome.json();
            assert_eq!((answer["method"].as_str(), answer["particles"].as_u64()), (Some("quadrature"), None));
            let end = &answer["backward"];
            close(&end["mean"][0], &file[key]["mean"], 1e-8);
            close(&end["variance"][0], &file[key]["variance"], 1e-8);
            close(&end["w2_to_target"], &file[key]["w2_to_target"], 1e-7);
            let bound = &answer["bound"];
            close(&bound["log_factor"], &file["log_chain_bound"], 1e-6);
            close(&bound["log_backward_factor"], &file["log_backward_bound"], 1e-6);
            assert_eq!(bound["per_step_zeta"].as_array().unwrap().len(), 100);
            assert_eq!((&bound["lower_estimate_of_sup"], &bound["richness"]), (&false.into(), &2.0.into()));
            if start == "target" {
                assert_eq!((&answer["measured"], &answer["start"]), (&Value::Null, &"target".into()));
                continue;
            }
            assert_eq!(answer["start"]["point"][0], 0.0);
            let measured = &answer["measured"];
            for key in ["w2_start", "w2_forward", "w2_backward"] {
                close(&measured[key], &file[key], 1e-7);
            }
            close(&measured["log_backward_factor"], &file["log_backward_actual"], 1e-4);
            assert!(number(&measured["log_factor"]) < number(&bound["log_factor"]), "{answer}");
        }
    }
}

#[test]
fn the_stochastic_chain_has_the_numbers_of_an_independent_implementation() {
    let place = Workplace::new();
    let (spec, file) = (four_components(), &fixture()["sde"]["from_nuT"]);
    let arguments = [text(&spec), "--start", "point:0", "--scheme", "sde", "--json", "--threads", "1"];
    let answer = place.chain(&arguments).succeeds().json();
    close(&answer["backward"]["mean"][0], &file["mean"], 1e-8);
    close(&answer["backward"]["variance"][0], &file["variance"], 1e-7);
    close(&answer["backward"]["w2_to_target"], &file["w2_to_target"], 1e-7);
    let bound = &answer["bound"];
    // `log(1 + x) ≤ x` step by step.
    let (stochastic, maps) = (number(&bound["stochastic_log_factor"]), number(&bound["log_factor"]));
    assert!(stochastic < 2.0 * maps && stochastic > maps, "{stochastic}, {maps}");
}

#[test]
fn the_bound_of_the_stochastic_chain_holds_for_a_step_so_long_that_it_turns_points_around() {
    let place = Workplace::new();
    let spec = place.write("point.json", r#"{"gaussian": {"mean": [0], "covariance": [[0]]}}"#);
    for forward in ["exact", "euler"] {
        for (steps, eta) in [("1", "0.95"), ("2", "0.9"), ("5", "0.5")] {
            let start = ["--start", "point:2", "--scheme", "sde", "--forward", forward];
            let chain = ["--steps", steps, "--eta", eta, "--json"];
            let answer = place.chain(&[&[text(&spec)], &start[..], &chain].concat()).succeeds().json();
            let (found, bound) = (&answer["measured"]["log_factor"], &answer["bound"]["stochastic_log_factor"]);
            assert!(number(found) <= number(bound) + 1e-6, "{forward} {steps} {eta}: {found} against {bound}");
        }
    }
}

#[test]
fn in_the_plane_particles_answer_and_no_bound_is_claimed() {
    let place = Workplace::new();
    let spec = place.write("ring.json", r#"{"ring": {}}"#);
    let more = ["--particles", "500", "--steps", "20", "--eta", "0.05", "--draws", "64", "--json"];
    let with = |threads: &str| {
        let arguments = [&[text(&spec), "--start", "point:0,0", "--threads", threads], &more[..]].concat();
        place.chain(&arguments).succeeds()
    };
    let outcome = with("1");
    assert_eq!(outcome.stdout, with("2").stdout, "results depend on the number of threads");
    let answer = outcome.json();
    assert_eq!((&answer["method"], &answer["particles"]), (&"monte_carlo".into(), &500.into()));
    for (end, w2) in [("forward", "w2_to_reference_start"), ("backward", "w2_to_target")] {
        let end = &answer[end];
        for key in ["mean", "variance", "mean_std_error", "variance_std_error"] {
            assert_eq!(end[key].as_array().unwrap().len(), 2, "{key}");
        }
        assert_eq!(end["covariance"][0][1], end["covariance"][1][0]);
        assert!(
            number(&end[w2]) < 0.6 && number(&end["w2_std_error"]) > 0.0 && number(&end["w2_floor"]) > 0.0,
            "{end}"
        );
        // The ring is symmetric under half a turn.
        for j in 0..2 {
            let error = number(&end["mean_std_error"][j]);
            assert!(error < 0.1 && number(&end["mean"][j]).abs() < 5.0 * error, "{end}");
        }
    }
    let bound = &answer["bound"];
    assert_eq!((&bound["log_factor"], &bound["log_backward_factor"]), (&Value::Null, &Value::Null));
    assert_eq!(bound["lower_estimate_of_sup"], true);
    assert!(number(&bound["average_log_factor"]).is_finite());
    assert_eq!(bound["per_step_zeta"].as_array().unwrap().len(), 20);
    assert!(answer["notes"].to_string().contains("they bound nothing"), "{answer}");
}

#[test]
fn points_in_a_file_are_a_target_and_a_start() {
    let place = Workplace::new();
    let gaussian = Gaussian::new(vec![1.0, 0.0], vec![vec![1.0, 0.0], vec![0.0, 0.25]]).unwrap();
    let points = gaussian.sample(&Stream::new(3, Purpose::Evaluation), 0, 0..300);
    let (target, start) = (place.path("target.npy"), place.path("start.csv"));
    write_points(&target, &points, None).unwrap();
    write_points(&start, &(&points + 1.0), None).unwrap();
    let arguments = [text(&target), "--start", text(&start), "--no-bound", "--particles", "400", "--json"];
    let answer = place.chain(&[&arguments[..], &["--forward", "euler"]].concat()).succeeds().json();
    assert_eq!(
        (&answer["kind"], &answer["bound"], &answer["transition"]),
        (&"data".into(), &Value::Null, &"euler".into())
    );
    // The same rows, one step to the right and up.
    close(&answer["measured"]["w2_start"], &2f64.sqrt().into(), 1e-9);
    assert!(number(&answer["measured"]["w2_forward"]) < 0.6);
    assert!(answer["notes"].to_string().contains("not of Euler's steps"), "{answer}");
    assert!(!answer["notes"].to_string().contains("L_r"), "no L_r is shown: {answer}");
    assert!(number(&answer["measured"]["w2_backward_std_error"]) > 0.0, "{answer}");
    let said = place.chain(&[&arguments[..5], &["400", "--steps", "1"]].concat()).succeeds().stdout;
    assert!(said.contains(": 1 step of 0.01 forward") && said.contains(" ± "), "{said}");
}

#[test]
fn a_run_leads_back_in_standardised_coordinates() {
    let place = Workplace::new();
    place.smoke("score_matching_two_moons.json", "run", &["-q"]).succeeds();
    let run = place.run("run");
    let more = ["--steps", "8", "--eta", "0.1", "--particles", "200", "--draws", "16", "--json"];
    let answer = place.chain(&[&[text(&run)], &more[..]].concat()).succeeds().json();
    assert_eq!((&answer["kind"], &answer["dim"]), (&"run".into(), &2.into()));
    assert_eq!([&answer["shift"], &answer["scale"]].map(|list| list.as_array().unwrap().len()), [2, 2]);
    assert_eq!(answer["bound"]["log_factor"], Value::Null);
    // The target of the run, in its own coordinates, is where the run starts by itself.
    let moons = place.write("moons.json", r#"{"two_moons": {}}"#);
    let same =
        place.chain(&[&[text(&run), "--start", text(&moons), "--no-bound"], &more[..]].concat()).succeeds().json();
    assert!(number(&same["measured"]["w2_start"]) < 1e-6, "{same}");
}

#[test]
fn sample_paths_are_drawn() {
    let place = Workplace::new();
    for (figure, begins) in [("paths.png", &b"\x89PNG"[..]), ("paths.svg", &b"<svg"[..])] {
        let path = place.path(figure);
        let arguments =
            [text(&two_points()), "--start", "point:0", "--no-bound", "--figure", text(&path)].map(str::to_owned);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let outcome = place.chain(&arguments).succeeds();
        assert!(outcome.stdout.ends_with(&format!("figure: {figure}\n")), "{}", outcome.stdout);
        let bytes = std::fs::read(path).unwrap();
        assert!(bytes.windows(begins.len()).take(200).any(|window| window == begins), "{figure}");
    }
}

#[test]
fn the_text_says_what_was_done_and_what_was_lost() {
    let place = Workplace::new();
    let outcome = place.chain(&[text(&four_components()), "--start", "point:0"]).succeeds();
    assert_eq!(
        outcome.stdout,
        "four_component_mixture: 100 steps of 0.01 forward (exact) from the point (0), and back by transport maps, β = 1, by quadrature\n\
         \x20              mean  variance       W₂\n\
         \x20forward end      0    0.8647  0.07013   to N(0, I/β)\n\
         backward end  0.397     4.836    1.157  to the target\n\
         W₂ between the chains from the start and from the target: 3.082 at first, 0.6489 after diffusing, 1.147 after denoising\n\
         W₂² changes by a factor of 3.123 (log 1.139) while denoising, 0.1384 (log -1.977) in all\n\
         bound on the log factor of the transport maps, worst case: 7.119 while denoising, 5.119 in all\n\
         average case of the transport maps, perturbations of richness M = 2: log factor -0.3112 in all\n"
    );
}

#[test]
fn a_point_mass_ends_at_once() {
    let place = Workplace::new();
    let spec = workspace().join("configs/localization/point_mass.json");
    let answer = place.chain(&[text(&spec), "--json"]).succeeds().json();
    close(&answer["backward"]["mean"][0], &0.0.into(), 1e-12);
    assert!(number(&answer["backward"]["w2_to_target"]) < 0.1, "{answer}");
}

#[test]
fn mistakes_have_one_message_and_a_cure() {
    let place = Workplace::new();
    let spec = four_components();
    let spec = text(&spec);
    let refused = |arguments: &[&str]| {
        let outcome = place.chain(&[&[spec], arguments].concat()).fails(2);
        outcome.stderr.replace(text(&workspace()), "")
    };
    let step = "expected a number above 0 and at most 1: a step of the chain is a small step in time";
    for eta in ["0", "-1", "nan", "1.5", "inf"] {
        let said = refused(&["--eta", eta]);
        assert!(said.starts_with(&format!("error: invalid value '{eta}' for '--eta <E>': {step}\n")), "{said}");
    }
    assert!(refused(&["--steps", "0"]).contains("0 is not in 1..=1000000"));
    assert_eq!(refused(&["--start", "point:1e101"]).lines().count(), 1, "its square is not always a number");
    assert!(refused(&["--beta", "1e-101"]).contains("it must be from 1e-100 to 1e100"));
    assert!(refused(&["--beta", "0"]).contains("expected a number above 0"));
    assert!(refused(&["--richness", "0.5"]).contains("M = 1 are the shifts"));
    assert!(refused(&["--particles", "1"]).contains("1 is not in 2..=1000000"));
    assert_eq!(
        refused(&["--steps", "100000"]),
        "error: 100000 steps of size 0.01 go to time 1000, where the signal is e^-1000; lower the steps or the size so \
         that their product is at most 300\n"
    );
    let hint =
        "hint: give `target`, a point such as `point:0,1.5` with a number for each coordinate, or another SPEC\n";
    assert_eq!(
        refused(&["--start", "point:0,1"]),
        format!(
            "error: `--start point:0,1` has dimension 2, /configs/localization/four_component_mixture.json has 1\n{hint}"
        )
    );
    assert_eq!(
        refused(&["--start", "point:nan"]),
        format!("error: `--start point:nan` has \"nan\" where a coordinate is expected\n{hint}")
    );
    assert_eq!(
        refused(&["--start", "point:1,"]),
        format!("error: `--start point:1,` has \"\" where a coordinate is expected\n{hint}")
    );
    assert_eq!(
        refused(&["--start", "nowhere.json"]),
        format!("error: `--start nowhere.json` names no file and no folder\n{hint}")
    );
    assert_eq!(
        refused(&["--figure", "paths.gif"]),
        "error: `--figure paths.gif` is no picture that can be written\n\
         hint: one SPEC makes one picture: name a .png or .svg file\n"
    );
    place.chain(&["nowhere.npy"]).fails(2).says("nowhere.npy: there is no such file or folder");
}
