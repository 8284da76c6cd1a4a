//! Where a followed rollout is shown: redrawn in place on a terminal, a line per change elsewhere.

use std::io::{self, IsTerminal as _, Write, stdout};

use crossterm::{cursor, queue, terminal};
use jiff::tz::TimeZone;
use k8s_openapi::jiff::Timestamp;

use crate::paint::{Line, Paint, Tone};
use crate::view::{Family, gist, line, tree};

type Gist = (
    Option<pointsman_api::rollout::PhaseName>,
    Option<String>,
    Option<pointsman_api::rollout::Weights>,
    String,
);

/// The place, and what it shows.
pub struct Screen {
    out: Box<dyn Write + Send>,
    terminal: bool,
    paint: Paint,
    zone: TimeZone,
    /// Widths of the lines that are drawn, to go back over them.
    drawn: Vec<usize>,
    printed: Option<Gist>,
    trouble: Option<String>,
}

impl Screen {
    /// Standard output, whatever it is.
    #[must_use]
    pub fn detect() -> Self {
        Self {
            out: Box::new(stdout()),
            terminal: stdout().is_terminal(),
            paint: Paint::detect(),
            zone: TimeZone::system(),
            drawn: Vec::new(),
            printed: None,
            trouble: None,
        }
    }

    #[cfg(test)]
    pub(super) fn plain(out: impl Write + Send + 'static) -> Self {
        Self {
            out: Box::new(out),
            terminal: false,
            paint: Paint::default(),
            zone: TimeZone::UTC,
            drawn: Vec::new(),
            printed: None,
            trouble: None,
        }
    }

    /// True when it is redrawn in place.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Shows the rollout as it is.
    pub fn show(&mut self, family: &Family, now: Timestamp) -> io::Result<()> {
        if self.terminal {
            return self.redraw(family, now);
        }
        let seen = gist(&family.rollout);
        if self.printed.as_ref() != Some(&seen) {
            self.print(&line(&family.rollout), now)?;
            self.printed = Some(seen);
        }
        Ok(())
    }

    /// Says once that the API server is away.
    pub fn trouble(&mut self, why: &str) -> io::Result<()> {
        if self.trouble.is_none() && !self.terminal {
            self.print(&format!("reconnecting: {why}"), Timestamp::now())?;
        }
        self.trouble = Some(why.to_owned());
        Ok(())
    }

    /// Says once that it is back.
    pub fn connected(&mut self) -> io::Result<()> {
        if self.trouble.take().is_some() && !self.terminal {
            self.print("connected again", Timestamp::now())?;
        }
        Ok(())
    }

    fn print(&mut self, text: &str, now: Timestamp) -> io::Result<()> {
        let clock = now.to_zoned(self.zone.clone()).strftime("%H:%M:%S");
        let text = Line::new(format!("{clock} {text}")).render(Paint::default(), None);
        writeln!(self.out, "{text}")?;
        self.out.flush()
    }

    /// One write a picture, line over line, so that nothing flickers.
    fn redraw(&mut self, family: &Family, now: Timestamp) -> io::Result<()> {
        let (columns, rows) = terminal::size().unwrap_or((80, 24));
        let (columns, rows) = (usize::from(columns.max(20)), usize::from(rows.max(5)));
        let mut lines = tree(family, now);
        if let Some(why) = &self.trouble {
            let text = format!("  reconnecting: {why}; this is what was seen last");
            lines.insert(1.min(lines.len()), Line::default().tone(Tone::Bad, text));
        }
        let room = rows.saturating_sub(1);
        if lines.len() > room {
            let hidden = lines.len().saturating_sub(room.saturating_sub(1));
            lines.truncate(room.saturating_sub(1));
            let text = format!("  {hidden} more lines; a higher window shows them");
            lines.push(Line::default().tone(Tone::Faint, text));
        }
        let mut picture: Vec<u8> = Vec::new();
        let up = rows_of(&self.drawn, columns).min(room);
        if up > 0 {
            queue!(
                picture,
                cursor::MoveToPreviousLine(u16::try_from(up).unwrap_or(u16::MAX))
            )?;
        }
        self.drawn.clear();
        for line in &lines {
            self.drawn
                .push(line.render(Paint::default(), Some(columns)).chars().count());
            picture.extend_from_slice(line.render(self.paint, Some(columns)).as_bytes());
            queue!(picture, terminal::Clear(terminal::ClearType::UntilNewLine))?;
            picture.extend_from_slice(b"\r\n");
        }
        queue!(picture, terminal::Clear(terminal::ClearType::FromCursorDown))?;
        self.out.write_all(&picture)?;
        self.out.flush()
    }
}

/// Rows that lines of these widths take now: a window that became narrower has wrapped them.
fn rows_of(widths: &[usize], columns: usize) -> usize {
    widths
        .iter()
        .map(|width| width.div_ceil(columns.max(1)).max(1))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::rows_of;

    #[test]
    fn a_narrower_window_takes_more_rows() {
        assert_eq!(rows_of(&[80, 10, 0], 80), 3);
        assert_eq!(rows_of(&[80, 10, 0], 40), 4);
    }
}
