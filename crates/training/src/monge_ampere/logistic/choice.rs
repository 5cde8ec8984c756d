//! What a config leaves to the data: the potential, the reference and the polish, by the dimension and the number of points.

use super::MongeAmpereLogisticConfig;
use crate::gaussian_mixture::{Components, GaussianMixtureConfig};
use crate::monge_ampere::RidgesConfig;
use crate::monge_ampere::polish::{LogSumExpConfig, PolishConfig, PotentialConfig, RefitConfig, Smoothing};
use crate::monge_ampere::reference::ReferenceConfig;
use crate::monge_ampere::stack::StackConfig;

/// The largest dimension in which pieces fill space.
const FEW_DIMENSIONS: usize = 3;

/// Above this dimension a polish, which forms Hessians, takes hours.
const MOST_POLISHED: usize = 100;

/// Below this number of points fewer pieces are enough, and in three dimensions a mixture of one size says less of a law than a stack of many.
const FEW_POINTS: usize = 1200;

/// From this number of points on nothing is memorised; below, in the plane, a stack of many densities is safer than a mixture of one size.
const MANY_POINTS: usize = 8000;

impl MongeAmpereLogisticConfig {
    /// The same with nothing left to choose, and why so, for so many points in dimension d; none for a target that is drawn afresh. `None` where
    /// nothing is left to choose.
    ///
    /// Where the potential is `automatic`, so are the ridges, the stages and the polish that go with it.
    pub fn chosen(&self, d: usize, points: Option<usize>, is_weighted: bool) -> Option<(Self, Vec<String>)> {
        let (mut chosen, mut reasons) = (self.clone(), Vec::new());
        let many = points.map_or_else(|| "fresh draws".to_owned(), |n| format!("{n} points"));
        if self.reference == ReferenceConfig::Automatic {
            let wants_pieces = match (&self.potential, points) {
                (PotentialConfig::LogSumExp(_) | PotentialConfig::InputConvex(_), _) | (_, None) => true,
                (PotentialConfig::Automatic, Some(n)) => {
                    let few = if d <= 2 { MANY_POINTS } else { FEW_POINTS };
                    d > MOST_POLISHED || (d <= FEW_DIMENSIONS && n < few)
                }
                (PotentialConfig::Ridges, Some(_)) => d > MOST_POLISHED,
            };
            let (reference, reason) = match points {
                Some(n) if !wants_pieces => (
                    ReferenceConfig::FittedMixture(Box::new(mixture(d, n))),
                    "a fitted mixture carries the modes, and the map only bends it",
                ),
                _ => (
                    ReferenceConfig::StandardNormal,
                    "the reference of log-sum-exp and input-convex potentials, of draws without end, and of many dimensions",
                ),
            };
            reasons.push(format!("reference {} for {many} in dimension {d}: {reason}", reference.name()));
            chosen.reference = reference;
        }
        if self.potential == PotentialConfig::Automatic {
            let reason = if chosen.reference.is_log_concave() && d <= FEW_DIMENSIONS {
                self.choose_pieces(&mut chosen, points)
            } else {
                choose_ridges(&mut chosen, d, points)
            };
            reasons.push(format!("potential {} for {many} in dimension {d}: {reason}", chosen.potential.name()));
        }
        // Rows with weights are repeated, and a row must not judge itself.
        if is_weighted
            && self.potential == PotentialConfig::Automatic
            && let Some(polish) = &mut chosen.polish
        {
            polish.refit.iter_mut().for_each(|refit| refit.folds = 1);
            if polish.smoothing != Smoothing::None {
                (polish.smoothing, polish.patience) =
                    (Smoothing::Isotropic { sd: 0.1 }, PolishConfig::default().patience);
                reasons.push("rows have weights: isotropic noise stands for the stack, which would see every row in several folds".to_owned());
            }
        }
        (!reasons.is_empty()).then_some((chosen, reasons))
    }

    fn choose_pieces(&self, chosen: &mut Self, points: Option<usize>) -> &'static str {
        let is_few = points.is_some_and(|n| n < FEW_POINTS);
        let is_many = points.is_none_or(|n| n >= MANY_POINTS);
        let pieces = if is_few { 128 } else { 256 };
        chosen.potential = PotentialConfig::LogSumExp(LogSumExpConfig { pieces, ..Default::default() });
        chosen.stages = 0;
        chosen.polish = Some(PolishConfig {
            steps: if is_few { 3000 } else { 5000 },
            batch: if is_many { 512 } else { 256 },
            patience: None,
            smoothing: if is_many { Smoothing::None } else { Smoothing::Stack(StackConfig::default()) },
            ..Default::default()
        });
        if is_many {
            "pieces fill so few dimensions, and semi-discrete transport starts them"
        } else {
            "pieces fill so few dimensions; few points would be memorised, and endless draws of a stack of densities stand for them"
        }
    }
}

/// Ridges on a mixture that follows them; after stages, where there is no mixture.
fn choose_ridges(chosen: &mut MongeAmpereLogisticConfig, d: usize, points: Option<usize>) -> &'static str {
    if d > MOST_POLISHED {
        (chosen.potential, chosen.polish) = (PotentialConfig::Ridges, None);
        chosen.stages = 20;
        chosen.ridges = RidgesConfig { directions: Some(d), knots: 1, ..RidgesConfig::default() };
        return "in so many dimensions a few stages of few ridges are what is affordable";
    }
    let is_many = points.is_none_or(|n| n >= MANY_POINTS);
    let is_planar = d <= FEW_DIMENSIONS;
    let is_fitted = matches!(chosen.reference, ReferenceConfig::FittedMixture(_));
    chosen.potential = PotentialConfig::Ridges;
    chosen.ridges = RidgesConfig {
        directions: is_planar.then_some(if is_many { 16 } else { 24 }).filter(|_| d > 1),
        knots: match (is_planar, is_many) {
            (true, true) => 24,
            (true, false) => 12,
            _ => 6,
        },
        floor: 0.1,
        least_width: if is_planar && is_many { 0.03 } else { 0.06 },
        independent_components: !is_planar,
        // In many dimensions every direction costs as much as they are wide.
        component_differences: !is_planar && d <= 16,
    };
    if chosen.reference.is_log_concave() {
        chosen.ridges.component_differences = false;
    } else {
        chosen.stages = 0;
    }
    let folds = if is_many { 1 } else { 5 };
    chosen.polish = Some(PolishConfig {
        steps: if is_many { 3000 } else { 1000 },
        batch: 256,
        rate: 4e-3,
        ema: 0.98,
        judge_every: 50,
        patience: Some(if is_many { 15 } else { 8 }),
        refit: is_fitted.then_some(RefitConfig { every: if is_many { 200 } else { 100 }, folds, ..Default::default() }),
        ..Default::default()
    });
    if is_fitted {
        "ridges bend what the mixture leaves, and the mixture follows"
    } else if chosen.reference.is_log_concave() {
        "pieces do not fill so many dimensions; stages bring the ridges to where moments match, and likelihood further"
    } else {
        "the reference carries the modes, and ridges bend it"
    }
}

/// The mixture that a reference is fitted as.
fn mixture(d: usize, points: usize) -> GaussianMixtureConfig {
    let is_planar = d <= FEW_DIMENSIONS;
    let sizes: &[usize] = match points {
        0..FEW_POINTS => &[1, 2, 4, 8, 16],
        FEW_POINTS..MANY_POINTS if is_planar => &[8, 16, 24, 32],
        _ if is_planar => &[8, 16, 32],
        _ => &[1, 2, 5, 10, 20, 30],
    };
    let shrinkage = match (is_planar, points >= MANY_POINTS) {
        (true, true) => 1.0,
        (true, false) => 3.0,
        // Of few points a covariance knows little, and the less the more dimensions it has.
        (false, _) => d as f64 / 4.0,
    };
    GaussianMixtureConfig {
        shrinkage,
        restarts: if points >= MANY_POINTS { 1 } else { 2 },
        ..GaussianMixtureConfig::of_sizes(Components::Several(sizes.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_is_kept_and_the_rest_follows_from_it() {
        let given = MongeAmpereLogisticConfig::default();
        assert!(given.chosen(2, Some(500), false).is_none());
        let open = MongeAmpereLogisticConfig {
            reference: ReferenceConfig::Automatic,
            potential: PotentialConfig::Automatic,
            ..Default::default()
        };
        let of = |config: &MongeAmpereLogisticConfig, d, points| {
            let (chosen, reasons) = config.chosen(d, points, false).unwrap();
            assert!(chosen.chosen(d, points, false).is_none() && !reasons.is_empty());
            chosen
        };
        let few = of(&open, 2, Some(500));
        assert_eq!((few.reference.name(), few.potential.name()), ("standard_normal", "log_sum_exp"));
        assert!(matches!(few.polish.unwrap().smoothing, Smoothing::Stack(_)));
        assert_eq!(of(&open, 2, Some(2000)).potential.name(), "log_sum_exp");
        for (d, points) in [(3, Some(2000)), (2, Some(20_000)), (1, Some(9000)), (64, Some(1000))] {
            let chosen = of(&open, d, points);
            assert_eq!((chosen.reference.name(), chosen.potential.name()), ("fitted_mixture", "ridges"), "{d}");
            assert_eq!((chosen.stages, chosen.ridges.independent_components), (0, d == 64));
        }
        let fresh = of(&open, 2, None);
        assert_eq!((fresh.reference.name(), fresh.potential.name()), ("standard_normal", "log_sum_exp"));
        assert_eq!(fresh.polish.unwrap().smoothing, Smoothing::None);
        let high = of(&open, 8, None);
        assert_eq!((high.potential.name(), high.stages), ("ridges", 60));
        let weighted = open.chosen(2, Some(500), true).unwrap().0.polish.unwrap();
        assert_eq!(weighted.smoothing, Smoothing::Isotropic { sd: 0.1 });
        let wide = of(&open, 784, Some(60));
        assert_eq!((wide.reference.name(), wide.potential.name()), ("standard_normal", "ridges"));
        assert!(wide.polish.is_none() && wide.stages > 0);
        for d in [101, 300, 700] {
            let ridges = of(&open, d, Some(60)).ridges;
            assert!(ridges.most_coefficients(d) <= super::super::MOST_COEFFICIENTS, "{d}");
        }
        let gaussian = MongeAmpereLogisticConfig { reference: ReferenceConfig::FittedGaussian, ..open };
        let kept = of(&gaussian, 2, Some(20_000));
        assert_eq!((kept.reference.name(), kept.potential.name()), ("fitted_gaussian", "log_sum_exp"));
    }
}
