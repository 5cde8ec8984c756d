//! Commands as a shell takes them.

/// A word of a command, quoted where a shell would split or change it.
pub fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+=:,@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// A command of some words.
pub fn command<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    words.into_iter().map(quoted).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_quoted_where_a_shell_would_split_it() {
        assert_eq!(command(["train", "run", "runs/a-1.b", "--set", "a.b=1e-3"]), "train run runs/a-1.b --set a.b=1e-3");
        assert_eq!(command(["my run's", "", "$HOME"]), "'my run'\\''s' '' '$HOME'");
    }
}
