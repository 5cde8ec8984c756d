//! What the layers share: matrices of the CPU, tiles of points, panels of weights, arrays that are used again.

use std::ops::{Deref, DerefMut};
use std::sync::Mutex;

use burn::backend::flex::{FlexTensor, Layout};
use burn::tensor::{Bytes, Shape};
use faer::{Accum, MatRef};
use rayon::prelude::*;

use super::product::{Sharing, product};
use crate::real::Real;

/// Points of a tile.
pub const TILE: usize = 256;

/// Rows of a task that takes a few operations an entry.
pub const ROWS: usize = 64;

/// Rows of a panel of weights.
const PANEL: usize = 256;

/// Evaluates an expression for the number type that a data type stands for.
macro_rules! by_type {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            burn::tensor::DType::F64 => {
                type $T = f64;
                $body
            }
            _ => {
                type $T = f32;
                $body
            }
        }
    };
}
pub(super) use by_type;

/// A number type with arrays that are used again.
pub trait Reused: Real {
    /// The arrays that nobody uses.
    fn idle() -> &'static Mutex<Vec<Vec<Self>>>;
}

impl Reused for f32 {
    fn idle() -> &'static Mutex<Vec<Vec<Self>>> {
        static IDLE: Mutex<Vec<Vec<f32>>> = Mutex::new(Vec::new());
        &IDLE
    }
}

impl Reused for f64 {
    fn idle() -> &'static Mutex<Vec<Vec<Self>>> {
        static IDLE: Mutex<Vec<Vec<f64>>> = Mutex::new(Vec::new());
        &IDLE
    }
}

/// An array between the two passes; whoever drops it leaves it to the next that asks.
///
/// The system clears every page that it hands out, which takes longer than many an operation on it.
#[derive(Debug)]
pub struct Kept<T: Reused> {
    list: Vec<T>,
    len: usize,
}

/// Arrays that wait for their next use: those of about 60 layers.
const MOST_IDLE: usize = 256;

impl<T: Reused> Kept<T> {
    /// An array of so many numbers, whatever they are.
    pub fn new(len: usize) -> Self {
        let mut idle = T::idle().lock().expect("nothing panics with the lock");
        let fits = |list: &Vec<T>| (len..=2 * len).contains(&list.len());
        let found = (0..idle.len()).filter(|&i| fits(&idle[i])).min_by_key(|&i| idle[i].len());
        let list = found.map(|i| idle.swap_remove(i)).unwrap_or_else(|| vec![T::of(0.0); len]);
        Self { list, len }
    }
}

impl<T: Reused> Clone for Kept<T> {
    fn clone(&self) -> Self {
        let mut copy = Self::new(self.len);
        copy.copy_from_slice(self);
        copy
    }
}

impl<T: Reused> Drop for Kept<T> {
    fn drop(&mut self) {
        let mut idle = T::idle().lock().expect("nothing panics with the lock");
        if idle.len() == MOST_IDLE {
            idle.swap_remove(0);
        }
        idle.push(std::mem::take(&mut self.list));
    }
}

impl<T: Reused> Deref for Kept<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.list[..self.len]
    }
}

impl<T: Reused> DerefMut for Kept<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.list[..self.len]
    }
}

/// The same tensor, one row after the other.
pub fn contiguous(tensor: FlexTensor) -> FlexTensor {
    if tensor.layout().contiguous_offsets().is_some() { tensor } else { tensor.to_contiguous() }
}

/// The numbers of a contiguous tensor.
pub fn numbers<T: Real>(tensor: &FlexTensor) -> &[T] {
    tensor.as_slice().expect("a contiguous tensor of this type")
}

/// The same tensor for whoever changes all its numbers in place: a copy where somebody else has it.
pub fn owned(tensor: FlexTensor) -> FlexTensor {
    tensor.to_contiguous()
}

/// A tensor of these numbers.
pub fn tensor<T: Real>(numbers: Vec<T>, shape: impl Into<Shape>) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(numbers), Layout::contiguous(shape.into()), T::dtype())
}

/// Rows and columns of a matrix.
pub fn dims(tensor: &FlexTensor) -> [usize; 2] {
    tensor.layout().shape().dims()
}

/// A matrix of these numbers, one row after the other.
pub fn matrix<T>(entries: &[T], columns: usize) -> MatRef<'_, T> {
    MatRef::from_row_major_slice(entries, entries.len() / columns.max(1), columns)
}

/// The rows of e for a tile of points: its own, or the one of all points.
pub fn rows_of_tile<T>(e: &[T], width: usize, tile: usize) -> &[T] {
    if e.len() == width {
        return e;
    }
    &e[tile * TILE * width..e.len().min((tile + 1) * TILE * width)]
}

/// The number of tiles of so many points.
pub fn tiles(n: usize) -> usize {
    n.div_ceil(TILE)
}

/// The derivatives by weights, `AᵀD` of every pair `A [n, r]`, `D [n, c]`; none for none.
///
/// A panel of the weights is one task and takes the points a tile at a time, so that no sum depends on the number of threads.
pub fn pulls<T: Real, const N: usize>(pairs: [Option<(MatRef<T>, MatRef<T>)>; N]) -> [Vec<T>; N] {
    let mut pulls = pairs.map(|pair| pair.map_or(Vec::new(), |(a, d)| vec![T::of(0.0); a.ncols() * d.ncols()]));
    let mut panels = Vec::new();
    for (pull, (a, d)) in pulls.iter_mut().zip(pairs).filter_map(|(pull, pair)| Some((pull, pair?))) {
        for (i, panel) in pull.chunks_mut(PANEL * d.ncols()).enumerate() {
            let columns = PANEL.min(a.ncols() - i * PANEL);
            panels.push((panel, a.subcols(i * PANEL, columns), d));
        }
    }
    let sharing = Sharing::among(panels.len());
    panels.into_par_iter().for_each(|(panel, a, d)| {
        for first in (0..a.nrows()).step_by(TILE) {
            let count = TILE.min(a.nrows() - first);
            let accumulate = if first == 0 { Accum::Replace } else { Accum::Add };
            product(panel, accumulate, a.subrows(first, count).transpose(), d.subrows(first, count), sharing);
        }
    });
    pulls
}
