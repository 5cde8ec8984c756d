//! `train report`: one page that explains runs, and its gaps.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::train::{Workplace, text};

/// The most bytes of a page.
const MOST_BYTES: usize = 5_000_000;

/// The number that a page holds for a value, with all its digits.
fn datum(value: &serde_json::Value) -> Option<String> {
    value.as_f64().map(|value| format!("<data value=\"{value}\">"))
}

fn page_of(place: &Workplace, runs: &[&str]) -> String {
    let (out, runs) = (place.path("page.html"), runs.iter().map(|run| place.run(run)).collect::<Vec<_>>());
    let mut arguments = vec!["report"];
    arguments.extend(runs.iter().map(|run| text(run)));
    arguments.extend(["--out", text(&out)]);
    place.train(&arguments).succeeds();
    fs::read_to_string(out).unwrap()
}

#[test]
fn a_page_tells_all_of_a_run() {
    let place = Workplace::new();
    for (config, run, says) in [
        ("score_matching_digits.json", "digits", &["Images of the data", "Denoising loss", "Localization"][..]),
        ("monge_ampere_two_moons.json", "map", &["The map", "Evolution of the map", "Points of the target"]),
        ("density_expression.json", "density", &["Posterior", "95 %"]),
    ] {
        place.smoke(config, run, &["-q"]).succeeds();
        let page = page_of(&place, &[run]);
        assert!(page.len() < MOST_BYTES, "{} bytes", page.len());
        // Nothing is fetched, and every picture has its words.
        assert!(!page.contains("src=\"http") && !page.contains("href=\"http"));
        assert_eq!(page.matches("<img ").count(), page.matches("<img alt=\"").count());
        for said in says.iter().chain(&["What was trained", "Make it again", "train run smoke_"]) {
            assert!(page.contains(said), "{run}: no {said}");
        }
        let evaluation: serde_json::Value =
            serde_json::from_slice(&fs::read(place.run(run).join("evaluation.json")).unwrap()).unwrap();
        for (name, metric) in evaluation["metrics"].as_object().unwrap() {
            for key in ["value", "std_error", "floor", "floor_sd"] {
                let Some(datum) = datum(&metric[key]) else { continue };
                assert!(page.contains(&datum), "{run}: {name}.{key} is not {datum}");
            }
        }
    }
}

#[test]
fn runs_are_laid_over_each_other() {
    let place = Workplace::new();
    for (run, seed) in [("a", "seed=1"), ("b", "seed=2")] {
        place.smoke("monge_ampere_gaussian_2d.json", run, &["-q", "--set", seed]).succeeds();
    }
    place.smoke("score_matching_ring.json", "ring", &["-q"]).succeeds();
    let page = page_of(&place, &["a", "b"]);
    assert!(page.contains("Metrics side by side") && page.contains("<a href=\"#comparison\">"), "no comparison");
    assert!(!page.contains("different targets"));
    let page = page_of(&place, &["a", "ring"]);
    assert!(page.contains("These runs learnt different targets") && !page.contains("Metrics side by side"));
}

#[test]
fn what_a_run_lacks_is_a_marked_gap() {
    let place = Workplace::new();
    let config = "score_matching_two_moons.json";
    place.smoke(config, "stopped", &["-q", "--max-steps", "30"]).fails(75);
    let page = page_of(&place, &["stopped"]);
    assert!(page.contains("it stands at step 30 of 60; `train resume` goes on"), "no word of the end");
    assert!(page.contains("drawn no samples yet"));

    place.smoke(config, "damaged", &["-q"]).succeeds();
    let run = place.run("damaged");
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let mut lines: Vec<&str> = metrics.lines().collect();
    lines[1] = "{\"step\": 2";
    fs::write(run.join("metrics.jsonl"), lines.join("\n") + "\n").unwrap();
    fs::write(run.join("evaluation.json"), "{\"metrics\": 3}").unwrap();
    fs::write(run.join("samples.npy"), "no points").unwrap();
    fs::remove_file(run.join("log.txt")).unwrap();
    fs::write(run.join("localization.json"), "{").unwrap();
    let frame = fs::read_dir(run.join("figures"))
        .unwrap()
        .flatten()
        .find(|entry| entry.file_name().to_string_lossy().starts_with("samples-"));
    fs::write(frame.unwrap().path(), "no picture").unwrap();
    let page = page_of(&place, &["damaged"]);
    let damage = ["1 damaged line", "Evaluation.json is damaged", "Samples.npy is left out", "There is no log"];
    for said in
        damage.into_iter().chain(["Localization.json cannot be used", "is no whole PNG picture", "could not be read"])
    {
        assert!(page.contains(said), "no word of it: {said}");
    }
}

#[test]
fn a_page_of_many_runs_is_no_larger_than_one_may_be() {
    let place = Workplace::new();
    place.smoke("score_matching_two_moons.json", "run", &["-q"]).succeeds();
    let copies: Vec<String> = (0..40).map(|k| format!("run-{k}")).collect();
    for copy in &copies {
        copy_folder(&place.run("run"), &place.run(copy));
    }
    let one = page_of(&place, &["run"]).len();
    let page = page_of(&place, &copies.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(page.len() < MOST_BYTES && page.len() > one, "{} bytes, of one run {one}", page.len());
    assert!(page.contains("href=\"#run-39\"") && page.contains("id=\"run-39\""));
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy_folder(&from, &to);
        } else {
            fs::copy(from, to).unwrap();
        }
    }
}

#[test]
fn names_are_text_and_nothing_else() {
    let place = Workplace::new();
    let hostile = "</script><script>alert(1)</script>";
    let rows: String = (0..60).map(|k| format!("{},{}\n", k % 7, (k * k) % 11)).collect();
    let file = place.write("points.csv", &format!("\"{hostile}\",\"a \"\"b\"\" &amp; <i>\"\n{rows}"));
    let config = place.train(&["init", text(&file), "--method", "gaussian_mixture"]).succeeds().stdout;
    let config = place.write("config.json", &config);
    place.train(&["run", text(&config), "--run-dir", text(&place.run("run")), "-q"]).succeeds();
    let page = page_of(&place, &["run"]);
    assert!(!page.contains("<script>alert") && !page.contains("<i>"), "a name became a part of the page");
    assert!(page.contains("&lt;/script&gt;") && page.contains("\\u003c/script>"), "the name is not there");
    assert_eq!(page.matches("<script").count(), 2);
}

#[test]
fn what_makes_no_page_is_refused() {
    let place = Workplace::new();
    place.smoke("monge_ampere_gaussian_2d.json", "run", &["-q"]).succeeds();
    let run = place.run("run");
    let refused = |arguments: &[&str], says: &str| {
        let outcome = place.train(&[&["report"], arguments].concat()).fails(2);
        assert!(outcome.stderr.contains(says), "{}", outcome.stderr);
    };
    let out = place.path("page.html");
    let (empty, page) = (place.path("empty"), text(&out));
    fs::create_dir(&empty).unwrap();
    refused(&[text(&empty), "--out", page], "empty");
    refused(&[text(&place.path("nowhere")), "--out", page], "nowhere");
    refused(&[text(&run), "--out", text(&place.path("page.pdf"))], "ends in .html");
    refused(&[text(&run), text(&place.path("empty/../run")), "--out", page], "given twice");
    refused(&[text(&run), "--out", text(&place.path("no/folder.html"))], "no folder");
    let config = fs::read_to_string(run.join("config.json")).unwrap();
    fs::write(run.join("config.json"), config.replace("\"schema_version\": 1", "\"schema_version\": 0")).unwrap();
    refused(&[text(&run), "--out", page], "config.json");
    assert!(!out.exists());
}

/// In a real browser, where there is one: every chart is drawn, and nothing goes wrong.
#[test]
fn a_browser_draws_every_chart() {
    let is_there =
        |name: &&str| Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let Some(browser) =
        ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|name| is_there(name).is_ok())
    else {
        eprintln!("no Chromium here, in which a page could be drawn");
        return;
    };
    let place = Workplace::new();
    place.smoke("score_matching_two_moons.json", "run", &["-q"]).succeeds();
    let page = page_of(&place, &["run"]);
    let charts = page.matches("data-chart=").count();
    let url = format!("file://{}", place.path("page.html").display());
    let flags =
        ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--virtual-time-budget=3000"];
    let seen = Command::new(browser).args(flags).args(["--dump-dom", &url]).output().expect("a browser starts");
    // One that cannot start here, such as in a container without shared memory, has seen nothing.
    if !seen.status.success() || seen.stdout.is_empty() {
        eprintln!("{browser} does not start here: {}", String::from_utf8_lossy(&seen.stderr));
        return;
    }
    let (page, log) = (String::from_utf8_lossy(&seen.stdout), String::from_utf8_lossy(&seen.stderr));
    assert!(charts > 5, "{charts} charts");
    assert_eq!(page.matches("<svg role=\"application\"").count(), charts);
    assert!(!log.contains("CONSOLE"), "{log}");
}
