//! Colour, where it helps and is wanted; never colour alone.

use std::io::IsTerminal as _;

use unicode_width::UnicodeWidthChar as _;

/// Whether to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Paint {
    on: bool,
}

/// What a text stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Well, or stable.
    Good,
    /// On its way.
    Active,
    /// Somebody should look.
    Bad,
    /// Less important.
    Faint,
    /// A heading.
    Strong,
}

impl Tone {
    fn code(self) -> &'static str {
        match self {
            Self::Good => "\x1b[32m",
            Self::Active => "\x1b[33m",
            Self::Bad => "\x1b[1;31m",
            Self::Faint => "\x1b[2m",
            Self::Strong => "\x1b[1m",
        }
    }
}

impl Paint {
    /// Colours always.
    pub const ON: Self = Self { on: true };

    /// Colours on a terminal, unless `NO_COLOR` is set.
    #[must_use]
    pub fn detect() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            on: std::io::stdout().is_terminal() && !refused,
        }
    }
}

/// A line for people: texts, some of them in a tone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line(Vec<(Option<Tone>, String)>);

impl Line {
    /// A line that begins with this text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self::default().text(text)
    }

    /// The line with more text.
    #[must_use]
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.0.push((None, text.into()));
        self
    }

    /// The line with more text in a tone.
    #[must_use]
    pub fn tone(mut self, tone: Tone, text: impl Into<String>) -> Self {
        self.0.push((Some(tone), text.into()));
        self
    }

    /// The line as printed. What is wider than `columns` is cut and marked, so that it never takes a second row.
    /// Control characters never reach the terminal: messages come from the cluster.
    #[must_use]
    pub fn render(&self, paint: Paint, columns: Option<usize>) -> String {
        let plain: Vec<(Option<Tone>, String)> = self
            .0
            .iter()
            .map(|(tone, text)| (*tone, without_controls(text)))
            .collect();
        let whole: usize = plain.iter().map(|(_, text)| width(text)).sum();
        let mut left = columns
            .filter(|columns| whole > *columns)
            .map(|columns| columns.saturating_sub(1));
        let mut out = String::new();
        for (tone, text) in &plain {
            let text = match &mut left {
                None => text.clone(),
                Some(left) => cut(text, left),
            };
            match tone {
                Some(tone) if paint.on && !text.is_empty() => {
                    out.push_str(tone.code());
                    out.push_str(&text);
                    out.push_str("\x1b[0m");
                }
                Some(_) | None => out.push_str(&text),
            }
        }
        if left.is_some() {
            out.push('…');
        }
        out.trim_end().to_owned()
    }
}

fn width(text: &str) -> usize {
    text.chars().map(|letter| letter.width().unwrap_or(0)).sum()
}

fn cut(text: &str, left: &mut usize) -> String {
    text.chars()
        .take_while(|letter| {
            let wide = letter.width().unwrap_or(0);
            let fits = wide <= *left;
            *left = if fits { left.saturating_sub(wide) } else { 0 };
            fits
        })
        .collect()
}

/// The text in one line and without control characters.
#[must_use]
pub fn without_controls(text: &str) -> String {
    text.chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_to_the_columns_of_the_terminal() {
        let line = Line::new("ab ").tone(Tone::Good, "● cdef").text(" gh");
        assert_eq!(line.render(Paint::default(), None), "ab ● cdef gh");
        assert_eq!(line.render(Paint::default(), Some(12)), "ab ● cdef gh");
        assert_eq!(line.render(Paint::default(), Some(8)), "ab ● cd…");
        assert_eq!(line.render(Paint::ON, Some(8)), "ab \x1b[32m● cd\x1b[0m…");
        assert_eq!(Line::new("全角文字").render(Paint::default(), Some(6)), "全角…");
    }

    #[test]
    fn what_the_cluster_says_cannot_steer_the_terminal() {
        assert_eq!(Line::new("a\x1b[2Jb\nc").render(Paint::ON, None), "a [2Jb c");
    }
}
