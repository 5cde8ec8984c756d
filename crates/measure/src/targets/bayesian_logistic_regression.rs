//! The posterior of a logistic regression.

use std::f64::consts::TAU;
use std::path::PathBuf;

use burn::tensor::Tensor;
use burn::tensor::activation::sigmoid;
use ndarray::{Array2, Axis};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data::{DataSet, DataSetConfig};
use crate::error::MeasureError;
use crate::measure::{Measure, host_tensor, log_sigmoid};

/// The posterior of a Bayesian logistic regression, version 1: `p(w | y) ∝ N(w; 0, s²I) Π_i σ(y_i w·a_i)`, `y_i = ±1`.
///
/// The columns `a_i` of the file have mean 0 and standard deviation 1 unless `standardize` is false, and an intercept stands before them
/// unless `intercept` is false. Z is the marginal likelihood; it is not known, and the posterior has no sampler.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BayesianLogisticRegressionConfig {
    /// The file, relative to the working directory: whatever a data set can be read from.
    pub path: PathBuf,
    /// The label, with two values: a column of a .csv or .tsv file, an array of an .npz file.
    pub label: String,
    /// The value of the label that counts as +1; without this key the second one in order (numbers by value, else text).
    #[serde(default)]
    pub positive: Option<String>,
    /// The columns of the regression; without this key all but the label.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub columns: Option<Vec<String>>,
    /// Whether the first line of a .csv or .tsv file holds names, where it does not tell by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "bool")]
    pub header: Option<bool>,
    /// Whether the columns are shifted and scaled to mean 0 and standard deviation 1.
    #[serde(default = "yes")]
    pub standardize: bool,
    /// Whether there is an intercept, the first coordinate; its prior is that of the weights.
    #[serde(default = "yes")]
    pub intercept: bool,
    /// The standard deviation s of the prior.
    #[serde(default = "prior_sd")]
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub prior_sd: f64,
}

fn yes() -> bool {
    true
}

fn prior_sd() -> f64 {
    1.0
}

/// The posterior of a logistic regression.
#[derive(Debug, Clone)]
pub struct BayesianLogisticRegression {
    /// `y_i a_i`, `[rows, d]`.
    signed: Array2<f64>,
    prior_sd: f64,
    /// What the coordinates are called.
    columns: Vec<String>,
    /// SHA-256 of the file.
    sha256: String,
}

/// What the coordinate of the intercept is called.
const INTERCEPT: &str = "intercept";

/// Numbers in one intermediate tensor `[points, rows]`.
const TILE: usize = 1 << 22;

impl BayesianLogisticRegressionConfig {
    /// The posterior.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, a label that has not two values, a column that is constant, a prior without width.
    pub fn load(&self) -> Result<BayesianLogisticRegression, MeasureError> {
        super::positive("bayesian_logistic_regression.prior_sd", self.prior_sd)?;
        let wanted = DataSetConfig {
            columns: self.columns.clone(),
            header: self.header,
            label: Some(self.label.clone()),
            ..DataSetConfig::of_file(&self.path)
        };
        let data = DataSet::load(&wanted).map_err(|error| MeasureError::Data(error.to_string()))?;
        let signs = self.signs(&data.labels.unwrap_or_default())?;
        if self.columns.as_ref().is_some_and(|columns| columns.contains(&self.label)) {
            let label = &self.label;
            return Err(MeasureError::Data(format!(
                "`bayesian_logistic_regression.columns` has the label `{label}`, which would explain itself; leave it out"
            )));
        }
        let mut points = data.points;
        let numbered = || (1..=points.ncols()).map(|column| format!("x{column}")).collect();
        let mut columns: Vec<String> = data.columns.unwrap_or_else(numbered);
        if self.standardize {
            let (mean, sd) = (points.mean_axis(Axis(0)).expect("a row"), points.std_axis(Axis(0), 0.0));
            if let Some(constant) = sd.iter().zip(&mean).position(|(&sd, mean)| sd <= 1e-12 * mean.abs()) {
                let (path, column) = (self.path.display().to_string(), columns[constant].clone());
                return Err(MeasureError::ConstantColumn { path, column });
            }
            points = (points - mean) / sd;
        }
        if self.intercept {
            if columns.iter().any(|column| column == INTERCEPT) {
                return Err(MeasureError::Data(format!(
                    "a column is called `{INTERCEPT}` beside the intercept itself; give `intercept`: false, or name `columns` without it"
                )));
            }
            let ones = Array2::ones((points.nrows(), 1));
            points = ndarray::concatenate![Axis(1), ones, points];
            columns.insert(0, INTERCEPT.to_owned());
        }
        for (mut row, sign) in points.rows_mut().into_iter().zip(signs) {
            row.mapv_inplace(|a| sign * a);
        }
        Ok(BayesianLogisticRegression { signed: points, prior_sd: self.prior_sd, columns, sha256: data.sha256 })
    }

    /// `y_i`.
    fn signs(&self, labels: &[String]) -> Result<Vec<f64>, MeasureError> {
        let mut values: Vec<&str> = Vec::new();
        for label in labels {
            if !values.contains(&label.as_str()) {
                values.push(label);
            }
            if values.len() > 2 {
                break;
            }
        }
        let number = |value: &str| value.parse::<f64>().ok();
        values.sort_by(|a, b| match (number(a), number(b)) {
            (Some(a), Some(b)) => a.total_cmp(&b),
            _ => a.cmp(b),
        });
        let [_, second] = values[..] else {
            let found = match values[..] {
                [] => "none".to_owned(),
                [one] => format!("only `{one}`"),
                _ => format!("`{}` and more", values.join("`, `")),
            };
            let (path, label) = (self.path.display().to_string(), self.label.clone());
            return Err(MeasureError::TwoLabels { path, label, found });
        };
        let positive = self.positive.as_deref().unwrap_or(second);
        if !values.contains(&positive) {
            let (positive, found) = (positive.to_owned(), format!("`{}` and `{}`", values[0], values[1]));
            return Err(MeasureError::NoLabel { positive, found });
        }
        Ok(labels.iter().map(|label| if label == positive { 1.0 } else { -1.0 }).collect())
    }
}

impl BayesianLogisticRegression {
    /// What the coordinates are called: `intercept` and the columns.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// SHA-256 of the file's bytes, in hexadecimal.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Applies `f(w, signed)` to tiles of rows.
    fn tiled(&self, w: Tensor<2>, f: impl Fn(Tensor<2>, &Tensor<2>) -> Tensor<2>) -> Tensor<2> {
        let [rows, d] = [self.signed.nrows(), self.signed.ncols()];
        let signed = host_tensor(self.signed.iter().copied().collect(), [rows, d], w.dtype(), &w.device());
        let (n, tile) = (w.dims()[0], (TILE / rows).max(1));
        if n <= tile {
            return f(w, &signed);
        }
        let parts = (0..n).step_by(tile).map(|start| f(w.clone().narrow(0, start, tile.min(n - start)), &signed));
        Tensor::cat(parts.collect(), 0)
    }
}

impl Measure for BayesianLogisticRegression {
    fn dim(&self) -> usize {
        self.signed.ncols()
    }

    fn log_density(&self, x: Tensor<2>) -> Tensor<1> {
        let variance = self.prior_sd.powi(2);
        let constant = -(self.dim() as f64) / 2.0 * (TAU * variance).ln();
        let of_data = self.tiled(x.clone(), |w, signed| log_sigmoid(w.matmul(signed.clone().transpose())).sum_dim(1));
        let of_prior = x.square().sum_dim(1) * (-0.5 / variance) + constant;
        (of_data + of_prior).squeeze_dim(1)
    }

    fn score(&self, x: Tensor<2>) -> Tensor<2> {
        let of_data = self
            .tiled(x.clone(), |w, signed| sigmoid(w.matmul(signed.clone().transpose()).neg()).matmul(signed.clone()));
        of_data - x / self.prior_sd.powi(2)
    }

    /// `-Σ_i σ(m_i)σ(-m_i)(a_i·v)a_i - v/s²`, `m_i = y_i w·a_i`.
    fn hessian_product(&self, x: Tensor<2>, v: Tensor<2>) -> Tensor<2> {
        let d = self.dim();
        let both = Tensor::cat(vec![x, v.clone()], 1);
        let of_data = self.tiled(both, |both, signed| {
            let transposed = signed.clone().transpose();
            let margins = both.clone().narrow(1, 0, d).matmul(transposed.clone());
            let along = both.narrow(1, d, d).matmul(transposed);
            (sigmoid(margins.clone()) * sigmoid(margins.neg()) * along).matmul(signed.clone())
        });
        of_data.neg() - v / self.prior_sd.powi(2)
    }
}
