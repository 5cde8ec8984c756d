//! Independent runs of one target side by side: whether their normalisers and their coordinates agree.

use brenier_eval::r_hat;
use brenier_measure::{Estimate, Points};
use serde::Serialize;

/// R̂ between runs above this one is a disagreement (Vehtari et al., 2021, take 1.01 for chains that are long; runs of a few thousand
/// particles scatter more).
const LARGEST_R_HAT: f64 = 1.05;

/// Halves of L values scatter besides by a few times 1/L.
const SCATTER: f64 = 4.0;

/// No standard error is below this part of log Z: it would be rounding.
const ROUNDING: f64 = 1e-9;

/// Log Z further apart than so many joint standard errors disagree.
const APART: f64 = 4.0;

/// Whether runs agree, and on what they do not.
#[derive(Debug, Clone, Serialize)]
pub struct Agreement {
    /// Whether nothing was found on which they disagree; null where there was nothing to compare.
    pub agree: Option<bool>,
    /// The greatest distance of two estimates of log Z in joint standard errors, where there are two.
    pub log_z_apart: Option<f64>,
    /// The largest R̂ between the samples of the runs, with its coordinate.
    pub largest_r_hat: Option<(String, f64)>,
    /// In words, what they disagree on.
    pub disagreements: Vec<String>,
    /// In words, what makes agreement worth less.
    pub notes: Vec<String>,
}

/// One run: its name, its log Z and its samples.
pub struct Side<'a> {
    /// The name.
    pub name: &'a str,
    /// The seed that it was trained with.
    pub seed: u64,
    /// log Z, where it has one.
    pub log_z: Option<Estimate>,
    /// Its samples, `[n, d]`.
    pub samples: &'a Points,
}

/// Compares runs of one target; `names` are those of its coordinates.
pub fn agreement(sides: &[Side], names: Option<&[String]>) -> Agreement {
    let (mut disagreements, mut notes) = (Vec::new(), Vec::new());
    let mut log_z_apart: Option<f64> = None;
    for (i, a) in sides.iter().enumerate() {
        for b in &sides[i + 1..] {
            if a.seed == b.seed {
                notes
                    .push(format!("{} and {} have the seed {} both: they are not independent", a.name, b.name, a.seed));
            }
            let (Some(log_z_a), Some(log_z_b)) = (a.log_z, b.log_z) else { continue };
            let joint = log_z_a.std_error.hypot(log_z_b.std_error);
            if !joint.is_finite() {
                notes.push(format!("log Z of {} or of {} has no standard error", a.name, b.name));
                continue;
            }
            let apart = (log_z_a.value - log_z_b.value).abs() / joint.max(ROUNDING * (1.0 + log_z_a.value.abs()));
            if apart > APART {
                let ([a_value, a_error], [b_value, b_error]) =
                    ([log_z_a.value, log_z_a.std_error], [log_z_b.value, log_z_b.std_error]);
                disagreements.push(format!(
                    "log Z of {} is {a_value:.4} ± {a_error:.4}, that of {} {b_value:.4} ± {b_error:.4}: {apart:.1} standard errors apart",
                    a.name, b.name
                ));
            }
            log_z_apart = Some(log_z_apart.map_or(apart, |most| most.max(apart)));
        }
    }
    let dim = sides.first().map_or(0, |side| side.samples.ncols());
    let name = |j: usize| names.and_then(|names| names.get(j)).cloned().unwrap_or_else(|| format!("x{j}"));
    let mut largest: Option<(String, f64)> = None;
    for j in 0..dim {
        let columns: Vec<Vec<f64>> = sides.iter().map(|side| side.samples.column(j).to_vec()).collect();
        let Some(found) = r_hat(&columns) else { continue };
        if largest.as_ref().is_none_or(|(_, most)| found > *most) {
            largest = Some((name(j), found));
        }
    }
    let half = sides.iter().map(|side| side.samples.nrows() / 2).min().unwrap_or(0).max(1);
    let limit = LARGEST_R_HAT + SCATTER / half as f64;
    if let Some((name, found)) = largest.as_ref().filter(|(_, found)| *found > limit) {
        disagreements.push(format!("R̂ of {name} between the runs is {found:.3}, above {limit:.3}"));
    }
    let compared = log_z_apart.is_some() || largest.is_some();
    let agree = compared.then_some(disagreements.is_empty());
    Agreement { agree, log_z_apart, largest_r_hat: largest, disagreements, notes }
}

impl Agreement {
    /// A few lines for a person.
    pub fn text(&self) -> String {
        let mut text = String::from(match self.agree {
            Some(true) => "the runs agree",
            Some(false) => "the runs do not agree",
            None => "there is nothing to compare: no log Z, and fewer than four samples (--count)",
        });
        if let Some(apart) = self.log_z_apart {
            text += &format!("; log Z at most {apart:.1} standard errors apart");
        }
        if let Some((name, found)) = &self.largest_r_hat {
            text += &format!("; largest R̂ {found:.3} ({name})");
        }
        text.push('\n');
        for disagreement in &self.disagreements {
            text += &format!("disagreement: {disagreement}\n");
        }
        self.notes.iter().for_each(|note| text += &format!("note: {note}\n"));
        text
    }
}

#[cfg(test)]
mod tests {
    use brenier_measure::{Purpose, Stream};

    use super::*;

    fn side<'a>(name: &'a str, log_z: Option<Estimate>, samples: &'a Points) -> Side<'a> {
        Side { name, seed: u64::from(name.as_bytes()[0]), log_z, samples }
    }

    #[test]
    fn runs_disagree_on_what_differs() {
        let points = |seed, shift: f64| {
            let stream = Stream::new(seed, Purpose::Metric);
            Points::from_shape_fn((400, 2), |(i, j)| {
                stream.at(j as u64, i as u64).normal() + if j == 1 { shift } else { 0.0 }
            })
        };
        let (a, b, c) = (points(1, 0.0), points(2, 0.0), points(3, 1.0));
        let log_z = |value| Some(Estimate { value, std_error: 0.05 });
        let same = agreement(&[side("a", log_z(1.0), &a), side("b", log_z(1.1), &b)], None);
        assert!(
            same.agree == Some(true)
                && same.notes.is_empty()
                && (same.log_z_apart.unwrap() - 0.1 / 0.005f64.sqrt()).abs() < 1e-9,
            "{same:?}"
        );
        let names = ["u".to_owned(), "v".to_owned()];
        let other = agreement(&[side("a", log_z(1.0), &a), side("c", log_z(2.0), &c)], Some(&names));
        assert!(other.agree == Some(false) && other.disagreements.len() == 2, "{other:?}");
        assert!(other.disagreements[1].starts_with("R̂ of v between the runs is "), "{other:?}");
        assert!(
            other.text().starts_with("the runs do not agree; log Z at most 14.1 standard errors apart"),
            "{}",
            other.text()
        );
        // Few samples scatter; none that vary disagree for certain; the same run twice is no witness.
        for n in [10, 40] {
            let few = |points: &Points| points.slice(ndarray::s![..n, ..]).to_owned();
            let (a, b) = (few(&a), few(&b));
            let found = agreement(&[side("a", None, &a), side("b", None, &b)], None);
            assert_eq!(found.agree, Some(true), "{found:?}");
        }
        let [still, elsewhere] = [0.0, 1.0].map(|x| Points::from_elem((10, 1), x));
        let found = agreement(&[side("a", None, &still), side("b", None, &elsewhere)], None);
        assert!(found.agree == Some(false) && found.disagreements[0].contains("is inf"), "{found:?}");
        let twice = agreement(&[side("a", log_z(1.0), &a), side("a", log_z(1.0), &a)], None);
        assert!(
            twice.text().contains("note: a and a have the seed 97 both: they are not independent"),
            "{}",
            twice.text()
        );
        let exact = Some(Estimate { value: 1.0, std_error: 0.0 });
        let found = agreement(&[side("a", exact, &still), side("b", exact, &still)], None);
        assert_eq!((found.agree, found.log_z_apart), (Some(true), Some(0.0)));
        let unknown = Some(Estimate { value: 1.0, std_error: f64::NAN });
        let two = Points::zeros((2, 1));
        let nothing = agreement(&[side("a", unknown, &two), side("b", exact, &two)], None);
        assert!(nothing.agree.is_none() && nothing.text().starts_with("there is nothing to compare"), "{nothing:?}");
    }
}
