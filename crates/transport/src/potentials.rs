//! Kantorovich potentials: the dual of a transport problem, its certificate and its standard error.

/// Potentials at the points of two clouds: `a[i] + b[j] ≤ c(x_i, y_j)` for every pair, up to rounding.
///
/// Their mean sum is a lower bound of the optimal cost, whatever they are; where it meets the cost of a plan, both are
/// optimal. They are also the first variation of the optimal cost, which gives its standard error.
#[derive(Debug, Clone, PartialEq)]
pub struct Potentials {
    /// φ at the points of the first cloud, `[n]`.
    pub a: Vec<f64>,
    /// ψ at the points of the second cloud, `[m]`.
    pub b: Vec<f64>,
}

impl Potentials {
    /// The dual value of equally weighted points, `Σφ/n + Σψ/m`.
    pub fn value(&self) -> f64 {
        mean(&self.a) + mean(&self.b)
    }

    /// The standard error of the optimal cost from the draw of both clouds, `√(Var φ/n + Var ψ/m)`; a cloud of one
    /// point adds nothing.
    ///
    /// Where both clouds come from one law the first variation vanishes and so does most of this error: what is left is
    /// bias, which only a comparison with other perfect samples shows. del Barrio and Loubes, Central limit theorems for
    /// empirical transportation cost in general dimension (2019).
    pub fn point_error(&self) -> f64 {
        error_of_mean(&self.a).hypot(error_of_mean(&self.b))
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// In units of the largest deviation: its square may overflow.
fn error_of_mean(values: &[f64]) -> f64 {
    let (n, centre) = (values.len() as f64, mean(values));
    let largest = values.iter().fold(0.0, |largest: f64, value| largest.max((value - centre).abs()));
    if largest == 0.0 {
        return 0.0;
    }
    let squares: f64 = values.iter().map(|value| ((value - centre) / largest).powi(2)).sum();
    largest * (squares / (n - 1.0).max(1.0) / n).sqrt()
}
