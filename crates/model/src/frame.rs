//! The coordinates of a map.

use brenier_measure::data::Standardization;
use brenier_measure::{Points, Support, to_points, to_tensor, to_values};
use burn::tensor::{DType, Device};

/// The coordinates of a map: an affine frame of the line, onto which bounded coordinates are carried first.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    /// From coordinates that are not bounded to those of the map.
    pub coordinates: Standardization,
    /// Where the coordinates of the points live, where some are bounded.
    pub support: Option<Support>,
}

impl Frame {
    /// z of points x, `[n, d]`, and `log |det ∂z/∂x|`, `[n]`; no numbers outside of the support.
    pub fn enter(&self, x: &Points) -> (Points, Vec<f64>) {
        let log_det = self.coordinates.log_det();
        let Some(support) = &self.support else { return (self.coordinates.apply(x), vec![log_det; x.nrows()]) };
        let u = support.to_line(to_tensor(x, DType::F64, &Device::flex()));
        let stretched = log_dets(support, &to_points(u.clone()));
        (self.coordinates.apply(&to_points(u)), stretched.into_iter().map(|stretched| log_det - stretched).collect())
    }

    /// x of points z, `[n, d]`, and `log |det ∂x/∂z|`, `[n]`.
    pub fn leave(&self, z: &Points) -> (Points, Vec<f64>) {
        let log_det = self.coordinates.log_det();
        let u = self.coordinates.undo(z);
        let Some(support) = &self.support else { return (u, vec![-log_det; z.nrows()]) };
        let stretched = log_dets(support, &u);
        let x = to_points(support.from_line(to_tensor(&u, DType::F64, &Device::flex())));
        (x, stretched.into_iter().map(|stretched| stretched - log_det).collect())
    }
}

fn log_dets(support: &Support, u: &Points) -> Vec<f64> {
    to_values(support.log_det(to_tensor(u, DType::F64, &Device::flex())))
}
