//! The `train` binary as its users meet it.

mod backends;
mod chain;
mod corruption;
mod density;
mod files;
mod grids;
mod guide;
mod localize;
mod metrics;
mod mistakes;
mod mixture;
mod monge_ampere;
mod outputs;
mod report;
mod reproducibility;
mod resume;
mod sweep;
mod train;
mod watch;
