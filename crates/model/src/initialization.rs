//! Initial parameters, drawn on the host from counter-based streams.

use brenier_measure::{Purpose, Stream};
use burn::module::{Param, ParamId};
use burn::tensor::{DType, Device, Tensor, TensorData};

/// Draws the parameters of a network, layer after layer: layer l, row i is a function of (seed, l, i).
pub(crate) struct Initializer<'a> {
    stream: Stream,
    layer: u64,
    device: &'a Device,
}

impl<'a> Initializer<'a> {
    pub(crate) fn new(seed: u64, device: &'a Device) -> Self {
        Self { stream: Stream::new(seed, Purpose::Initialization), layer: 0, device }
    }

    /// Independent `N(0, sd²)` entries; `[rows, columns]`.
    pub(crate) fn normal(&mut self, rows: usize, columns: usize, sd: f64) -> Param<Tensor<2>> {
        let mut values = vec![0.0; rows * columns];
        for (row, entries) in values.chunks_mut(columns).enumerate() {
            self.stream.at(self.layer, row as u64).fill_normal(entries);
        }
        values.iter_mut().for_each(|w| *w *= sd);
        self.parameter(values, rows, columns)
    }

    /// Zero but for the last row, which is `last`; `[rows, columns]`.
    ///
    /// On an embedding whose last entry is 1 this is the constant `last`.
    pub(crate) fn constant(&mut self, rows: usize, columns: usize, last: f64) -> Param<Tensor<2>> {
        let mut values = vec![0.0; rows * columns];
        values[(rows - 1) * columns..].fill(last);
        self.parameter(values, rows, columns)
    }

    fn parameter(&mut self, values: Vec<f64>, rows: usize, columns: usize) -> Param<Tensor<2>> {
        self.layer += 1;
        let values: Vec<f32> = values.into_iter().map(|w| w as f32).collect();
        let data = TensorData::new(values, [rows, columns]);
        let mut parameter = Param::from_tensor(Tensor::from_data(data, (self.device, DType::F32)));
        // Burn numbers parameters at random; a record holds the numbers, and equal runs must have equal records.
        parameter.id = ParamId::from(self.layer);
        parameter
    }
}
