//! Optimal transport between point clouds: slices in, numbers out.
//!
//! ```
//! use brenier_transport::{Cloud, gaussian, one_dimension, sliced};
//!
//! // On the line: sort, and pair in order.
//! assert_eq!(one_dimension::w_p(&[0.0, 2.0], &[3.0, 1.0], 1.0)?, 1.0);
//!
//! // In the plane: two points and the same two, moved by (3, 4).
//! let here = [0.0, 0.0, 1.0, 0.0];
//! let there = [3.0, 4.0, 4.0, 4.0];
//! let axes = [1.0, 0.0, 0.0, 1.0];
//! let distance = sliced::sliced_w2(Cloud::new(&here, 2)?, Cloud::new(&there, 2)?, &axes)?;
//! assert_eq!(distance.per_direction, [9.0, 16.0]);
//! assert_eq!(distance.w2_squared(), 12.5);
//!
//! // Between Gaussians: N(0, 1) and N(1, 4).
//! assert!((gaussian::w2(&[0.0], &[1.0], &[1.0], &[4.0])? - 2f64.sqrt()).abs() < 1e-15);
//! # Ok::<(), brenier_transport::TransportError>(())
//! ```
//!
//! # Layout
//!
//! n points of Rᵈ are n·d numbers, one point after the other: coordinate j of point i is
//! `values[i * d + j]`. Directions lie in the same way. Every point of a cloud has the same weight
//! 1/n, and clouds need not have equal sizes. All is f64, and no result depends on the number of
//! threads.

pub mod gaussian;
pub mod one_dimension;
pub mod sliced;

mod cloud;
mod error;

pub use cloud::Cloud;
pub use error::TransportError;
