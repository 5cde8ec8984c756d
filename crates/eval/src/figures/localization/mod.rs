//! Where denoising is hard, on one page: survival of the localization, complexity, average curvature, and where log-densities bend upwards.
//!
//! The figures of Liang, Dharmakeerthi and Koriyama, arXiv 2411.01629. `L_r(y) = |Cov[rX | Y_r = y]|_op` throughout,
//! with `Y_r = rX + Z`, so that one unit of y is one standard deviation of the noise.

mod complexity;
mod difficulty;
mod regions;
mod survival;
mod zeta;

use brenier_measure::Points;
use kuva::render::annotations::TextAnnotation;
use kuva::render::layout::Layout;
use kuva::render::plots::Plot;

use super::dashes::Frame;
use super::{FigureError, Format, Panel, draw, layout};

/// What [`localization_card`] draws of one target, data set or network; what is empty is left out.
#[derive(Debug, Clone, Default)]
pub struct LocalizationFigure {
    /// The title of the page: what was examined.
    pub title: String,
    /// The survival functions, one a SNR; those with r ≤ 1 and those above stand in two panels.
    pub survival: Vec<SurvivalCurve>,
    /// Complexity against the SNR.
    pub complexity: ComplexityCurve,
    /// Average-case curvature against time, one curve a richness.
    pub zeta: Vec<ZetaCurve>,
    /// For one dimension: densities and where their logarithms bend upwards; at most three are drawn, side by side.
    pub regions: Vec<DensityRegions>,
    /// For two dimensions: points coloured by their difficulty; at most three panels are drawn, side by side.
    pub difficulty: Vec<Difficulty>,
}

/// `s_r(u) = P(L_r(Y_r) > u)` at one SNR.
#[derive(Debug, Clone, Default)]
pub struct SurvivalCurve {
    /// The signal-to-noise ratio r.
    pub snr: f64,
    /// Points (u, s_r(u)) in rising u; from 200 of them on, an atom looks like a step.
    pub points: Vec<(f64, f64)>,
}

/// `m*(r)`, `δ*(r)` and `E L_r(Y_r)`, one entry each a SNR; a quantity may be left empty.
#[derive(Debug, Clone, Default)]
pub struct ComplexityCurve {
    /// The signal-to-noise ratios r, rising and positive.
    pub snr: Vec<f64>,
    /// The multi-scale complexity `m*(r) = min_δ h(δ, r)/δ`.
    pub m_star: Vec<f64>,
    /// Its standard errors; empty where it is exact.
    pub m_star_std_error: Vec<f64>,
    /// The scale `δ*(r)` that attains it.
    pub delta_star: Vec<f64>,
    /// The mean `E L_r(Y_r)`.
    pub mean: Vec<f64>,
    /// Its standard errors; empty where it is exact.
    pub mean_std_error: Vec<f64>,
    /// The SNR with the largest m*, if there is one.
    pub hardest: Option<f64>,
}

/// `ζ*_M(t)` for one richness M.
#[derive(Debug, Clone, Default)]
pub struct ZetaCurve {
    /// The richness M of the perturbations, at least one.
    pub richness: f64,
    /// Points (t, ζ*_M(t)) in rising t.
    pub points: Vec<(f64, f64)>,
    /// Standard errors, one a point; empty where the values are exact.
    pub std_error: Vec<f64>,
}

/// The density of `Y_r` on the line, and its curvature.
#[derive(Debug, Clone, Default)]
pub struct DensityRegions {
    /// The signal-to-noise ratio r.
    pub snr: f64,
    /// Rising values y, close enough to be joined by lines; 400 or more show narrow regions.
    pub y: Vec<f64>,
    /// The density of `Y_r` at them.
    pub density: Vec<f64>,
    /// `∇²log p_{Y_r} = L_r - 1` at them.
    pub curvature: Vec<f64>,
}

/// Points of the plane and how hard they are at one SNR.
#[derive(Debug, Clone)]
pub struct Difficulty {
    /// The signal-to-noise ratio r.
    pub snr: f64,
    /// Points `[n, 2]`: draws of `Y_r`, or of the data.
    pub points: Points,
    /// `L_r` at each of them.
    pub localization: Vec<f64>,
}

/// The width of a page in device pixels: 800 logical ones, the width of a column of text on a screen.
pub(super) const WIDTH: usize = 1600;

/// One page about one subject, 1600 pixels wide.
///
/// Up to three rows: survival at low and at high SNR; complexity and average curvature; densities with the regions
/// of positive curvature, or points by difficulty. A panel without points is left out, and one whose quantity
/// vanishes everywhere (the point mass: `L_r = 0`) says so.
///
/// # Errors
///
/// Nothing to draw at all; points that are not planar.
pub fn localization_card(figure: &LocalizationFigure, format: Format) -> Result<Vec<u8>, FigureError> {
    let mut rows: Vec<(Vec<Panel>, f64)> = Vec::new();
    let (low, high): (Vec<_>, Vec<_>) = figure.survival.iter().partition(|curve| curve.snr <= 1.0);
    let survival = [("Survival of the localization, low SNR", low), ("Survival of the localization, high SNR", high)];
    let survival = survival.into_iter().filter_map(|(title, curves)| survival::panel(title, &curves)).collect();
    let middle = [complexity::panel(&figure.complexity), zeta::panel(&figure.zeta)];
    rows.push((survival, 270.0));
    rows.push((middle.into_iter().flatten().collect(), 270.0));
    let (regions, legend) = regions::panels(&figure.regions);
    rows.push((regions, 235.0));
    rows.push((legend.into_iter().collect(), 24.0));
    let (points, colour_bar) = difficulty::panels(&figure.title, &figure.difficulty)?;
    rows.push((points, 272.0));
    rows.push((colour_bar.into_iter().collect(), 52.0));
    rows.retain(|(panels, _)| !panels.is_empty());
    if rows.is_empty() {
        return Err(FigureError::Empty { title: figure.title.clone() });
    }
    let (rows, heights): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
    let height = 44.0 + heights.iter().map(|height| height + 15.0).sum::<f64>();
    draw(&figure.title, rows, &heights, [WIDTH, 2 * height as usize], format)
}

/// The axes of one of two panels in a row, with room for a legend on the right: equally long in every panel.
fn half_page(plots: &[Plot], frame: &Frame) -> Layout {
    layout(plots, frame.x, frame.y)
        .with_force_margins(60.0, 86.0)
        .with_force_margins_y(38.0, 46.0)
        .with_legend_box(false)
}

/// The size of these axes in logical pixels.
const HALF_PAGE: [f64; 2] = [236.0, 186.0];

/// The axes of one of three panels in a row.
fn third_page(plots: &[Plot], x: [f64; 2], y: [f64; 2]) -> Layout {
    layout(plots, x, y).with_force_margins(60.0, 8.0).with_force_margins_y(38.0, 46.0)
}

/// A short number for a legend: three significant digits, no trailing zeros.
fn short(value: f64) -> String {
    let digits = (2.0 - value.abs().max(1e-9).log10().floor()).clamp(0.0, 12.0) as usize;
    let text = format!("{value:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// Which of `count` curves have a place in a legend: all where they are few, otherwise some from the first to the last.
fn in_legend(count: usize) -> impl Fn(usize) -> bool {
    const MOST: usize = 8;
    let step = count.saturating_sub(1).div_ceil(MOST - 1).max(1);
    // The last one always has a place, and its neighbour none if it is too near.
    move |index| index + 1 == count || (index % step == 0 && index + step <= count.max(step))
}

/// The layout with a sentence in the middle of its axes.
fn with_note(layout: Layout, note: &str, [x, y]: [f64; 2]) -> Layout {
    layout.with_annotation(TextAnnotation::new(note, x, y).with_font_size(13))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::tests::{colours, decoded};

    /// Two points ±1: L = r² sech²(ry), p_{Y_r} the mean of N(±r, 1).
    fn two_points(r: f64) -> DensityRegions {
        let y: Vec<f64> = (-600..=600).map(|k| f64::from(k) / 100.0).collect();
        let normal = |z: f64| (-0.5 * z * z).exp() / (2.0 * std::f64::consts::PI).sqrt();
        DensityRegions {
            snr: r,
            density: y.iter().map(|y| 0.5 * (normal(y - r) + normal(y + r))).collect(),
            curvature: y.iter().map(|y| (r / (r * y).cosh()).powi(2) - 1.0).collect(),
            y,
        }
    }

    fn whole() -> LocalizationFigure {
        let snr = vec![0.1, 1.0, 1.336, 10.0];
        LocalizationFigure {
            title: "two points".to_owned(),
            survival: [0.5, 1.0, 2.0]
                .map(|snr| SurvivalCurve { snr, points: vec![(0.0, 1.0), (0.5 * snr, 0.4), (snr * snr, 0.0)] })
                .to_vec(),
            complexity: ComplexityCurve {
                m_star: vec![0.0, 0.0, 0.43, 0.0],
                m_star_std_error: vec![0.0, 0.01, 0.01, f64::NAN],
                delta_star: vec![1.0, 0.0, 0.8, 1.0],
                mean: vec![0.01, 0.4, f64::NAN, 0.0],
                mean_std_error: Vec::new(),
                hardest: Some(1.336),
                snr,
            },
            zeta: [1.0, 5.0]
                .map(|richness| ZetaCurve {
                    richness,
                    points: vec![(0.1, 3.0 - richness), (0.5, 1.0 - 0.1 * richness), (2.0, 1.0)],
                    std_error: vec![0.1; 3],
                })
                .to_vec(),
            regions: vec![two_points(0.71), two_points(1.5), two_points(3.0)],
            difficulty: vec![Difficulty {
                snr: 1.5,
                points: ndarray::array![[0.0, 0.0], [1.0, 2.0], [f64::NAN, 0.0]],
                localization: vec![2.0, 0.5, 1.0],
            }],
        }
    }

    #[test]
    fn a_page_says_what_its_axes_are() {
        let svg = String::from_utf8(localization_card(&whole(), Format::Svg).unwrap()).unwrap();
        assert!(svg.starts_with("<svg viewBox=\"0 0 800 "), "{}", &svg[..80]);
        for text in [
            "two points",
            "Survival of the localization, low SNR",
            "Survival of the localization, high SNR",
            "hardest at r = 1.34",
            "signal-to-noise ratio r",
            "time t",
            "density (per unit of y)",
            "M = 5",
            "r = 0.5",
            "∇²log p &gt; -½",
            "Lᵣ(y) at r = 1.5",
        ] {
            assert!(svg.contains(text), "`{text}` is missing");
        }
    }

    #[test]
    fn a_page_of_pixels_shades_the_regions() {
        let picture = decoded(&localization_card(&whole(), Format::Png).unwrap());
        assert_eq!(picture.width(), WIDTH as u32);
        let colours = colours(&picture);
        // The two shades, and the blue of m* and of densities.
        for colour in [[0xf7, 0xdc, 0xc8], [0xe9, 0xa3, 0x7c], [0x00, 0x72, 0xb2]] {
            assert!(colours.contains(&colour), "{colour:?} is missing");
        }
    }

    #[test]
    fn a_point_mass_gets_sentences_for_its_empty_panels() {
        let snr: Vec<f64> = vec![0.1, 1.0, 10.0];
        let zero = vec![0.0; 3];
        let figure = LocalizationFigure {
            title: "point mass".to_owned(),
            survival: vec![SurvivalCurve { snr: 1.0, points: vec![(0.0, 0.0), (1.0, 0.0)] }],
            complexity: ComplexityCurve {
                snr,
                m_star: zero.clone(),
                delta_star: vec![1.0; 3],
                mean: zero,
                ..Default::default()
            },
            ..Default::default()
        };
        let svg = String::from_utf8(localization_card(&figure, Format::Svg).unwrap()).unwrap();
        for text in ["Lᵣ = 0 at every r shown", "m* = 0 at every r shown"] {
            assert!(svg.contains(text), "`{text}` is missing");
        }
        assert!(!svg.contains("high SNR") && !svg.contains("time t"), "panels without values are left out");
        let nothing = LocalizationFigure { title: "nothing".to_owned(), ..Default::default() };
        let message = localization_card(&nothing, Format::Png).unwrap_err().to_string();
        assert_eq!(message, "the figure `nothing` has nothing finite to draw; pass at least one finite point");
    }

    #[test]
    fn numbers_in_legends_are_short() {
        let text = [0.1, 0.71, 1.0, 1.3361, 3.0, 12.34, 40.0, 1234.5, 0.0].map(short);
        assert_eq!(text, ["0.1", "0.71", "1", "1.34", "3", "12.3", "40", "1234", "0"]);
    }

    #[test]
    fn long_families_name_some_of_their_curves_and_always_the_ends() {
        for count in 1..60 {
            let named: Vec<usize> = (0..count).filter(|&index| in_legend(count)(index)).collect();
            assert!(named.len() <= 8, "{count}: {named:?}");
            assert!(named[0] == 0 && named[named.len() - 1] == count - 1, "{count}: {named:?}");
        }
        assert_eq!((0..5).filter(|&index| in_legend(5)(index)).count(), 5);
    }
}
