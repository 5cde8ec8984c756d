//! One page that explains runs to somebody who was not there.
//!
//! # Design
//!
//! A page is one HTML file that opens from disk without a network: text and tables are written here, a chart is its numbers as JSON, and a
//! script draws it, so that curves can be read off, enlarged and hidden. Beside every chart stand its numbers in a table, for who does not
//! see it and where no script runs. What a run does not have is a marked gap.

mod chart;
mod page;
mod run;

pub use page::page;
pub use run::ReportedRun;
