//! Progress of long work: a bar where stderr is a terminal, a line every ten seconds where it is not.
//!
//! # Design
//!
//! Both go out through the log's own channel. The bar and the log share one terminal, so the log writes through
//! [`above_bars`], which takes the bars down for as long as it writes. The plain lines are `tracing` events of target
//! [`TARGET`]: they follow `--log-format`, are copied into the run's log file, and vanish under `-q`; while a bar is shown
//! the log keeps them off the terminal and only the file gets them.

use std::collections::VecDeque;
use std::io::{self, IsTerminal};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The `tracing` target of progress lines.
pub const TARGET: &str = "train::progress";

/// How far apart progress lines are where they cannot be redrawn in place.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// The first line comes sooner, and yet late enough to know a rate.
const FIRST_LINE: Duration = Duration::from_secs(2);

/// How often the text beside a bar changes.
const MESSAGE_EVERY: Duration = Duration::from_millis(200);

/// The rate is that of the last half minute, so that it follows a machine whose load changes.
const RATE_OVER: Duration = Duration::from_secs(30);

static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);
static LINES_ONLY: AtomicBool = AtomicBool::new(false);

/// Gives up bars for plain lines, for a log that other programs read.
pub fn lines_only() {
    LINES_ONLY.store(true, Ordering::Relaxed);
}

/// Whether progress is drawn as bars: stderr is a terminal, and nobody asked for [`lines_only`].
pub fn draws_bars() -> bool {
    io::stderr().is_terminal() && !LINES_ONLY.load(Ordering::Relaxed)
}

/// Runs `write` with the bars off the terminal, and draws them again.
pub fn above_bars<T>(write: impl FnOnce() -> T) -> T {
    BARS.suspend(write)
}

/// The progress of one piece of work, from `already_done` to `total` steps.
///
/// It is finished when dropped, so an error on the way leaves no bar behind.
#[derive(Debug)]
pub struct Progress {
    label: String,
    total: u64,
    step: u64,
    values: Vec<(String, f64)>,
    rate: Rate,
    started: Instant,
    /// When the last line was written; zero before the first.
    last_line: Duration,
    /// The step that the last line told of: it need not be told again at the end.
    told: u64,
    last_message: Duration,
    bar: Option<ProgressBar>,
    silent: bool,
    /// Whether work that was done before the first line was due goes without one.
    brief: bool,
}

impl Progress {
    /// Begins at step `already_done` of `total`; `label` says what is being done, in a word or two.
    ///
    /// With `quiet` nothing is drawn, and the log decides what it keeps.
    pub fn new(total: u64, already_done: u64, label: &str, quiet: bool) -> Self {
        let bar = (!quiet && draws_bars()).then(|| {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden());
            let bar = BARS.add(bar);
            bar.set_style(bar_style());
            bar.set_prefix(label.to_owned());
            bar.set_position(already_done);
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        });
        Self {
            label: label.to_owned(),
            total,
            step: already_done,
            values: Vec::new(),
            rate: Rate::default(),
            started: Instant::now(),
            last_line: Duration::ZERO,
            told: already_done,
            last_message: Duration::ZERO,
            bar,
            silent: quiet,
            brief: false,
        }
    }

    /// Says that `step` steps are done and what the named values are now; no values means the old ones still hold.
    ///
    /// Cheap enough to be called at every step: text is made only when it is shown.
    pub fn update(&mut self, step: u64, values: &[(&str, f64)]) {
        let now = self.started.elapsed();
        self.step = step;
        self.rate.observe(now, step);
        self.remember(values);
        if let Some(bar) = &self.bar {
            bar.set_position(step);
            if now.saturating_sub(self.last_message) >= MESSAGE_EVERY {
                self.last_message = now;
                bar.set_message(self.account());
            }
        }
        if now.saturating_sub(self.last_line) >= if self.last_line.is_zero() { FIRST_LINE } else { LINE_EVERY } {
            self.line(now);
        }
    }

    fn remember(&mut self, values: &[(&str, f64)]) {
        if values.is_empty() {
            return;
        }
        let same_names = self.values.iter().map(|(name, _)| name.as_str()).eq(values.iter().map(|&(name, _)| name));
        if same_names {
            self.values.iter_mut().zip(values).for_each(|(old, new)| old.1 = new.1);
        } else {
            self.values = values.iter().map(|&(name, value)| (name.to_owned(), value)).collect();
        }
    }

    /// Ends the work where it stands: the bar goes, a last line stays.
    pub fn finish(self) {}

    fn line(&mut self, now: Duration) {
        self.last_line = now;
        self.told = self.step;
        let (label, step, total) = (&self.label, self.step, self.total);
        let account = self.account();
        let separator = if account.is_empty() { "" } else { ", " };
        if self.silent {
            tracing::debug!(target: TARGET, "{label} {step}/{total}{separator}{account}");
        } else {
            tracing::info!(target: TARGET, "{label} {step}/{total}{separator}{account}");
        }
    }

    /// `412/s, loss 0.123, 46 s left`: what is known of it.
    fn account(&self) -> String {
        let rate = self.rate.per_second();
        let mut parts = Vec::new();
        if let Some(rate) = rate {
            parts.push(format!("{}/s", three_digits(rate)));
        }
        parts.extend(self.values.iter().map(|(name, value)| format!("{name} {}", three_digits(*value))));
        if let Some(rate) = rate.filter(|_| self.step < self.total) {
            parts.push(format!("{} left", duration(self.total.saturating_sub(self.step) as f64 / rate)));
        }
        parts.join(", ")
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
            BARS.remove(&bar);
        }
        let now = self.started.elapsed();
        if self.told != self.step && !(self.brief && now < FIRST_LINE) {
            self.line(now);
        }
    }
}

/// Progress of work whose size is known when its first step is done; work that takes no two seconds is not spoken of.
pub struct Watched {
    label: String,
    quiet: bool,
    progress: Option<Progress>,
}

impl Watched {
    /// Begins; `label` says what is being done, in a word or two.
    pub fn new(label: impl Into<String>, quiet: bool) -> Self {
        Self { label: label.into(), quiet, progress: None }
    }

    /// Says that `step` of `total` steps are done.
    pub fn update(&mut self, step: u64, total: u64) {
        let (label, quiet) = (&self.label, self.quiet);
        let begin = || {
            let mut progress = Progress::new(total, 0, label, quiet);
            progress.brief = true;
            progress
        };
        self.progress.get_or_insert_with(begin).update(step, &[]);
    }
}

fn bar_style() -> ProgressStyle {
    ProgressStyle::with_template("{prefix} {bar:32.cyan/dim} {pos}/{len}  {wide_msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Steps per second over the last [`RATE_OVER`], from marks at least a second apart.
///
/// The first step counts for nothing: on a GPU most of it is the compilation of kernels.
#[derive(Debug, Default)]
struct Rate {
    marks: VecDeque<(Duration, u64)>,
    now: (Duration, u64),
}

impl Rate {
    fn observe(&mut self, at: Duration, step: u64) {
        self.now = (at, step);
        if self.marks.back().is_none_or(|&(last, _)| at.saturating_sub(last) >= Duration::from_secs(1)) {
            self.marks.push_back((at, step));
        }
        // The oldest mark stays until the next one is old enough to stand in for it.
        while self.marks.get(1).is_some_and(|&(second, _)| at.saturating_sub(second) >= RATE_OVER) {
            self.marks.pop_front();
        }
    }

    /// None until a step has been done.
    fn per_second(&self) -> Option<f64> {
        let &(since, first) = self.marks.front()?;
        let (at, step) = self.now;
        let seconds = at.saturating_sub(since).as_secs_f64();
        let steps = step.saturating_sub(first);
        (seconds > 0.0 && steps > 0).then(|| steps as f64 / seconds)
    }
}

/// A number in about three digits, the way a reader of a log wants it.
fn three_digits(value: f64) -> String {
    match value.abs() {
        size if size == 0.0 || !size.is_finite() => format!("{value}"),
        size if !(1e-3..1e5).contains(&size) => format!("{value:.2e}"),
        size if size >= 100.0 => format!("{value:.0}"),
        size => format!("{value:.*}", (2 - size.log10().floor() as i32).max(0) as usize),
    }
}

/// `46 s`, `3 min 20 s`, `2 h 05 min`.
fn duration(seconds: f64) -> String {
    // Beyond a year the figure says only that the rate is hopeless.
    let seconds = seconds.clamp(0.0, 3.2e7).ceil() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds:02} s"),
        (hours, minutes, _) => format!("{hours} h {minutes:02} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_half_minute() {
        let mut rate = Rate::default();
        assert_eq!(rate.per_second(), None);
        let mut step = 1000;
        for tenth in 0..=3000u64 {
            rate.observe(Duration::from_millis(100 * tenth), step);
            step += if tenth < 2000 { 5 } else { 20 };
        }
        // 50 steps a second for 200 s, then 200 a second for 100 s: the first part is forgotten.
        let measured = rate.per_second().unwrap();
        assert!((measured - 200.0).abs() < 1e-9, "{measured}");
        assert!(rate.marks.len() <= 32, "{} marks kept", rate.marks.len());
    }

    #[test]
    fn steps_done_before_a_resume_do_not_count() {
        let mut rate = Rate::default();
        rate.observe(Duration::ZERO, 5000);
        rate.observe(Duration::from_secs(2), 5010);
        assert_eq!(rate.per_second(), Some(5.0));
    }

    #[test]
    fn numbers_and_times_read_well() {
        let digits = [0.0, 0.123_45, 1.234_5, 12.345, 412.7, 54_321.0, 1.5e7, 4e-5, -0.5, f64::NAN].map(three_digits);
        assert_eq!(digits, ["0", "0.123", "1.23", "12.3", "413", "54321", "1.50e7", "4.00e-5", "-0.500", "NaN"]);
        let times = [0.2, 46.0, 200.0, 7500.0, f64::INFINITY].map(duration);
        assert_eq!(times, ["1 s", "46 s", "3 min 20 s", "2 h 05 min", "8888 h 53 min"]);
    }

    #[test]
    fn the_account_leaves_out_what_is_not_known() {
        let mut progress = Progress::new(100, 40, "digits", true);
        assert_eq!(progress.account(), "");
        progress.remember(&[("loss", 0.5)]);
        progress.remember(&[("loss", 0.25)]);
        progress.remember(&[]);
        assert_eq!(progress.account(), "loss 0.250");
        progress.rate.observe(Duration::from_secs(9), 41);
        progress.rate.observe(Duration::from_secs(11), 61);
        progress.step = 60;
        assert_eq!(progress.account(), "10.0/s, loss 0.250, 4 s left");
        progress.step = 100;
        assert_eq!(progress.account(), "10.0/s, loss 0.250");
    }
}
