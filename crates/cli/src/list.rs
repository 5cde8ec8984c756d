//! Lists of numbers on the command line: `0.1,0.5,2`, `0:1:11` or `0.1:10:25:log`.

/// The most numbers in one list.
const MOST: usize = 10_000;

/// What a list may look like, for messages.
const FORMS: &str =
    "give a,b,c, or lo:hi:n for n values between lo and hi, or lo:hi:n:log for values with equal ratios";

/// The numbers of one flag, at least one, all finite.
#[derive(Debug, Clone, PartialEq)]
pub struct List(pub Vec<f64>);

impl List {
    /// The numbers that a text asks for: numbers and ranges `lo:hi:n[:log]` with commas between.
    ///
    /// A range holds both its ends exactly; with `log`, neighbours have equal ratios.
    ///
    /// # Errors
    ///
    /// What is no number, and what would be none.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Err(format!("the list is empty; {FORMS}"));
        }
        let mut values = Vec::new();
        for part in text.split(',').map(str::trim) {
            if part.is_empty() {
                return Err(format!("there is nothing between two commas, or after the last; {FORMS}"));
            }
            if part.contains(':') {
                values.extend(range(part)?)
            } else {
                values.push(number(part)?)
            }
            if values.len() > MOST {
                return Err(format!("these are more than {MOST} values; ask for fewer"));
            }
        }
        Ok(Self(values))
    }

    /// A list of signal-to-noise ratios, which are above 0.
    ///
    /// # Errors
    ///
    /// Those of [`parse`](Self::parse), and a value out of range.
    pub fn positive(text: &str) -> Result<Self, String> {
        Self::within(text, |value| value > 0.0, "must be above 0")
    }

    /// A list of times, at which there is noise, and still a signal.
    ///
    /// # Errors
    ///
    /// Those of [`parse`](Self::parse), and a value out of range.
    pub fn times(text: &str) -> Result<Self, String> {
        Self::within(
            text,
            |value| value > 0.0 && value <= 300.0,
            "must lie in (0, 300]; at t = 300 the signal is 5e-131",
        )
    }

    /// A list of δ, which lie in [0, 1].
    ///
    /// # Errors
    ///
    /// Those of [`parse`](Self::parse), and a value out of range.
    pub fn fractions(text: &str) -> Result<Self, String> {
        Self::within(text, |value| (0.0..=1.0).contains(&value), "must lie in [0, 1]")
    }

    /// A list of levels of L_r, which is never below 0.
    ///
    /// # Errors
    ///
    /// Those of [`parse`](Self::parse), and a value out of range.
    pub fn non_negative(text: &str) -> Result<Self, String> {
        Self::within(text, |value| value >= 0.0, "must be 0 or more, as L_r is")
    }

    /// A list of richness M, which is 1 at least.
    ///
    /// # Errors
    ///
    /// Those of [`parse`](Self::parse), and a value out of range.
    pub fn richness(text: &str) -> Result<Self, String> {
        let least = "must be 1 or more: M = 1 are the shifts, and nothing is poorer";
        Self::within(text, |value| value >= 1.0, least)
    }

    fn within(text: &str, allowed: impl Fn(f64) -> bool, rule: &str) -> Result<Self, String> {
        let list = Self::parse(text)?;
        match list.0.iter().find(|value| !allowed(**value)) {
            Some(value) => Err(format!("{value} is out of range: every value {rule}")),
            None => Ok(list),
        }
    }
}

/// The values of `lo:hi:n` or `lo:hi:n:log`.
fn range(text: &str) -> Result<Vec<f64>, String> {
    let parts: Vec<&str> = text.split(':').map(str::trim).collect();
    let logarithmic = match parts[..] {
        [_, _, _] => false,
        [_, _, _, "log"] => true,
        [_, _, _, word] => {
            return Err(format!("`{word}` in `{text}` is not understood: after lo:hi:n comes `log` or nothing"));
        }
        _ => return Err(format!("`{text}` is no range; {FORMS}")),
    };
    let (low, high) = (number(parts[0])?, number(parts[1])?);
    let count = match parts[2].parse::<usize>() {
        Ok(count) if (2..=MOST).contains(&count) => count,
        _ => {
            let found = parts[2];
            return Err(format!("`{found}` in `{text}` is no number of values: a range has from 2 to {MOST}"));
        }
    };
    if logarithmic && (low <= 0.0 || high <= 0.0) {
        return Err(format!("`{text}` has an end that is not above 0, and equal ratios lead nowhere; leave `log` out"));
    }
    let last = count - 1;
    let between = |i: usize| {
        let part = i as f64 / last as f64;
        // Weights that sum to 1 do not overflow where the difference of the ends does.
        if logarithmic { low.powf(1.0 - part) * high.powf(part) } else { low * (1.0 - part) + high * part }
    };
    Ok((0..count)
        .map(|i| {
            if i == 0 {
                low
            } else if i == last {
                high
            } else {
                between(i)
            }
        })
        .collect())
}

fn number(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        Ok(value) => Err(format!("{value} is not finite; {FORMS}")),
        Err(_) => Err(format!("`{text}` is not a number; {FORMS}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> Vec<f64> {
        List::parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).0
    }

    fn refused(text: &str) -> String {
        List::parse(text).expect_err(text)
    }

    #[test]
    fn numbers_and_ranges_are_what_they_say() {
        assert_eq!(values("0.1, 2,1e3"), [0.1, 2.0, 1e3]);
        assert_eq!(values("-1:1:5"), [-1.0, -0.5, 0.0, 0.5, 1.0]);
        assert_eq!(values("3:1:3"), [3.0, 2.0, 1.0]);
        assert_eq!(values("0.7,1:2:2,.5"), [0.7, 1.0, 2.0, 0.5]);
        assert_eq!(values("1:1:2"), [1.0, 1.0]);
        let decades = values("0.01:100:5:log");
        for (found, exact) in decades.iter().zip([0.01, 0.1, 1.0, 10.0, 100.0]) {
            assert!((found / exact - 1.0).abs() < 1e-14, "{decades:?}");
        }
        assert_eq!((decades[0], decades[4]), (0.01, 100.0));
    }

    #[test]
    fn the_ends_of_a_range_are_exact_and_its_middle_is_finite() {
        for text in ["0.1:0.3:7", "0.05:40:97:log", "-1.7e308:1.7e308:9", "1e-300:1e300:11:log"] {
            let (found, ends) = (values(text), text.split(':').collect::<Vec<_>>());
            assert_eq!((found[0], found[found.len() - 1]), (ends[0].parse().unwrap(), ends[1].parse().unwrap()));
            assert!(found.iter().all(|value| value.is_finite()), "{text}: {found:?}");
            assert!(found.windows(2).all(|pair| pair[0] < pair[1]), "{text}: {found:?}");
        }
    }

    #[test]
    fn what_is_no_list_is_refused_with_a_cure() {
        assert_eq!(
            refused("  "),
            "the list is empty; give a,b,c, or lo:hi:n for n values between lo and hi, or lo:hi:n:log for values with equal ratios"
        );
        assert!(refused("1,,2").starts_with("there is nothing between two commas"));
        assert!(refused("1,2,").starts_with("there is nothing between two commas, or after the last"));
        assert!(refused("1,two").starts_with("`two` is not a number; give a,b,c"));
        assert!(refused("1,nan").starts_with("NaN is not finite"));
        assert!(refused("inf").starts_with("inf is not finite"));
        assert!(refused("1e999").starts_with("inf is not finite"));
        assert!(refused("1:2").starts_with("`1:2` is no range"));
        assert!(refused("1:2:3:log:4").starts_with("`1:2:3:log:4` is no range"));
        assert_eq!(
            refused("1:2:3:geom"),
            "`geom` in `1:2:3:geom` is not understood: after lo:hi:n comes `log` or nothing"
        );
        for count in ["1", "0", "-3", "2.5", "99999", ""] {
            let error = refused(&format!("1:2:{count}"));
            assert!(error.contains("is no number of values: a range has from 2 to 10000"), "{error}");
        }
        assert!(refused("0:2:3:log").contains("leave `log` out"));
        assert!(refused("-1:2:3:log").contains("not above 0"));
        assert!(refused("1:2:9000,1:2:9000").starts_with("these are more than 10000 values"));
    }

    #[test]
    fn every_kind_of_list_has_its_range() {
        assert_eq!(List::positive("1,0").unwrap_err(), "0 is out of range: every value must be above 0");
        assert_eq!(List::positive("-1:1:3").unwrap_err(), "-1 is out of range: every value must be above 0");
        assert!(List::times("0").unwrap_err().starts_with("0 is out of range: every value must lie in (0, 300]"));
        assert!(List::times("400").is_err() && List::times("1e-9,300").is_ok());
        assert_eq!(List::fractions("0:1:3").unwrap().0, [0.0, 0.5, 1.0]);
        assert_eq!(List::fractions("0.5,1.01").unwrap_err(), "1.01 is out of range: every value must lie in [0, 1]");
        assert_eq!(
            List::non_negative("-0.1").unwrap_err(),
            "-0.1 is out of range: every value must be 0 or more, as L_r is"
        );
        assert!(List::richness("1,2.5").is_ok());
        assert!(List::richness("0.5").unwrap_err().starts_with("0.5 is out of range: every value must be 1 or more"));
    }
}
