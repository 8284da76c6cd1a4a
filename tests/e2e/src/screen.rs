//! What the demo shows: on a terminal a picture that is redrawn in place, elsewhere a line per change.

use std::io::{IsTerminal as _, Write as _, stdout};
use std::time::Instant;

use crossterm::style::{Color, Stylize as _};
use crossterm::{cursor, queue, terminal};

/// One revision, for the picture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Branch {
    /// Its name for people, such as `v2`.
    pub version: String,
    /// Its revision.
    pub revision: String,
    /// `stable`, `candidate` or `leaving`.
    pub role: String,
    /// Pods that are ready, and pods in all.
    pub pods: (u32, u32),
    /// Clients on it.
    pub clients: u64,
}

/// Everything that is in the picture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picture {
    /// What is going on, for people.
    pub title: String,
    /// Phase and step of the rollout.
    pub phase: String,
    /// Asked, routed and live share of the candidate.
    pub weights: String,
    /// Why it is there.
    pub message: String,
    /// The revisions.
    pub branches: Vec<Branch>,
    /// Clients in all.
    pub clients: u64,
    /// Sockets that ended in this phase.
    pub disconnects: u64,
}

/// Where pictures go.
pub struct Screen {
    begin: Instant,
    terminal: bool,
    drawn: u16,
    last: Picture,
}

impl Default for Screen {
    fn default() -> Self {
        Self {
            begin: Instant::now(),
            terminal: stdout().is_terminal() && std::env::var_os("CI").is_none(),
            drawn: 0,
            last: Picture::default(),
        }
    }
}

impl Screen {
    fn clock(&self) -> String {
        let seconds = self.begin.elapsed().as_secs();
        format!("{:>3}:{:02}", seconds / 60, seconds % 60)
    }

    /// A line that stays.
    pub fn say(&mut self, line: &str) {
        self.wipe();
        println!("{} {line}", self.clock());
    }

    /// A heading that stays.
    pub fn heading(&mut self, line: &str) {
        self.wipe();
        if self.terminal {
            println!("\n{} {}", self.clock(), line.bold());
        } else {
            println!("\n{} == {line}", self.clock());
        }
        self.last = Picture::default();
    }

    /// The picture as it is now.
    pub fn show(&mut self, picture: &Picture) {
        if self.terminal {
            self.draw(picture);
        } else if self.changed(picture) {
            println!("{} {}", self.clock(), plain(picture));
        }
        self.last = picture.clone();
    }

    /// Away from a terminal the counts of clients alone are no reason for a line: a move would be a hundred of them.
    fn changed(&self, picture: &Picture) -> bool {
        let essence = |picture: &Picture| {
            (
                picture.phase.clone(),
                picture
                    .branches
                    .iter()
                    .map(|branch| branch.pods)
                    .collect::<Vec<_>>(),
            )
        };
        essence(picture) != essence(&self.last)
    }

    fn wipe(&mut self) {
        if self.drawn > 0 {
            let mut out = stdout();
            let _ = queue!(
                out,
                cursor::MoveToPreviousLine(self.drawn),
                terminal::Clear(terminal::ClearType::FromCursorDown)
            );
            let _ = out.flush();
            self.drawn = 0;
        }
    }

    fn draw(&mut self, picture: &Picture) {
        self.wipe();
        let width = usize::from(terminal::size().map_or(100, |(width, _)| width)).max(40);
        let lines = lines(picture);
        let mut out = stdout();
        for line in &lines {
            let cut: String = line.0.chars().take(width.saturating_sub(1)).collect();
            let _ = writeln!(out, "{}", cut.with(line.1));
        }
        let _ = out.flush();
        self.drawn = u16::try_from(lines.len()).unwrap_or(0);
    }
}

fn plain(picture: &Picture) -> String {
    let branches: Vec<String> = picture
        .branches
        .iter()
        .map(|branch| {
            format!(
                "{} {}/{} pods {} clients",
                branch.version, branch.pods.0, branch.pods.1, branch.clients
            )
        })
        .collect();
    format!(
        "{} {} | {} | {}",
        picture.phase,
        picture.weights,
        branches.join(", "),
        picture.message
    )
}

fn lines(picture: &Picture) -> Vec<(String, Color)> {
    let mut lines = vec![
        (
            format!("  {}  {}  {}", picture.title, picture.phase, picture.weights),
            Color::Reset,
        ),
        (format!("  {}", picture.message), Color::DarkGrey),
    ];
    let last = picture.branches.len().saturating_sub(1);
    for (index, branch) in picture.branches.iter().enumerate() {
        let tree = if index == last { "└─" } else { "├─" };
        let mark = match branch.role.as_str() {
            "stable" => "●",
            "candidate" => "◆",
            _ => "○",
        };
        let pods: String = (0..branch.pods.1.min(24))
            .map(|pod| if pod < branch.pods.0 { '■' } else { '□' })
            .collect();
        let color = match branch.role.as_str() {
            "stable" => Color::Green,
            "candidate" => Color::Yellow,
            _ => Color::DarkGrey,
        };
        let bar = bar(branch.clients, picture.clients, 30);
        let text = format!(
            "  {tree} {mark} {:<4} {:<10} {:<9} {pods:<8} {bar} {:>5} clients",
            branch.version, branch.revision, branch.role, branch.clients
        );
        lines.push((text, color));
    }
    lines.push((
        format!("     sockets ended in this phase: {}", picture.disconnects),
        Color::Reset,
    ));
    lines
}

fn bar(part: u64, whole: u64, width: u64) -> String {
    let full = (part * width).checked_div(whole).unwrap_or(0).min(width);
    (0..width)
        .map(|place| if place < full { '█' } else { '·' })
        .collect()
}
