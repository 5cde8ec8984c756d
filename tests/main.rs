//! The `train` binary as its users meet it.

mod backends;
mod corruption;
mod mistakes;
mod outputs;
mod reproducibility;
mod resume;
mod train;
