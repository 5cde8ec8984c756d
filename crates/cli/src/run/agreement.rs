//! Independent runs of one target side by side: whether their normalisers and their coordinates agree.

use brenier_eval::r_hat;
use brenier_measure::{Estimate, Points};
use serde::Serialize;

/// R̂ between runs above this one is a disagreement (Vehtari et al., 2021, take 1.01 for chains that are long; runs of a few thousand
/// particles scatter more).
const LARGEST_R_HAT: f64 = 1.05;

/// Log Z further apart than so many joint standard errors disagree.
const APART: f64 = 4.0;

/// Whether runs agree, and on what they do not.
#[derive(Debug, Clone, Serialize)]
pub struct Agreement {
    /// Whether nothing was found on which they disagree.
    pub agree: bool,
    /// The greatest distance of two estimates of log Z in joint standard errors, where there are two.
    pub log_z_apart: Option<f64>,
    /// The largest R̂ between the samples of the runs, with its coordinate.
    pub largest_r_hat: Option<(String, f64)>,
    /// In words, what they disagree on.
    pub disagreements: Vec<String>,
}

/// One run: its name, its log Z and its samples.
pub struct Side<'a> {
    /// The name.
    pub name: &'a str,
    /// log Z, where it has one.
    pub log_z: Option<Estimate>,
    /// Its samples, `[n, d]`.
    pub samples: &'a Points,
}

/// Compares runs of one target; `names` are those of its coordinates.
pub fn agreement(sides: &[Side], names: Option<&[String]>) -> Agreement {
    let mut disagreements = Vec::new();
    let mut log_z_apart: Option<f64> = None;
    for (i, a) in sides.iter().enumerate() {
        for b in &sides[i + 1..] {
            let (Some(log_z_a), Some(log_z_b)) = (a.log_z, b.log_z) else { continue };
            let apart = (log_z_a.value - log_z_b.value).abs() / log_z_a.std_error.hypot(log_z_b.std_error);
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
    if let Some((name, found)) = largest.as_ref().filter(|(_, found)| *found > LARGEST_R_HAT) {
        disagreements.push(format!("R̂ of {name} between the runs is {found:.3}, above {LARGEST_R_HAT}"));
    }
    Agreement { agree: disagreements.is_empty(), log_z_apart, largest_r_hat: largest, disagreements }
}

impl Agreement {
    /// A few lines for a person.
    pub fn text(&self) -> String {
        let mut text = String::from(if self.agree { "the runs agree" } else { "the runs do not agree" });
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
        text
    }
}

#[cfg(test)]
mod tests {
    use brenier_measure::{Purpose, Stream};

    use super::*;

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
        let side = |name, log_z, samples| Side { name, log_z, samples };
        let same = agreement(&[side("a", log_z(1.0), &a), side("b", log_z(1.1), &b)], None);
        assert!(same.agree && (same.log_z_apart.unwrap() - 0.1 / 0.005f64.sqrt()).abs() < 1e-9, "{same:?}");
        let names = ["u".to_owned(), "v".to_owned()];
        let other = agreement(&[side("a", log_z(1.0), &a), side("c", log_z(2.0), &c)], Some(&names));
        assert!(!other.agree && other.disagreements.len() == 2, "{other:?}");
        assert!(other.disagreements[1].starts_with("R̂ of v between the runs is "), "{other:?}");
        assert!(
            other.text().starts_with("the runs do not agree; log Z at most 14.1 standard errors apart"),
            "{}",
            other.text()
        );
    }
}
