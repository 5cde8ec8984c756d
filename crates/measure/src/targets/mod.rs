//! Named targets in the plane, each with its exact definition and a version.

mod checkerboard;
mod pinwheel;
mod ring;
mod s_curve;
mod smoothed_curve;
mod spirals;
mod swiss_roll;
mod two_moons;

pub use checkerboard::Checkerboard;
pub use pinwheel::Pinwheel;
pub use ring::ring;
pub use s_curve::s_curve;
pub use smoothed_curve::SmoothedCurve;
pub use spirals::spirals;
pub use swiss_roll::swiss_roll;
pub use two_moons::two_moons;
