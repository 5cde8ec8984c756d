use burn::tensor::{DType, Device};
use proptest::prelude::*;

use super::*;
use crate::measure::{to_points, to_tensor};
use crate::support::Unbounded;
use crate::{Points, TargetConfig};

fn rows(points: &Points) -> Tensor<2> {
    to_tensor(points, DType::F64, &Device::flex())
}

fn config(json: serde_json::Value) -> ExpressionConfig {
    serde_json::from_value(json).unwrap()
}

fn values(measure: &dyn Measure, x: &Points) -> Vec<f64> {
    to_points(measure.log_density(rows(x)).unsqueeze_dim::<2>(1)).into_raw_vec_and_offset().0
}

/// Points with positive coordinates that are no whole numbers.
fn places(n: usize, d: usize) -> Points {
    Points::from_shape_fn((n, d), |(i, j)| 0.3 + ((7 * i + 3 * j) % 11) as f64 * 0.173)
}

/// Score and Hessian product within 10⁻⁶ of fourth-order differences, relative where they exceed 1, and what halving the step changes.
fn assert_derivatives(what: &str, measure: &dyn Measure, x: &Points) {
    let (n, d) = x.dim();
    let score = to_points(measure.score(rows(x)));
    let v = Points::from_shape_fn((n, d), |(i, j)| ((5 * i + 2 * j) % 7) as f64 / 3.0 - 1.0);
    let product = to_points(measure.hessian_product(rows(x), rows(&v)));
    let stencil = [(-2.0, 1.0), (-1.0, -8.0), (1.0, 8.0), (2.0, -1.0)];
    let close = |got: f64, [coarse, fine]: [f64; 2], name: &str| {
        // A formula that turns on the scale of the step has differences that are off by that.
        let tolerance = 1e-6 * fine.abs().max(1.0) + (coarse - fine).abs();
        assert!((got - fine).abs() < tolerance, "{name} of {what}: {got} against {fine}");
    };
    let steps_of = [1e-3, 5e-4];
    for j in 0..d {
        let derivatives = steps_of.map(|h| {
            let mut derivative = vec![0.0; n];
            for (steps, weight) in stencil {
                let mut moved = x.clone();
                moved.column_mut(j).map_inplace(|x| *x += steps * h);
                derivative.iter_mut().zip(values(measure, &moved)).for_each(|(sum, f)| *sum += weight * f / (12.0 * h));
            }
            derivative
        });
        for (i, got) in score.column(j).iter().enumerate() {
            close(*got, [derivatives[0][i], derivatives[1][i]], "the score");
        }
    }
    let along = steps_of.map(|h| {
        let mut along = Points::zeros((n, d));
        for (steps, weight) in stencil {
            along.scaled_add(weight / (12.0 * h), &to_points(measure.score(rows(&(x + &(&v * (steps * h)))))));
        }
        along
    });
    for ((place, got), coarse) in product.indexed_iter().zip(&along[0]) {
        close(*got, [*coarse, along[1][place]], "the Hessian product");
    }
}

/// A formula and what it means.
type Case = (&'static str, fn(&[f64]) -> f64);

const CASES: [Case; 16] = [
    ("-(x0^2 - 1)^2 - 0.5*(x1 - x0)^2", |x| -(x[0] * x[0] - 1.0).powi(2) - 0.5 * (x[1] - x[0]).powi(2)),
    ("-x0^2 - x1^2", |x| -x[0] * x[0] - x[1] * x[1]),
    ("2^3^2*1e-3*x0 - 2^-x1", |x| 0.512 * x[0] - 2f64.powf(-x[1])),
    ("x0/x1/2 - x0 - x1 + 3", |x| x[0] / x[1] / 2.0 - x[0] - x[1] + 3.0),
    ("exp(-x0)*log(x1) + log1p(x0) - expm1(x1)", |x| (-x[0]).exp() * x[1].ln() + x[0].ln_1p() - x[1].exp_m1()),
    ("sqrt(x0)*abs(x1 - 1) + tanh(x0*x1)", |x| x[0].sqrt() * (x[1] - 1.0).abs() + (x[0] * x[1]).tanh()),
    ("sin(x0) + cos(x1)*sin(x1)", |x| x[0].sin() + x[1].cos() * x[1].sin()),
    ("sigmoid(x0 - x1) + log(sigmoid(x1)) - log1p(exp(x0))", |x| {
        let sigmoid = |v: f64| 1.0 / (1.0 + (-v).exp());
        sigmoid(x[0] - x[1]) + sigmoid(x[1]).ln() - x[0].exp().ln_1p()
    }),
    ("lgamma(x0) - lgamma(x0 + 20*x1)", |x| libm::lgamma(x[0]) - libm::lgamma(x[0] + 20.0 * x[1])),
    ("logsumexp(x0, 2*x1, -1)", |x| (x[0].exp() + (2.0 * x[1]).exp() + (-1f64).exp()).ln()),
    ("normal_logpdf(x0, x1, x0 + 1)", |x| {
        let sd = x[0] + 1.0;
        -((x[0] - x[1]) / sd).powi(2) / 2.0 - sd.ln() - std::f64::consts::TAU.ln() / 2.0
    }),
    ("sum(i, 0, 1, x[i]^(i + 2)) + x[1 - 1]", |x| x[0].powi(2) + x[1].powi(3) + x[0]),
    ("sum(i, 1, 0, x[i]) - sum(k, 1, 3, sum(j, 1, k, k*j))*x0*x1", |x| -25.0 * x[0] * x[1]),
    ("x0^x1 + x1^-2 + x0^0.5 + x0^pi", |x| {
        x[0].powf(x[1]) + x[1].powi(-2) + x[0].sqrt() + x[0].powf(std::f64::consts::PI)
    }),
    ("((x0 - x1)*(x0 - x1))^2/(1 + x0*x0) - +-x1", |x| (x[0] - x[1]).powi(4) / (1.0 + x[0] * x[0]) + x[1]),
    ("1/x0 + 2/(x0*x1)", |x| 1.0 / x[0] + 2.0 / (x[0] * x[1])),
];

#[test]
fn formulas_mean_what_they_say_and_so_do_their_derivatives() {
    let x = places(9, 2);
    for (text, meaning) in CASES {
        let measure = ExpressionConfig::new(2, text).build().unwrap();
        for (found, row) in values(&measure, &x).into_iter().zip(x.rows()) {
            let exact = meaning(row.as_slice().unwrap());
            assert!((found - exact).abs() < 1e-12 * exact.abs().max(1.0), "{text}: {found} against {exact}");
        }
        assert_derivatives(text, &measure, &x);
        let single = to_tensor(&x, DType::F32, &Device::flex());
        let found = measure.log_density(single.clone());
        assert!(found.dtype() == DType::F32 && measure.score(single).dtype() == DType::F32, "{text}");
        let found = to_points(found.unsqueeze_dim::<2>(1));
        assert!(found.iter().zip(values(&measure, &x)).all(|(a, b)| (a - b).abs() < 1e-3 * b.abs().max(1.0)), "{text}");
    }
}

#[test]
fn tails_are_kept() {
    let at =
        |text: &str, x: f64| values(&ExpressionConfig::new(1, text).build().unwrap(), &Points::from_elem((1, 1), x))[0];
    assert_eq!(at("log(sigmoid(x0))", -800.0), -800.0);
    assert_eq!(at("-log1p(exp(x0))", 800.0), -800.0);
    assert_eq!(at("-log(1 + exp(x0))", 800.0), -800.0);
    assert_eq!(at("logsumexp(x0, x0 + 1e3)", 5e3), 6e3);
    assert!((at("expm1(x0)", 1e-12) - 1e-12f64.exp_m1()).abs() < 1e-26);
    assert_eq!(at("expm1(x0)", 300.0), 300f64.exp_m1());
}

#[test]
fn rows_of_data_are_summed_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("points.csv");
    std::fs::write(&path, "u,two words,y\n1,2.5,0.3\n-1,0.5,1.2\n0.3,-2,-0.7\n").unwrap();
    let text = "sum(row, normal_logpdf(y, a + x0*u + x1*row['two words'], exp(x2))) - sum(row, u)*x1 + sum(row, x0)
                + sum(row, log(sigmoid(m[0]*x0*row[0] + x1*u*y)))";
    let expression = config(
        serde_json::json!({"dim": 3, "log_density": text, "parameters": {"a": 0.4, "m": [2.0, 1.0]}, "data": {"path": path}}),
    );
    let measure = expression.build().unwrap();
    let x = places(5, 3);
    let data = [(1.0, 2.5, 0.3), (-1.0, 0.5, 1.2), (0.3, -2.0, -0.7)];
    for (found, row) in values(&measure, &x).into_iter().zip(x.rows()) {
        let of_row = |(u, v, y): &(f64, f64, f64)| {
            let z = (y - 0.4 - row[0] * u - row[1] * v) / row[2].exp();
            let logit: f64 = 2.0 * row[0] * u + row[1] * u * y;
            -z * z / 2.0 - row[2] - std::f64::consts::TAU.ln() / 2.0 - (-logit).exp().ln_1p()
        };
        let exact = data.iter().map(of_row).sum::<f64>() - 0.3 * row[1] + 3.0 * row[0];
        assert!((found - exact).abs() < 1e-12 * exact.abs().max(1.0), "{found} against {exact}");
    }
    assert_derivatives("rows", &measure, &x);
    assert_eq!(measure.sha256().unwrap().len(), 64);
}

#[test]
fn columns_have_names_that_mean_one_thing() {
    let folder = tempfile::tempdir().unwrap();
    let (csv, npy) = (folder.path().join("points.csv"), folder.path().join("points.npy"));
    std::fs::write(&csv, "x0,pi,y\n1,2,3\n4,5,6\n").unwrap();
    crate::data::write::write_points(&npy, &ndarray::array![[1.0, 2.0], [4.0, 5.0]], None).unwrap();
    let of = |path: &std::path::Path, text: &str| {
        let measure = config(serde_json::json!({"dim": 1, "log_density": text, "data": {"path": path}})).build();
        measure.map(|measure| values(&measure, &Points::from_elem((1, 1), 0.5))[0]).map_err(|error| error.to_string())
    };
    let meant = of(&csv, "-x0^2 + sum(row, y)").unwrap();
    assert_eq!(meant, 8.75, "outside of a sum a name is a coordinate");
    assert_eq!(of(&csv, "-x0^2 + sum(row, row['x0']*row['pi'] + x[0])"), Ok(-0.25 + 22.0 + 1.0));
    for (text, message) in [
        ("-x0^2 + sum(row, x0*y)", "`x0` is a column of the data and the coordinate x[0]: write row['x0']"),
        ("-x0^2 + sum(row, pi*y)", "`pi` is a column of the data and the number π: write row['pi']"),
    ] {
        let error = of(&csv, text).unwrap_err();
        assert!(error.contains(message), "{error}");
    }
    assert_eq!(of(&npy, "-x0^2 + sum(row, row[0]*row[1])"), Ok(-0.25 + 22.0));
    let error = of(&npy, "-x0^2 + sum(row, row[2])").unwrap_err();
    assert!(error.contains("expected an index 0 to 1 of `row`, found 2"), "{error}");
    let error = of(&npy, "-x0^2 + sum(row, row['y'])").unwrap_err();
    assert!(error.contains("the columns of the data have no names: write `row[0]`"), "{error}");
}

#[test]
fn a_formula_of_many_operations_is_computed_in_tiles() {
    // 10⁵ operations at 400 points are more numbers than one tile has.
    let measure = ExpressionConfig::new(1, "-sum(i, 1, 50000, tanh(x0/i)^2)").build().unwrap();
    let x = Points::from_shape_fn((400, 1), |(i, _)| i as f64 / 100.0);
    let whole = values(&measure, &x);
    let alone = values(&measure, &x.slice(ndarray::s![399..400, ..]).to_owned());
    assert_eq!(whole[399], alone[0]);
}

#[test]
fn a_typed_regression_is_the_built_in_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("points.csv");
    // Columns of mean 0 and variance 1, so that nothing is left to standardise.
    let a = [1.0, -1.0, 1.0, -1.0];
    let b = [2f64.sqrt(), 0.0, -(2f64.sqrt()), 0.0];
    let lines: String = (0..4).map(|i| format!("{},{},{}\n", a[i], b[i], i % 2)).collect();
    std::fs::write(&path, format!("a,b,y\n{lines}")).unwrap();
    let text = "sum(row, log(sigmoid((2*y - 1)*(x0 + x1*a + x2*b)))) + sum(i, 0, 2, normal_logpdf(x[i], 0, s))";
    let typed = serde_json::json!({"expression": {"dim": 3, "log_density": text, "parameters": {"s": 1.5}, "data": {"path": path}}});
    let built_in = serde_json::json!({"bayesian_logistic_regression": {"path": path, "label": "y", "prior_sd": 1.5}});
    let [typed, built_in] = [typed, built_in].map(|json| {
        serde_json::from_value::<TargetConfig>(json).unwrap().build_exact().unwrap().unwrap().density.unwrap()
    });
    let (x, v) = (places(20, 3) * 4.0 - 3.0, places(20, 3) - 1.0);
    let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-10 * b.abs().max(1.0), "{a} against {b}");
    values(typed.as_ref(), &x).into_iter().zip(values(built_in.as_ref(), &x)).for_each(|(a, b)| close(a, b));
    for of in [
        (|m: &dyn Measure, x: &Points, _: &Points| to_points(m.score(rows(x))))
            as fn(&dyn Measure, &Points, &Points) -> Points,
        |m, x, v| to_points(m.hessian_product(rows(x), rows(v))),
    ] {
        of(typed.as_ref(), &x, &v).iter().zip(&of(built_in.as_ref(), &x, &v)).for_each(|(a, b)| close(*a, *b));
    }
}

#[test]
fn bounded_coordinates_keep_the_mass() {
    // Gamma(3, 2) and Beta(2, 3), scaled to [-1, 3]: Z = Γ(3)/2³ · 4 B(2, 3).
    let text = "2*log(x0) - 2*x0 + log((x1 + 1)/4) + 2*log((3 - x1)/4)";
    let expression =
        config(serde_json::json!({"dim": 2, "log_density": text, "support": {"x0": "positive", "x[1]": [-1, 3]}}));
    let measure = expression.build().unwrap();
    let support = measure.support().unwrap().clone();
    let unbounded = Unbounded::new(std::sync::Arc::new(measure.clone()), support.clone());
    let u = Points::from_shape_fn((200 * 200, 2), |(i, j)| {
        let place = if j == 0 { i / 200 } else { i % 200 };
        (place as f64 / 200.0 - 0.5) * 40.0
    });
    let mass: f64 = values(&unbounded, &u).into_iter().map(|log| log.exp() * 0.04).sum();
    let exact = 2.0 / 8.0 * 4.0 / 12.0;
    assert!((mass / exact - 1.0).abs() < 1e-8, "{mass} against {exact}");
    assert_derivatives("bounded coordinates", &unbounded, &(places(6, 2) - 1.0));
    let x = to_points(support.from_line(rows(&Points::from_shape_vec((1, 2), vec![0.0, 0.0]).unwrap())));
    assert_eq!(x.as_slice().unwrap(), [1.0, 1.0]);
    // Beyond what numbers tell from the bound the number next to it stands.
    let far = Points::from_shape_vec((3, 2), vec![-800.0, 50.0, 0.0, -50.0, 2.0, 1.0]).unwrap();
    for dtype in [DType::F64, DType::F32] {
        let u = to_tensor(&far, dtype, &Device::flex());
        assert_eq!(support.at_bound(&support.from_line(u.clone())), [1, 2], "{dtype:?}");
        let x = to_points(support.from_line(u));
        assert!(x[[0, 0]] > 0.0 && x[[0, 1]] < 3.0 && x[[1, 1]] > -1.0, "{x}");
    }
    assert!(values(&unbounded, &far).iter().all(|log| log.is_finite()));
    let outside = Points::from_shape_vec((3, 2), vec![-1.0, 0.0, 1.0, 3.5, 1.0, 0.0]).unwrap();
    let found = values(&measure, &outside);
    assert!(found[0] == f64::NEG_INFINITY && found[1] == f64::NEG_INFINITY && found[2].is_finite(), "{found:?}");
}

#[test]
fn mistakes_are_shown_under_their_place() {
    let error = ExpressionConfig::new(2, "-x0^2 - 0.5*(x1 - y)^2").build().unwrap_err().to_string();
    let lines: Vec<&str> = error.lines().collect();
    assert_eq!(lines[0], "`log_density`, character 19: expected a coordinate `x0` to `x1`, found the unknown name `y`");
    assert_eq!(lines[1].chars().nth(lines[2].find('^').unwrap()), Some('y'), "{error}");
    for (text, at, message) in [
        ("", 1, "expected a number, a name or `(`, found the end of the formula"),
        ("x0 + ", 6, "expected a number, a name or `(`, found the end of the formula"),
        ("x0 x1", 4, "expected an operator or the end of the formula, found `x1`"),
        ("(x0 + x1", 9, "expected an operator or `)`, found the end of the formula"),
        ("x0 ** 2", 4, "expected one operator, found `**`; a power is written `^`"),
        ("x0 + x2*x1", 6, "expected a coordinate `x0` to `x1` (`dim` is 2), found x2"),
        ("x0 + x[3]*x1", 8, "expected an index 0 to 1 of `x`, found 3"),
        ("x[0.5]", 3, "expected an index, a whole number, found 0.5"),
        ("x[x0]", 3, "expected an index, a whole number, found what depends on x or on the data"),
        ("expp(x0) + x1", 1, "expected one of the functions `exp`"),
        ("exp(x0, x1)", 1, "expected `exp(…)` with one argument, found 2 arguments of `exp`"),
        ("sum(row, x0) + x1", 1, "`sum(row, …)` runs over the rows of `data`, and there is none"),
        ("sum(x0, 1, 2, x1)", 5, "expected a new name for a counter, and `x0` means something already"),
        ("sum(i, 1, 1e9, x0 + x1)", 1, "the sums of the formula write out to more than 1000000 operations"),
        ("x0 + log(0 - 1)*x1", 6, "this part is NaN whatever x is"),
        ("x0*lgamma(0 - 0.5)*x1", 4, "this part is NaN whatever x is"),
        ("x0 + normal_logpdf(x1, 0, 1 - 2)", 27, "expected a positive standard deviation, found -1"),
        ("x0 + 1e999", 6, "the number 1e999 is out of range"),
        ("x0 $ x1", 4, "expected a number, a name or one of"),
        ("x0 + x", 6, "expected an index after `x`, such as `x0` or `x[0]`"),
    ] {
        let error = ExpressionConfig::new(2, text).build().unwrap_err();
        let MeasureError::Expression(error) = error else { panic!("{text}: {error}") };
        let found = (error.at + 1, error.message.starts_with(message) || error.message.contains(message));
        // A sum that is too long is shown where the last operation was written out.
        let at = if message.contains("write out") { error.at + 1 } else { at };
        assert!(found == (at, true), "{text}: {error}");
    }
    let deep = "(".repeat(5000) + "x0" + &")".repeat(5000);
    let error = ExpressionConfig::new(1, deep).build().unwrap_err().to_string();
    assert!(error.contains("more than 100 brackets, signs or exponents inside one another"), "{error}");
    assert!(ExpressionConfig::new(1, "-x0^2".to_owned() + &"-x0".repeat(50_000)).build().is_ok());
    for (json, message) in [
        (serde_json::json!({"dim": 2, "log_density": "-x0^2"}), "does not depend on x1"),
        (serde_json::json!({"dim": 2, "log_density": "-x0^2 + 0*x1"}), "does not depend on x1"),
        (
            serde_json::json!({"dim": 1, "log_density": "-x0^2", "support": {"x[+0]": "positive"}}),
            "`support` speaks of `x[+0]`",
        ),
        (
            serde_json::json!({"dim": 1, "log_density": "-x0^2", "support": {"x0": "positive", "x[0]": [0, 1]}}),
            "`support` speaks of x0 twice",
        ),
        (
            serde_json::json!({"dim": 1, "log_density": "-x0^2", "parameters": {"exp": 1}}),
            "a name of the formulas themselves",
        ),
        (
            serde_json::json!({"dim": 1, "log_density": "-x0^2", "parameters": {"a b": 1}}),
            "no name that a formula can call",
        ),
        (
            serde_json::json!({"dim": 1, "log_density": "-x0^2", "support": {"x1": "positive"}}),
            "`support` speaks of `x1`",
        ),
        (serde_json::json!({"dim": 1, "log_density": "-x0^2", "support": {"x0": [2, 1]}}), "the lower one first"),
        (serde_json::json!({"dim": 1, "log_density": "-x0^2", "data": {"path": "nowhere.csv"}}), "nowhere.csv"),
        (serde_json::json!({"dim": 1, "log_density": "-a*x0", "parameters": {"a": [1, 2]}}), "`a` is a list"),
    ] {
        let error = config(json).build().unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Words of the language in any order, and any text at all.
    #[test]
    fn no_text_makes_the_parser_panic(
        words in proptest::collection::vec(
            prop_oneof![
                Just("x0"), Just("x[1]"), Just("x["), Just("]"), Just("("), Just(")"), Just("+"), Just("-"), Just("*"), Just("/"),
                Just("^"), Just("exp("), Just("sum(i,0,3,"), Just("sum(row,"), Just("i"), Just(","), Just("2"), Just("1e-3"), Just("'"),
                Just("logsumexp("), Just("lgamma("), Just("a"), Just("x"), Just("."),
            ],
            0..25,
        ),
        any in ".{0,60}",
    ) {
        for text in [words.concat(), any] {
            if let Err(error) = ExpressionConfig::new(2, text).build() {
                prop_assert!(!error.to_string().is_empty());
            }
        }
    }

    /// Trees of smooth functions: their gradients are those of differences.
    #[test]
    fn gradients_of_random_formulas_are_differences(choices in proptest::collection::vec(0u8..10, 1..12)) {
        let mut text = "0.3*x0 + 0.2*x1".to_owned();
        for choice in choices {
            text = match choice {
                0 => format!("tanh({text})"),
                1 => format!("sin({text})*x1"),
                2 => format!("sigmoid({text}) + x0"),
                3 => format!("logsumexp({text}, x0, -x1)"),
                4 => format!("log1p(({text})^2)"),
                5 => format!("({text})/(1 + x0^2)"),
                6 => format!("normal_logpdf(x0, tanh({text}), 1 + x1^2)"),
                7 => format!("exp(-({text})^2)"),
                8 => format!("sqrt(1 + ({text})^2) - x1*({text})"),
                _ => format!("cos({text})^3 - ({text})"),
            };
        }
        let measure = ExpressionConfig::new(2, format!("{text} - x0^2 - x1^2")).build().unwrap();
        assert_derivatives(&text, &measure, &(places(3, 2) * 0.7 - 0.5));
    }
}
