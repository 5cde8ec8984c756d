//! `train localize`: closed forms, numbers of an independent implementation, and every mistake with its cure.

use std::path::{Path, PathBuf};

use brenier_measure::data::write::write_points;
use brenier_measure::{Points, Purpose, Sample, Stream, targets};
use serde_json::Value;

use crate::train::{Outcome, Workplace, text, workspace};

const TWO_POINTS: &str =
    r#"{"gaussian_mixture": {"weights": [0.5, 0.5], "means": [[-1.0], [1.0]], "covariances": [[[0.0]], [[0.0]]]}}"#;

/// Four components in the plane: full, full, singular and zero covariance.
const PLANE: &str = r#"{"gaussian_mixture": {
    "weights": [0.3, 0.25, 0.25, 0.2],
    "means": [[-2.0, 0.0], [1.5, 1.0], [1.0, -2.0], [0.0, 0.0]],
    "covariances": [[[1.0, 0.6], [0.6, 0.8]], [[0.3, -0.1], [-0.1, 0.5]], [[0.09, 0.12], [0.12, 0.16]], [[0.0, 0.0], [0.0, 0.0]]]}}"#;

impl Workplace {
    /// `train localize` with these arguments; what it says has no path of this place in it.
    fn localize(&self, arguments: &[&str]) -> Outcome {
        let outcome = self.train(&[&["localize", "-q"], arguments].concat());
        let folder = self.path("");
        let without = |said: String| said.replace(text(&folder), "");
        Outcome { stdout: without(outcome.stdout), stderr: without(outcome.stderr), ..outcome }
    }

    fn two_points(&self) -> PathBuf {
        self.write("two_points.json", TWO_POINTS)
    }

    fn npy(&self, name: &str, points: &Points) -> PathBuf {
        let path = self.path(name);
        write_points(&path, points, None).unwrap();
        path
    }
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap_or_else(|| panic!("{value} is no list")).iter().map(number).collect()
}

#[track_caller]
fn close(ours: &Value, exact: f64, tolerance: f64) {
    assert!((number(ours) - exact).abs() <= tolerance * exact.abs().max(1.0), "{ours} against {exact}");
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn two_points_have_the_numbers_of_an_independent_implementation() {
    let place = Workplace::new();
    let target = place.two_points();
    let arguments = ["--json", "--snr", "0.5,1.5", "--levels", "0.5,1,2.5", "--deltas", "0,0.5,1", "--times", "0.2"];
    let outcome = place.localize(&[&[text(&target)], &arguments[..], &["--richness", "1,2,4"]].concat()).succeeds();
    assert_eq!(outcome.stdout.lines().count(), 1, "{}", outcome.stdout);
    let answer = outcome.json();
    assert_eq!(answer["method"], "quadrature");
    let [low, high] = &answer["per_snr"].as_array().unwrap()[..] else { panic!("{answer}") };
    assert_eq!((number(&low["snr"]), number(&high["snr"])), (0.5, 1.5));
    // sup L_r = r² ≤ 1: log-concave, and m* = 0.
    close(&low["m_star"], 0.0, 1e-12);
    for (survival, exact) in
        high["survival"].as_array().unwrap().iter().zip([0.274_232_510_346_624_3, 0.179_227_958_444_027_06, 0.0])
    {
        close(&survival["probability"], exact, 1e-9);
        assert_eq!(survival["std_error"], 0.0, "{survival}");
    }
    for (tail, exact) in high["integrated_tail"].as_array().unwrap().iter().zip([
        0.128_646_123_556_537_2,
        0.239_443_904_575_589_5,
        0.443_795_629_948_743_9,
    ]) {
        close(&tail["value"], exact, 1e-9);
    }
    close(&high["m_star"], 0.421_634_243_644_522_73, 1e-8);
    close(&high["delta_star"], 0.829_284_968_259_106_4, 1e-5);
    close(&high["mean"], 0.443_795_629_948_743_9, 1e-9);
    let time = &answer["per_time"][0];
    close(&time["snr"], 1.425_918_925_366_984_6, 1e-12);
    let zetas = [
        (1.638_318_144_669_588, 1.0),
        (0.347_885_479_212_341_8, 0.867_253_288_303_191_8),
        (-1.300_487_357_443_076_4, 0.304_320_228_166_736_1),
    ];
    for (zeta, (value, delta)) in time["zeta"].as_array().unwrap().iter().zip(zetas) {
        close(&zeta["value"], value, 1e-8);
        close(&zeta["delta"], delta, 1e-5);
    }
    let hardest = &answer["hardest"];
    close(&hardest["snr"], 1.373_094_017_530_391, 1e-3);
    close(&hardest["m_star"], 0.433_182_324_574_224_4, 1e-8);
    close(&hardest["time"], 0.212_762_947_471_550_7, 1e-3);
    assert_eq!(hardest["at_end"], false);
}

#[test]
fn every_promised_key_is_there() {
    let place = Workplace::new();
    let (target, at) = (place.two_points(), place.write("y.csv", "0.5\n-1\n"));
    let answer = place.localize(&[text(&target), "--json", "--at", text(&at), "--snr", "1,2"]).succeeds().json();
    for key in ["per_snr", "per_time", "hardest", "method", "at", "program_version", "seed", "beta", "dim", "notes"] {
        assert!(!answer[key].is_null(), "{key}: {:?}", keys(&answer));
    }
    let first = &answer["per_snr"][0];
    for key in ["snr", "m_star", "delta_star", "mean"] {
        assert!(first[key].is_number(), "{key}: {first}");
    }
    assert_eq!(keys(&first["survival"][0]), ["level", "probability", "std_error"]);
    assert_eq!(keys(&first["integrated_tail"][0]), ["delta", "std_error", "value"]);
    assert_eq!(first["survival"].as_array().unwrap().len(), 21);
    let time = &answer["per_time"][0];
    assert!(time["time"].is_number() && time["snr"].is_number());
    assert_eq!(keys(&time["zeta"][0]), ["delta", "richness", "std_error", "value"]);
    assert_eq!(keys(&answer["hardest"]), ["at_end", "m_star", "snr", "time"]);
    let at = answer["at"].as_array().unwrap();
    assert_eq!(keys(&at[0]), ["covariance", "localization", "log_density", "posterior_mean", "snr", "y"]);
    // r outer, points inner.
    let order: Vec<(f64, f64)> = at.iter().map(|point| (number(&point["snr"]), number(&point["y"][0]))).collect();
    assert_eq!(order, [(1.0, 0.5), (1.0, -1.0), (2.0, 0.5), (2.0, -1.0)]);
    // A level of 1 that nobody asked for is computed for the table, and is not in the answer.
    let two = place.localize(&[text(&target), "--json", "--levels", "0.3,0.4"]).succeeds().json();
    let levels: Vec<f64> =
        two["per_snr"][0]["survival"].as_array().unwrap().iter().map(|s| number(&s["level"])).collect();
    assert_eq!(levels, [0.3, 0.4]);
}

#[test]
fn the_posterior_at_points_is_the_closed_form() {
    let place = Workplace::new();
    let target = place.two_points();
    let ys = [0.0, 0.7, -3.0, 40.0, 1e6];
    let at = place.npy("y.npy", &Points::from_shape_fn((ys.len(), 1), |(i, _)| ys[i]));
    let answer = place.localize(&[text(&target), "--json", "--at", text(&at), "--snr", "1e-6,0.5,2"]).succeeds().json();
    for point in answer["at"].as_array().unwrap() {
        let (r, y) = (number(&point["snr"]), number(&point["y"][0]));
        // X = ±1: E[rX | y] = r tanh(ry), Var = r² sech²(ry), p = ½ φ(y - r) + ½ φ(y + r).
        let sech = 1.0 / (r * y).cosh();
        close(&point["localization"], r * r * sech * sech, 1e-10);
        close(&point["covariance"][0][0], r * r * sech * sech, 1e-10);
        close(&point["posterior_mean"][0], r * (r * y).tanh(), 1e-10);
        let nearest = y.abs() - r;
        let log_density = -nearest * nearest / 2.0 + (-2.0 * r * y.abs()).exp().ln_1p()
            - 2f64.ln()
            - 0.5 * std::f64::consts::TAU.ln();
        close(&point["log_density"], log_density, 1e-10);
    }
    // In the plane, against numbers of an independent implementation; tiny and singular covariances included.
    let (plane, y) = (place.write("plane.json", PLANE), place.npy("y2.npy", &ndarray::array![[-1.407718, -2.140834]]));
    let answer = place
        .localize(&[text(&plane), "--json", "--at", text(&y), "--snr", "0.7,1", "--draws", "64"])
        .succeeds()
        .json();
    assert_eq!(answer["method"], "monte_carlo");
    let exact = [
        (
            -4.501_047_501_502_364,
            [-0.743_390_506_489_069_1, -0.819_468_647_162_641_2],
            [1.365_362_794_696_112_2, -0.306_709_858_252_513_5, 0.471_306_628_250_882_1],
            1.460_464_810_563_155,
        ),
        (
            -4.789_270_299_051_539,
            [-0.940_952_666_820_345_1, -1.063_219_694_851_675_4],
            [2.113_108_724_035_427_6, -0.571_259_294_299_616_6, 0.906_218_699_952_636_6],
            2.340_616_817_699_363_6,
        ),
    ];
    for (point, (log_density, mean, [a, b, c], localization)) in answer["at"].as_array().unwrap().iter().zip(exact) {
        close(&point["log_density"], log_density, 1e-10);
        close(&point["localization"], localization, 1e-10);
        for (ours, exact) in numbers(&point["posterior_mean"]).into_iter().zip(mean) {
            assert!((ours - exact).abs() < 1e-10, "{point}");
        }
        let rows = [numbers(&point["covariance"][0]), numbers(&point["covariance"][1])].concat();
        for (ours, exact) in rows.into_iter().zip([a, b, b, c]) {
            assert!((ours - exact).abs() < 1e-10, "{point}");
        }
    }
}

#[test]
fn a_gaussian_is_the_oracle_of_draws_too() {
    let place = Workplace::new();
    let target =
        place.write("gaussian.json", r#"{"gaussian": {"mean": [1.0, 2.0], "covariance": [[4.0, 0.0], [0.0, 1.0]]}}"#);
    let answer = place
        .localize(&[text(&target), "--json", "--snr", "0.5,3", "--times", "0.1", "--draws", "64"])
        .succeeds()
        .json();
    // L is the constant σ²r²/(σ²r² + 1) of the widest direction: log-concave, and hard nowhere.
    for report in answer["per_snr"].as_array().unwrap() {
        let r = number(&report["snr"]);
        let l = 4.0 * r * r / (4.0 * r * r + 1.0);
        close(&report["mean"], l, 1e-12);
        close(&report["m_star"], 0.0, 1e-12);
        close(&report["delta_star"], 1.0 - l, 1e-12);
    }
    assert_eq!(answer["hardest"], Value::Null);
    assert_eq!(answer["draws"], 64);
    // ζ*_M(t) = 1/(1 + e^{-2t}(σ² - 1)) whatever M is; at β = 1.
    for zeta in answer["per_time"][0]["zeta"].as_array().unwrap() {
        close(&zeta["value"], 1.0 / (1.0 + 3.0 * (-0.2f64).exp()), 1e-10);
    }
    let said = place.localize(&[text(&target), "--draws", "64"]).succeeds().stdout;
    assert!(said.contains("nowhere hard: m* = 0"), "{said}");
}

#[test]
fn answers_are_a_function_of_the_seed_and_not_of_the_threads() {
    let place = Workplace::new();
    let ring = place.write("ring.json", "{\"ring\": {}}");
    let on = |more: &[&str]| {
        let few = ["--json", "--snr", "1,3", "--times", "0.1", "--draws", "200"];
        place.localize(&[&[text(&ring)], &few[..], more].concat()).succeeds().stdout
    };
    assert_eq!(on(&["--threads", "1"]), on(&["--threads", "3"]));
    assert_ne!(on(&["--seed", "1"]), on(&["--seed", "2"]));
    let answer: Value = serde_json::from_str(&on(&[])).unwrap();
    assert_eq!((&answer["seed"], &answer["draws"], &answer["method"]), (&0.into(), &200.into(), &"monte_carlo".into()));
    assert!(number(&answer["per_snr"][1]["m_star_std_error"]) > 0.0, "{answer}");
    assert_eq!(answer["per_time"][0]["worst_case"]["lower_estimate_of_sup"], true);
}

#[test]
fn points_are_taken_as_they_stand() {
    let place = Workplace::new();
    // Two rows ±100: standardised they would be those of the two points ±1.
    let data = place.write("far.csv", "-100\n100\n");
    let y = place.write("y.csv", "0.0\n");
    let answer = place.localize(&[text(&data), "--json", "--at", text(&y), "--snr", "0.01"]).succeeds().json();
    close(&answer["at"][0]["localization"], 1.0, 1e-12);
    assert_eq!((&answer["kind"], &answer["count"], &answer["dim"]), (&"data".into(), &2.into(), &1.into()));
    // A data set in a config or a target file is the same: all of its points, in their own coordinates.
    let target = place.write("far.json", &format!("{{\"dataset\": {{\"path\": {:?}}}}}", text(&data)));
    let same = place.localize(&[text(&target), "--json", "--at", text(&y), "--snr", "0.01"]).succeeds().json();
    assert_eq!((&same["at"], &same["per_snr"]), (&answer["at"], &answer["per_snr"]));
    // One point, and the same point many times: there is nothing to denoise.
    for rows in ["3,4\n", "3,4\n3,4\n3,4\n"] {
        let point = place.write("point.csv", rows);
        let answer = place.localize(&[text(&point), "--json", "--draws", "8"]).succeeds().json();
        assert_eq!(answer["hardest"], Value::Null, "{rows}");
        assert!(answer["per_snr"].as_array().unwrap().iter().all(|report| number(&report["mean"]) == 0.0), "{rows}");
    }
}

#[test]
fn data_are_coloured_by_difficulty_in_a_file() {
    let place = Workplace::new();
    let points = targets::two_moons().sample(&Stream::new(3, Purpose::Reference), 0, 0..300);
    let (data, out, csv) = (place.npy("moons.npy", &points), place.path("l.npy"), place.path("l.csv"));
    let ask = |out: &Path| {
        let arguments = [text(&data), "--at-data", text(&data), "--snr", "2,4", "--out", text(out)];
        place.localize(&[&arguments[..], &["--json"]].concat()).succeeds().json()
    };
    let answer = ask(&out);
    assert_eq!(
        answer["columns"],
        serde_json::json!(["snr", "localization", "log_density", "posterior_mean_1", "posterior_mean_2"])
    );
    assert_eq!((&answer["rows"], &answer["per_snr"]), (&600.into(), &Value::Null));
    let file = brenier_measure::data::read_points(&out, None, None).unwrap().points;
    assert_eq!(file.dim(), (600, 5));
    assert!(file.column(0).iter().enumerate().all(|(i, &r)| r == if i < 300 { 2.0 } else { 4.0 }));
    let mean = file.column(1).iter().take(300).sum::<f64>() / 300.0;
    close(&answer["at_summary"][0]["mean"], mean, 1e-12);
    // The same numbers as --at gives at y = r x.
    let y = place.npy("y.npy", &(2.0 * &points.slice(ndarray::s![7..9, ..])));
    let at =
        place.localize(&[text(&data), "--at", text(&y), "--snr", "2", "--json", "--draws", "16"]).succeeds().json();
    for (i, point) in at["at"].as_array().unwrap().iter().enumerate() {
        close(&point["localization"], file[[7 + i, 1]], 1e-12);
        close(&point["log_density"], file[[7 + i, 2]], 1e-12);
        close(&point["posterior_mean"][1], file[[7 + i, 4]], 1e-12);
    }
    ask(&csv);
    let head = std::fs::read_to_string(&csv).unwrap();
    assert!(head.starts_with("snr,localization,log_density,posterior_mean_1,posterior_mean_2\n2.0,"), "{head:.100}");
}

#[test]
fn several_specs_make_one_object_and_a_gallery() {
    let place = Workplace::new();
    let two = place.two_points();
    let gaussian = place.write("gaussian.json", r#"{"gaussian": {"mean": [0.0], "covariance": [[1.0]]}}"#);
    std::fs::create_dir(place.path("other")).unwrap();
    let namesake = place.write("other/two_points.json", TWO_POINTS);
    let gallery = place.path("new/gallery");
    let specs = [text(&two), text(&gaussian), text(&namesake)];
    let answer = place
        .localize(&[&specs[..], &["--json", "--figure", text(&gallery), "--snr", "1,2"]].concat())
        .succeeds()
        .json();
    assert_eq!(answer["names"], serde_json::json!(["two_points", "gaussian", "two_points_2"]));
    assert_eq!(answer["subjects"]["two_points"]["per_snr"], answer["subjects"]["two_points_2"]["per_snr"]);
    let alone = place.localize(&[text(&gaussian), "--json", "--snr", "1,2"]).succeeds().json();
    assert_eq!(answer["subjects"]["gaussian"]["per_snr"], alone["per_snr"]);
    for name in ["two_points", "gaussian", "two_points_2"] {
        let bytes = std::fs::read(gallery.join(format!("{name}.png"))).unwrap();
        assert!(bytes.starts_with(b"\x89PNG"), "{name}");
        assert!(gallery.join(format!("{name}_paths.png")).exists(), "{name}");
    }
    assert_eq!(std::fs::read_dir(&gallery).unwrap().count(), 6);
    let svg = place.path("card.svg");
    let said = place.localize(&[text(&two), "--figure", text(&svg), "--snr", "1,2"]).succeeds().stdout;
    assert!(said.ends_with("figure: card.svg\n"), "{said}");
    assert!(std::fs::read_to_string(&svg).unwrap().contains("<svg"));
}

#[test]
fn a_run_is_examined_in_standardised_coordinates() {
    let place = Workplace::new();
    place.smoke("score_matching_ring.json", "ring", &["-q"]).succeeds();
    let run = place.run("ring");
    let x = place.npy("x.npy", &ndarray::array![[1.4, 0.0], [0.0, 0.0]]);
    let few = ["--json", "--snr", "0.01,1", "--times", "0.1", "--draws", "64"];
    let ask = |more: &[&str]| place.localize(&[&[text(&run)], &few[..], more].concat()).succeeds();
    let answer = ask(&["--at-data", text(&x)]).json();
    assert_eq!((&answer["kind"], &answer["method"], &answer["dim"]), (&"run".into(), &"monte_carlo".into(), &2.into()));
    let (shift, scale) = (numbers(&answer["shift"]), numbers(&answer["scale"]));
    assert_eq!((shift.len(), scale.len(), &answer["whitening"]), (2, 2, &Value::Null));
    for point in answer["at"].as_array().unwrap() {
        assert!(point["log_density"].is_number() && point["localization"].is_number(), "{point}");
    }
    let y = numbers(&answer["at"][2]["y"]);
    assert!((y[0] - (1.4 - shift[0]) / scale[0]).abs() < 1e-12, "{y:?}");
    // At small r the posterior is close to the prior, whose covariance is r².
    assert!(number(&answer["per_snr"][0]["mean"]).abs() < 2e-3, "{}", answer["per_snr"][0]);
    // A law that has seen σ_d = 1: close to r²/(1 + r²) in the middle, even after sixty steps of training.
    close(&answer["per_snr"][1]["mean"], 0.5, 0.1);
    assert!(number(&answer["asymmetry"][1]["median"]) >= 0.0, "{answer}");
    assert_eq!(ask(&["--threads", "1"]).stdout, ask(&["--threads", "2"]).stdout);
    assert_ne!(ask(&[]).stdout, ask(&["--seed", "7"]).stdout);
    let first = ask(&["--checkpoint", "40"]).json();
    assert_eq!((&first["checkpoint"], &answer["checkpoint"]), (&40.into(), &60.into()));
    assert_ne!(first["per_snr"], answer["per_snr"]);
}

#[test]
fn a_run_whose_data_are_gone_is_examined_at_its_own_samples() {
    let place = Workplace::new();
    let points = targets::ring().sample(&Stream::new(5, Purpose::Reference), 0, 0..300);
    let data = place.npy("points.npy", &points);
    let config = std::fs::read_to_string(crate::train::smoke("score_matching_ring.json")).unwrap();
    let target = format!("{{\"dataset\": {{\"path\": {:?}, \"whiten\": true}}}}", text(&data));
    let config = place.write("config.json", &config.replacen("{\"ring\": {}}", &target, 1));
    let run = place.run("run");
    place.train(&["run", text(&config), "--run-dir", text(&run), "-q"]).succeeds();
    let ask = || place.localize(&[text(&run), "--json", "--snr", "1", "--times", "0.1", "--draws", "32"]);
    let answer = ask().succeeds().json();
    assert_eq!(answer["whitening"].as_array().map(Vec::len), Some(2), "{answer}");
    std::fs::remove_file(&data).unwrap();
    let without = ask().succeeds().says("data file is gone").json();
    assert!(without["notes"][0].as_str().unwrap().contains("drawn from the network itself"), "{without}");
    place.npy("points.npy", &(2.0 * &points));
    ask().fails(2).says("the data of the run has changed");
}

#[test]
fn a_target_without_a_posterior_is_stood_in_for_by_its_draws() {
    let place = Workplace::new();
    let pinwheel = place.write("pinwheel.json", "{\"pinwheel\": {}}");
    let few = ["--snr", "1", "--times", "0.5", "--draws", "16", "--json"];
    let outcome = place.localize(&[&[text(&pinwheel)], &few[..]].concat()).succeeds();
    let outcome =
        outcome.says("the posterior of `pinwheel` has no closed form: the empirical measure of 16384 draws stands in");
    assert!(outcome.json()["notes"][0].as_str().unwrap().contains("stands in for it"));
}

#[test]
fn mistakes_are_told_word_for_word() {
    let place = Workplace::new();
    let target = place.two_points();
    let said = |arguments: &[&str]| place.localize(arguments).fails(2).stderr;
    assert_eq!(
        said(&[text(&place.path("absent.json"))]),
        "error: absent.json: there is no such file or folder\n\
         hint: give a target or a config (.json), a data file (.npy, .npz, .csv, .tsv or .idx, each also with .gz), or the \
         folder of a run\n"
    );
    let plane = place.write("plane.csv", "1.5,2\n3,4\n");
    assert_eq!(
        said(&[text(&target), "--at", text(&plane)]),
        "error: the points of plane.csv have dimension 2, two_points.json has 1\n\
         hint: give a file with one point a row and one column for each coordinate of X, without labels\n"
    );
    let broken = place.write("nan.csv", "1.5,2\n3,4\nnan,6\n");
    let not_finite =
        "error: nan.csv: row 3 (line 3), column 1: nan is not finite; fill in the value, or remove the row\n";
    assert_eq!(said(&[text(&broken)]), not_finite);
    assert_eq!(said(&[text(&plane), "--at", text(&broken)]), not_finite);
    for (flag, list, fault) in [
        ("--snr", "", "the list is empty"),
        ("--snr", "1,0", "0 is out of range: every value must be above 0"),
        ("--snr", "-1", "-1 is out of range: every value must be above 0"),
        ("--snr", "nan", "NaN is not finite"),
        ("--snr", "1:2", "`1:2` is no range; give a,b,c, or lo:hi:n for n values between lo and hi"),
        ("--snr", "0:2:5:log", "leave `log` out"),
        ("--deltas", "0.5,1.5", "1.5 is out of range: every value must lie in [0, 1]"),
        ("--richness", "0.5", "0.5 is out of range: every value must be 1 or more"),
        ("--times", "0,1", "0 is out of range: every value must lie in (0, 300]"),
        ("--levels", "a", "`a` is not a number"),
        ("--beta", "-1", "expected a number above 0"),
        ("--draws", "1", "1"),
    ] {
        let error = said(&[text(&target), flag, list]);
        assert!(error.contains(fault) && error.contains(flag), "{flag} {list}: {error}");
    }
    let wrong = place.write(
        "wrong.json",
        r#"{"gaussian_mixture": {"weights": [0.5, 0.6], "means": [[0], [1]], "covariances": [[[1]], [[1]]]}}"#,
    );
    assert!(said(&[text(&wrong)]).contains("weights"));
    let mistyped = said(&[text(&place.write("mistyped.json", "{\"rng\": {}}"))]);
    assert!(mistyped.contains("mistyped.json:1:") && mistyped.contains("did you mean `ring`?"), "{mistyped}");
    let figure = |name: &str| said(&[text(&target), "--figure", text(&place.path(name))]);
    assert_eq!(
        figure("card.pdf"),
        "error: `--figure card.pdf` is no picture that can be written\nhint: one SPEC makes one picture: name a .png or .svg file\n"
    );
    assert_eq!(
        figure("."),
        "error: `--figure .` is a folder\nhint: one SPEC makes one picture: name a .png or .svg file in it; several SPECs fill a folder\n"
    );
    assert!(figure("no/card.png").contains("make it first"));
    assert_eq!(
        said(&[text(&target), text(&plane), "--figure", text(&place.path("card.png"))]),
        "error: `--figure card.png` names a picture, and 2 SPECs make 2\nhint: name a folder; it is made if need be\n"
    );
    let out = place.path("out.npy");
    assert!(said(&[text(&target), "--out", text(&out)]).contains("--at"));
    let both = said(&[text(&target), "--at", text(&plane), "--at-data", text(&plane)]);
    assert!(both.contains("cannot be used with"), "{both}");
    let ignored = said(&[text(&target), "--at", text(&plane), "--out", text(&out), "--levels", "1"]);
    assert!(ignored.contains("cannot be used with"), "{ignored}");
    assert_eq!(
        said(&[text(&plane), text(&plane), "--at", text(&plane), "--out", text(&out)]),
        "error: `--out` holds the answers of one SPEC, and 2 are given\n\
         hint: run the command once for each SPEC, with its own `--out`\n"
    );
    assert!(said(&[text(&plane), "--at", text(&plane), "--out", "a.parquet"]).contains(".npy or .csv"));
    let wide = place.npy("wide.npy", &Points::zeros((300, 64)));
    let error = said(&[text(&wide), "--at", text(&wide), "--json"]);
    assert!(
        error.contains("300 points at 12 signal-to-noise ratios are 15.2 million numbers")
            && error.contains("--out FILE"),
        "{error}"
    );
    assert!(said(&[text(&place.path("."))]).contains("run"));
}

#[test]
fn the_table_says_where_it_is_hardest_in_words() {
    let place = Workplace::new();
    let said = place.localize(&[text(&place.two_points()), "--snr", "0.5,1.5", "--times", "0.2"]).succeeds().stdout;
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "two_points: the target `gaussian_mixture` of two_points.json, dimension 1, by quadrature");
    assert_eq!(lines[1].split_whitespace().collect::<Vec<_>>(), ["r", "E", "L", "P(L>1)", "m*", "δ*"]);
    assert_eq!(lines[3].split_whitespace().collect::<Vec<_>>(), ["1.5", "0.4438", "0.1792", "0.4216", "0.8293"]);
    assert!(lines[4].contains("ζ*_5") && lines[4].ends_with("worst case"), "{said}");
    assert!(
        lines[6].starts_with("hardest at r = 1.373 (t = 0.2128): on the worst fraction m* = 0.4332 of noisy points"),
        "{said}"
    );
}

#[cfg(unix)]
#[test]
fn long_work_ends_at_an_interrupt_and_leaves_nothing() {
    let place = Workplace::new();
    let many =
        place.npy("many.npy", &targets::swiss_roll(0.1).sample(&Stream::new(1, Purpose::Reference), 0, 0..20_000));
    let (out, card) = (place.path("out.csv"), place.path("card.png"));
    let cases: [&[&str]; 2] = [
        &["localize", text(&many), "--draws", "1000000", "--figure", text(&card)],
        &["localize", text(&many), "--at", text(&many), "--out", text(&out), "--snr", "0.1:1:1000"],
    ];
    for arguments in cases {
        assert_eq!(place.interrupted(arguments), Some(130), "{arguments:?}");
        let left: Vec<_> = std::fs::read_dir(place.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["many.npy"], "{arguments:?}");
    }
}

#[test]
fn the_examples_of_the_paper_are_target_files() {
    let folder = workspace().join("configs/localization");
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".json"))
        .collect();
    names.sort();
    assert_eq!(names.len(), 6, "{names:?}");
    let place = Workplace::new();
    for name in names {
        let spec = folder.join(&name);
        let answer = place.localize(&[text(&spec), "--json", "--snr", "1", "--times", "0.5"]).succeeds().json();
        assert_eq!((&answer["method"], &answer["dim"]), (&"quadrature".into(), &1.into()), "{name}");
    }
}

#[test]
fn what_is_asked_is_never_replaced_by_the_answer() {
    let place = Workplace::new();
    let points: String = (0..20).map(|i| format!("{}\n", i % 7)).collect();
    let (data, other) = (place.write("x.csv", &points), place.write("y.csv", "1.5\n2\n"));
    for (question, out) in [("--at-data", &data), ("--at", &other)] {
        let before = std::fs::read(out).unwrap();
        let arguments = [text(&data), question, text(out), "--snr", "1", "--out", text(out)];
        let said = place.localize(&arguments).fails(2).stderr;
        assert!(said.contains("would be replaced") && said.contains("hint: give another file"), "{said}");
        assert_eq!(std::fs::read(out).unwrap(), before);
    }
    let said = place.localize(&[text(&data), "--at", text(&other), "--out", "nowhere/l.csv"]).fails(2).stderr;
    assert!(said.contains("no folder nowhere"), "{said}");
}

#[test]
fn coordinates_whose_powers_overflow_are_refused() {
    let place = Workplace::new();
    let data = place.write("x.csv", "1e160,0\n-1e160,1\n");
    let said = place.localize(&[text(&data)]).fails(2).stderr;
    assert!(said.contains("1e160") && said.contains("rescale"), "{said}");
}
