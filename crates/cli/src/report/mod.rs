//! One page that explains runs to somebody who was not there.
//!
//! # Design
//!
//! A page is one HTML file that opens from disk without a network: text and tables are written here, a chart is its numbers as JSON, and a
//! script draws it, so that curves can be read off, enlarged and hidden. Beside every chart of curves stand its numbers in a table, and beside every
//! other one what it shows in words, for who does not see it and where no script runs. What a run does not have is a marked gap.
//!
//! What all runs of a page show alike (points of a cloud, rows of a table, pictures) shares one room, so that a page of many runs is no
//! larger than one of few.

mod chart;
mod comparison;
mod page;
mod run;
mod training;

pub use page::{MOST_BYTES, page};
pub use run::ReportedRun;
