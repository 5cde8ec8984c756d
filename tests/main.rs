//! The `train` binary as its users meet it.

mod backends;
mod corruption;
mod metrics;
mod mistakes;
mod outputs;
mod reproducibility;
mod resume;
mod train;
mod watch;
