//! Dashed curves: the plotting crate begins its pattern anew at every point, so that many near points make a solid line.

/// Dashes and gaps of a dashed curve, in logical pixels.
pub(super) const PATTERN: [f64; 2] = [7.0, 4.0];

/// The axes of a panel and its size, by which a pattern is measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    /// The range of the horizontal axis.
    pub(super) x: [f64; 2],
    /// The range of the vertical axis.
    pub(super) y: [f64; 2],
    /// Whether the horizontal axis is logarithmic.
    pub(super) log_x: bool,
    /// Whether the vertical axis is logarithmic.
    pub(super) log_y: bool,
    /// About how wide and high the axes are, in logical pixels.
    pub(super) pixels: [f64; 2],
}

impl Frame {
    /// Where a point lies, in logical pixels from the lower left.
    fn place(&self, (x, y): (f64, f64)) -> [f64; 2] {
        let along = |value: f64, [low, high]: [f64; 2], log: bool| match log {
            true => (value / low).ln() / (high / low).ln(),
            false => (value - low) / (high - low),
        };
        [along(x, self.x, self.log_x) * self.pixels[0], along(y, self.y, self.log_y) * self.pixels[1]]
    }

    /// The point at a share of the way from one to another, straight as drawn.
    fn between(&self, a: (f64, f64), b: (f64, f64), share: f64) -> (f64, f64) {
        let mix = |from: f64, to: f64, log: bool| match log {
            true => from * (to / from).powf(share),
            false => from + share * (to - from),
        };
        (mix(a.0, b.0, self.log_x), mix(a.1, b.1, self.log_y))
    }
}

/// The parts of a curve that a pattern draws: `pattern` holds lengths on, off, on, off, … in logical pixels.
///
/// An empty pattern draws the whole curve.
pub(super) fn dashes(points: &[(f64, f64)], pattern: &[f64], frame: &Frame) -> Vec<Vec<(f64, f64)>> {
    if pattern.is_empty() || points.len() < 2 {
        return vec![points.to_vec()];
    }
    let mut drawn: Vec<Vec<(f64, f64)>> = vec![vec![points[0]]];
    let (mut phase, mut left) = (0, pattern[0]);
    for pair in points.windows(2) {
        let (from, to) = (frame.place(pair[0]), frame.place(pair[1]));
        let length = (to[0] - from[0]).hypot(to[1] - from[1]);
        if !length.is_finite() {
            continue;
        }
        let mut done = 0.0;
        while length - done > left {
            done += left;
            let here = frame.between(pair[0], pair[1], done / length);
            if phase % 2 == 0 {
                drawn.last_mut().expect("a dash was begun").push(here);
            } else {
                drawn.push(vec![here]);
            }
            phase = (phase + 1) % pattern.len();
            left = pattern[phase];
        }
        left -= length - done;
        if phase % 2 == 0 {
            drawn.last_mut().expect("a dash was begun").push(pair[1]);
        }
    }
    drawn.retain(|dash| dash.len() > 1);
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_does_not_depend_on_how_many_points_a_line_has() {
        let frame = Frame { x: [1.0, 100.0], y: [0.0, 1.0], log_x: true, log_y: false, pixels: [100.0, 50.0] };
        let line = |count: i32| -> Vec<(f64, f64)> {
            (0..=count).map(|k| (100f64.powf(f64::from(k) / f64::from(count)), 0.25)).collect()
        };
        let ends = |count: i32| -> Vec<[f64; 2]> {
            let dashes = dashes(&line(count), &[8.0, 4.0], &frame);
            dashes.iter().map(|dash| [frame.place(dash[0])[0], frame.place(dash[dash.len() - 1])[0]]).collect()
        };
        for (few, many) in ends(1).into_iter().zip(ends(997)) {
            assert!((few[0] - many[0]).abs() < 1e-9 && (few[1] - many[1]).abs() < 1e-9, "{few:?} {many:?}");
        }
        let coarse = ends(1);
        assert_eq!(coarse.len(), 9);
        assert!((coarse[1][0] - 12.0).abs() < 1e-9 && (coarse[1][1] - 20.0).abs() < 1e-9, "{coarse:?}");
        assert_eq!(dashes(&line(3), &[], &frame), [line(3)]);
    }
}
