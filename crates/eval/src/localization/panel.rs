//! One panel of the line: Chebyshev interpolants of `L_r` and `log p_{Y_r}`, and their integrals above a level.
//!
//! Trefethen, Approximation Theory and Approximation Practice (2013), Chapters 3, 4 and 18.

use std::sync::LazyLock;

use brenier_measure::quadrature::gauss_legendre;

/// The degree of an interpolant.
const DEGREE: usize = 16;

/// Values at the nodes, or coefficients `cₖ` of `Σ cₖ Tₖ`.
pub(super) type Coefficients = [f64; DEGREE + 1];

/// `cos(πj/N)`, j = 0…N: descending from 1 to -1.
static NODES: LazyLock<Coefficients> = LazyLock::new(|| {
    std::array::from_fn(|j| libm::sin(std::f64::consts::PI * (DEGREE as f64 - 2.0 * j as f64) / (2.0 * DEGREE as f64)))
});

/// `Tₖ(xⱼ)`, times the weights that make coefficients of values: row k, column j.
static TRANSFORM: LazyLock<[Coefficients; DEGREE + 1]> = LazyLock::new(|| {
    let half = |i: usize| if i == 0 || i == DEGREE { 0.5 } else { 1.0 };
    std::array::from_fn(|k| {
        std::array::from_fn(|j| {
            let angle = std::f64::consts::PI * ((j * k) % (2 * DEGREE)) as f64 / DEGREE as f64;
            2.0 / DEGREE as f64 * half(k) * half(j) * libm::cos(angle)
        })
    })
});

/// Gauss's rule on [-1, 1], for one part of a panel.
static RULE: LazyLock<Vec<(f64, f64)>> = LazyLock::new(|| gauss_legendre(20));

/// Where the derivative of an interpolant is looked at for changes of sign.
const SAMPLES: usize = 48;

/// A variation of L, relative to `1 + |L|`, that is rounding: L is constant there.
pub(super) const FLAT: f64 = 1e-13;

/// The places of the nodes of [a, b], descending from b to a.
pub(super) fn nodes(a: f64, b: f64) -> Coefficients {
    NODES.map(|x| f64::midpoint(a, b) + 0.5 * (b - a) * x)
}

/// How many nodes a panel has.
pub(super) const NODE_COUNT: usize = DEGREE + 1;

/// The coefficients of the polynomial through these values at the nodes.
pub(super) fn interpolate(values: &Coefficients) -> Coefficients {
    std::array::from_fn(|k| TRANSFORM[k].iter().zip(values).map(|(t, f)| t * f).sum())
}

/// The size of the last coefficients, an estimate of the error of interpolation; three, since those of an even or odd
/// function vanish by turns.
pub(super) fn last_coefficients(c: &Coefficients) -> f64 {
    c[DEGREE - 2..].iter().fold(0.0, |most: f64, c| most.max(c.abs()))
}

/// `∫ Σ cₖTₖ` over [-1, 1].
pub(super) fn integral(c: &Coefficients) -> f64 {
    c.iter().step_by(2).enumerate().map(|(half, c)| 2.0 * c / (1.0 - 4.0 * (half * half) as f64)).sum()
}

/// Clenshaw's recurrence.
fn evaluate(c: &[f64], x: f64) -> f64 {
    let (mut next, mut after) = (0.0, 0.0);
    for &c in c.iter().skip(1).rev() {
        (next, after) = (2.0 * x * next - after + c, next);
    }
    x * next - after + c[0]
}

fn derivative(c: &Coefficients) -> Coefficients {
    let mut d = [0.0; DEGREE + 1];
    for k in (1..=DEGREE).rev() {
        let above = if k < DEGREE { d[k + 1] } else { 0.0 };
        d[k - 1] = above + 2.0 * k as f64 * c[k];
    }
    d[0] *= 0.5;
    d
}

/// Shrinks a bracket of the last place where the nondecreasing f is ≤ 0, to `width`: secants, halved where they stall.
///
/// `f(a) ≤ 0 < f(b)` with the values `fa` and `fb`. Returns the bracket.
pub(super) fn bracket(
    mut f: impl FnMut(f64) -> f64,
    (mut a, mut fa): (f64, f64),
    (mut b, mut fb): (f64, f64),
    width: f64,
) -> (f64, f64) {
    let mut before = b - a;
    for step in 1..200 {
        if b - a <= width {
            break;
        }
        let middle = f64::midpoint(a, b);
        // Every third step asks whether the last two have at least halved the bracket; if not, it does.
        let stalled = step % 3 == 0 && b - a > 0.5 * before;
        if step % 3 == 0 {
            before = b - a;
        }
        let secant = a + (b - a) * (-fa / (fb - fa)).clamp(0.0, 1.0);
        // A secant that lands on an end moves by the width, so that the other end can close in.
        let x = if stalled || !secant.is_finite() { middle } else { secant.clamp(a + 0.5 * width, b - 0.5 * width) };
        let x = if x <= a || x >= b { middle } else { x };
        if x <= a || x >= b {
            break;
        }
        let fx = f(x);
        // The Illinois rule: the end that stays is given less weight.
        if fx <= 0.0 {
            (a, fa) = (x, fx);
            fb *= 0.5;
        } else {
            (b, fb) = (x, fx);
            fa *= 0.5;
        }
    }
    (a, b)
}

/// Interpolants of L and of log p on [a, b].
#[derive(Debug, Clone)]
pub(super) struct Panel {
    pub(super) a: f64,
    pub(super) b: f64,
    localization: Coefficients,
    log_density: Coefficients,
}

/// A part of a panel on which L is monotone, or constant up to rounding.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    /// The ends, in [-1, 1].
    from: f64,
    to: f64,
    /// L at the ends; both the same where it is constant.
    pub(super) at_from: f64,
    pub(super) at_to: f64,
    pub(super) integrals: Integrals,
}

/// Integrals over some part of the line.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Integrals {
    /// `∫ p`.
    pub(super) mass: f64,
    /// `∫ L p`.
    pub(super) moment: f64,
    /// `∫ (L - 1) p`, which keeps its digits where L is close to 1.
    pub(super) excess: f64,
}

impl Integrals {
    pub(super) fn plus(self, other: Self) -> Self {
        Self { mass: self.mass + other.mass, moment: self.moment + other.moment, excess: self.excess + other.excess }
    }

    pub(super) fn times(self, factor: f64) -> Self {
        Self { mass: self.mass * factor, moment: self.moment * factor, excess: self.excess * factor }
    }
}

impl Piece {
    /// Whether L is constant here, and the level but for rounding.
    pub(super) fn touches(&self, level: f64) -> bool {
        let (low, high) = (self.at_from.min(self.at_to), self.at_from.max(self.at_to));
        high - level <= FLAT * (1.0 + high.abs()) && high - low <= FLAT * (1.0 + high.abs())
    }
}

impl Panel {
    /// The panel with these coefficients.
    pub(super) fn new(a: f64, b: f64, localization: Coefficients, log_density: Coefficients) -> Self {
        Self { a, b, localization, log_density }
    }

    /// The place y of x in [-1, 1].
    pub(super) fn place(&self, x: f64) -> f64 {
        f64::midpoint(self.a, self.b) + 0.5 * (self.b - self.a) * x
    }

    /// The integrals over the part [from, to] of the panel.
    fn integrals(&self, from: f64, to: f64) -> Integrals {
        let half = 0.5 * (to - from);
        let mut sums = Integrals::default();
        for &(x, weight) in RULE.iter() {
            let x = f64::midpoint(from, to) + half * x;
            let p = weight * libm::exp(evaluate(&self.log_density, x));
            let l = evaluate(&self.localization, x);
            sums = sums.plus(Integrals { mass: p, moment: p * l, excess: p * (l - 1.0) });
        }
        sums.times(half * 0.5 * (self.b - self.a))
    }

    /// The places in (-1, 1) where L turns, ascending.
    fn turns(&self) -> Vec<f64> {
        let slope = derivative(&self.localization);
        let bend = derivative(&slope);
        let at = |i: usize| -1.0 + 2.0 * i as f64 / SAMPLES as f64;
        let values: Vec<f64> = (0..=SAMPLES).map(|i| evaluate(&slope, at(i))).collect();
        let crossing = |c: &Coefficients, from: f64, to: f64| {
            let sign = if evaluate(c, from) <= 0.0 { 1.0 } else { -1.0 };
            let f = |x: f64| sign * evaluate(c, x);
            let (a, b) = bracket(f, (from, f(from)), (to, f(to)), 1e-13);
            f64::midpoint(a, b)
        };
        let mut turns = Vec::new();
        for i in 0..SAMPLES {
            if (values[i] <= 0.0) != (values[i + 1] <= 0.0) {
                turns.push(crossing(&slope, at(i), at(i + 1)));
            } else if (evaluate(&bend, at(i)) <= 0.0) != (evaluate(&bend, at(i + 1)) <= 0.0) {
                // The slope itself turns between two samples of one sign: it may reach across zero and come back.
                let extreme = crossing(&bend, at(i), at(i + 1));
                if (evaluate(&slope, extreme) <= 0.0) != (values[i] <= 0.0) {
                    turns.push(crossing(&slope, at(i), extreme));
                    turns.push(crossing(&slope, extreme, at(i + 1)));
                }
            }
        }
        turns
    }

    /// The parts on which L is monotone.
    pub(super) fn pieces(&self) -> Vec<Piece> {
        let size: f64 = 1.0 + self.localization[0].abs();
        let variation: f64 = self.localization[1..].iter().map(|c| c.abs()).sum();
        let flat = variation <= FLAT * size;
        let mut ends = vec![-1.0];
        if !flat {
            ends.extend(self.turns());
        }
        ends.push(1.0);
        let piece = |ends: &[f64]| {
            let (from, to) = (ends[0], ends[1]);
            let integrals = self.integrals(from, to);
            let (at_from, at_to) = if flat {
                (self.localization[0], self.localization[0])
            } else {
                (evaluate(&self.localization, from), evaluate(&self.localization, to))
            };
            Piece { from, to, at_from, at_to, integrals }
        };
        ends.windows(2).filter(|ends| ends[1] > ends[0]).map(piece).collect()
    }

    /// The integrals over where L exceeds the level, on one of its pieces.
    pub(super) fn above(&self, piece: &Piece, level: f64) -> Integrals {
        let (low, high) = (piece.at_from.min(piece.at_to), piece.at_from.max(piece.at_to));
        if high <= level {
            return Integrals::default();
        }
        if low >= level {
            return piece.integrals;
        }
        let rising = piece.at_to > piece.at_from;
        let sign = if rising { 1.0 } else { -1.0 };
        let f = |x: f64| sign * (evaluate(&self.localization, x) - level);
        let ends = ((piece.from, sign * (piece.at_from - level)), (piece.to, sign * (piece.at_to - level)));
        let (a, b) = bracket(f, ends.0, ends.1, 4e-16);
        let root = f64::midpoint(a, b);
        if rising { self.integrals(root, piece.to) } else { self.integrals(piece.from, root) }
    }

    /// Where L is largest on a piece: its place and value.
    pub(super) fn peak(&self, piece: &Piece) -> (f64, f64) {
        if piece.at_to > piece.at_from {
            (self.place(piece.to), piece.at_to)
        } else {
            (self.place(piece.from), piece.at_from)
        }
    }
}
