//! Colour, where it helps and is wanted; never colour alone.

use std::io::IsTerminal as _;

use crossterm::style::Stylize as _;

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

impl Paint {
    /// Colours on a terminal, unless `NO_COLOR` is set.
    #[must_use]
    pub fn detect() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            on: std::io::stdout().is_terminal() && !refused,
        }
    }

    /// The text in its tone.
    #[must_use]
    pub fn text(self, tone: Tone, text: &str) -> String {
        if !self.on {
            return text.to_owned();
        }
        match tone {
            Tone::Good => text.green().to_string(),
            Tone::Active => text.yellow().to_string(),
            Tone::Bad => text.red().bold().to_string(),
            Tone::Faint => text.dark_grey().to_string(),
            Tone::Strong => text.bold().to_string(),
        }
    }
}
