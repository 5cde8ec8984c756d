//! The law of `L_r(Y_r)` at one signal-to-noise ratio, and what is computed from it.
//!
//! Liang, Dharmakeerthi, Koriyama (2411.01629), Section 3.

use brenier_measure::Estimate;
use serde::{Deserialize, Serialize};

use super::complexity::EmpiricalLaw;
use super::line::LineLaw;

/// `m*(r) = min h(δ, r)/δ` over δ in (0, 1].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Complexity {
    /// The least ratio; 0 where sup L ≤ 1.
    pub m_star: Estimate,
    /// The largest δ that attains it; `1 - ess sup L` where sup L ≤ 1.
    pub delta_star: f64,
}

/// `sup [δ - M h(δ, r)]` over δ in [0, 1]: `ζ*_M(t)` without its factor `1/(1 - e^{-2t})`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AverageCurvature {
    /// The supremum.
    pub value: Estimate,
    /// The largest δ that attains it.
    pub delta: f64,
}

/// The law of `L_r(Y_r)`, `L_r(y) = ‖Cov[rX | Y_r = y]‖_op`, at one r.
///
/// Standard errors are zero where it is known by quadrature.
#[derive(Debug, Clone)]
pub struct Law {
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Draws(EmpiricalLaw),
    Line(Box<LineLaw>),
}

impl Law {
    pub(super) fn of_draws(values: Vec<f64>) -> Self {
        Self { kind: Kind::Draws(EmpiricalLaw::new(values)) }
    }

    pub(super) fn of_line(line: LineLaw) -> Self {
        Self { kind: Kind::Line(Box::new(line)) }
    }

    /// `s_r(u) = P(L_r > u)`.
    pub fn survival(&self, level: f64) -> Estimate {
        match &self.kind {
            Kind::Draws(draws) => draws.survival(level),
            Kind::Line(line) => exact(line.survival(level)),
        }
    }

    /// `h(δ, r) = E(L_r - (1 - δ))₊`.
    pub fn integrated_tail(&self, delta: f64) -> Estimate {
        match &self.kind {
            Kind::Draws(draws) => draws.integrated_tail(delta),
            Kind::Line(line) => exact(line.tail(1.0 - delta)),
        }
    }

    /// `E L_r`.
    pub fn mean(&self) -> Estimate {
        match &self.kind {
            Kind::Draws(draws) => draws.mean(),
            Kind::Line(line) => exact(line.mean()),
        }
    }

    /// `m*(r)` and `δ*(r)`.
    pub fn complexity(&self) -> Complexity {
        match &self.kind {
            Kind::Draws(draws) => draws.complexity(),
            Kind::Line(line) => line.complexity(),
        }
    }

    /// `ess sup L_r` where it is known: by quadrature, not from draws, whose largest value is no supremum.
    pub fn supremum(&self) -> Option<f64> {
        match &self.kind {
            Kind::Draws(_) => None,
            Kind::Line(line) => line.supremum(),
        }
    }

    /// `sup [δ - M h(δ, r)]` for a richness M ≥ 1.
    pub fn average_curvature(&self, richness: f64) -> AverageCurvature {
        match &self.kind {
            Kind::Draws(draws) => draws.average_curvature(richness),
            Kind::Line(line) => line.average_curvature(richness),
        }
    }
}

fn exact(value: f64) -> Estimate {
    Estimate { value, std_error: 0.0 }
}
